"""Who calls over HTTP: signatures by RFC 9421, each for one call, by an initiator of the roster."""

import base64
import hashlib
import secrets
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NoReturn, cast

import pytest
from http_message_signatures import HTTPMessageSigner, HTTPSignatureKeyResolver, algorithms
from hypothesis import given, settings
from hypothesis import strategies as st

from custody.adapters.http.signatures import LIFETIME_MAX_S, Callers, FieldLines, Received
from custody.api.calls import SKEW_MS
from custody.api.errors import CallRefused
from custody.api.http_signing import Message, Signer
from custody.feeds import FeedStorage, NonceUse
from policy.errors import CallerError
from policy.roster import parse_roster
from policy.state import State
from tests.unit.custody_cluster import ORIGIN, identity, make_request, roster_document
from tests.unit.custody_house import House
from tests.unit.http_house import HttpDoor, encoded, http_opened, submission

NOW_S = 1_800_000_000
SKEW_S = SKEW_MS // 1000
URL = "https://127.0.0.1:7601/v1/requests?limit=3"


class Unused:
    """What keeps nonces, for who uses none up."""

    async def use_nonce(self, *_: object, **__: object) -> NoReturn:
        raise AssertionError("a signature is read, and nothing is used up")


class Desk:
    """What reads signatures, at a time that the test sets."""

    def __init__(self, origin: str = ORIGIN, storage: object = None) -> None:
        self.now_s = NOW_S
        state = State(origin=origin, roster_or_none=parse_roster(roster_document()))
        self.callers = Callers(
            lambda: origin,
            state.roster.key_of,
            storage=cast("FeedStorage", storage or Unused()),
            now_ms=lambda: self.now_s * 1000,
        )

    def read(self, headers: dict[str, str], *, method: str = "GET", url: str = URL, body: bytes = b"") -> str:
        """The caller's name, or the code of the refusal."""
        raw = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()]
        try:
            return self.callers.signed(Received(method, url, FieldLines(raw), body)).caller
        except CallRefused as refusal:
            assert refusal.reason
            return refusal.code


def signed(
    *,
    name: str = "shop",
    key: str = "",
    origin: str = ORIGIN,
    now_s: int = NOW_S,
    nonce: bytes = b"",
    body: bytes = b"",
) -> dict[str, str]:
    signer = Signer(name, origin, identity(key or name))
    nonce = nonce or secrets.token_bytes(16)
    return signer.headers(Message("GET", URL, body), now_s=now_s, nonce=nonce)


class Restored:
    """What keeps nonces in a database that was restored or promoted at a moment, and has none of before."""

    def __init__(self, restored_s: int, promoted_ms: int = 0) -> None:
        self.restored_ms, self.began_ms = restored_s * 1000, promoted_ms

    async def doubted_ms(self) -> int:
        return self.restored_ms

    async def promoted_ms(self) -> int:
        return self.began_ms

    async def use_nonce(self, *_: object, **__: object) -> NonceUse:
        return NonceUse.FRESH


class RestoredDesk(Desk):
    """What reads signatures and uses nonces up after a restore."""

    def __init__(self, restored_s: int = 0, *, promoted_ms: int = 0) -> None:
        super().__init__(storage=Restored(restored_s, promoted_ms))

    async def use(self, created_s: int) -> str:
        """The caller's name, or the code of the refusal."""
        raw = [(one.encode(), value.encode("latin-1")) for one, value in signed(now_s=created_s).items()]
        try:
            return await self.callers.authenticate(Received("GET", URL, FieldLines(raw), b""))
        except CallRefused as refusal:
            return refusal.code


@pytest.mark.parametrize(
    ("created_s", "found"), [(-1, "replayed"), (0, "replayed"), (SKEW_S, "replayed"), (SKEW_S + 1, "shop")]
)
async def test_what_may_have_been_used_before_a_restore_is_refused_also_of_a_fast_clock(
    created_s: int, found: str
) -> None:
    desk = RestoredDesk(NOW_S)
    desk.now_s = NOW_S + 5

    assert await desk.use(NOW_S + created_s) == found


@pytest.mark.parametrize(("created_s", "found"), [(-60, "replayed"), (0, "replayed"), (1, "shop")])
async def test_what_was_signed_before_a_start_on_a_promoted_standby_is_refused(
    created_s: int, found: str
) -> None:
    desk = RestoredDesk(promoted_ms=NOW_S * 1000 + 900)
    desk.now_s = NOW_S + 2

    assert await desk.use(NOW_S + created_s) == found


async def test_a_restore_by_a_clock_far_ahead_refuses_calls_for_a_minute_and_not_for_ever() -> None:
    desk = RestoredDesk(NOW_S + 10**6)
    early = await desk.use(NOW_S)
    desk.now_s += SKEW_S + 1

    assert (early, await desk.use(desk.now_s)) == ("replayed", "shop")


@pytest.mark.parametrize("name", ["shop", "otto", "admin"])
def test_the_signature_of_anybody_of_the_roster_is_believed(name: str) -> None:
    assert Desk().read(signed(name=name)) == name
    assert Desk().read(signed(body=b"{}"), body=b"{}") == "shop"


def test_each_part_of_a_call_is_under_its_signature() -> None:
    desk = Desk()

    assert desk.read(signed(), method="POST") == "unauthenticated"
    assert desk.read(signed(), url=URL.replace("limit=3", "limit=4")) == "unauthenticated"
    assert desk.read(signed(), url=URL.replace("127.0.0.1", "10.0.0.1")) == "unauthenticated"
    assert desk.read(signed(), body=b"{}") == "unauthenticated"
    assert desk.read(signed(body=b"{}"), body=b"[]") == "unauthenticated"


def test_strangers_forgers_and_calls_for_another_log_are_refused() -> None:
    desk = Desk()

    assert desk.read(signed(name="mallory")) == "unauthenticated"
    assert desk.read(signed(key="mallory")) == "unauthenticated"
    assert desk.read(signed(origin="log.example.com/other")) == "unauthenticated"
    assert desk.read({}) == "unauthenticated"


@pytest.mark.parametrize(
    ("ahead_s", "found"), [(-121, "clock-skew"), (61, "clock-skew"), (60, "shop"), (0, "shop")]
)
def test_a_signature_of_another_time_is_refused(ahead_s: int, found: str) -> None:
    desk = Desk()
    desk.now_s += 1000

    assert desk.read(signed(now_s=desk.now_s + ahead_s)) == found


def test_nothing_that_a_signature_must_say_may_be_missing_or_too_long() -> None:
    changes: dict[str, dict[str, Any]] = {
        "whole": {},
        "no expires": {"expires": None},
        "no nonce": {"nonce": None},
        "short nonce": {"nonce": "1234567"},
        "no tag": {"tag": None},
        "too long": {"expires": at(NOW_S + LIFETIME_MAX_S + 1)},
        "no digest": {"covered_component_ids": ("@method", "@target-uri")},
        "no method": {"covered_component_ids": ("@target-uri", "content-digest")},
        "no target": {"covered_component_ids": ("@method", "content-digest")},
    }
    found = {name: Desk().read(by_library(**changed)) for name, changed in changes.items()}

    assert found.pop("whole") == "shop"
    assert set(found.values()) == {"unauthenticated"}


@settings(max_examples=300)
@given(
    st.fixed_dictionaries(
        {}, optional={name: st.text(st.characters(max_codepoint=255), max_size=80) for name in signed()}
    ),
    st.sampled_from(sorted(signed())),
    st.integers(0, 200),
    st.characters(max_codepoint=255),
)
def test_whatever_stands_in_the_headers_is_refused_with_a_code(
    junk: dict[str, str], name: str, place: int, character: str
) -> None:
    good = signed()
    bent = good[name][:place] + character + good[name][place + 1 :]

    assert Desk().read(junk) == "unauthenticated"
    assert Desk().read(good | junk) in {"unauthenticated", "" if junk else "shop"}
    assert Desk().read(good | {name: bent}) in {"unauthenticated", "clock-skew", "shop"}


def test_our_client_signs_what_another_library_signs() -> None:
    """The same base, so that a client in any language can be written by the RFC alone."""
    nonce = b"\x03" * 16
    ours = signed(nonce=nonce)
    theirs = by_library(nonce=nonce.hex(), label="quorumkeep")

    assert {name.lower(): value for name, value in ours.items()} == theirs


def test_a_nonce_of_the_client_is_random_enough() -> None:
    with pytest.raises(CallerError):
        signed(nonce=b"\x03" * 15)


class Prepared:
    """A request as the library signs one."""

    def __init__(self) -> None:
        self.method, self.url = "GET", URL
        digest = base64.b64encode(hashlib.sha256(b"").digest()).decode()
        self.headers = {"content-digest": f"sha-256=:{digest}:"}


class Keys(HTTPSignatureKeyResolver):
    def resolve_private_key(self, key_id: str) -> Any:
        return identity(key_id)


def by_library(**changed: Any) -> dict[str, str]:
    """The headers that the library makes of a call, with something other than usual."""
    message = Prepared()
    signer = HTTPMessageSigner(signature_algorithm=algorithms.ED25519, key_resolver=Keys())
    usual: dict[str, Any] = {
        "key_id": "shop",
        "created": at(NOW_S),
        "expires": at(NOW_S + 60),
        "nonce": secrets.token_hex(16),
        "tag": ORIGIN,
        "covered_component_ids": ("@method", "@target-uri", "content-digest"),
        "use_existing_digest": True,
    }
    signer.sign(message, **(usual | changed))
    return {name.lower(): value for name, value in message.headers.items()}


def at(seconds: int) -> datetime:
    return datetime.fromtimestamp(0, UTC) + timedelta(seconds=seconds)


@pytest.fixture
async def door(tmp_path: Path) -> AsyncIterator[HttpDoor]:
    async with http_opened(House(tmp_path)) as found:
        yield found


async def test_the_door_lets_nobody_in_without_a_signature_of_this_call(door: HttpDoor) -> None:
    _, body, signature = make_request("one", amount=5, now_ms=door.house.now_ms())
    document = submission(body, signature)
    size = door.running.parts.sequencer.state.size
    once = door.signed("GET", "/v1/requests")

    bare = await door.send("POST", "/v1/requests", encoded(document), {"Content-Type": "application/json"})
    strange = await door.ask("POST", "/v1/requests", document, name="mallory")
    first = await door.send("GET", "/v1/requests", b"", once)
    again = await door.send("GET", "/v1/requests", b"", once)

    assert [answer.json()["code"] for answer in (bare, strange, again)] == [
        *("unauthenticated", "unauthenticated", "replayed")
    ]
    assert {answer.headers["WWW-Authenticate"] for answer in (bare, strange, again)} == {"Signature"}
    assert first.json() == {"requests": []}
    assert door.running.parts.sequencer.state.size == size


async def test_a_backend_hands_in_no_request_of_another(door: HttpDoor) -> None:
    _, body, signature = make_request("one", amount=5, now_ms=door.house.now_ms())

    answer = await door.ask("POST", "/v1/requests", submission(body, signature), name="desk")

    assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")
    assert (await door.ask("GET", "/v1/requests")).json() == {"requests": []}


async def test_a_signature_is_good_for_one_call(door: HttpDoor) -> None:
    path, nonce = "/v1/wallets", b"\x01" * 16
    once = door.signed("GET", path, nonce=nonce)
    other = door.signed("GET", "/v1/requests", nonce=nonce)
    of_another = door.signed("GET", path, name="desk", nonce=nonce)
    forged = door.signed("GET", path, name="otto", key="mallory", nonce=nonce)
    real = door.signed("GET", path, name="otto", nonce=nonce)

    codes = [
        (await door.send("GET", place, b"", headers)).status_code
        for place, headers in (
            *((path, once), (path, once), ("/v1/requests", other), (path, of_another)),
            *((path, forged), (path, real)),
        )
    ]

    assert codes == [200, 401, 401, 200, 401, 200]


async def test_a_call_is_a_repetition_also_after_a_restart(tmp_path: Path) -> None:
    house = House(tmp_path)
    async with http_opened(house) as door:
        headers = door.signed("GET", "/v1/wallets")
        first = await door.send("GET", "/v1/wallets", b"", headers)
        port = door.url.rpartition(":")[2]
    async with http_opened(house, port=int(port)) as door:
        again = await door.send("GET", "/v1/wallets", b"", headers)
        fresh = await door.ask("GET", "/v1/wallets")

    assert (first.status_code, fresh.status_code) == (200, 200)
    assert (again.status_code, again.json()["code"]) == (401, "replayed")
