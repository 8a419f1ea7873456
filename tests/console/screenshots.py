"""Pictures of every page for ``docs/console``: ``python -m tests.console.screenshots``."""

import argparse
import asyncio
import base64
from pathlib import Path
from typing import Any

from playwright.async_api import Page

from tests.console.console_house import Console, log_in, opened
from tests.console.rebalancing_house import reported

FOLDER = Path(__file__).parents[2] / "docs" / "console"
LOOKS: dict[str, dict[str, Any]] = {
    "light": {"color_scheme": "light", "viewport": {"width": 1120, "height": 760}},
    "dark": {"color_scheme": "dark", "viewport": {"width": 1120, "height": 760}},
    "phone": {"color_scheme": "light", "viewport": {"width": 390, "height": 800}},
}
ENCODE = """async (png) => {
    const image = new Image();
    image.src = `data:image/png;base64,${png}`;
    await image.decode();
    const canvas = new OffscreenCanvas(image.width, image.height);
    canvas.getContext("2d").drawImage(image, 0, 0);
    const blob = await canvas.convertToBlob({ type: "image/webp", quality: 0.82 });
    const reader = new FileReader();
    const read = new Promise((done) => reader.addEventListener("load", () => done(reader.result)));
    reader.readAsDataURL(blob);
    return read;
}"""
PAGES = (
    "queue",
    "request",
    "requests",
    "wallets",
    "policy",
    "nodes",
    "indicators",
    "log",
    "entry",
    "login",
    "enrol",
)


async def take(console: Console) -> None:
    """Every page in every look, and the request's page in Chinese."""
    await console.ask(1, "settled")
    await console.ask(2, "ready")
    await console.ask(4)
    record = await console.ask(5)
    places = {name: f"/{name}" for name in PAGES} | {
        "queue": "/",
        "request": f"/requests/{record.request.hex()}",
        "entry": "/log/2",
    }
    for look, options in LOOKS.items():
        async with console.visitor("otto", locale="en-GB", timezone_id="Europe/Paris", **options) as visitor:
            page = await visitor.tab("/login")
            for name in ("login", "enrol"):
                await picture(page, places.pop(name) if look == "phone" else places[name], f"{name}-{look}")
            await page.goto("/login")
            await log_in(page)
            for name in PAGES[:-2]:
                await picture(page, places[name], f"{name}-{look}")
            await picture(page, places["request"], f"readings-{look}", down_to="#readings")
    async with console.visitor("otto", locale="zh-CN", **LOOKS["light"]) as visitor:
        page = await visitor.tab("/login")
        await log_in(page)
        await picture(page, places["request"], "request-chinese")
        await picture(page, places["policy"], "policy-chinese")
        await picture(page, places["indicators"], "indicators-chinese")
    await trouble(console, places["request"])


async def take_rebalancing(console: Console) -> None:
    """What a rebalancer says: all its routes, and one, in every look."""
    places = {"rebalancing": "/rebalancing", "rebalancing-route": "/rebalancing/mover/eth"}
    for look, options in LOOKS.items():
        async with console.visitor("otto", locale="en-GB", timezone_id="Europe/Paris", **options) as visitor:
            page = await visitor.tab("/login")
            await log_in(page)
            for name, path in places.items():
                await picture(page, path, f"{name}-{look}")


async def trouble(console: Console, path: str) -> None:
    """What a node that reads something else looks like."""
    node = console.house.nodes["node-b"]
    node.misreads = {"decoded": {"unreadable": "field 6 is no amount"}}
    async with console.visitor("otto", locale="en-GB", **LOOKS["light"]) as visitor:
        page = await visitor.tab("/login")
        await log_in(page)
        await picture(page, path, "disagree-light", down_to="#readings")
    node.misreads = {}


async def picture(page: Page, path: str, name: str, *, down_to: str = "") -> None:
    """One picture, once the page is what it will be; of a part that is further down."""
    await page.goto(path)
    if await page.locator("#approve").count():
        await page.wait_for_selector("#decision[data-ready]")
    if await page.locator("#readings").count():
        await page.wait_for_selector("#readings[data-ready]")
        await page.wait_for_selector("#effect tbody")
    if await page.locator("#verify").count():
        await page.click("#verify")
        await page.wait_for_selector('#message[data-kind="good"]')
    if await page.locator("#connection").count() and await page.locator("#live").count():
        await page.wait_for_selector('#connection[data-kind="good"]')
    if down_to:
        await page.locator(down_to).evaluate("(part) => part.scrollIntoView()")
    FOLDER.mkdir(exist_ok=True)
    taken = await page.screenshot(scale="css")
    (FOLDER / f"{name}.webp").write_bytes(await _smaller(page, taken))


async def _smaller(page: Page, png: bytes) -> bytes:
    """The picture as WebP, encoded by the browser, on a page that lets it."""
    async with await page.context.new_page() as blank:
        encoded: str = await blank.evaluate(ENCODE, base64.b64encode(png).decode())
    return base64.b64decode(encoded.partition(",")[2])


async def main() -> None:
    """Open a console, take all pictures, stop."""
    async with opened() as console:
        await take(console)
    async with reported() as console:
        await take_rebalancing(console)


if __name__ == "__main__":
    argparse.ArgumentParser(prog="python -m tests.console.screenshots", description=__doc__).parse_args()
    asyncio.run(main())
