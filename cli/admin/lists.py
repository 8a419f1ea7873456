"""``admin draft address``: one address onto a list that has a quorum of its own, or off it."""

import secrets
from argparse import Namespace
from typing import TYPE_CHECKING

from cli.admin.change_file import Change, make_change
from cli.admin.drafts import asking, drafted, in_force
from cli.connection import whole_status
from cli.results import Misuse, Result
from policy.address_book import waits
from policy.bip32 import parse_address
from policy.document import parse_policy
from policy.encoding import Json
from policy.errors import MalformedError, OperationalError
from policy.listing import ADD, LABEL_MAX, REMOVE, parse_listing

if TYPE_CHECKING:
    from policy.model import Policy


def address(arguments: Namespace) -> Result:
    """``admin draft address``: against the policy in force, which the change is for."""
    with asking(arguments) as (client, origin):
        status = whole_status(client)
        policy = parse_policy(in_force(client, status, kind="policy"))
    numbers = _numbers(policy, arguments.list)
    body: dict[str, Json] = {
        "origin": origin,
        "policy": str(status["policy"]),
        "list": arguments.list,
        "nonce": secrets.token_hex(32),
        **_what(arguments),
    }
    change = _change(body)
    waiting = waits(policy, parse_listing(body))
    when = "It waits the cool-down." if waiting else "It can let nothing through: it is in effect at once."
    return drafted(arguments, change, numbers, when)


def _what(arguments: Namespace) -> dict[str, Json]:
    """The action with its address, in canonical form."""
    if bool(arguments.add) == bool(arguments.remove):
        raise Misuse("say what changes: --add ADDRESS --label TEXT, or --remove ADDRESS")
    if bool(arguments.add) != bool(arguments.label):
        raise Misuse("say whose address it is, with --label; only one that is added has a label")
    text = arguments.add or arguments.remove
    try:
        canonical = parse_address(text) if text.startswith("0x") else text
    except MalformedError as error:
        raise OperationalError(str(error)) from error
    if arguments.add:
        return {"action": ADD, "address": canonical, "label": arguments.label}
    return {"action": REMOVE, "address": canonical}


def _change(body: Json) -> Change:
    try:
        return make_change("address", body)
    except MalformedError as error:
        raise OperationalError(
            f"no node would take this: {error}; give an address of one of the policy's chains, "
            f"and a label of at most {LABEL_MAX} characters"
        ) from error


def _numbers(policy: "Policy", name: str) -> str:
    """What the policy asks of a change of the list, in one sentence."""
    book = policy.books.get(name)
    if book is None:
        listed = ", ".join(sorted(policy.books)) or "none"
        raise OperationalError(
            f"the policy in force has no list {name[:64]!r} with a quorum of its own (it has: {listed}): "
            "change the policy"
        )
    return f"The list {name} needs {book.quorum} administrators; its cool-down is {book.cool_down_ms} ms."
