"""A person at the Prefect UI: headless Chromium opens the suspended run, fills in the form and presses Resume.

Where the server is slow to answer, the form stays, with a short message or none, and nothing tells whether the press was heard: a
person looks at what they entered and presses again. So does this one, some times, and then says what the page showed.
"""

import os
from pathlib import Path
from uuid import UUID

from playwright.async_api import Locator, Page, async_playwright
from playwright.async_api import TimeoutError as Waited

from evergold.stack import Stack

ARGUMENTS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking"]
# Set to a folder to keep the pictures that the docs show.
PICTURES = os.environ.get("EVERGOLD_PICTURES")
PRESSES = 4
PATIENCE_MS = 20_000


async def approve_in_browser(stack: Stack, run: UUID, chromium: str) -> str:
    """Approves the run as Ada would; returns the text that the page shows afterwards."""
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=chromium, args=ARGUMENTS)
        page = await browser.new_page(viewport={"width": 1280, "height": 1750}, ignore_https_errors=True)
        await page.goto(f"{stack.prefect_url}/v2/runs/flow-run/{run}")
        await page.get_by_role("button", name="Open menu").first.click()
        await page.get_by_role("menuitem", name="Resume").click()
        form = page.get_by_role("dialog", name="Resume Flow Run")
        await form.get_by_role("button", name="Select Decision").click()
        await page.get_by_role("option", name="approve", exact=True).click()
        await form.get_by_label("Your name").fill("Ada")
        await form.get_by_label("Reason").fill("November's patches, canary looks good")
        await _picture(page, "approval-form")
        await _press_resume(page, form)
        seen = await page.locator("body").inner_text()
        await browser.close()
    return seen


async def _press_resume(page: Page, form: Locator) -> None:
    shown = ""
    for _ in range(PRESSES):
        await form.get_by_role("button", name="Resume").click()
        try:
            return await form.wait_for(state="hidden", timeout=PATIENCE_MS)
        except Waited:
            shown = await page.locator("body").inner_text()
    raise AssertionError(f"The form stayed, however often Resume was pressed. The page shows:\n{shown}")


async def picture_of(stack: Stack, url: str, name: str, chromium: str, *, wait_ms: int = 3000) -> None:
    """Keeps a picture of a page, where pictures are asked for."""
    if not PICTURES:
        return
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=chromium, args=ARGUMENTS)
        page = await browser.new_page(viewport={"width": 1280, "height": 900}, ignore_https_errors=True)
        await page.goto(url)
        await page.wait_for_timeout(wait_ms)
        await _picture(page, name)
        await browser.close()


async def _picture(page: Page, name: str) -> None:
    if PICTURES:
        await page.screenshot(path=Path(PICTURES) / f"{name}.png")
