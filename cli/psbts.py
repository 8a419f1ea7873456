"""PSBTs: a request's transaction for other wallets, and coins of a wallet as one. Of Bitcoin alone."""

import base64
import time
from argparse import Namespace
from pathlib import Path

from cli.connection import STALE, caller, load_connection
from cli.files import read_bytes, write_bytes
from cli.requests import kept_request, read_request_id, send
from cli.results import DONE, Document, Misuse, Result
from custody.client import GatheredCoins
from policy.encoding import canonical, parse_canonical
from policy.errors import OperationalError
from policy.fields import Fields
from policy.ids import BITCOIN, family

GATHERED_BYTES_MAX = 64 * 1024
ROUNDS_MAX = 100
PLANNED_S, PAUSE_S = 30.0, 0.2


def export(arguments: Namespace) -> Result:
    """``request psbt``: the newest transaction of a request, unsigned or finished, for other wallets."""
    connection = load_connection(arguments)
    with connection.open(caller(arguments)) as client:
        psbt, signed = client.psbt(read_request_id(arguments.request), version=arguments.version)
    text = base64.b64encode(psbt).decode()
    if arguments.out:
        write_bytes(Path(arguments.out), psbt)
    said = f"{arguments.out} has it, {'signed' if signed else 'not signed'}"
    document = {"request": arguments.request, "signed": signed, "psbt": text, "file": arguments.out or None}
    return Result(document, (said if arguments.out else text,))


def consolidate(arguments: Namespace) -> Result:
    """``request consolidate``: ask for the wallet's smallest coins as one, at its own first address."""
    return _ask(arguments, to_wallet="")


def sweep_coins(arguments: Namespace) -> Result:
    """``request sweep`` of coins: all of them to another wallet, in as many requests as it takes."""
    key, asked = arguments.idempotency_key, list[Document]()
    for number in range(ROUNDS_MAX):
        arguments.idempotency_key, arguments.coins_max = f"{key}.{number}", 0
        sent = _ask(arguments, to_wallet=arguments.to_wallet)
        asked.append(sent.document)
        if sent.code != DONE or not sent.document["left"]:
            break
        _await_plan(arguments, sent.document["request"])
    document: Document = {"to_wallet": arguments.to_wallet, "requests": asked}
    lines = [f"{one['request']}: {one['state']}" for one in asked]
    return Result(document, lines, sent.code)


def _ask(arguments: Namespace, *, to_wallet: str) -> Result:
    """Ask by the PSBT that was kept under the idempotency key, or by a new one."""
    connection, identity = load_connection(arguments), caller(arguments)
    wallet = connection.policy.wallets.get(arguments.wallet)
    if wallet is None or family(wallet.chain) != BITCOIN:
        named = f"the policy has no wallet {arguments.wallet[:64]!r} of coins"
        raise Misuse(f"{named}: name one on Bitcoin; {STALE}")
    path = kept_request(identity, arguments.idempotency_key).with_suffix(".gathered")
    if path.exists():
        found = _read(path)
    else:
        with connection.open(identity) as client:
            found = client.gather(arguments.wallet, to_wallet=to_wallet, coins_max=arguments.coins_max)
        write_bytes(path, canonical(_document(found)), mode=0o600)
    arguments.asset = connection.policy.chains[wallet.chain].native
    arguments.to, arguments.amount = found.destination, str(found.amount)
    arguments.psbt_bytes, arguments.fee_ceiling = found.psbt, getattr(arguments, "fee_ceiling", None)
    sent = send(arguments)
    said = f"  {found.coins} coins become one, for a fee of {found.fee}; {found.left} more are left"
    document = {**sent.document, "coins": found.coins, "fee": str(found.fee), "left": found.left}
    return Result(document, (*sent.text, said), sent.code)


def _await_plan(arguments: Namespace, request: str) -> None:
    """Until a request has its coins, which the next one must not be offered."""
    with load_connection(arguments).open(caller(arguments)) as client:
        deadline = time.monotonic() + PLANNED_S
        while not (view := client.get(bytes.fromhex(request))).account:
            if view.over or time.monotonic() > deadline:
                raise OperationalError(
                    f"{request} is {view.state}, not planned: ask again under the same key"
                )
            time.sleep(PAUSE_S)


def _document(found: GatheredCoins) -> Document:
    return {
        "psbt": found.psbt.hex(),
        "destination": found.destination,
        "amount": str(found.amount),
        "fee": str(found.fee),
        "coins": found.coins,
        "left": found.left,
    }


def _read(path: Path) -> GatheredCoins:
    fields = Fields(parse_canonical(read_bytes(path, "the kept PSBT"), bytes_max=GATHERED_BYTES_MAX), "")
    return GatheredCoins(
        fields.hex("psbt", length_max=GATHERED_BYTES_MAX),
        fields.text("destination", length_max=90),
        fields.amount("amount"),
        fields.amount("fee"),
        fields.integer("coins"),
        fields.integer("left"),
    )
