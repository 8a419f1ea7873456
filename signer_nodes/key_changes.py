"""Which nodes take part in a change of a key, decided on this node's own fold. Pure.

The policy in force says where a key is to be: its suite, its participants, its ``min_signers``. A key is
generated or imported there, and reshared there; a refresh stays where the key is. A node takes part in
nothing else, whoever asks.
"""

from dataclasses import dataclass, field

from policy.ids import GENERATE, IMPORT, REFRESH, RESHARE
from policy.model import Key
from policy.state import KeyRecord, State
from signer_nodes.api.errors import Refused


@dataclass(frozen=True, slots=True)
class Order:
    """What the coordinator asks for. ``attempt`` tells runs apart; ``dealers`` are named for a resharing,
    ``envelope`` is what an import's dealer sent this node.
    """

    key_id: str
    change: str
    attempt: int
    dealers: tuple[str, ...] = ()
    envelope: bytes = field(default=b"", repr=False)


@dataclass(frozen=True, slots=True)
class Plan:
    """Who takes part: ``parties`` in order of their numbers from 1; ``before`` is the epoch that ends."""

    change: str
    key_id: str
    suite: str
    epoch: int
    min_signers: int
    participants: tuple[str, ...]
    dealers: tuple[str, ...]
    parties: tuple[str, ...]
    before: KeyRecord | None


def plan(state: State, order: Order, *, name: str) -> Plan:
    """What node ``name`` does for this order. Raises ``Refused`` with the reason why it does nothing."""
    if state.policy_or_none is None:
        raise Refused("empty-log", "the log has no genesis entry yet: start the coordinator first")
    wanted, before = state.policy.keys.get(order.key_id), state.keys.get(order.key_id)
    if wanted is None:
        raise Refused("key", f"the policy in force names no key {order.key_id}")
    match order.change:
        case "generate" | "import":
            found = _first(order, wanted, before)
        case "refresh":
            found = _refreshed(order, _existing(order, before))
        case "reshare":
            found = _reshared(order, wanted, _existing(order, before))
        case other:
            raise Refused(
                "change", f"a key is generated, imported, refreshed or reshared, not {other[:32]!r}"
            )
    if name not in found.parties:
        raise Refused("key", f"this node has no part in that change of key {order.key_id}")
    return found


def _existing(order: Order, before: KeyRecord | None) -> KeyRecord:
    if before is None:
        raise Refused("key-unknown", f"the log has no key {order.key_id}: create it first")
    return before


def _first(order: Order, wanted: Key, before: KeyRecord | None) -> Plan:
    if before is not None:
        raise Refused("key-exists", f"key {order.key_id} exists: a node holds one share of a key, not two")
    if wanted.imported != (order.change == IMPORT):
        how = "imported" if wanted.imported else "generated"
        raise Refused("change", f"the policy says that key {order.key_id} is {how}")
    return Plan(
        change=order.change,
        key_id=order.key_id,
        suite=wanted.suite,
        epoch=0,
        min_signers=wanted.min_signers,
        participants=wanted.participants,
        dealers=wanted.participants if order.change == GENERATE else (),
        parties=wanted.participants,
        before=None,
    )


def _refreshed(order: Order, before: KeyRecord) -> Plan:
    return Plan(
        change=REFRESH,
        key_id=order.key_id,
        suite=before.suite,
        epoch=before.epoch + 1,
        min_signers=before.min_signers,
        participants=before.participants,
        dealers=before.participants,
        parties=before.participants,
        before=before,
    )


def _reshared(order: Order, wanted: Key, before: KeyRecord) -> Plan:
    dealers = tuple(sorted(set(order.dealers)))
    if dealers != order.dealers or len(dealers) != before.min_signers:
        raise Refused("dealers", f"{before.min_signers} dealers in order of name, got {len(order.dealers)}")
    if not set(dealers) <= set(before.participants):
        raise Refused("dealers", f"dealers are participants of epoch {before.epoch}")
    return Plan(
        change=RESHARE,
        key_id=order.key_id,
        suite=before.suite,
        epoch=before.epoch + 1,
        min_signers=wanted.min_signers,
        participants=wanted.participants,
        dealers=dealers,
        parties=tuple(sorted({*dealers, *wanted.participants})),
        before=before,
    )
