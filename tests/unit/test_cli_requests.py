"""A request is kept before it is sent: the same idempotency key sends the same bytes, or nothing."""

import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import pytest

from cli.connection import client_document
from cli.demo.chain import CHAIN
from cli.demo.policy import CUSTOMER, demo_policy
from cli.files import write_document
from cli.main import invoke
from cli.requests import PAGE, _newest, read_request_id
from cli.results import Misuse
from custody.client import CallRefused, CustodyClient
from policy.encoding import Json, parse_canonical
from policy.errors import OperationalError, QuorumkeepError
from policy.intent import parse_request

SAFE: Json = {"chain": CHAIN, "address": "0x" + "77" * 20, "methods": {"pause": "pause()"}}
ORDER = ("--wallet", "hot", "--asset", "eth", "--to", CUSTOMER, "--idempotency-key", "order-1")


@dataclass(frozen=True)
class Listed:
    """A request, as far as a list needs it."""

    request: bytes


class Backend:
    """A backend whose coordinator does not answer."""

    def __init__(self, folder: Path, port: int) -> None:
        self.folder = folder
        deployment = {"origin": "log.example.com/test", "address": f"127.0.0.1:{port}"}
        policy = {**demo_policy("0x" + "11" * 20), "contracts": {"safe": SAFE}}
        write_document(folder / "client.json", client_document(deployment, b"", policy=policy))
        invoke("identity", "create", "backend", "payments", "--dir", str(folder / "payments"))

    def send(self, amount: str, *order: str) -> None:
        who = ("--as", str(self.folder / "payments"), "--client", str(self.folder / "client.json"))
        invoke("request", "send", "--amount", amount, *(order or ORDER), *who)

    def kept(self) -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in (self.folder / "payments" / "requests").iterdir()}


@pytest.fixture
def backend(tmp_path: Path) -> Iterator[Backend]:
    with socket.socket() as unanswered:  # bound, but nobody listens
        unanswered.bind(("127.0.0.1", 0))
        yield Backend(tmp_path, unanswered.getsockname()[1])


def test_a_request_whose_answer_was_lost_is_sent_again_byte_for_byte(backend: Backend) -> None:
    with pytest.raises(
        CallRefused, match=r"unavailable: the coordinator does not answer: .*look whether it runs"
    ):
        backend.send("1 eth")
    first = backend.kept()
    with pytest.raises(CallRefused, match="unavailable"):
        backend.send("1 eth")

    assert len(first) == 1
    assert backend.kept() == first


def test_a_call_sends_nothing_unless_an_amount_is_given(backend: Backend) -> None:
    who = ("--as", str(backend.folder / "payments"), "--client", str(backend.folder / "client.json"))
    order = ("--wallet", "hot", "--method", "safe.pause", "--idempotency-key", "pause-1")

    with pytest.raises(CallRefused, match="unavailable"):
        invoke("request", "call", *order, *who)
    (kept,) = backend.kept().values()
    assert parse_request(parse_canonical(kept, bytes_max=10_000)).intent.amount == 0


@pytest.mark.parametrize("amount", ["2 eth", "1"])
def test_a_used_key_is_refused_for_another_payment(backend: Backend, amount: str) -> None:
    with pytest.raises(CallRefused):
        backend.send("1 eth")

    with pytest.raises(OperationalError, match="use a new key"):
        backend.send(amount)
    assert len(backend.kept()) == 1


@pytest.mark.parametrize(
    "order",
    [
        ("--wallet", "tepid", "--asset", "eth", "--to", CUSTOMER, "--idempotency-key", "k"),
        ("--wallet", "hot", "--asset", "btc", "--to", CUSTOMER, "--idempotency-key", "k"),
        ("--wallet", "hot", "--asset", "eth", "--to", CUSTOMER[:-1], "--idempotency-key", "k"),
        # one letter's case is wrong: the checksum of EIP-55 fails
        (*ORDER[:4], "--to", "0x8ba1f109551Bd432803012645Ac136ddd64DBA72", "--idempotency-key", "k"),
        ("--wallet", "hot", "--asset", "eth", "--to", CUSTOMER, "--idempotency-key", ""),
        ("--wallet", "hot", "--asset", "eth", "--to", CUSTOMER, "--idempotency-key", "k" * 65),
    ],
    ids=["wallet", "asset", "address", "checksum", "no key", "long key"],
)
def test_misuse_keeps_and_sends_nothing(backend: Backend, order: tuple[str, ...]) -> None:
    with pytest.raises(Misuse):
        backend.send("1 eth", *order)

    assert not (backend.folder / "payments" / "requests").exists()


@pytest.mark.parametrize("content", [None, b"", b"\n"], ids=["missing", "empty", "blank"])
def test_a_psbt_that_says_nothing_is_no_payment_without_one(
    backend: Backend, content: bytes | None, tmp_path: Path
) -> None:
    file = tmp_path / "theirs.psbt"
    if content is not None:
        file.write_bytes(content)

    with pytest.raises(QuorumkeepError, match=r"theirs\.psbt"):
        backend.send("1 eth", *ORDER, "--psbt", str(file))
    assert not (backend.folder / "payments" / "requests").exists()


@pytest.mark.parametrize("wallet", ["tepid", "hot"])
def test_coins_are_of_wallets_that_have_some(backend: Backend, wallet: str) -> None:
    who = ("--as", str(backend.folder / "payments"), "--client", str(backend.folder / "client.json"))

    with pytest.raises(Misuse, match="name one on Bitcoin"):
        invoke("request", "consolidate", "--wallet", wallet, "--idempotency-key", "k", *who)


def test_a_file_that_is_no_deployments_says_what_it_lacks(backend: Backend) -> None:
    (backend.folder / "client.json").write_text('{"origin": "log.example.com/test"}')
    with pytest.raises(OperationalError, match="has no address and no certificate and no policy: get"):
        backend.send("1 eth")


def test_as_many_requests_are_listed_as_are_asked_for_page_by_page() -> None:
    there = [Listed(number.to_bytes(32, "big")) for number in range(1200, 0, -1)]

    class Coordinator:
        def requests(self, *, state: str, limit: int, before: bytes) -> list[Listed]:
            assert state == "settled"
            older = [one for one in there if not before or one.request < before]
            return older[: min(limit, PAGE)]

    for limit in (20, 500, 501, 1200, 1300):
        found = _newest(cast(CustodyClient, Coordinator()), "settled", limit=limit)
        assert [one.request for one in found] == [one.request for one in there[:limit]]


def test_only_a_backend_asks(backend: Backend) -> None:
    invoke("identity", "create", "operator", "alice", "--dir", str(backend.folder / "alice"))
    who = ("--as", str(backend.folder / "alice"), "--client", str(backend.folder / "client.json"))

    with pytest.raises(QuorumkeepError, match="no backend"):
        invoke("request", "send", "--amount", "1 eth", *ORDER, *who)


@pytest.mark.parametrize("text", ["", "ab", "G" * 64, "A" * 64])
def test_what_is_no_request_id_is_misuse(text: str) -> None:
    with pytest.raises(Misuse):
        read_request_id(text)
