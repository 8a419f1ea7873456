"""Run all parties of one protocol in this process, with a hand on every message."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from policy.errors import ProtocolError
from signer_nodes.mpc.rounds import Progress, Rounds

Tamper = Callable[[int, int, bytes], bytes]  # (sender, receiver, payload) -> what arrives


@dataclass(frozen=True, slots=True)
class Outcome:
    """Results and protocol errors by party; a party that waits for ever is in neither."""

    results: Mapping[int, object]
    errors: Mapping[int, ProtocolError]
    payloads: tuple[tuple[int, int, bytes], ...]


def untouched(_sender: int, _receiver: int, payload: bytes) -> bytes:
    return payload


def run_all(parties: Mapping[int, Rounds], tamper: Tamper = untouched) -> Outcome:
    """Deliver every payload, first sent first, until none is left."""
    results: dict[int, object] = {}
    errors: dict[int, ProtocolError] = {}
    queue: list[tuple[int, int, bytes]] = []
    delivered: list[tuple[int, int, bytes]] = []

    def step(party: int, action: Callable[[], Progress]) -> None:
        try:
            progress = action()
        except ProtocolError as error:
            errors[party] = error
            return
        queue.extend((party, to, payload) for to, payload in progress.outgoing)
        if progress.result is not None:
            results[party] = progress.result

    for party, run in parties.items():
        step(party, run.start)
    while queue:
        sender, to, payload = queue.pop(0)
        arriving = tamper(sender, to, payload)
        delivered.append((sender, to, arriving))
        run = parties[to]
        step(to, lambda run=run, sender=sender, data=arriving: run.receive(sender, data))  # type: ignore[misc]
    return Outcome(results, errors, tuple(delivered))


def flip(payload: bytes, position: int, *, mask: int = 1) -> bytes:
    """The payload with one byte changed; positions may count from the end."""
    changed = bytearray(payload)
    changed[position] ^= mask
    return bytes(changed)
