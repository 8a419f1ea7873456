"""Handing in what administrators signed, and handing out what came into force."""

from argparse import Namespace
from pathlib import Path
from typing import Any

from cli.admin.change_file import DOCUMENTS, Change, read_change
from cli.admin.drafts import asking, freeze_of, in_force, pending_hash, pretty, veto_of
from cli.admin.signing import sign_as
from cli.connection import caller, whole_status
from cli.files import read_document, write_bytes, write_document
from cli.results import DONE, REFUSED, Misuse, Result, progress, time_text
from policy.encoding import Json, document_hash
from policy.errors import OperationalError
from policy.governance import change_hash
from policy.roster import parse_roster

CLIENT, TRUST, ROSTER = "client.json", "trust.json", "roster.json"


def submit(arguments: Namespace) -> Result:
    """``admin submit``: have a signed change logged."""
    return _enact(arguments, read_change(Path(arguments.change)))


def freeze(arguments: Namespace) -> Result:
    """``admin freeze``: stop all signing now, as one administrator."""
    with asking(arguments) as (_, origin):
        change = freeze_of(origin, arguments.reason)
    return _enact(arguments, sign_as(change, caller(arguments)))


def veto(arguments: Namespace) -> Result:
    """``admin veto``: stop a pending change now, as one administrator."""
    with asking(arguments) as (client, origin):
        change = veto_of(client, origin, arguments=arguments)
    return _enact(arguments, sign_as(change, caller(arguments)))


def fetch(arguments: Namespace) -> Result:
    """``admin fetch``: the policy or roster in force, or a pending one, to be read or edited."""
    with asking(arguments) as (client, _):
        status: dict[str, Any] = whole_status(client)
        if arguments.what in ("policy", "roster"):
            kind, document = arguments.what, in_force(client, status, kind=arguments.what)
        else:
            kind, document = client.document(bytes.fromhex(pending_hash(status, arguments.what)))
    write_bytes(Path(arguments.out), pretty(document))
    found = change_hash(kind, document).hex() if kind == "address" else document_hash(kind, document).hex()
    return Result(
        {"file": arguments.out, "kind": kind, "hash": found}, (f"{arguments.out} is the {kind} {found}.",)
    )


def hand_out(arguments: Namespace) -> Result:
    """``admin hand-out``: once a change is in effect, write what clients, nodes and auditors are given."""
    change, folder = read_change(Path(arguments.change)), Path(arguments.dir)
    with asking(arguments) as (client, _):
        status = whole_status(client)
    if change.kind not in DOCUMENTS:
        raise Misuse(f"a change of kind {change.kind} needs no new files: only a policy or roster does")
    if status[change.kind] != change.document_hash:
        raise OperationalError(
            f"the {change.kind} of {arguments.change} is not in force: wait until status shows its hash"
        )
    files = _client(folder, change) if change.kind == "policy" else _roster(folder, change)
    return Result(
        {"files": [str(path) for path in files], "kind": change.kind, "hash": change.document_hash},
        (
            f"written: {', '.join(map(str, files))}; the {change.kind} in force has the hash",
            f"  {change.document_hash}",
            "Give these files out, and the hash by another way.",
        ),
    )


def _client(folder: Path, change: Change) -> list[Path]:
    path = folder / CLIENT
    write_document(path, {**read_document(path, "the clients' file"), "policy": change.document})
    return [path]


def _roster(folder: Path, change: Change) -> list[Path]:
    roster = parse_roster(change.document)
    trust = read_document(folder / TRUST, "the auditors' file")
    cosigners: list[Json] = [{"name": name, "key": key.hex()} for name, key in roster.cosigner_keys().items()]
    write_document(folder / TRUST, {**trust, "cosigners": cosigners, "w": roster.w})
    document: Any = change.document
    write_document(folder / ROSTER, document)
    return [folder / ROSTER, folder / TRUST]


def _enact(arguments: Namespace, change: Change) -> Result:
    with asking(arguments) as (client, _):
        outcome: dict[str, Any] = client.enact(change.kind, change.body, proof=change.proof())
    if not outcome["cosigned"]:
        progress("logged, but not under w cosignatures yet: look at quorumkeep status")
    stuck = {name: reason for name, reason in outcome["left"].items() if reason}
    return Result(
        {**outcome, "fingerprint": change.fingerprint},
        tuple(_words(change, outcome)),
        REFUSED if stuck else DONE,
    )


def _words(change: Change, outcome: dict[str, Any]) -> list[str]:
    done = " already" if outcome["was_done"] else ""
    match change.kind:
        case "policy" | "roster":
            effective = outcome["effective_ms"]
            when = f"takes effect at {time_text(effective)}" if effective else "is in effect"
            return [
                f"The {change.kind} {change.document_hash} is logged{done} and {when}.",
                "Then: quorumkeep admin hand-out, and give the files to those who need them.",
            ]
        case "address":
            effective = outcome["effective_ms"]
            when = f"takes effect at {time_text(effective)}" if effective else "is in effect"
            return [f"The change {outcome['subject']} of a list is logged{done} and {when}."]
        case "veto":
            return [f"The change {outcome['subject']} is vetoed: it never takes effect."]
        case "freeze":
            return [
                f"Signing is frozen, by the freeze {outcome['subject']}.",
                "The administrators' quorum ends it: quorumkeep admin draft unfreeze.",
            ]
        case "unfreeze":
            return [f"The freeze {outcome['subject']} is ended{done}: signing goes on."]
        case "version":
            return [f"The new rules are in force{done}."]
        case _:
            return ["The fork is logged."] + [
                f"{name} has left its branch." if not reason else f"{name} has not left its branch: {reason}"
                for name, reason in sorted(outcome["left"].items())
            ]
