"""The sandbox's page in a real Chromium, on the real sandbox, with an unmodified discord.py client as the app."""

from __future__ import annotations

import io
from collections.abc import AsyncIterator
from dataclasses import dataclass

import discord
import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page, expect

from sandbox.server import Sandbox
from tests.sandbox.app import App, Desk, running
from tests.sandbox.chromium import Watch, launched

pytestmark = pytest.mark.asyncio(loop_scope="module")


@dataclass
class Stage:
    """The sandbox, the app in it, and a browser before it."""

    sandbox: Sandbox
    app: App
    browser: Browser

    async def seat(self, name: str) -> tuple[Page, Watch]:
        """A page of its own, viewed as the member of that name."""
        context = await self.browser.new_context(reduced_motion="reduce")
        context.set_default_timeout(8000)
        page = await context.new_page()
        watch = Watch(page, self.sandbox.page_url.rstrip("/"))
        await page.goto(self.sandbox.page_url)
        if name != "Mara":
            await page.get_by_role("link", name=name).click()
        await expect(page.locator(".member[aria-current]")).to_contain_text(name)
        await page.focus("#say")
        return page, watch


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stage(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stage]:
    folder = tmp_path_factory.mktemp("sandbox")
    async with launched() as browser, Sandbox(data_dir=folder) as sandbox, running(sandbox) as app:
        yield Stage(sandbox, app, browser)


async def test_a_typed_command_is_answered_to_its_author_alone(stage: Stage) -> None:
    mara, watch = await stage.seat("Mara")
    nell, _ = await stage.seat("Nell")
    keys = mara.keyboard
    await keys.type("/ech")
    await keys.press("Tab")
    await keys.type("al")
    await expect(mara.get_by_role("option")).to_have_text(["alpha"])
    await keys.press("Enter")
    await mara.get_by_role("button", name="Add times").click()
    await keys.type("4")
    await keys.press("Enter")
    await expect(mara.locator("#trouble")).to_have_text("times must be a whole number from 1 to 3.")
    await keys.press("Backspace")
    await keys.type("2")
    await mara.get_by_role("button", name="Add quiet").click()
    await keys.type("t")
    await keys.press("Enter")
    await keys.press("Enter")
    answer = mara.locator(".message").last
    await expect(answer).to_contain_text("alpha alpha")
    await expect(answer).to_contain_text("Mara used /lab echo")
    await expect(answer).to_contain_text("Only you can see this")
    await nell.keyboard.type("hello **all**")
    await nell.keyboard.press("Enter")
    for page in (mara, nell):
        await expect(page.locator(".message").last.locator("strong")).to_have_text("all")
    await expect(nell.get_by_text("alpha alpha")).to_have_count(0)
    watch.assert_quiet()


async def test_a_file_is_chosen_for_an_option(stage: Stage) -> None:
    page, watch = await stage.seat("Mara")
    await page.fill("#say", "/lab read ")
    chooser = page.get_by_label("file", exact=True)
    await expect(chooser).to_be_focused()
    await expect(page.locator("#panel")).to_contain_text("a file · required")
    await page.get_by_role("button", name="Add note").click()
    await page.keyboard.press("Enter")
    await expect(page.locator("#trouble")).to_have_text("file is needed: …")
    await page.get_by_label("note", exact=True).fill("hi")
    await chooser.set_input_files({"name": "rows.jsonl", "mimeType": "text/plain", "buffer": b"x" * 42})
    await chooser.focus()
    await page.keyboard.press("Enter")
    await expect(page.locator(".message").last).to_contain_text("rows.jsonl: 42 bytes hi")
    watch.assert_quiet()


async def test_a_button_pressed_by_one_changes_the_message_for_all(stage: Stage) -> None:
    mara, watch = await stage.seat("Mara")
    nell, _ = await stage.seat("Nell")
    await mara.fill("#say", "/lab button ")
    await mara.keyboard.type("7")
    await mara.keyboard.press("Enter")
    await nell.get_by_role("button", name="Pin").click()
    for page in (mara, nell):
        await expect(page.locator(".message").last).to_contain_text("pinned 7")
        await expect(page.get_by_role("button", name="Pin")).to_have_count(0)
    watch.assert_quiet()


async def test_a_form_from_a_button_in_a_thread_changes_the_message_for_all(stage: Stage) -> None:
    mara, watch = await stage.seat("Mara")
    nell, _ = await stage.seat("Nell")
    message = await stage.app.channel().send("the check is done")
    thread = await message.create_thread(name="Samples")
    sample = await thread.send("a sample", view=Desk(stage.app))
    await mara.get_by_role("button", name="Samples").click()
    await mara.locator(".thread-log").get_by_role("button", name="Judge").click()
    form = mara.get_by_role("dialog", name="How was it?")
    await form.get_by_label("In character").select_option("4 of 5")
    await form.get_by_label("Why").fill("it is him")
    await form.get_by_role("button", name="Submit").click()
    await expect(form).to_be_hidden()
    await nell.get_by_role("link", name="Open Samples").click()
    for page in (mara, nell):
        await expect(page.get_by_text("['4'] it is him Anon")).to_be_visible()
    await nell.get_by_text("Pick one or two").click()
    await nell.get_by_label("Elio").check()
    await nell.get_by_role("button", name="Choose").click()
    await expect(mara.locator(".thread-log .message").last).to_contain_text("nell picked ['elio']")
    assert stage.app.interactions[-1].message == sample
    watch.assert_quiet()


async def test_a_newcomer_appears_among_the_members(stage: Stage) -> None:
    mara, watch = await stage.seat("Mara")
    stage.sandbox.world.enrol("Ursula", ["Trainer"])
    await expect(mara.locator(".member", has_text="Ursula")).to_contain_text("Trainer")
    watch.assert_quiet()


async def test_a_command_nobody_answers_says_so(stage: Stage) -> None:
    mara, watch = await stage.seat("Mara")
    await mara.fill("#say", "/lab late ")
    await mara.keyboard.press("Enter")
    await expect(mara.get_by_text("Sending the command")).to_be_visible()
    stage.sandbox.clock.advance(3.1)
    await expect(mara.locator(".message").last.locator(".failed")).to_have_text("The application did not respond")
    await mara.get_by_role("button", name="Dismiss").last.click()
    await expect(mara.get_by_text("The application did not respond")).to_have_count(0)
    stage.app.release.set()
    watch.assert_quiet()


async def test_what_a_bot_posts_is_shown_and_stays_inert(stage: Stage) -> None:
    mara, watch = await stage.seat("Mara")
    channel = stage.app.channel()
    embed = discord.Embed(title="<b>Loss</b>", description="<script>alert(1)</script>", colour=0x4FAE74)
    embed.set_image(url="attachment://loss.svg").set_thumbnail(url="https://evil.example/pixel.png")
    picture = io.BytesIO(b"<svg xmlns='http://www.w3.org/2000/svg' onload='alert(1)'/>")
    await channel.send("<img src=x onerror=alert(1)>" + "W" * 1900, embed=embed, file=discord.File(picture, "loss.svg"))
    card = mara.locator(".message").last
    await expect(card.locator(".embed-title")).to_have_text("<b>Loss</b>")
    await expect(card.locator(".embed .prose")).to_have_text("<script>alert(1)</script>")
    await expect(card.get_by_role("link", name="evil.example")).to_have_attribute("rel", "noopener noreferrer")
    assert not await mara.locator("#scroller").evaluate("node => node.scrollWidth > node.clientWidth")
    webhook = await channel.create_webhook(name="Understudy")
    await webhook.send("The kettle is warm.", username="Lord Grigon")
    persona = mara.locator(".message").last
    await expect(persona.locator(".name")).to_have_text("Lord Grigon")
    await expect(persona.locator(".avatar")).to_have_text("LG")
    await expect(persona.locator(".badge")).to_have_text("APP")
    watch.assert_quiet()


async def test_the_page_says_when_the_bot_is_away(stage: Stage) -> None:
    # The last test of the file: the app does not come back.
    mara, watch = await stage.seat("Mara")
    await expect(mara.locator("#banner")).to_be_hidden()
    await stage.app.close()
    await expect(mara.locator("#banner")).to_contain_text("The bot is offline")
    await mara.reload()
    await expect(mara.locator("#banner")).to_contain_text("The bot is offline")
    watch.assert_quiet()
