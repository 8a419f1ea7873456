"""What signing a change would do, in plain sentences."""

from typing import Any

from cli.admin.change_file import Change
from cli.admin.differences import differences
from policy import entries as e
from policy.errors import InvariantError
from policy.governance import RULES_SUPPORTED
from policy.roster import Roster, bound, parse_roster
from policy.words.units import readable_address

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
        case e.AddressEntry():
            return _address(entry)
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


def _address(entry: e.AddressEntry) -> list[str]:
    listing = entry.listing
    address, place = readable_address(listing.address), f"the list {listing.list}"
    what = f"{address}, of {listing.label!r}, is put on {place}." if listing.adds else ""
    return [
        what or f"{address} is taken off {place}.",
        f"It is for the policy with the hash {listing.policy.hex()}, and void under another.",
        "It needs as many administrators as that policy asks of the list. If it could let a payment through, "
        "it takes effect once the list's cool-down is over, and until then one administrator can veto it; "
        "if not, at once.",
    ]


def _roster(change: Change) -> list[str]:
    new = parse_roster(change.document)
    lines = [f"the roster with the hash {change.document_hash}", *_replaced(change), f"{bound(new)}.", VETO]
    needs = "It needs the administrators' quorum"
    if change.replaces:
        old = parse_roster(change.replaces)
        lines += _people(old, new)
        needs = f"It needs {old.administrators_quorum} of {', '.join(sorted(old.administrators))}"
        if not same_cosigners(old, new):
            needs += (
                f", and {old.w} of the old and {new.w} of the new cosigners (quorumkeep-node accept roster)"
            )
    return [*lines, f"{needs}."]


def _people(old: Roster, new: Roster) -> list[str]:
    """What becomes of the people and backends that a new roster changes."""
    lines = []
    for name, operator in old.operators.items():
        other = new.operators.get(name)
        if other is None:
            lines.append(f"{name} leaves: what {name} approved and is not signed by then is void.")
        elif other.credential != operator.credential:
            lines.append(f"{name} has another passkey: approvals given with the old one are void.")
        elif other != operator:
            lines.append(f"{name} changes: the approvals that {name} has given by then are void.")
    for name, initiator in old.initiators.items():
        now = new.initiators.get(name)
        if now is None:
            lines.append(f"{name} asks for nothing any more.")
        elif now.key != initiator.key:
            lines.append(f"{name} has another key: requests in the log stay, new ones need the new key.")
    return lines + _cold(old, new)


def _cold(old: Roster, new: Roster) -> list[str]:
    """Which nodes without a network come and go: they sign, and are in no quorum."""
    lines = [
        f"{name} becomes a cold node with the key {key.hex()}: compare it with its card."
        for name, key in new.cold.items()
        if name not in old.cold
    ]
    return lines + [
        f"{name} is no cold node any more: it signs nothing." for name in old.cold.keys() - new.cold
    ]


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
