"""``deposits``: what observers stated was paid to a wallet from outside, page by page."""

from argparse import Namespace
from collections.abc import Iterator
from typing import TYPE_CHECKING

from cli.connection import Connection, caller, load_connection
from cli.requests import read_request_id
from cli.results import Document, Misuse, Result, Table
from policy.words.units import amount_text

if TYPE_CHECKING:
    from custody.client import CustodyClient

PAGE, LIMIT_MAX = 500, 10_000
FILTERS = ("asset", "address", "label")
HEADINGS = ("deposit", "what", "address", "label", "block", "transaction", "")


def deposits(arguments: Namespace) -> Result:
    """The deposits of a wallet in the order in which they were first stated; ``next`` is where to go on."""
    if not 1 <= arguments.limit <= LIMIT_MAX:
        raise Misuse(f"--limit is from 1 to {LIMIT_MAX}: go on with --after for more")
    connection, shown, last = load_connection(arguments), list[Document](), ""
    with connection.open(caller(arguments)) as client:
        for one in _all(client, arguments):
            if len(shown) == arguments.limit:
                break
            last = str(one["id"])
            if _is_wanted(one, arguments):
                shown.append(one)
        else:
            last = ""
    document = {"wallet": arguments.wallet, "deposits": shown, "next": last or None}
    table = Table(HEADINGS, tuple(_row(one, connection) for one in shown))
    more = (f"There are more: --after {last}",) if last else ()
    known = arguments.wallet in connection.policy.wallets  # of one that was, deposits are there still
    none = "No deposit is listed." if known else "No deposit is listed, and the policy has no such wallet."
    return Result(document, (table, *more) if shown else (none, *more))


def _all(client: "CustodyClient", arguments: Namespace) -> Iterator[Document]:
    after = read_request_id(arguments.after) if arguments.after else b""
    while True:
        page = client.deposits(arguments.wallet, after=after, limit=PAGE)
        yield from page
        if len(page) < PAGE:
            return
        after = bytes.fromhex(str(page[-1]["id"]))


def _is_wanted(one: Document, arguments: Namespace) -> bool:
    given = {name: getattr(arguments, name) for name in FILTERS}
    fits = all(one[name] == text for name, text in given.items() if text)
    return fits and (arguments.gone is None or one["gone"] is arguments.gone)


def _row(one: Document, connection: Connection) -> tuple[str, ...]:
    asset = connection.policy.assets.get(one["asset"])
    what = (
        f"{one['amount']} base units of {one['asset']}"  # of a policy before
        if asset is None
        else amount_text(int(one["amount"]), asset=asset.name, decimals=asset.decimals)
    )
    place = f"{one['tx']}:{one['index']}"
    gone = "gone" if one["gone"] else ""
    return one["id"][:16], what, one["address"], one["label"], str(one["block"]), place, gone
