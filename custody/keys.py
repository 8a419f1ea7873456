"""Having the nodes begin a key's epochs, and logging them."""

import asyncio

from custody.candidates import Candidate
from custody.parts import Parts
from custody.ports import KeyOrder
from policy.encoding import Json, parse_canonical
from policy.entries import ENTRY_BYTES_MAX, GENERATE, REFRESH, RESHARE, signature_list
from policy.errors import OperationalError, ProtocolError
from policy.keys import key_admission_gap
from policy.state import KeyRecord, State

QUORUM_TIMEOUT_S = 10.0


async def change_key(parts: Parts, key: str, *, change: str) -> Json:
    """Begin a key's next epoch by ``change``; the body of its entry. Raises ``OperationalError``.

    When it raises, the key is in the epoch it was in, whatever the nodes had done.
    """
    state = parts.sequencer.state
    dealers = _dealers(parts, state, key) if change == RESHARE else ()
    names = _parties(state, key, change, dealers)
    missing = [name for name in names if name not in parts.nodes]
    if missing:
        raise OperationalError(f"no address of {', '.join(missing)} is configured: add it under [nodes]")
    order = KeyOrder(key, change, parts.now_ms(), dealers)
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


def _parties(state: State, key: str, change: str, dealers: tuple[str, ...]) -> tuple[str, ...]:
    wanted, record = state.policy.keys.get(key), state.keys.get(key)
    if wanted is None:
        raise OperationalError(f"the policy has no key {key[:64]!r}: name it there first")
    match change:
        case "generate":
            return wanted.participants
        case "refresh" if record is not None:
            return record.participants
        case "reshare" if record is not None:
            return tuple(sorted({*dealers, *wanted.participants}))
        case "refresh" | "reshare":
            raise OperationalError(f"there is no key {key} yet: create it first")
        case other:
            raise OperationalError(f"a key has no change {other[:32]!r}: {GENERATE}, {REFRESH} or {RESHARE}")


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
