"""Typed data on the command line: the JSON of wallets read to one document, and all of it told to people."""

import json
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from eth_account.messages import encode_typed_data

from cli.approvals import checked, details, sentence
from cli.connection import Connection, client_document, read_connection
from cli.demo.chain import CHAIN
from cli.demo.policy import CUSTOMER, demo_policy
from cli.files import write_document
from cli.main import invoke
from cli.requests import view_document
from cli.results import Misuse
from cli.typed_data import canonical_document, typed_data_text
from custody.client import CallRefused, RequestView
from policy.approval import Approval, Slot, digest_slot
from policy.bip32 import checksum_address
from policy.decode.eip712 import parse_typed_data
from policy.encoding import Json, canonical, parse_canonical
from policy.errors import CallerError, MalformedError, OperationalError
from policy.ids import evm_chain_id
from policy.intent import Intent, Request, parse_request, request_id
from policy.values import replace
from tests.simulation.world import STRANGER, TOKEN
from tests.unit.typed_data_house import TYPED_DATA, Document, order, permit

ORIGIN, NOW = "log.example.com/test", time.time_ns() // 1_000_000
DECLARED = {"permit": {**TYPED_DATA["permit"], "chain": CHAIN}}
ACCOUNT = "0x" + "22" * 20


def policy() -> Any:
    return {**demo_policy("0x" + "11" * 20), "typed_data": DECLARED}


def of_wallets(value: int = 5) -> Document:
    """A permit as wallets have it: numbers, capitals, and no type of the domain."""
    found = permit(CUSTOMER, value=value)
    message = {**found["message"], "value": value, "nonce": "0x0", "spender": checksum_address(STRANGER)}
    domain = {**found["domain"], "chainId": evm_chain_id(CHAIN), "verifyingContract": checksum_address(TOKEN)}
    types = {"Permit": found["types"]["Permit"]}
    return {**found, "types": types, "domain": domain, "message": message}


def theirs(document: Document) -> bytes:
    """The digest by another library, of the document as it is."""
    from eth_utils.crypto import keccak

    signable = encode_typed_data(full_message=document)
    return bytes(keccak(b"\x19\x01" + signable.header + signable.body))


def test_the_json_of_wallets_is_read_to_the_same_digest() -> None:
    document = of_wallets()
    message = {**document["message"], "nonce": 0, "deadline": 2**256 - 1}
    full = {**document, "types": {**document["types"], "EIP712Domain": permit()["types"]["EIP712Domain"]}}

    found = parse_typed_data(canonical_document(document))

    assert found.digest == theirs({**full, "message": message})
    assert found.message["spender"] == STRANGER


def test_a_document_in_canonical_form_is_read_as_it_is() -> None:
    assert canonical_document(order()) == canonical(order())


def edited(**changed: Any) -> Document:
    return {**of_wallets(), **changed}


@pytest.mark.parametrize(
    "document",
    [
        edited(more={}),
        edited(message=[]),
        edited(types={"Permit": "none"}),
        edited(message={**of_wallets()["message"], "value": 1.5}),
        edited(message={**of_wallets()["message"], "value": None}),
        edited(message={**of_wallets()["message"], "more": 1}),
        edited(message={**of_wallets()["message"], "spender": "0x8ba1f109551Bd432803012645Ac136ddd64DBA72"}),
        edited(types={**of_wallets()["types"], "Unused": [{"name": "a", "type": "bool"}]}),
        edited(types={"Permit": [{"name": "value", "type": "uint"}]}, message={"value": 1}),
    ],
    ids=["field", "no object", "types", "float", "null", "more", "checksum", "unused", "alias"],
)
def test_what_is_no_typed_data_is_refused(document: Document) -> None:
    with pytest.raises((MalformedError, CallerError)):
        parse_typed_data(canonical_document(document))


class Backend:
    """A backend whose coordinator does not answer."""

    def __init__(self, folder: Path, port: int) -> None:
        self.folder = folder
        deployment = {"origin": ORIGIN, "address": f"127.0.0.1:{port}"}
        write_document(folder / "client.json", client_document(deployment, b"", policy=policy()))
        invoke("identity", "create", "backend", "payments", "--dir", str(folder / "payments"))

    def sign(self, document: Document, *more: str) -> None:
        path = self.folder / "typed.json"
        path.write_text(json.dumps(document))
        who = ("--as", str(self.folder / "payments"), "--client", str(self.folder / "client.json"))
        order = ("--wallet", "hot", "--idempotency-key", "permit-1")
        invoke("request", "sign-typed-data", str(path), *order, *who, *more)

    def kept(self) -> list[Request]:
        paths = (self.folder / "payments" / "requests").iterdir()
        return [parse_request(parse_canonical(path.read_bytes(), bytes_max=20_000)) for path in paths]


@pytest.fixture
def backend(tmp_path: Path) -> Iterator[Backend]:
    with socket.socket() as unanswered:
        unanswered.bind(("127.0.0.1", 0))
        yield Backend(tmp_path, unanswered.getsockname()[1])


def test_a_signature_is_asked_for_once_under_each_key(backend: Backend) -> None:
    for _ in range(2):
        with pytest.raises(CallRefused, match="unavailable"):
            backend.sign(of_wallets())
    with pytest.raises(OperationalError, match="use a new key"):
        backend.sign(of_wallets(value=6))

    (kept,) = backend.kept()
    assert kept.intent == Intent(CHAIN, "hot", "eth", 0, TOKEN, typed_data=canonical_document(of_wallets()))
    assert kept.fee_ceiling == 0


@pytest.mark.parametrize(
    ("document", "message"),
    [
        (order(), "the policy has"),
        (edited(domain={**of_wallets()["domain"], "version": "1"}), "declares no such typed data"),
        (edited(domain={**of_wallets()["domain"], "verifyingContract": STRANGER}), "declares no such"),
        (edited(domain={"name": "USD Coin", "version": "2"}), "must name its chainId"),
        (edited(domain={**of_wallets()["domain"], "chainId": 0}), "chain id 0"),
        (edited(more=1), "no others"),
    ],
    ids=["chain", "version", "contract", "no contract", "no chain", "field"],
)
def test_what_would_be_denied_is_not_sent(backend: Backend, document: Document, message: str) -> None:
    with pytest.raises(Misuse, match=message):
        backend.sign(document)

    assert not (backend.folder / "payments" / "requests").exists()


def intent_of(document: Document) -> Intent:
    return Intent(CHAIN, "hot", "eth", 0, TOKEN, typed_data=canonical_document(document))


@pytest.fixture
def connection(backend: Backend) -> Connection:
    return read_connection(backend.folder / "client.json")


def test_all_that_is_signed_is_told(connection: Connection) -> None:
    told = typed_data_text(connection.policy, intent_of(of_wallets(value=2**256 - 1)))

    digest = theirs({**json.loads(canonical_document(of_wallets(value=2**256 - 1)))} | _numbers(2**256 - 1))
    assert told == (
        f"typed data permit: Permit {{owner = {checksum_address(CUSTOMER)}, "
        f"spender = {checksum_address(STRANGER)}, value = {2**256 - 1} (2**256 - 1, the most there is), "
        f"nonce = 0, deadline = {2**256 - 1} (2**256 - 1, the most there is)}} for the domain "
        f'{{name = "USD Coin", version = "2", chainId = {evm_chain_id(CHAIN)}, '
        f"verifyingContract = {checksum_address(TOKEN)}}}, digest 0x{digest.hex()}"
    )


def _numbers(value: int) -> Document:
    found = permit(CUSTOMER, value=value, spender=STRANGER)
    domain = {**found["domain"], "chainId": evm_chain_id(CHAIN)}
    message = {**found["message"], "value": value, "nonce": 0, "deadline": 2**256 - 1}
    return {"domain": domain, "message": message}


def test_no_text_in_typed_data_looks_like_anything_else(connection: Connection) -> None:
    document = order()
    document["message"] = {**document["message"], "note": '", open = false \u202e'}
    told = typed_data_text(connection.policy, intent_of(document))

    assert "THAT THE POLICY DOES NOT DECLARE" in told
    assert 'note = "\\", open = false \\u202e"' in told
    assert "sums = [1, 2]" in told and "legs = [{wallet = " in told


def draft(connection: Connection, request: Request, **changes: Any) -> dict[str, Json]:
    digest = request.intent.calldata_hash(native=True)
    approval = Approval(
        origin=ORIGIN,
        request=request_id(request.body()),
        intent=request.intent,
        calldata_hash=digest,
        fee_ceiling=0,
        slot=digest_slot(CHAIN, ACCOUNT, digest=digest),
        policy=connection.policy_hash,
        expires_ms=NOW + 900_000,
        approval_id=bytes(32),
        operator="bob",
    )
    body = replace(approval, **changes).body()
    assert isinstance(body, dict)
    return {name: value for name, value in body.items() if name not in ("approval_id", "operator")}


def test_an_approver_is_told_what_is_signed_and_by_which_account(connection: Connection) -> None:
    intent = intent_of(of_wallets())
    request = Request(ORIGIN, "payments", intent, 0, "permit-1", NOW, NOW + 3_600_000)
    approval = checked(draft(connection, request), request, connection=connection, operator="bob")
    told = [sentence(approval, request, connection=connection), *details(approval, connection)]

    assert told[0].startswith("Sign typed data for the contract ")
    assert told[1].startswith("  typed data permit: Permit {owner = ")
    for part in (checksum_address(ACCOUNT), "payments", "permit-1", approval.calldata_hash.hex()):
        assert any(part in line for line in told)


@pytest.mark.parametrize(
    "changes",
    [
        {"slot": Slot(CHAIN, ACCOUNT, 0)},
        {"slot": digest_slot(CHAIN, ACCOUNT, digest=bytes(32))},
        {"calldata_hash": bytes(32)},
        {"intent": intent_of(of_wallets(value=6))},
    ],
    ids=["nonce", "other digest", "hash", "other message"],
)
def test_a_draft_of_anything_else_is_not_signed(connection: Connection, changes: dict[str, Any]) -> None:
    request = Request(ORIGIN, "payments", intent_of(of_wallets()), 0, "permit-1", NOW, NOW + 3_600_000)

    with pytest.raises(OperationalError, match="do not sign"):
        checked(draft(connection, request, **changes), request, connection=connection, operator="bob")


def test_a_delivered_request_shows_its_signature_and_no_nonce() -> None:
    request = Request(ORIGIN, "payments", intent_of(of_wallets()), 0, "permit-1", NOW, NOW + 3_600_000)
    slot = digest_slot(CHAIN, ACCOUNT, digest=request.intent.calldata_hash(native=True))
    view = RequestView(
        request=request_id(request.body()),
        body=canonical(request.body()),
        state="delivered",
        rule="permits",
        account=ACCOUNT,
        nonce=slot.nonce,
        job=bytes(32),
        tx_hash="",
        block=0,
        error="",
        updated_ms=NOW,
        approvals=0,
        signature=bytes(64) + b"\x1b",
    )

    shown = view_document(view)

    assert (shown["nonce"], shown["signature"]) == (None, "0x" + "00" * 64 + "1b")
    assert view.over
