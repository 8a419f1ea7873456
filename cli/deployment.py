"""A deployment before its log begins: the coordinator's keys, and who is going to be in the roster.

``deployment.json`` is a draft without authority: the administrators sign what is made of it by
``genesis draft``. A deployment's folder has these files::

    deployment.json   who is enrolled, and where the nodes and chains are
    coordinator/      log.key, identity.key (the coordinator's alone), identity.pem (others pin it), nodes/
    genesis.draft.json, genesis.json, client.json, trust.json, coordinator/config.toml: by ``genesis``
"""

import json
from argparse import Namespace
from pathlib import Path
from typing import Any

from cli.files import (
    new_folder,
    new_key,
    read_bytes,
    read_document,
    same_fingerprint,
    write_bytes,
    write_document,
)
from cli.identities import parse_person_card
from cli.results import Misuse, Result
from policy.encoding import Json, canonical
from policy.errors import CallerError, OperationalError
from policy.fields import NAME
from policy.ids import ORIGIN, SOLANA, family
from policy.roster import COORDINATOR
from signer_nodes.api.card import parse_card
from signer_nodes.api.issuing import make_identity_certificate

DRAFT = "deployment.json"
LISTS = {
    "operator": "operators",
    "backend": "initiators",
    "administrator": "administrators",
    "observer": "observers",
}


def init(arguments: Namespace) -> Result:
    """``init``: make the coordinator's keys and an empty draft."""
    folder = Path(arguments.dir)
    if not ORIGIN.fullmatch(arguments.origin):
        raise Misuse(
            f"origin {arguments.origin[:64]!r} has a blank or '+': use one like log.example.com/treasury"
        )
    _check_address(arguments.address or arguments.listen)
    if arguments.http:
        _check_address(arguments.http)
    chains = dict(_chain(text) for text in arguments.chain)
    new_folder(folder, holds=DRAFT)
    coordinator = folder / COORDINATOR
    new_folder(coordinator, holds="log.key")
    log_key = new_key(coordinator / "log.key")
    identity = new_key(coordinator / "identity.key")
    public_key = identity.public_key().public_bytes_raw()
    certificate = make_identity_certificate(COORDINATOR, public_key, sign=identity.sign)
    write_bytes(coordinator / "identity.pem", certificate)
    draft: dict[str, Json] = {
        "origin": arguments.origin,
        "listen": arguments.listen,
        "address": arguments.address or arguments.listen,
        "http": arguments.http,
        "log_dir": str(arguments.log_dir),
        "chains": dict(chains),
        "confirmations": arguments.confirmations,
        "log_key": log_key.public_key().public_bytes_raw().hex(),
        "nodes": [],
        "cold": [],
        "administrators": [],
        "initiators": [],
        "operators": [],
        "observers": [],
    }
    write_document(folder / DRAFT, draft)
    return Result(
        {"dir": str(folder), "origin": arguments.origin, "certificate": str(coordinator / "identity.pem")},
        (
            f"{folder} is ready for {arguments.origin}. Give {coordinator / 'identity.pem'} to every node.",
            "Next: enrol the nodes, backends, operators and administrators (quorumkeep enroll).",
        ),
    )


def enroll_node(arguments: Namespace) -> Result:
    """``enroll node``: take a card into the draft, and once the log has begun into the configuration."""
    folder = Path(arguments.dir)
    draft = load_draft(folder)
    card = parse_card(read_bytes(Path(arguments.card), "the card"))
    same_fingerprint(arguments.fingerprint, card.fingerprint, of=f"the card of {card.name}")
    if card.origin != draft["origin"]:
        raise OperationalError(f"{card.name} was provisioned for {card.origin}, this is {draft['origin']}")
    if card.role == "cold":
        if arguments.address:
            raise Misuse(f"{card.name} is a cold node, which nobody connects to: give no --address")
        _add(folder, draft, place="cold", member={"name": card.name, "key": card.key.hex()})
        return _enrolled(card.role, card.name, folder)
    _check_address(arguments.address)
    write_bytes(folder / COORDINATOR / "nodes" / f"{card.name}.pem", card.certificate)
    member = {"name": card.name, "key": card.key.hex(), "role": card.role, "address": arguments.address}
    _add(folder, draft, place="nodes", member=member)
    config = folder / COORDINATOR / "config.toml"
    if not config.exists():
        return _enrolled(card.role, card.name, folder)
    write_bytes(config, read_bytes(config, "the configuration") + _node_section(member).encode())
    return Result(
        {"kind": card.role, "name": card.name, "enrolled": True, "config": str(config)},
        (f"{card.name} is in {config} too: restart the coordinator.",),
    )


def enroll_person(arguments: Namespace) -> Result:
    """``enroll operator``, ``backend``, ``administrator`` and ``observer``: take a card into the draft."""
    folder, kind = Path(arguments.dir), arguments.kind
    draft = load_draft(folder)
    card = parse_person_card(read_bytes(Path(arguments.card), "the card"))
    same_fingerprint(arguments.fingerprint, card.fingerprint, of=f"the card of {card.name}")
    if card.kind != kind:
        raise Misuse(f"{arguments.card} is the card of a {card.kind}: enrol it as one")
    member: dict[str, Any] = {"name": card.name, "key": card.key.hex()}
    if kind == "operator":
        member |= {"groups": _names(arguments.groups), "credential": card.credential}
    if kind == "backend":
        member |= {"people": _names(arguments.people), "groups": _names(arguments.groups)}
    _add(folder, draft, place=LISTS[kind], member=member)
    return _enrolled(kind, card.name, folder)


def load_draft(folder: Path) -> dict[str, Any]:
    """The draft of a deployment. Raises ``OperationalError``."""
    if not (folder / DRAFT).exists():
        raise OperationalError(f"{folder} has no {DRAFT}: run quorumkeep init --dir {folder} first")
    return read_document(folder / DRAFT, "the draft")


def roster_of(draft: dict[str, Any], *, w: int, f: int, quorum: int, policy_delay_ms: int) -> dict[str, Json]:
    """The roster document that the draft comes to."""
    return {
        "cosigners": [{key: node[key] for key in ("name", "key", "role")} for node in draft["nodes"]],
        "w": w,
        "f": f,
        "log_key": draft["log_key"],
        "administrators": {"quorum": quorum, "members": draft["administrators"]},
        "initiators": draft["initiators"],
        "operators": draft["operators"],
        "observers": draft["observers"],
        "policy_delay_ms": policy_delay_ms,
        **({"cold": draft["cold"]} if draft.get("cold") else {}),
    }


def coordinator_config(draft: dict[str, Any]) -> str:
    """The coordinator's configuration file for the draft."""
    lines = [
        "# Made by quorumkeep genesis sign. Relative paths start at this file's folder.",
        f"origin = {_toml(draft['origin'])}",
        f"listen = {_toml(draft['listen'])}",
        'listen_file = "port"',
        'data_dir = "data"',
        f"publish_dir = {_toml(str(Path('..') / draft['log_dir']))}",
        'genesis = "../genesis.json"',
        'identity_key = "identity.key"',
        'log_key = "log.key"',
    ]
    if draft.get("http"):
        lines += ["\n[http]", f"listen = {_toml(draft['http'])}"]
    for chain, url in draft["chains"].items():
        lines += [f"\n[chains.{_toml(chain)}]", f"url = {_toml(url)}"]
        if family(chain) == SOLANA:
            lines.append("nonce_accounts = []  # once its key is made: what quorumkeep solana-nonce prints")
        else:
            lines.append(f"confirmations = {draft['confirmations']}")
    return "\n".join(lines) + "\n" + "".join(_node_section(node) for node in draft["nodes"])


def _node_section(node: dict[str, Any]) -> str:
    return (
        f"\n[nodes.{_toml(node['name'])}]\n"
        f"address = {_toml(node['address'])}\n"
        f"certificate = {_toml('nodes/' + node['name'] + '.pem')}\n"
    )


def _toml(text: str) -> str:
    """A TOML basic string: what JSON escapes, TOML reads alike."""
    return json.dumps(text)


def _add(folder: Path, draft: dict[str, Any], *, place: str, member: dict[str, Any]) -> None:
    lists = ("nodes", "cold", "administrators", "initiators", "operators", "observers")
    taken = {one["name"] for kind in lists for one in draft.get(kind, ())}
    if member["name"] in taken or member["name"] == COORDINATOR:
        raise OperationalError(f"the name {member['name']} is taken: every identity needs one of its own")
    draft.setdefault(place, []).append(member)
    canonical(draft)  # a draft that cannot be encoded is not written
    write_document(folder / DRAFT, draft)


def _enrolled(kind: str, name: str, folder: Path) -> Result:
    return Result({"kind": kind, "name": name, "enrolled": True}, (f"{kind} {name} is in {folder / DRAFT}.",))


def _chain(text: str) -> tuple[str, str]:
    name, equals, url = text.partition("=")
    try:
        family(name)
    except CallerError as error:
        raise Misuse(f"--chain {text[:80]!r}: {error}; write it as in evm:ID=URL") from error
    if not equals or not url.startswith(("http://", "https://")) or not url.isprintable():
        raise Misuse(f"--chain {text[:80]!r} has no URL: write evm:ID=http://HOST:PORT")
    return name, url


def _check_address(text: str) -> None:
    host, colon, port = text.rpartition(":")
    if not colon or not host or not port.isdecimal() or not 1 <= int(port) <= 65535:
        raise Misuse(f"{text[:80]!r} is no HOST:PORT: say where others connect to")


def _names(text: str) -> list[Json]:
    names = sorted({name.strip() for name in text.split(",") if name.strip()})
    for name in names:
        if not NAME.fullmatch(name):
            raise Misuse(f"{name[:64]!r} is no name: give names separated by commas")
    return list(names)
