"""The second screen against a coordinator's real door: what is shown, compared, signed and taken in."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from cli.approvals import decide, grouped
from cli.connection import Connection, read_connection
from cli.files import write_bytes, write_document
from cli.identities import Identity, PersonCard, load_identity
from cli.main import invoke
from cli.parser import build_parser
from cli.passkeys import Enrolled
from cli.results import Result
from cli.security_key import SecurityKey, new_credential
from custody.console.texts import catalogue
from policy.approval import Credential
from policy.encoding import Json, document_hash
from policy.errors import OperationalError
from tests.fixtures_softhsm import SoftHsm
from tests.unit.custody_cluster import ETHER, identity, make_request, policy_document, roster_document
from tests.unit.custody_house import House
from tests.unit.test_custody_api import Door, opened
from tests.unit.virtual_security_key import VirtualSecurityKey

pytest_plugins = ("tests.fixtures_softhsm",)
T = TypeVar("T")
RP_ID, SITE, NAME = "custody.example.com", "https://custody.example.com", "otto"


def credential_body(credential: Credential) -> dict[str, Json]:
    return {
        "id": credential.id.hex(),
        "public_key": credential.public_key.hex(),
        "rp_id": credential.rp_id,
        "origins": list(credential.origins),
    }


def roster_with(credential: dict[str, Json]) -> dict[str, Json]:
    """The roster in which the operator's passkey is this one."""
    document: dict[str, Any] = roster_document()
    operators = [
        {**one, "credential": credential} if one["name"] == NAME else one for one in document["operators"]
    ]
    return {**document, "operators": operators}


@dataclass
class Screen:
    """An operator's own machine, and the door it calls at."""

    door: Door
    folder: Path
    waiting: bytes

    def connection(self) -> Connection:
        return read_connection(self.folder / "client.json")

    async def run(self, *words: str) -> Result:
        given = (*words, "--as", str(self.folder / NAME), "--client", str(self.folder / "client.json"))
        return await asyncio.to_thread(invoke, *given)

    async def state(self) -> str:
        return (await self.door.ask("shop", lambda client: client.get(self.waiting))).state


def operators_folder(folder: Path, credential: dict[str, Json]) -> Identity:
    """The folder of an operator whose passkey is elsewhere than in it."""
    folder.mkdir(parents=True, exist_ok=True)
    key = identity(NAME)
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    write_bytes(folder / "key.pem", pem, mode=0o600)
    card = PersonCard("operator", NAME, key.public_key().public_bytes_raw(), credential)
    write_document(folder / "card.json", card.body())
    return load_identity(folder)


async def waiting_screen(door: Door, folder: Path) -> Screen:
    """A machine, and a request of the backend that waits for its operator."""
    certificate = door.endpoint.certificate_pem.decode()
    client: dict[str, Json] = {
        "origin": door.endpoint.origin,
        "address": door.endpoint.address,
        "certificate": certificate,
        "policy": policy_document(),
    }
    write_document(folder / "client.json", client)
    request, _, _ = make_request("large", amount=5 * ETHER, now_ms=door.house.now_ms())
    submitted = await door.ask("shop", lambda one: one.submit(request))
    await door.running.until(submitted.request, "waiting")
    return Screen(door, folder, submitted.request)


@pytest.fixture
def key() -> VirtualSecurityKey:
    return VirtualSecurityKey("2468")


@pytest.fixture
async def screen(tmp_path: Path, key: VirtualSecurityKey) -> AsyncIterator[Screen]:
    """The operator's passkey is on a security key."""
    credential = new_credential(NAME, RP_ID, origin=SITE, pin=lambda: key.pin, devices=lambda: [key])
    operators_folder(tmp_path / NAME, credential_body(credential))
    async with opened(House(tmp_path, roster=roster_with(credential_body(credential)))) as door:
        yield await waiting_screen(door, tmp_path)


def deciding(screen: Screen, key: VirtualSecurityKey, *words: str) -> Callable[[Any], Result]:
    """``approve`` with a security key that is plugged in here."""
    arguments = build_parser().parse_args(["approve", screen.waiting.hex(), "--as", NAME, *words])
    credential = load_identity(screen.folder / NAME).credential()
    signer = Enrolled(SecurityKey(credential, lambda: key.pin, lambda: [key]), credential)
    return lambda client: decide(client, screen.connection(), arguments=arguments, signer=(NAME, signer))


async def test_a_security_keys_approval_lets_the_payment_go(screen: Screen, key: VirtualSecurityKey) -> None:
    result = await screen.door.ask(NAME, deciding(screen, key, "--yes"))
    settled = await screen.door.ask("shop", lambda client: client.wait(screen.waiting, timeout_s=10))

    assert result.document["approved"] is True
    assert settled.state == "settled"


async def test_what_is_shown_is_the_consoles_sentence_and_digest(
    screen: Screen, key: VirtualSecurityKey, capsys: pytest.CaptureFixture[str]
) -> None:
    drafts = await screen.door.ask(NAME, lambda client: client.pending(NAME))
    result = await screen.door.ask(NAME, deciding(screen, key, "--yes", "--language", "zh"))

    shown: str = result.document["digest"]
    lead = catalogue("zh")["js.sign_pay"].partition("{")[0]
    assert (
        shown
        == document_hash("approval-shown", {k: v for k, v in drafts[0].items() if k != "expires_ms"}).hex()
    )
    assert result.document["sentence"].startswith(lead) and "5 eth" in result.document["sentence"]
    assert f"digest {grouped(shown)}" in capsys.readouterr().err


async def test_the_digest_of_the_other_screen_is_compared_and_a_difference_refused(
    screen: Screen, key: VirtualSecurityKey
) -> None:
    with pytest.raises(OperationalError, match="do not sign"):
        await screen.door.ask(NAME, deciding(screen, key, "--yes", "--digest", "ab" * 32))
    before = await screen.state()
    drafts = await screen.door.ask(NAME, lambda client: client.pending(NAME))
    same = document_hash("approval-shown", {k: v for k, v in drafts[0].items() if k != "expires_ms"}).hex()
    result = await screen.door.ask(NAME, deciding(screen, key, "--yes", "--digest", grouped(same)))

    assert before == "waiting"
    assert result.document["approved"] is True


async def test_a_key_that_nobody_touches_approves_nothing(screen: Screen, key: VirtualSecurityKey) -> None:
    key.touched = False

    with pytest.raises(OperationalError, match="nobody touched it"):
        await screen.door.ask(NAME, deciding(screen, key, "--yes"))
    assert await screen.state() == "waiting"


@pytest.fixture
async def with_token(softhsm: SoftHsm, tmp_path: Path) -> AsyncIterator[tuple[Screen, tuple[str, ...]]]:
    """The operator's passkey is on a token; and the options by which it signs."""
    place, pin = softhsm.token(), tmp_path / "pin"
    write_bytes(pin, place.user_pin.encode(), mode=0o600)
    signs = ("--with", "pkcs11", "--pin-file", str(pin))
    at = ("--module", place.module_path, "--token", place.label, "--rp-id", RP_ID)
    invoke("identity", "create", "operator", NAME, "--dir", str(tmp_path / NAME), *at, *signs)
    credential = json.loads((tmp_path / NAME / "card.json").read_text())["credential"]
    operators_folder(tmp_path / NAME, credential)
    async with opened(House(tmp_path, roster=roster_with(credential))) as door:
        yield await waiting_screen(door, tmp_path), signs


async def test_a_token_approves(with_token: tuple[Screen, tuple[str, ...]]) -> None:
    screen, signs = with_token

    await screen.run("approve", screen.waiting.hex(), "--yes", *signs)
    settled = await screen.door.ask("shop", lambda client: client.wait(screen.waiting, timeout_s=10))

    assert settled.state == "settled"


async def test_a_tokens_no_stops_a_request_for_good(with_token: tuple[Screen, tuple[str, ...]]) -> None:
    screen, signs = with_token

    await screen.run("request", "reject", screen.waiting.hex(), "--reason", "not confirmed", *signs)

    assert await screen.state() == "denied"
    (body,) = [
        json.loads(entry)
        for entry in await screen.door.running.parts.database.entries(0, 100)
        if b'"kind":"reject"' in entry
    ]
    assert "assertion" in json.dumps(body) and '"signatures"' not in json.dumps(body)
