"""Coming in, in a real browser: enrolment trusts nobody, and login takes a passkey of the roster."""

import asyncio
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from playwright.async_api import Page, expect

from cli.identities import parse_person_card
from custody.auditors import parse_auditor_card
from tests.console.console_house import Console


async def download(page: Page, link: str) -> bytes:
    async with page.expect_download() as waiting:
        await page.click(link)
    path = Path(await (await waiting.value).path())
    return await asyncio.to_thread(path.read_bytes)


async def enrol(page: Page, name: str, kind: str, *, keep: bool = False) -> bytes:
    """A card as the page makes it."""
    await page.fill("#name", name)
    await page.select_option("#kind", kind)
    if keep:
        await page.check('input[name="keep"]')
    await page.click('button[type="submit"]')
    await expect(page.locator("#message")).to_contain_text("The passkey is made")
    return await download(page, "#card")


async def test_a_card_of_a_new_passkey_is_one_that_administrators_enrol(console: Console) -> None:
    async with console.visitor(None) as visitor:
        page = await visitor.tab("/enrol")
        card = parse_person_card(await enrol(page, "otto", "operator", keep=True))
        shown = await page.locator("#fingerprint").inner_text()
        key = load_pem_private_key(await download(page, "#key"), password=None)

    assert (card.kind, card.name) == ("operator", "otto")
    assert card.credential is not None
    assert (card.credential["rp_id"], card.credential["origins"]) == ("localhost", [console.site])
    assert shown.replace(" ", "") == card.fingerprint
    assert isinstance(key, Ed25519PrivateKey)
    assert key.public_key().public_bytes_raw() == card.key


async def test_an_auditors_card_is_one_that_the_configuration_takes(console: Console) -> None:
    async with console.visitor(None) as visitor:
        page = await visitor.tab("/enrol")
        auditor = parse_auditor_card(await enrol(page, "ina", "auditor"))

    assert (auditor.name, auditor.key) == ("ina", None)
    assert auditor.credential is not None


@pytest.mark.parametrize(
    ("passkey", "said"),
    [(None, "No passkey signed"), ("stranger", "no operator or auditor has this passkey")],
)
async def test_a_passkey_that_nobody_enrolled_opens_nothing(
    console: Console, passkey: str | None, said: str
) -> None:
    async with console.visitor(passkey) as visitor:
        page = await visitor.tab("/login")
        await page.click("#login")

        await expect(page.locator("#message")).to_contain_text(said)
        await page.goto("/policy")
        await page.wait_for_url("**/login")
