"""A new roster from the one in force: a document that somebody edited, or a change that has a name."""

from argparse import Namespace
from pathlib import Path
from typing import Any

from cli.files import read_bytes, read_document, same_fingerprint
from cli.results import Misuse
from policy.encoding import Json, canonical, parse_canonical
from policy.errors import OperationalError
from signer_nodes.api.card import parse_card

LISTS = ("cosigners", "cold", "initiators", "operators", "observers")


def changed_roster(arguments: Namespace, old: Json) -> Json:
    """The roster that the arguments come to. Raises ``Misuse`` or ``OperationalError``."""
    if bool(arguments.document) == bool(arguments.replace or arguments.remove):
        raise Misuse("say what changes: --document FILE, or --replace NAME=CARD and --remove NAME")
    if arguments.document:
        new: Json = read_document(Path(arguments.document), "the roster")
        return new
    roster = copied(old)
    for name in arguments.remove:
        remove(roster, name)
    if arguments.replace:
        _replace(roster, arguments.replace, arguments.fingerprint)
    document: Json = roster
    return document


def copied(old: Json) -> Any:
    """A roster document to be changed."""
    return parse_canonical(canonical(old), bytes_max=len(canonical(old)))


def remove(roster: Any, name: str) -> None:
    """Take an identity out wherever it stands, and out of the people behind initiators."""
    places = [(roster, kind) for kind in LISTS if kind in roster] + [(roster["administrators"], "members")]
    before = sum(len(place[kind]) for place, kind in places)
    for place, kind in places:
        place[kind] = [one for one in place[kind] if one["name"] != name]
    if sum(len(place[kind]) for place, kind in places) == before:
        raise OperationalError(
            f"the roster names nobody {name[:64]!r}: look at quorumkeep admin fetch roster"
        )
    for initiator in roster["initiators"]:
        initiator["people"] = [one for one in initiator["people"] if one != name]


def _replace(roster: Any, text: str, fingerprint: str) -> None:
    """Put a new cosigner, by its card and the fingerprint its owner said, where an old one was."""
    old, equals, path = text.partition("=")
    if not equals or not fingerprint:
        raise Misuse("write --replace NAME=CARD --fingerprint HEX: the card's, as its owner said it to you")
    card = parse_card(read_bytes(Path(path), "the card"))
    same_fingerprint(fingerprint, card.fingerprint, of=f"the card of {card.name}")
    names = [one["name"] for one in roster["cosigners"]]
    if old not in names:
        raise OperationalError(f"{old[:64]!r} is no cosigner of the roster: these are {', '.join(names)}")
    new = {"name": card.name, "key": card.key.hex(), "role": card.role}
    roster["cosigners"][names.index(old)] = new
