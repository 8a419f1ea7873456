"""Rosters that have a name: an operator leaves, a lost passkey is replaced, a backend's key is rotated."""

from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cli.admin.drafts import asking, changed, drafted, in_force
from cli.admin.rosters import copied, remove
from cli.connection import whole_status
from cli.files import read_bytes, same_fingerprint
from cli.identities import PersonCard, parse_person_card
from cli.results import Misuse, Result
from policy.encoding import Json
from policy.errors import MalformedError, OperationalError


def remove_operator(arguments: Namespace) -> Result:
    """``admin draft remove-operator``: what the person has approved and is not signed yet is void."""
    return _drafted(arguments, without_operator)


def replace_passkey(arguments: Namespace) -> Result:
    """``admin draft replace-passkey``: the same person and name, another passkey."""
    return _drafted(arguments, with_passkey)


def rotate_backend(arguments: Namespace) -> Result:
    """``admin draft rotate-backend``: the same backend and name, another key."""
    return _drafted(arguments, with_backend_key)


def without_operator(arguments: Namespace, old: Json) -> Json:
    """The roster without an operator. Raises ``OperationalError``."""
    roster = copied(old)
    _place(roster, "operators", arguments.name)
    remove(roster, arguments.name)
    document: Json = roster
    return document


def with_passkey(arguments: Namespace, old: Json) -> Json:
    """The roster with the passkey, and the key, of an operator's new card. Raises ``OperationalError``."""
    roster, card = copied(old), _card(arguments, "operator")
    operator = _place(roster, "operators", arguments.name)
    if card.credential is None or card.credential == operator["credential"]:
        raise OperationalError(f"the card has the passkey that {arguments.name} has already: make a new one")
    operator["credential"], operator["key"] = card.credential, card.key.hex()
    document: Json = roster
    return document


def with_backend_key(arguments: Namespace, old: Json) -> Json:
    """The roster with the key of a backend's new card. Raises ``OperationalError``."""
    roster, card = copied(old), _card(arguments, "backend")
    backend = _place(roster, "initiators", arguments.name)
    if card.key.hex() == backend["key"]:
        raise OperationalError(f"the card has the key that {arguments.name} has already: make a new one")
    backend["key"] = card.key.hex()
    document: Json = roster
    return document


def _drafted(arguments: Namespace, make: Callable[[Namespace, Json], Json]) -> Result:
    with asking(arguments) as (client, origin):
        status = whole_status(client)
        old, policy = in_force(client, status, kind="roster"), in_force(client, status, kind="policy")
    new = make(arguments, old)
    return drafted(arguments, changed(origin, kind="roster", old=old, new=new, other=policy))


def _place(roster: Any, kind: str, name: str) -> Any:
    """The entry of that name among the roster's people of a kind."""
    for one in roster[kind]:
        if one["name"] == name:
            return one
    names = ", ".join(one["name"] for one in roster[kind]) or "none"
    raise OperationalError(f"{name[:64]!r} is none of the roster's {kind}: these are {names}")


def _card(arguments: Namespace, kind: str) -> PersonCard:
    """The card of that name and kind, with the fingerprint that its owner said."""
    path = Path(arguments.card)
    try:
        card = parse_person_card(read_bytes(path, "the card"))
    except MalformedError as error:
        raise OperationalError(f"{path} is no card: {error}; give the file card.json") from error
    same_fingerprint(arguments.fingerprint, card.fingerprint, of=f"the card of {card.name}")
    if (card.kind, card.name) != (kind, arguments.name):
        raise Misuse(f"{path} is the card of the {card.kind} {card.name}, not of the {kind} {arguments.name}")
    return card
