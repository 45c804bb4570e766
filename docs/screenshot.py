"""Takes README's picture: plays the journey on a running demo's page, then photographs the channel.

understudy demo          # in one terminal; it prints the page's address
python docs/screenshot.py http://127.0.0.1:8765/
"""

from __future__ import annotations

import asyncio
import shutil
import sys
from pathlib import Path

from playwright.async_api import async_playwright

from sandbox.journey import play

PICTURE = Path(__file__).with_name("channel.png")
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
SECONDS = 300


async def photograph(page_url: str) -> None:
    """Play the journey, open the page as the moderator, and keep what a person sees at the channel's end."""
    await play(page_url, epochs=4, seconds=SECONDS, say=print)
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=shutil.which("chromium"), args=FLAGS)
        # The page forbids evaluated scripts, with which playwright waits for its pictures.
        page = await browser.new_page(viewport={"width": 1180, "height": 1720}, color_scheme="dark", bypass_csp=True)
        await page.goto(f"{page_url}#/workshop")
        await page.locator(".message img").last.wait_for()
        await page.evaluate("Promise.all([...document.querySelectorAll('.message img')].map(image => image.decode()))")
        await page.screenshot(path=PICTURE)
        await browser.close()


if __name__ == "__main__":
    asyncio.run(photograph(sys.argv[1]))
