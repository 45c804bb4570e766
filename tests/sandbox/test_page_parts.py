"""Threads, forms and menus on the sandbox's page, in a real Chromium with frames from the test."""

from __future__ import annotations

import re

import pytest
from playwright.async_api import BrowserContext, expect

from tests.sandbox.scripted import FORM, NELL, message, opened, thread

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_a_form_is_checked_kept_and_sent_once(context: BrowserContext) -> None:
    script = await opened(context)
    page, keys = script.page, script.page.keyboard
    await page.focus("#say")
    script.write({"t": "modal", "modal": FORM})
    why = page.get_by_label("W" * 45)
    await expect(why).to_be_focused()
    await expect(page.get_by_role("dialog", name="How was it?")).to_contain_text("Say what you think.")
    await keys.type("x" * 21)
    await page.get_by_role("button", name="Submit").click()
    await expect(page.locator("#sheet .failed:not(:empty)")).to_have_text(
        ["At most 20 characters; this is 21.", "Choose 1 to 2."]
    )
    await expect(page.locator(".count").first).to_have_text("21 / 20")
    await expect(why).to_be_focused()
    await keys.press("Backspace")
    await page.get_by_role("checkbox").check()
    assert script.sent == []
    await page.get_by_role("button", name="Submit").click()
    await page.get_by_role("button", name="Submit").press("Enter")
    sent = await script.heard("submit")
    assert (sent["modal_id"], sent["values"]) == ("1", {"why": "x" * 20, "whom": ["elio"]})
    script.write({"t": "failed", "nonce": sent["nonce"], "sentence": "The application did not respond"})
    await expect(page.locator("#sheet").get_by_role("alert")).to_have_text("The application did not respond")
    await page.get_by_role("button", name="Submit").click()
    again = await script.heard("submit", 2)
    script.write({"t": "answered", "nonce": again["nonce"], "kind": "message"})
    await expect(page.get_by_role("dialog")).to_be_hidden()
    await expect(page.locator("#say")).to_be_focused()
    assert [frame["t"] for frame in script.sent] == ["submit", "submit"]
    script.write({"t": "modal", "modal": {**FORM, "id": "2"}})
    await expect(page.get_by_role("dialog")).to_be_visible()
    await keys.press("Escape")
    await script.heard("dismiss")
    await expect(page.get_by_role("dialog")).to_be_hidden()
    script.watch.assert_quiet()


async def test_a_thread_unfolds_below_its_message_and_opens_on_its_own(context: BrowserContext) -> None:
    above = message(1, content="the result", thread=thread(1, "Samples"))
    first = message(2, type=21, channel_id="1", referenced_message=above)
    row = {"type": 1, "components": [{"type": 2, "style": 1, "label": "Like", "custom_id": "like"}]}
    script = await opened(context, above, first, message(3, content="sample one", channel_id="1", components=[row]))
    page = script.page
    toggle = page.get_by_role("button", name=re.compile("^Samples"))
    await expect(toggle).to_have_text("Samples1 message")
    await expect(page.get_by_text("sample one")).to_have_count(0)
    await toggle.click()
    await expect(toggle).to_have_attribute("aria-expanded", "true")
    like = page.get_by_role("button", name="Like")
    await like.click()
    assert (await script.heard("press"))["channel_id"] == "1"
    await like.focus()
    script.write({"t": "message", "message": message(4, NELL, "sample two", channel_id="1")})
    script.write({"t": "message", "message": {**above, "content": "the result, edited"}})
    await expect(toggle).to_have_text("Samples2 messages")
    await expect(page.locator(".thread-log .message")).to_have_count(2)
    await expect(like).to_be_focused()
    await expect(page.locator(".unread")).to_have_count(0)
    await toggle.click()
    await expect(page.get_by_text("sample two")).to_have_count(0)
    script.write({"t": "message", "message": message(5, NELL, "sample three", channel_id="1")})
    await expect(page.locator(".threads .unread")).to_have_count(1)
    await page.get_by_role("link", name="Open Samples").click()
    await expect(page.get_by_role("heading", level=1)).to_have_text("Samples")
    await expect(page.locator(".message")).to_have_count(4)
    await expect(page.locator(".message").first).to_contain_text("the result")
    await expect(page.locator(".unread")).to_have_count(0)
    await page.fill("#say", "well said")
    await page.keyboard.press("Enter")
    assert (await script.heard("say"))["channel_id"] == "1"
    script.write({"t": "thread", "thread": thread(1, "Old samples", archived=True)})
    await expect(page.get_by_role("heading", level=1)).to_have_text("Old samples")
    await expect(page.locator("#topic")).to_have_text("in #workshop · archived")
    await page.locator("#topic").get_by_role("link", name="#workshop").click()
    await expect(toggle).to_have_count(0)
    await expect(page.get_by_role("button", name="Old samples")).to_have_text("Old samples3 messages · archived")
    await expect(page.locator(".threads")).to_have_count(0)
    script.watch.assert_quiet()


async def test_a_menu_is_chosen_from(context: BrowserContext) -> None:
    options = [{"label": name.title(), "value": name} for name in ("elio", "glordon", "grigon")]
    one = {"type": 3, "custom_id": "one", "placeholder": "Who?", "options": options}
    two = {"type": 3, "custom_id": "two", "placeholder": "Which two?", "min_values": 2, "max_values": 2}
    rows = [{"type": 1, "components": [part]} for part in (one, {**two, "options": options})]
    script = await opened(context, message(1, components=rows))
    page = script.page
    await page.get_by_text("Who?").click()
    await page.get_by_role("button", name="Glordon").press("Enter")
    sent = await script.heard("choose")
    assert (sent["message_id"], sent["custom_id"], sent["values"]) == ("1", "one", ["glordon"])
    await expect(page.get_by_role("button", name="Glordon")).to_be_disabled()
    script.write({"t": "answered", "nonce": sent["nonce"], "kind": "message"})
    await expect(page.locator("summary").first).to_have_text("Glordon")
    await page.get_by_text("Which two?").click()
    await page.get_by_label("Elio").check()
    choose = page.get_by_role("button", name="Choose")
    await expect(choose).to_be_disabled()
    await page.get_by_label("Grigon").check()
    await choose.click()
    sent = await script.heard("choose", 2)
    assert (sent["custom_id"], sent["values"]) == ("two", ["elio", "grigon"])
    script.write({"t": "refused", "nonce": sent["nonce"], "sentence": "That menu is disabled."})
    await expect(page.locator(".message .failed")).to_have_text("That menu is disabled.")
    script.watch.assert_quiet()
