"""Asking for a payment, a call or a signature, and looking at what became of it.

A request is written to ``requests/`` in the backend's folder before it is sent. The same idempotency key
again sends the same bytes again, so a lost answer or a crash never makes a second payment.
"""

import hashlib
import json
import time
from argparse import Namespace
from pathlib import Path
from typing import TYPE_CHECKING

from cli.addresses import read_address
from cli.amounts import parse_amount
from cli.connection import STALE, Connection, caller, load_connection
from cli.files import read_bytes, write_bytes
from cli.identities import Identity
from cli.results import DONE, REFUSED, Document, Misuse, Result, Table, progress
from cli.typed_data import read_typed_data, typed_data_text
from policy.approval import DIGEST_SLOT_MIN
from policy.bip32 import parse_address
from policy.decode.abi import Argument, encode_call
from policy.decode.abi_values import split_array
from policy.encoding import canonical, parse_canonical
from policy.errors import MalformedError, OperationalError
from policy.facts import called, declared
from policy.intent import (
    IDEMPOTENCY_KEY_MAX,
    TYPED_DATA_BYTES_MAX,
    Intent,
    Request,
    parse_request,
    request_id,
    request_message,
)
from policy.values import replace
from policy.words.units import amount_text

if TYPE_CHECKING:
    from collections.abc import Iterator

    from custody.client import CustodyClient, RequestView

REQUEST_BYTES_MAX = 16 * 1024
PAGE = 500
SETTLED = "settled"
REFUSED_STATES = frozenset({"denied", "failed", "expired", "cancelled"})
NEXT = {
    "waiting": "operators approve it with: quorumkeep approve {request} --as DIR",
    "denied": "change the request or the policy; nothing was paid",
    "expired": "ask anew under another idempotency key; nothing was paid",
}


def send(arguments: Namespace) -> Result:
    """``request send``: sign a request as a backend and submit it, once for each idempotency key."""
    connection, identity = load_connection(arguments), caller(arguments)
    if identity.card.kind != "backend":
        raise Misuse(
            f"{identity.card.name} is no backend: requests are signed by one; give its folder to --as"
        )
    psbt = _psbt(arguments)  # a wrong file keeps no request
    request = _kept_or_new(arguments, connection, identity)
    body = canonical(request.body())
    signature = identity.key.sign(request_message(request.body()))
    with connection.open(identity) as client:
        view = client.submit_signed(body, signature, psbt=psbt)
        if arguments.wait and not view.over:
            view = _wait(client.watch(view.request, timeout_s=arguments.wait), view, arguments.wait)
    return _result(view, connection)


def show(arguments: Namespace) -> Result:
    """``request show``: one request as the coordinator has it."""
    connection = load_connection(arguments)
    with connection.open(caller(arguments)) as client:
        view = client.get(read_request_id(arguments.request))
    result = _result(view, connection)
    return Result(result.document, result.text)


def wait(arguments: Namespace) -> Result:
    """``request wait``: until nothing changes any more; refused unless it settled."""
    connection = load_connection(arguments)
    with connection.open(caller(arguments)) as client:
        view = client.wait(read_request_id(arguments.request), timeout_s=arguments.timeout)
    return _result(view, connection)


def listing(arguments: Namespace) -> Result:
    """``request list``: the newest requests."""
    connection = load_connection(arguments)
    with connection.open(caller(arguments)) as client:
        views = list(_newest(client, arguments.state, limit=arguments.limit))
    documents = [view_document(view) for view in views]
    rows = tuple(
        (view.request.hex()[:16], view.state, _what(view, connection), view.rule, view.tx_hash)
        for view in views
    )
    table = Table(("request", "state", "what", "rule", "transaction"), rows)
    return Result({"requests": documents}, (table,))


def _newest(client: "CustodyClient", state: str, *, limit: int) -> "Iterator[RequestView]":
    """Page by page, as many as are wanted."""
    before = b""
    while limit > 0:
        page = client.requests(state=state, limit=min(limit, PAGE), before=before)
        yield from page[:limit]
        limit -= len(page)
        if len(page) < PAGE:
            return
        before = page[-1].request


def view_document(view: "RequestView") -> Document:
    """A request as ``--json`` prints it; what there is not yet is null."""
    return {
        "request": view.request.hex(),
        "state": view.state,
        "rule": view.rule or None,
        "tx_hash": view.tx_hash or None,
        "block": view.block or None,
        "account": view.account or None,
        "nonce": str(view.nonce) if view.account and view.nonce < DIGEST_SLOT_MIN else None,
        "job": view.job.hex() or None,
        "approvals": view.approvals,
        "signature": f"0x{view.signature.hex()}" if view.signature else None,
        "error": view.error or None,
        "updated_ms": view.updated_ms,
        "body": request_of(view).body(),
    }


def request_of(view: "RequestView") -> Request:
    """The request itself, compared with its id. Raises ``OperationalError``."""
    try:
        body = parse_canonical(view.body, bytes_max=REQUEST_BYTES_MAX)
        request = parse_request(body)
    except MalformedError as error:
        raise OperationalError(f"the coordinator shows no request: {error}; ask another one") from error
    if request_id(body) != view.request:
        raise OperationalError("the coordinator shows another request under this id: do not trust it")
    return request


def read_request_id(text: str) -> bytes:
    """A request id from the command line. Raises ``Misuse``."""
    if len(text) != 64 or set(text) - set("0123456789abcdef"):
        raise Misuse(
            f"{text[:80]!r} is no request id: it has 64 hex digits, as request list prints with --json"
        )
    return bytes.fromhex(text)


def intent_text(intent: Intent, connection: Connection) -> str:
    """What an intent moves, in words."""
    if intent.typed_data is not None:
        return f"{typed_data_text(connection.policy, intent)}, from {intent.wallet} on {intent.chain}"
    asset = connection.asset(intent.asset)
    amount = amount_text(intent.amount, asset=intent.asset, decimals=asset.decimals)
    if intent.calldata is not None:
        lowered = replace(intent, destination=intent.destination.lower())
        return f"{amount} from {intent.wallet} on {intent.chain} to {call_text(lowered, connection)}"
    account = "" if intent.source is None else f", its account {intent.source},"
    return f"{amount} from {intent.wallet}{account} on {intent.chain} to {intent.destination}"


def call_text(intent: Intent, connection: Connection) -> str:
    """What a call does, by the policy; one that the policy does not know is shown as such."""
    _, method, arguments = called(connection.policy, intent)
    if not method:
        return f"a call of {intent.destination} THAT THE POLICY DOES NOT KNOW"
    listed = ", ".join(f"{name} = {value}" for name, value in arguments.items())
    return f"{intent.destination} for the call {method}({listed})"


def _kept_or_new(arguments: Namespace, connection: Connection, identity: Identity) -> Request:
    """The request kept under this idempotency key if it asks for the same, else a new one, kept."""
    key = arguments.idempotency_key
    if not 1 <= len(key) <= IDEMPOTENCY_KEY_MAX or not key.isprintable():
        raise Misuse(
            f"an idempotency key has 1 to {IDEMPOTENCY_KEY_MAX} printable characters: choose another"
        )
    intent, fee_ceiling = _intent(arguments, connection), _fee_ceiling(arguments, connection)
    path = kept_request(identity, key)
    if path.exists():
        kept = parse_request(
            parse_canonical(read_bytes(path, "the kept request"), bytes_max=REQUEST_BYTES_MAX)
        )
        if (kept.intent, kept.fee_ceiling) != (intent, fee_ceiling):
            raise OperationalError(
                f"the idempotency key {key!r} was used for {intent_text(kept.intent, connection)}: "
                "use a new key for another payment"
            )
        progress(f"sending the request kept under {key!r} again")
        return kept
    now_ms = time.time_ns() // 1_000_000
    request = Request(
        origin=connection.origin,
        initiator=identity.card.name,
        intent=intent,
        fee_ceiling=fee_ceiling,
        idempotency_key=key,
        created_ms=now_ms,
        expires_ms=now_ms + arguments.expires_in * 1000,
    )
    write_bytes(path, canonical(request.body()), mode=0o600)
    return request


def kept_request(identity: Identity, key: str) -> Path:
    """Where a backend keeps the request that an idempotency key names."""
    return identity.folder / "requests" / f"{hashlib.sha256(key.encode()).hexdigest()[:32]}.json"


def _psbt(arguments: Namespace) -> bytes:
    """What a payment is to be made of; empty where the coordinator chooses."""
    kept: bytes = getattr(arguments, "psbt_bytes", b"")
    named = getattr(arguments, "psbt", "")
    if not named:
        return kept
    found = read_bytes(Path(named), "the PSBT")
    if not found.strip():  # nothing is what the coordinator is told when it is to choose itself
        raise Misuse(f"the PSBT {named} is empty: export it anew, or leave --psbt away")
    return found


def _intent(arguments: Namespace, connection: Connection) -> Intent:
    asset = connection.asset(arguments.asset)
    if arguments.wallet not in connection.policy.wallets:
        known = ", ".join(sorted(connection.policy.wallets))
        raise Misuse(f"the policy has no wallet {arguments.wallet[:64]!r}: it has {known}; {STALE}")
    typed_data: bytes | None = getattr(arguments, "typed_data", None)
    if typed_data is not None:
        return Intent(asset.chain, arguments.wallet, asset.name, 0, arguments.to, typed_data=typed_data)
    try:
        destination = read_address(asset.chain, arguments.to)
    except MalformedError as error:
        raise Misuse(f"--to: {error}") from error
    calls = getattr(arguments, "method", None) is not None
    low = 0 if calls else 1
    amount = parse_amount(arguments.amount, asset=asset.name, decimals=asset.decimals, low=low)
    if calls:
        calldata = _calldata(arguments.method, arguments.argument or [], connection)
        return Intent(asset.chain, arguments.wallet, arguments.asset, amount, destination, calldata)
    source = _source(arguments, connection)
    return Intent(asset.chain, arguments.wallet, arguments.asset, amount, destination, source=source)


def _source(arguments: Namespace, connection: Connection) -> str | None:
    source: str | None = getattr(arguments, "source", None)
    if source is not None and source not in connection.policy.wallets[arguments.wallet].paths:
        raise Misuse(f"--source: wallet {arguments.wallet} has no path {source[:64]!r}; {STALE}")
    return source


def call(arguments: Namespace) -> Result:
    """``request call``: ask for a call of a contract that the policy has."""
    policy = load_connection(arguments).policy
    contract = policy.contracts.get(arguments.method.partition(".")[0])
    if contract is None or policy.method_named(arguments.method) is None:
        methods = [f"{one.name}.{name}" for one in policy.contracts.values() for name in one.methods]
        known = ", ".join(methods) or "none"
        raise Misuse(f"the policy has no method {arguments.method[:80]!r}: it has {known}")
    arguments.asset = policy.chains[contract.chain].native
    arguments.to = contract.address
    return send(arguments)


def sign_typed_data(arguments: Namespace) -> Result:
    """``request sign-typed-data``: ask for the signature of a document that the policy declares."""
    policy = load_connection(arguments).policy
    chain, contract, document = read_typed_data(Path(arguments.file))
    if chain not in policy.chains:
        raise Misuse(f"the domain is of {chain}: the policy has {', '.join(sorted(policy.chains))}")
    if len(document) > TYPED_DATA_BYTES_MAX:
        raise Misuse(f"the typed data has {len(document)} bytes, at most {TYPED_DATA_BYTES_MAX} are signed")
    arguments.asset, arguments.to = policy.chains[chain].native, contract
    arguments.typed_data = document
    asked = Intent(chain, arguments.wallet, arguments.asset, 0, contract, typed_data=document)
    if not declared(policy, asked)[0]:
        known = ", ".join(sorted(policy.typed_data)) or "none"
        raise Misuse(f"the policy declares no such typed data: it has {known}; compare domain and types")
    return send(arguments)


def _calldata(name: str, texts: list[str], connection: Connection) -> bytes:
    """The calldata of a method for arguments as ``name=value``. Raises ``Misuse``."""
    method = connection.policy.method_named(name)
    if method is None:
        raise Misuse(f"the policy has no method {name[:80]!r}")
    values: dict[str, Argument] = {}
    for text in texts:
        argument, equals, value = text.partition("=")
        kind = method.type_of(argument)
        if not equals or kind is None or argument in values:
            raise Misuse(f"--argument {text[:80]!r}: write each of {method.signature} once, as name=value")
        values[argument] = _argument(kind, value)
    try:
        return encode_call(method, values)
    except MalformedError as error:
        raise Misuse(f"--argument: {error}") from error


def _argument(kind: str, text: str) -> Argument:
    """An argument as it is written: numbers in decimal, bytes in hex, a list as JSON."""
    array = split_array(kind)
    if array is not None:
        return tuple(_argument(array[0], item) for item in _listed(text))
    if kind == "string":
        return text
    if kind == "bool" and text in ("true", "false"):
        return text == "true"
    if kind.startswith(("uint", "int")) and text.removeprefix("-").isdecimal() and len(text) <= 80:
        return int(text)
    return parse_address(text) if kind == "address" else text.removeprefix("0x").lower()


def _listed(text: str) -> list[str]:
    """The items of a JSON list, each as it would be written alone."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise Misuse(f"--argument: {text[:80]!r} is no list in JSON: {error}") from error
    if not isinstance(found, list):
        raise Misuse(f"--argument: {text[:80]!r} is no list in JSON, such as [1,2]")
    return [item if isinstance(item, str) else json.dumps(item) for item in found]


def _fee_ceiling(arguments: Namespace, connection: Connection) -> int:
    if getattr(arguments, "typed_data", None) is not None:
        return 0
    chain = connection.policy.chains[connection.asset(arguments.asset).chain]
    if arguments.fee_ceiling is None:
        return chain.fee_ceiling
    native = connection.asset(chain.native)
    return parse_amount(arguments.fee_ceiling, asset=chain.native, decimals=native.decimals)


def _wait(views: "Iterator[RequestView]", view: "RequestView", timeout_s: float) -> "RequestView":
    told = ""
    for view in views:
        if view.state != told:
            told = view.state
            progress(f"{view.request.hex()[:16]} is {told}")
        if view.over:
            return view
    raise OperationalError(
        f"the request is {view.state} after {timeout_s} s: look with quorumkeep request wait"
    )


def _result(view: "RequestView", connection: Connection) -> Result:
    request = view.request.hex()
    lines = [
        f"request {request}",
        f"  {_what(view, connection)}",
        f"  is {view.state} by rule {view.rule or '-'}",
    ]
    if view.tx_hash:
        lines.append(f"  transaction {view.tx_hash}" + (f" in block {view.block}" if view.block else ""))
    if view.signature:
        lines.append(f"  signature 0x{view.signature.hex()}")
    if view.error:
        lines.append(f"  {view.error}")
    if view.state in NEXT:
        lines.append("  next: " + NEXT[view.state].format(request=request))
    code = REFUSED if view.state in REFUSED_STATES else DONE
    return Result(view_document(view), tuple(lines), code)


def _what(view: "RequestView", connection: Connection) -> str:
    return intent_text(request_of(view).intent, connection)
