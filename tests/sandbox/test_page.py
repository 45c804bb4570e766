"""What the sandbox's page shows and sends, and what it refuses to do, in a real Chromium with frames from the test."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any

import pytest
from playwright.async_api import BrowserContext, expect

from tests.sandbox.scripted import FORM, MARA, NELL, OPTION, ORIGIN, WORKSHOP, message, opened, thread

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_a_command_is_filled_in_by_keyboard(context: BrowserContext) -> None:
    script = await opened(context)
    page, keys = script.page, script.page.keyboard
    await page.focus("#say")
    await keys.type("/")
    await expect(page.get_by_role("option")).to_have_text(
        ["/finetune startPlan a training run", "/finetune listThe newest jobs"]
    )
    await keys.press("ArrowDown")
    await keys.press("ArrowUp")
    await keys.press("Tab")
    await expect(page.get_by_role("combobox", name="job_name")).to_be_focused()
    await keys.press("Enter")
    await expect(page.locator("#trouble")).to_have_text("job_name is needed: Its name")
    await keys.type("elio_v1")
    await keys.press("Tab")
    await keys.type("mi")
    await keys.press("Enter")
    await expect(page.get_by_role("combobox", name="task_type")).to_have_value("Mixed")
    await keys.press("Tab")
    await keys.press("Tab")
    await expect(page.get_by_role("button", name="Add epochs")).to_be_focused()
    await keys.press("Enter")
    await keys.type("12")
    await keys.press("Enter")
    await expect(page.locator("#trouble")).to_have_text("epochs must be a whole number from 1 to 10.")
    assert script.sent == []
    await keys.press("Backspace")
    await keys.press("Enter")
    sent = await script.heard("slash")
    assert (sent["channel_id"], sent["command"], sent["sub"]) == (WORKSHOP, "finetune", ["start"])
    assert sent["options"] == {"job_name": "elio_v1", "task_type": "mixed", "epochs": 1}
    await expect(page.locator(".message").last).to_contain_text("Sending the command")
    script.write({"t": "failed", "nonce": sent["nonce"], "sentence": "The application did not respond"})
    await expect(page.locator(".message .failed")).to_have_text("The application did not respond")
    script.watch.assert_quiet()


async def test_escape_steps_back_and_a_refused_command_comes_back_as_it_was(context: BrowserContext) -> None:
    script = await opened(context)
    page, keys = script.page, script.page.keyboard
    await page.fill("#say", "/finetune list ")
    await keys.press("Enter")
    sent = await script.heard("slash")
    assert sent["options"] == {}
    script.write({"t": "refused", "nonce": sent["nonce"], "sentence": "You may not use this command here."})
    await expect(page.locator("#trouble")).to_have_text("You may not use this command here.")
    await expect(page.locator(".slash-name")).to_have_text("/finetune list")
    await expect(page.locator(".message")).to_have_count(0)
    await keys.press("Escape")
    await expect(page.locator("#say")).to_have_value("/finetune list")
    await expect(page.locator("#panel")).to_be_visible()
    await keys.press("Escape")
    await expect(page.locator("#panel")).to_be_hidden()
    script.watch.assert_quiet()


async def test_a_late_answer_to_an_older_autocomplete_is_dropped(context: BrowserContext) -> None:
    script = await opened(context)
    page, keys = script.page, script.page.keyboard
    await page.fill("#say", "/finetune start ")
    await keys.type("x")
    await page.get_by_role("button", name="Add persona").click()
    first = await script.heard("autocomplete")
    assert (first["focused"], first["options"]) == ("persona", {"job_name": "x", "persona": ""})
    await keys.type("gri")
    second = await script.heard("autocomplete", 2)
    assert second["options"]["persona"] == "gri", "typing is debounced: one question for three letters"
    script.write({"t": "choices", "nonce": second["nonce"], "choices": [{"name": "Lord Grigon", "value": "grigon"}]})
    await expect(page.get_by_role("option")).to_have_text(["Lord Grigon"])
    script.write({"t": "choices", "nonce": first["nonce"], "choices": [{"name": "Elio", "value": "elio"}]})
    script.write({"t": "typing", "channel_id": WORKSHOP, "user": NELL})
    await expect(page.locator("#typing")).to_have_text("Nell is typing…")
    await expect(page.get_by_role("option")).to_have_text(["Lord Grigon"])
    await keys.press("Enter")
    await expect(page.get_by_role("combobox", name="persona")).to_have_value("Lord Grigon")
    await page.get_by_role("combobox", name="task_type").fill("Persona")
    await keys.press("Escape")
    await keys.press("Enter")
    assert (await script.heard("slash"))["options"] == {"job_name": "x", "task_type": "persona", "persona": "grigon"}
    script.watch.assert_quiet()


async def test_a_button_waits_for_its_answer_and_keeps_the_focus(context: BrowserContext) -> None:
    row = {"type": 1, "components": [{"type": 2, "style": 4, "label": "Cancel", "custom_id": "job:7"}]}
    card = message(1, embeds=[{"title": "🔵 elio_v1 · training", "description": "10 %"}], components=[row])
    script = await opened(context, card)
    page = script.page
    button = page.get_by_role("button", name="Cancel")
    await button.focus()
    await page.keyboard.press("Enter")
    await page.keyboard.press("Enter")
    press = await script.heard("press")
    assert (press["message_id"], press["custom_id"]) == ("1", "job:7")
    await expect(button).to_have_attribute("aria-busy", "true")
    script.write(
        {"t": "message", "message": {**card, "embeds": [{"title": "🔵 elio_v1 · training", "description": "20 %"}]}}
    )
    await expect(page.locator(".embed")).to_contain_text("20 %")
    await expect(button).to_be_focused()
    script.write({"t": "failed", "nonce": press["nonce"], "sentence": "The application did not respond"})
    await expect(page.locator(".message .failed")).to_have_text("The application did not respond")
    await expect(button).not_to_have_attribute("aria-busy", "true")
    assert len(script.sent) == 1, "a busy button cannot be pressed twice"
    script.write({"t": "delete", "channel_id": WORKSHOP, "id": "1"})
    await expect(page.locator(".message")).to_have_count(0)
    script.watch.assert_quiet()


async def test_messages_are_sent_refused_and_kept_while_the_connection_is_gone(context: BrowserContext) -> None:
    script = await opened(context)
    page, keys = script.page, script.page.keyboard
    await page.focus("#say")
    await keys.type("one")
    await keys.press("Shift+Enter")
    await keys.type("two")
    await keys.press("Enter")
    said = await script.heard("say")
    assert (said["channel_id"], said["content"]) == (WORKSHOP, "one\ntwo")
    script.write({"t": "refused", "nonce": said["nonce"], "sentence": "You may not write here."})
    await expect(page.locator("#trouble")).to_have_text("You may not write here.")
    await expect(page.locator("#say")).to_have_value("one\ntwo")
    await page.fill("#say", "x" * 2001)
    await keys.press("Enter")
    await expect(page.locator("#trouble")).to_have_text("A message holds at most 2,000 characters; this one has 2,001.")
    script.messages.append(message(5, NELL, "while you were away"))
    await script.drop()
    await expect(page.locator("#banner")).to_have_text("The connection was lost. Trying again…")
    await expect(page.locator(".message .prose")).to_have_text(["while you were away"])
    await expect(page.locator("#banner")).to_be_hidden()
    script.write({"t": "bot", "online": False})
    await expect(page.locator("#banner")).to_contain_text("The bot is offline")
    script.watch.assert_quiet()


MARKDOWN = {
    "**bold** *it* _it_ __under__ ~~gone~~ ***both***": "<p><strong>bold</strong> <em>it</em> <em>it</em> <u>under</u> "
    "<s>gone</s> <strong><em>both</em></strong></p>",
    "snake_case_name 2*3*4 \\*not\\*": "<p>snake_case_name 2<em>3</em>4 *not*</p>",
    "`a **b**` ``c ` d``": "<p><code>a **b**</code> <code>c ` d</code></p>",
    "# One\n-# small\n> said\n> twice\nafter": '<p class="heading heading-1" role="heading" aria-level="3">One</p>'
    '<p class="subtext">small</p><blockquote><p>said\ntwice</p></blockquote><p>after</p>',
    "- a\n  - b\n- c\n3. d": "<ul><li>a<ul><li>b</li></ul></li><li>c</li><li>d</li></ul>",
    "```py\n**x** <b>\n```": '<pre tabindex="0" aria-label="Code"><code data-language="py">'
    "**x** &lt;b&gt;</code></pre>",
    "<@1003> <#3002> </finetune start:9> <:wave:12>": '<p><span class="mention"><bdi>@Nell</bdi></span> '
    '<span class="mention"><bdi>#tavern</bdi></span> <span class="mention"><bdi>/finetune start</bdi></span> :wave:'
    "</p>",
    "https://example.org/a_b_c).": '<p><a href="https://example.org/a_b_c" target="_blank" rel="noopener noreferrer" '
    'title="https://example.org/a_b_c">https://example.org/a_b_c</a>).</p>',
    "a ** b ~~ c || d __ e ` f": "<p>a ** b ~~ c || d __ e ` f</p>",
}


async def test_markdown_is_shown_as_discord_shows_it(context: BrowserContext) -> None:
    script = await opened(context, *(message(n, NELL, text) for n, text in enumerate(MARKDOWN)))
    shown = await script.page.locator(".message .prose").evaluate_all("nodes => nodes.map(node => node.innerHTML)")
    assert shown == list(MARKDOWN.values())
    at = int(datetime.now(UTC).timestamp())
    script.write({"t": "message", "message": message(90, NELL, f"||secret|| <t:{at}:R>")})
    await expect(script.page.locator(".prose time")).to_have_text(re.compile(r"[1-9] seconds? ago"))
    spoiler = script.page.get_by_role("button", name="Spoiler")
    await spoiler.focus()
    await script.page.keyboard.press("Enter")
    await expect(script.page.get_by_text("secret")).to_be_visible()
    script.watch.assert_quiet()


EVIL = "https://evil.example"
HOSTILE = [
    "<script>alert(1)</script><img src=x onerror=alert(1)><svg onload=alert(1)>",
    "[press](javascript:alert(1)) <javascript:alert(1)> [x](data:text/html,boo) javascript:alert(1)",
    "W" * 2000,
    "\u202e\u2067drow gnol\u0301\u0302\u0303\u0304" + "\u0489" * 300,
    "*" * 700 + "_" * 700 + "|" * 500 + "~~",
    "> " * 900,
    "[" * 1990 + "](http",
    "<t:9999999999999:F> <t:-9999999999999:R> <@999> ```",
]


async def test_hostile_content_stays_inert(context: BrowserContext) -> None:
    card = {
        "title": "<b>x</b>",
        "url": "javascript:alert(1)",
        "author": {"name": "<i>y</i>", "url": "javascript:alert(1)", "icon_url": f"{EVIL}/icon.png"},
        "image": {"url": f"{EVIL}/image.png"},
        "thumbnail": {"url": "data:image/svg+xml,<svg onload='alert(1)'/>"},
        "color": 0xFFFFFF,
        "fields": [{"name": "<u>n</u>", "value": f"![x]({EVIL}/pixel.png)", "inline": True}],
    }
    buttons = [{"type": 2, "style": 5, "label": "go", "url": "javascript:alert(1)"}, {"type": 99}]
    files = [
        {"id": "1", "filename": "x.svg", "size": 9, "content_type": "image/svg+xml", "url": "/attachments/1/x.svg"},
        {"id": "2", "filename": "y.png", "size": 9, "content_type": "image/png", "url": f"{EVIL}/y.png"},
    ]
    evil_user = {"id": "9", "username": "<img src=x onerror=alert(1)>\u202e", "global_name": None, "bot": True}
    script = await opened(
        context,
        *(message(n, evil_user, text, webhook_id="9") for n, text in enumerate(HOSTILE)),
        message(50, embeds=[card], components=[{"type": 1, "components": buttons}], attachments=files),
    )
    page = script.page
    await expect(page.locator(".message")).to_have_count(len(HOSTILE) + 1)
    assert await page.locator(".prose").nth(0).inner_text() == HOSTILE[0]
    links = await page.locator("#log a").evaluate_all("links => links.map(link => link.href)")
    assert set(links) == {f"{ORIGIN}/attachments/1/x.svg", f"{EVIL}/image.png", f"{EVIL}/pixel.png"}
    assert await page.locator("#log img, #log script, #log iframe").count() == 0
    assert await page.locator("#log svg:not(.icon)").count() == 0
    await expect(page.get_by_role("button", name="go")).to_be_disabled()
    overflow = "node => node.scrollWidth > node.clientWidth"
    assert not await page.locator("#scroller").evaluate(overflow)
    assert not await page.locator("html").evaluate(overflow)
    script.watch.assert_quiet()


async def test_a_rich_card_and_its_picture(context: BrowserContext) -> None:
    card = {
        "title": "🟢 elio_v1 · finished",
        "color": 0x4FAE74,
        "fields": [{"name": name, "value": "1", "inline": True} for name in "abc"],
        "image": {"url": "/attachments/6/loss.png"},
        "footer": {"text": "seed 42"},
    }
    files = [
        {"id": "7", "filename": "x.png", "size": 9, "content_type": "image/png", "url": "/attachments/7/x.png"},
        {
            "id": "8",
            "filename": "card.md",
            "size": 2048,
            "content_type": "text/markdown",
            "url": "/attachments/8/card.md",
        },
    ]
    used = {"user": NELL, "name": "finetune start"}
    result = message(
        1, content="<@1001> done", mentions=[MARA], embeds=[card], attachments=files, interaction_metadata=used
    )
    private = message(2, content="psst", flags=64)
    script = await opened(context, result, private, message(3, flags=128))
    page = script.page
    await expect(page.locator(".above")).to_have_text("NNell used /finetune start")
    await expect(page.locator(".message").first).to_have_class("message opens for-me")
    await expect(page.locator(".embed")).to_have_css("border-left-color", "rgb(79, 174, 116)")
    lefts = await page.locator(".field").evaluate_all("nodes => nodes.map(node => node.getBoundingClientRect().top)")
    assert len(set(lefts)) == 1, "three inline fields share one row"
    await expect(page.locator(".message img")).to_have_count(2)
    await expect(page.locator("a.file")).to_have_attribute("download", "card.md")
    await expect(page.locator(".thinking")).to_contain_text("Understudy is thinking")
    await page.get_by_role("button", name="Enlarge x.png").click()
    await expect(page.get_by_role("dialog")).to_be_visible()
    await page.keyboard.press("Escape")
    await expect(page.get_by_role("dialog")).to_be_hidden()
    await page.get_by_role("button", name="Dismiss").click()
    await expect(page.get_by_text("psst")).to_have_count(0)
    await page.reload()
    await expect(page.locator(".message")).to_have_count(2)
    script.watch.assert_quiet()


CONTRASTS = """
() => {
  const paint = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  const over = (layers) => {
    for (const layer of layers) { paint.fillStyle = layer; paint.fillRect(0, 0, 1, 1); }
    return [...paint.getImageData(0, 0, 1, 1).data].slice(0, 3);
  };
  const light = (rgb) => rgb
    .map((part) => part / 255)
    .map((part) => (part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4))
    .reduce((sum, part, index) => sum + part * [0.2126, 0.7152, 0.0722][index], 0);
  const poor = [];
  for (const node of document.querySelectorAll("body *")) {
    const words = [...node.childNodes].some((child) => child.nodeType === 3 && child.data.trim());
    const shown = node.checkVisibility({ opacityProperty: true });
    if (!words || !shown || node.closest("[disabled], .dot, .hidden, .skip, .late")) continue;
    const layers = [];
    for (let up = node; up; up = up.parentElement) layers.unshift(getComputedStyle(up).backgroundColor);
    const back = light(over(layers));
    const ink = light(over([...layers, getComputedStyle(node).color]));
    const ratio = (Math.max(ink, back) + 0.05) / (Math.min(ink, back) + 0.05);
    if (ratio < 4.5) poor.push([node.className || node.tagName, node.textContent.slice(0, 20), ratio.toFixed(2)]);
  }
  return poor;
}
"""


@pytest.mark.parametrize("scheme", ["dark", "light"])
async def test_every_word_is_readable_and_a_narrow_screen_has_a_drawer(context: BrowserContext, scheme: Any) -> None:
    styles = [{"type": 2, "style": style, "label": f"Style {style}", "custom_id": str(style)} for style in (1, 2, 3, 4)]
    everything = "# H\n-# small\n> q `code` <@1003> <t:1700000000:f> https://example.org\n```\npre\n```"
    people = [message(n, {**NELL, "id": str(n), "global_name": f"Friend {n}"}, "hi") for n in range(20)]
    card = {
        "title": "T",
        "description": everything,
        "footer": {"text": "foot"},
        "fields": [{"name": "n", "value": "v"}],
    }
    rows = [{"type": 1, "components": styles}]
    rich = message(
        30, NELL, everything, mentions=[MARA], embeds=[card], components=rows, edited_timestamp="2026-01-01T00:00:00Z"
    )
    menu = {"type": 3, "custom_id": "m", "max_values": 2, "options": [OPTION]}
    below = message(32, content="a sample", channel_id="31", components=[{"type": 1, "components": [menu]}])
    above = message(31, content="only you", flags=64, thread=thread(31, "Samples", archived=True))
    script = await opened(context, *people, rich, above, below)
    page = script.page
    await page.get_by_role("button", name="Samples").click()
    await page.locator("summary").click()
    await page.emulate_media(color_scheme=scheme)
    await page.fill("#say", "/finetune start ")
    await page.keyboard.press("Enter")
    assert await page.evaluate(CONTRASTS) == []
    script.write({"t": "modal", "modal": FORM})
    await page.get_by_role("button", name="Submit").click()
    assert await page.evaluate(CONTRASTS) == []
    await page.set_viewport_size({"width": 420, "height": 800})
    assert not await page.locator("#sheet").evaluate("node => node.scrollWidth > node.clientWidth")
    await page.keyboard.press("Escape")
    assert not await page.locator("#scroller").evaluate("node => node.scrollWidth > node.clientWidth")
    assert not await page.locator("html").evaluate("node => node.scrollWidth > node.clientWidth")
    drawer = page.get_by_role("link", name="tavern")
    await expect(drawer).to_be_hidden()
    await page.get_by_role("button", name="Channels and members").press("Enter")
    await expect(page.get_by_role("link", name="workshop")).to_be_focused()
    await drawer.click()
    await expect(page.get_by_role("heading", level=1)).to_have_text("tavern")
    await expect(drawer).to_be_hidden()
    address = await page.get_by_role("link", name="Nell", include_hidden=True).get_attribute("href")
    assert address == "?as=1003#/tavern"
    script.watch.assert_quiet()
