"""Having the nodes begin a key's epochs, and logging them."""

import asyncio
from dataclasses import dataclass

from custody.api.errors import CallRefused, Code
from custody.candidates import Candidate
from custody.parts import Parts
from custody.ports import KeyOrder, Node
from policy.encoding import Json, parse_canonical
from policy.entries import ENTRY_BYTES_MAX, signature_list
from policy.errors import OperationalError, ProtocolError
from policy.ids import IMPORT, KEY_CHANGES, RESHARE
from policy.keys import key_admission_gap
from policy.state import KeyRecord, State

WAIT_S = 10.0
PAUSE_S = 0.05


@dataclass(frozen=True, slots=True)
class Import:
    """What a dealer sealed to the nodes, by node name, for the run that the offers were made for."""

    attempt: int
    envelopes: tuple[tuple[str, bytes], ...]


async def import_offers(parts: Parts, key: str) -> tuple[int, list[bytes]]:
    """The nodes' offers to take in an existing key: the attempt they are for, and one offer a node."""
    names = _parties(parts.sequencer.state, key, IMPORT, ())
    await _ready(parts, names, what=f"import of {key}", wait_s=WAIT_S)
    attempt = parts.attempts()
    try:
        offers = await asyncio.gather(*(parts.nodes[name].import_offer(key, attempt) for name in names))
    except ProtocolError as error:
        raise OperationalError(f"key {key} cannot be imported: {error}") from error
    return attempt, list(offers)


async def change_key(
    parts: Parts, key: str, *, change: str, dealt: Import | None = None, wait_s: float = WAIT_S
) -> Json:
    """Begin a key's next epoch by ``change``; the body of its entry. Raises ``OperationalError``, and
    ``CallRefused`` for what no waiting makes right.

    The log gets ``wait_s`` to reach everybody beforehand, and the entry as long to be cosigned.

    When it raises, the key is in the epoch it was in, whatever the nodes had done, and may be changed again,
    unless the error says that the entry is in the log.
    """
    if (change == IMPORT) != (dealt is not None):
        raise CallRefused(
            Code.MALFORMED, "an import, and nothing else, brings envelopes: ask for offers first"
        )
    state = parts.sequencer.state
    dealers = _dealers(parts, state, key) if change == RESHARE else ()
    names = _parties(state, key, change, dealers)
    await _ready(parts, names, what=f"{change} of {key}", wait_s=wait_s)
    if dealt is None:
        order = KeyOrder(key, change, parts.attempts(), dealers)
    else:
        order = KeyOrder(key, change, dealt.attempt, dealers, dealt.envelopes)
    body, proof = await _run(parts, names, order)
    outcome = await parts.sequencer.log(Candidate("key", body, proof))
    if not outcome.accepted:
        raise OperationalError(f"{_still(parts, key)}: the log refuses what the nodes made: {outcome.reason}")
    await _counts(parts, parts.sequencer.state.keys[key], wait_s=wait_s)
    await _tell(parts, names)
    return body


async def _run(parts: Parts, names: tuple[str, ...], order: KeyOrder) -> tuple[Json, dict[str, Json]]:
    """One run of all nodes: what they made, and their signatures. The first that fails ends it."""
    try:
        answers = await asyncio.gather(*(_ask(parts.nodes[name], order) for name in names))
    except OperationalError as error:
        raise OperationalError(
            f"{_still(parts, order.key)}: no {order.change}: {error}; once that is clear, try again"
        ) from error
    bodies = {body for body, _ in answers}
    if len(bodies) != 1:
        raise OperationalError(
            f"{_still(parts, order.key)}: the nodes made {len(bodies)} different ones: look at their logs"
        )
    signatures = {name: answer[1] for name, answer in zip(names, answers, strict=True)}
    body = parse_canonical(bodies.pop(), bytes_max=ENTRY_BYTES_MAX)
    return body, {"signatures": signature_list(signatures)}


async def _ask(node: Node, order: KeyOrder) -> tuple[bytes, bytes]:
    try:
        return await node.change_key(order)
    except (OperationalError, ProtocolError) as error:
        reason = str(error)
        raise OperationalError(reason if node.name in reason else f"{node.name}: {reason}") from error


async def _ready(parts: Parts, names: tuple[str, ...], *, what: str, wait_s: float) -> None:
    """Wait a moment until every party is there and level, and refuse, before anything begins, without one.

    A run with one away costs all others its time limit, and a node that lacks the newest entries may know
    another epoch or another policy: the others would wait for it in vain.
    """
    size, pauses = parts.sequencer.state.size, round(wait_s / PAUSE_S)
    while found := _obstacle(parts, names, size=size):
        missing, hint, passes = found
        if not passes or not pauses:
            raise OperationalError(
                f"{what} takes {', '.join(names)}, and {', '.join(missing)} {hint}. Nothing has begun"
            )
        pauses -= 1
        await asyncio.sleep(PAUSE_S)
    await parts.replication.wait_quorum(size, wait_s)
    await _tell(parts, names)


async def _tell(parts: Parts, names: tuple[str, ...]) -> None:
    """Tell the nodes what w cosigners have, which they hear in idle moments only.

    Beforehand, since a resharing follows from nothing less; afterwards, so that they destroy the epoch that
    is over. One that does not take it hears it later.
    """
    note = parts.replication.quorum.note
    await asyncio.gather(*(parts.nodes[name].quorum(note) for name in names), return_exceptions=True)


def _obstacle(parts: Parts, names: tuple[str, ...], *, size: int) -> tuple[list[str], str, bool] | None:
    """Who stands in the way of a run, what to do about it, and whether it may pass by itself."""
    roster, nodes, followers = parts.sequencer.state.roster, parts.nodes, parts.replication.followers
    if cold := [name for name in names if name in roster.cold]:
        return cold, "has no network: hold a ceremony (quorumkeep cold export --key NAME)", False
    if strangers := [name for name in names if name not in roster.cosigners]:
        return strangers, "is not in the roster any more: reshare the key to nodes that are", False
    if unknown := [name for name in names if name not in nodes]:
        return unknown, "has no address here: add it under [nodes] and restart the coordinator", False
    if gone := [name for name in names if not nodes[name].boot]:
        return gone, "is not connected: start it, or replace it (docs/runbook-lost-node.md)", True
    if behind := [name for name in names if (followers[name].size or 0) < size]:
        return behind, f"lacks some of the {size} entries of the log: wait until status shows them", True
    return None


async def _counts(parts: Parts, record: KeyRecord, *, wait_s: float) -> None:
    """Wait until w cosigners have the entry: from then on the epoch cannot be taken back."""
    try:
        await parts.replication.wait_quorum(record.index + 1, wait_s)
    except OperationalError as error:
        raise OperationalError(
            f"key {record.key}: epoch {record.epoch} is in the log, and counts once it is cosigned, which "
            f"goes on by itself; do not ask for it again: {error}"
        ) from error


def _still(parts: Parts, key: str) -> str:
    """What a change that came to nothing leaves."""
    record = parts.sequencer.state.keys.get(key)
    return f"there is no key {key} yet" if record is None else f"key {key} stays in epoch {record.epoch}"


def key_report(state: State, key: KeyRecord) -> Json:
    """A key as the status shows it.

    ``gap`` is empty unless the policy wants another committee; ``destroyed_by`` lists who has given a receipt
    that it can open nothing of the epoch before any more.
    """
    over = key.epoch - 1
    destroyed = sorted(by for of, epoch, by in state.shreds if (of, epoch) == (key.key, over))
    return {
        "key": key.key,
        "epoch": key.epoch,
        "suite": key.suite,
        "imported": key.imported,
        "min_signers": key.min_signers,
        "participants": list(key.participants),
        "gap": key_admission_gap(state, key),
        "destroyed_by": [*destroyed],
    }


def _parties(state: State, key: str, change: str, dealers: tuple[str, ...]) -> tuple[str, ...]:
    wanted, record = state.policy.keys.get(key), state.keys.get(key)
    if wanted is None:
        raise CallRefused(Code.UNKNOWN_KEY, f"the policy has no key {key[:64]!r}: name it there first")
    match change:
        case "generate" | "import":
            return wanted.participants
        case "refresh" if record is not None:
            return record.participants
        case "reshare" if record is not None:
            return tuple(sorted({*dealers, *wanted.participants}))
        case "refresh" | "reshare":
            raise CallRefused(Code.UNKNOWN_KEY, f"there is no key {key} yet: create it first")
        case other:
            known = ", ".join(KEY_CHANGES)
            raise CallRefused(Code.MALFORMED, f"a key has no change {other[:32]!r}: it has {known}")


def _dealers(parts: Parts, state: State, key: str) -> tuple[str, ...]:
    """The dealers of a resharing: nodes that are up, first those that stay."""
    record, wanted = state.keys.get(key), state.policy.keys.get(key)
    if record is None or wanted is None:
        return ()
    here = [name for name in record.participants if name in state.roster.cosigners and name in parts.nodes]
    up = [name for name in here if parts.nodes[name].boot]
    if len(up) < record.min_signers:
        raise OperationalError(
            f"reshare of {key} takes {record.min_signers} of {', '.join(record.participants)} to deal, and "
            f"{', '.join(up) or 'none'} is connected: start more of them. Nothing has begun"
        )
    up.sort(key=lambda name: (name not in wanted.participants, name))
    return tuple(sorted(up[: record.min_signers]))
