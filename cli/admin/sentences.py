"""What signing a change would do, in plain sentences."""

from typing import Any

from cli.admin.change_file import Change
from cli.admin.differences import differences
from policy import entries as e
from policy.errors import InvariantError
from policy.governance import RULES_SUPPORTED
from policy.roster import Roster, bound, parse_roster

VETO = "It takes effect once the delay is over; until then one administrator can veto it."


def sentences(change: Change) -> tuple[str, ...]:
    """What it would do, what it needs, and who has signed."""
    what = _what(change)
    origin = change.body["origin"] if isinstance(change.body, dict) else ""
    signed = ", ".join(sorted(change.signatures)) or "nobody"
    return (f"For {origin}: {what[0]}", *what[1:], f"Signed by {signed} so far.")


def _what(change: Change) -> list[str]:
    entry = change.entry
    match entry:
        case e.ChangeEntry(kind="policy"):
            return _policy(change)
        case e.ChangeEntry():
            return _roster(change)
        case e.OrderEntry():
            return _order(entry)
        case e.VersionEntry():
            return [
                f"everybody goes on under rules {entry.rules}; a program that lacks them stops.",
                f"This program has rules {RULES_SUPPORTED}.",
                "It needs w cosigners, with min_signers nodes of every key among them (quorumkeep-node "
                "accept ready), and no administrator's signature.",
            ]
        case e.ForkEntry():
            return _fork(entry)
        case _:
            raise InvariantError(f"a change is no {type(entry).__name__}")


def _policy(change: Change) -> list[str]:
    document: Any = change.document
    return [
        f"the policy {document['name']!r} with the hash {change.document_hash}",
        *_replaced(change),
        f"{VETO} It voids the approvals that requests have by then.",
        "It needs the administrators' quorum.",
    ]


def _roster(change: Change) -> list[str]:
    new = parse_roster(change.document)
    lines = [f"the roster with the hash {change.document_hash}", *_replaced(change), f"{bound(new)}.", VETO]
    needs = "It needs the administrators' quorum"
    if change.replaces:
        old = parse_roster(change.replaces)
        needs = f"It needs {old.administrators_quorum} of {', '.join(sorted(old.administrators))}"
        if not same_cosigners(old, new):
            needs += (
                f", and {old.w} of the old and {new.w} of the new cosigners (quorumkeep-node accept roster)"
            )
    return [*lines, f"{needs}."]


def same_cosigners(old: Roster, new: Roster) -> bool:
    """Whether a change of the roster needs no cosigners."""
    return (old.cosigners, old.w, old.f, old.log_key) == (new.cosigners, new.w, new.f, new.log_key)


def _replaced(change: Change) -> list[str]:
    if not change.replaces:
        return ["takes the place of the one it names; what differs is not shown in this file."]
    lines = differences(change.replaces, change.document) or ["nothing differs"]
    return ["takes the place of the one in force. What differs:", *(f"  {line}" for line in lines)]


def _order(entry: e.OrderEntry) -> list[str]:
    body: Any = entry.body
    reason, target = f"Reason given: {body['reason']}", entry.target.hex()
    match entry.kind:
        case "veto":
            return [
                f"the pending change with the hash {target} never takes effect.",
                "One administrator is enough.",
                reason,
            ]
        case "freeze":
            return [
                "no node signs anything until the administrators' quorum unfreezes it.",
                "One administrator is enough.",
                reason,
            ]
        case _:
            return [
                f"the freeze {target} ends, and signing goes on.",
                "It needs the administrators' quorum.",
                reason,
            ]


def _fork(entry: e.ForkEntry) -> list[str]:
    jobs = [f"  {job.hex()}" for job in entry.abandoned]
    return [
        f"of two branches of the log the one survives whose first {entry.size} entries have the root",
        f"  {entry.root.hex()};",
        "a cosigner that is on the other one below its last quorum head leaves it for good.",
        f"{len(jobs)} jobs are abandoned with it; their signers have stated that they never sign them:",
        *jobs,
        "It needs the administrators' quorum.",
    ]
