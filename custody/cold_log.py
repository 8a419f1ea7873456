"""What a ceremony brings the machines of the log."""

from custody.enacting import moment
from custody.parts import Parts
from custody.planning import is_cold
from custody.replication import Published
from policy.entries import ApprovalEntry, RequestEntry, parse_entry
from policy.state import State
from signer_nodes.api import node_pb2 as pb
from signer_nodes.api.desk import Desk, Seat

QUORUM_S = 10.0
ENTRIES_EACH_MAX = 512
MACHINE_BYTES_MAX = 8 * 1024 * 1024
HEAD_AGE_MS = 10 * 60 * 1000


async def freshen(parts: Parts) -> None:
    """Have a new head where nothing was logged for long: a cold node signs on no old one."""
    state = parts.sequencer.state
    if parts.now_ms() - state.time_ms > HEAD_AGE_MS:
        await parts.sequencer.log(moment(state.origin, "a cold ceremony needs a recent head"))


async def ship(parts: Parts, desk: Desk) -> bool:
    """Have each machine brought what it lacks of the log; False when that does not fit into one pass."""
    quorum = await parts.replication.wait_quorum(parts.sequencer.state.size, QUORUM_S)
    bytes_max = min(MACHINE_BYTES_MAX, parts.ceremonies.pass_bytes_max // len(desk.names))
    for name in desk.names:
        await _ship_to(parts, desk, name, quorum=quorum, bytes_max=bytes_max)
    return all(seat.size >= quorum.size for seat in desk.seats.values())


async def _ship_to(parts: Parts, desk: Desk, name: str, *, quorum: Published, bytes_max: int) -> None:
    seat, shipped = desk.seats[name], 0
    while seat.size < quorum.size and shipped < bytes_max:
        head, entries = await _increment(parts, seat, quorum)
        desk.ask(pb.Append(start=seat.size, entries=entries, checkpoint=head.note), name)
        seat.size = head.size
        shipped += sum(map(len, entries))


async def _increment(parts: Parts, seat: Seat, quorum: Published) -> tuple[Published, list[bytes]]:
    """The next entries under a quorum's head, at most up to the first one over what has a date to prove.

    They are what one read of the database brings, and what is missing of it up to the next such head.
    """
    start = seat.size
    entries = [*await parts.database.entries(start, min(start + ENTRIES_EACH_MAX, quorum.size))]
    state = parts.sequencer.state
    dated = next((start + at for at, entry in enumerate(entries) if _is_dated(state, entry)), None)
    if dated is None:
        found = await parts.database.quorum_between(start, start + len(entries))
        found = found or await parts.database.first_quorum(start)
    else:
        found = await parts.database.first_quorum(dated)
    head = quorum if found is None or found[0] > quorum.size else Published(*found)
    while start + len(entries) < head.size:
        entries += await parts.database.entries(start + len(entries), head.size)
    return head, entries[: head.size - start]


def _is_dated(state: State, data: bytes) -> bool:
    """Whether an entry is a request or approval of a cold wallet, whose delay counts from its proof."""
    entry = parse_entry(data).entry
    match entry:
        case RequestEntry():
            wallet = entry.request.intent.wallet
        case ApprovalEntry():
            wallet = entry.approval.intent.wallet
        case _:
            return False
    known = state.policy.wallets.get(wallet)
    key = state.keys.get(known.key) if known else None
    return key is not None and is_cold(state, key)
