"""Having the nodes begin a key's epochs, and logging them."""

import asyncio
from dataclasses import dataclass

from custody.candidates import Candidate
from custody.parts import Parts
from custody.ports import KeyOrder
from policy.encoding import Json, parse_canonical
from policy.entries import ENTRY_BYTES_MAX, IMPORT, KEY_CHANGES, RESHARE, signature_list
from policy.errors import OperationalError, ProtocolError
from policy.keys import key_admission_gap
from policy.state import KeyRecord, State

QUORUM_TIMEOUT_S = 10.0
CONNECT_TIMEOUT_MS = 10_000
CONNECT_PAUSE_S = 0.1


@dataclass(frozen=True, slots=True)
class Import:
    """What a dealer sealed to the nodes, by node name, for the run that the offers were made for."""

    attempt: int
    envelopes: tuple[tuple[str, bytes], ...]


async def import_offers(parts: Parts, key: str) -> tuple[int, list[bytes]]:
    """The nodes' offers to take in an existing key: the attempt they are for, and one offer a node."""
    names = await _reachable(parts, _parties(parts.sequencer.state, key, IMPORT, ()))
    attempt = parts.now_ms()
    try:
        offers = await asyncio.gather(*(parts.nodes[name].import_offer(key, attempt) for name in names))
    except ProtocolError as error:
        raise OperationalError(f"key {key} cannot be imported: {error}") from error
    return attempt, list(offers)


async def change_key(parts: Parts, key: str, *, change: str, dealt: Import | None = None) -> Json:
    """Begin a key's next epoch by ``change``; the body of its entry. Raises ``OperationalError``.

    When it raises, the key is in the epoch it was in, whatever the nodes had done.
    """
    if (change == IMPORT) != (dealt is not None):
        raise OperationalError("an import, and nothing else, brings envelopes: ask for offers first")
    state = parts.sequencer.state
    dealers = _dealers(parts, state, key) if change == RESHARE else ()
    names = await _reachable(parts, _parties(state, key, change, dealers))
    if dealt is None:
        order = KeyOrder(key, change, parts.now_ms(), dealers)
    else:
        order = KeyOrder(key, change, dealt.attempt, dealers, dealt.envelopes)
    try:
        answers = await asyncio.gather(*(parts.nodes[name].change_key(order) for name in names))
    except ProtocolError as error:
        raise OperationalError(f"key {key}: no {change}: {error}; try again once that is clear") from error
    bodies = {body for body, _ in answers}
    if len(bodies) != 1:
        raise OperationalError(f"the nodes made {len(bodies)} different keys {key}: look at their logs")
    signatures = {name: answer[1] for name, answer in zip(names, answers, strict=True)}
    body = parse_canonical(bodies.pop(), bytes_max=ENTRY_BYTES_MAX)
    proof: dict[str, Json] = {"signatures": signature_list(signatures)}
    outcome = await parts.sequencer.log(Candidate("key", body, proof))
    if not outcome.accepted:
        raise OperationalError(f"the log refuses key {key}: {outcome.reason}")
    await parts.replication.wait_quorum(parts.sequencer.state.keys[key].index + 1, QUORUM_TIMEOUT_S)
    return body


def key_report(state: State, key: KeyRecord) -> Json:
    """A key as the status shows it; ``gap`` is empty unless the policy wants another committee."""
    return {
        "key": key.key,
        "epoch": key.epoch,
        "suite": key.suite,
        "imported": key.imported,
        "min_signers": key.min_signers,
        "participants": list(key.participants),
        "gap": key_admission_gap(state, key),
    }


async def _reachable(parts: Parts, names: tuple[str, ...]) -> tuple[str, ...]:
    """Wait a moment for every party to be connected: a run with one away costs everybody its time limit."""
    missing = [name for name in names if name not in parts.nodes]
    if missing:
        raise OperationalError(f"no address of {', '.join(missing)} is configured: add it under [nodes]")
    deadline_ms = parts.now_ms() + CONNECT_TIMEOUT_MS
    while down := [name for name in names if not parts.nodes[name].boot]:
        if parts.now_ms() >= deadline_ms:
            raise OperationalError(f"{', '.join(down)} cannot be reached: start it, and nothing has changed")
        await asyncio.sleep(CONNECT_PAUSE_S)
    return names


def _parties(state: State, key: str, change: str, dealers: tuple[str, ...]) -> tuple[str, ...]:
    wanted, record = state.policy.keys.get(key), state.keys.get(key)
    if wanted is None:
        raise OperationalError(f"the policy has no key {key[:64]!r}: name it there first")
    match change:
        case "generate" | "import":
            return wanted.participants
        case "refresh" if record is not None:
            return record.participants
        case "reshare" if record is not None:
            return tuple(sorted({*dealers, *wanted.participants}))
        case "refresh" | "reshare":
            raise OperationalError(f"there is no key {key} yet: create it first")
        case other:
            raise OperationalError(f"a key has no change {other[:32]!r}: it has {', '.join(KEY_CHANGES)}")


def _dealers(parts: Parts, state: State, key: str) -> tuple[str, ...]:
    """The dealers of a resharing: nodes that are up, first those that stay."""
    record, wanted = state.keys.get(key), state.policy.keys.get(key)
    if record is None or wanted is None:
        return ()
    up = [name for name in record.participants if name in parts.nodes and parts.nodes[name].boot]
    if len(up) < record.min_signers:
        raise OperationalError(
            f"a resharing of {key} takes {record.min_signers} of its participants, {len(up)} are up"
        )
    up.sort(key=lambda name: (name not in wanted.participants, name))
    return tuple(sorted(up[: record.min_signers]))
