"""One party of a protocol attacks; the others must come out of it well.

A ``Protocol`` describes any machine built on ``Rounds`` to the mutator: how its parties start, the fields
of its messages, what each altered field must lead to, and what honest results are worth. The attacker
runs the honest code, and a ``Strike`` alters what it sends in one round; or, as a ``Cheat``, it runs
honest code on other inputs. ``judge`` holds every run to the same rules:

- an honest party ends with a result, with ``FaultyParticipant`` naming the attacker, with ``UnknownFault``
  that says what to compare and carries the transcript's hash, or it waits for somebody who is silent;
- a victim, who got an altered message, ends as the protocol's table says for that field;
- whatever honest parties end up with is consistent: no wrong signature, no two keys.

A new protocol takes one ``Protocol`` beside those in ``adapters_*.py``, and a
place in ``test_attacks``; nothing here knows any of them by name.
"""

import random
import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import cache

from policy.errors import FaultyParticipant, ProtocolError, UnknownFault
from signer_nodes.mpc.rounds import Progress, Rounds, RunState, StepResult
from tests.protocols.attack_model import Change, Cheat, Outcome, Protocol, Strike, Trick, Verdict
from tests.protocols.layouts import Kind, Placed, placed

Message = tuple[int, bytes]  # (receiver, payload)
DELIVERIES_MAX = 10_000
_HASH = re.compile(r"\b[0-9a-f]{64}\b")


@cache
def transcript(protocol: Protocol, session: int) -> Mapping[tuple[int, int, int], bytes]:
    """An honest run's payloads by (round, sender, receiver)."""
    sent: dict[tuple[int, int, int], bytes] = {}

    def record(sender: int, messages: list[Message]) -> list[Message]:
        sent.update({(payload[0], sender, to): payload for to, payload in messages})
        return messages

    outcome = Outcome({party: protocol.start(party, session, 0) for party in protocol.parties})
    _deliver(outcome, record, random.Random(0))
    assert not outcome.errors, outcome.errors
    return sent


def attack(protocol: Protocol, strike: Strike) -> Outcome:
    """Run session 1 of the protocol with one strike in it."""
    outcome = Outcome({party: protocol.start(party, 1, 0) for party in protocol.parties})
    hand = _Hand(protocol, strike, outcome)

    def send(sender: int, messages: list[Message]) -> list[Message]:
        return hand.alter(messages) if sender == strike.attacker else messages

    _deliver(outcome, send, random.Random(strike.seed), fifo=not strike.seed)
    return outcome


def attack_by_cheat(protocol: Protocol, attacker: int, cheat: Cheat) -> Outcome:
    """Run session 1 of the protocol with one party on inputs of its own."""
    runs = {party: protocol.start(party, 1, 0) for party in protocol.parties if party != attacker}
    outcome = Outcome({**runs, attacker: cheat.start()})
    _deliver(outcome, lambda _sender, messages: messages, random.Random(0))
    return outcome


def expected(protocol: Protocol, strike: Strike, *, malformed: bool) -> frozenset[Verdict]:
    """How a victim of the strike may end; ``malformed`` says what the field that it got is."""
    last = strike.number == protocol.last
    match strike.act:
        case Change():
            assert strike.target is not None
            verdict = protocol.table[strike.number, strike.target.use]
            return frozenset({Verdict.NAMED if malformed else verdict})
        case Trick.REPEAT | Trick.LATE:
            return frozenset({Verdict.HARMLESS})
        case Trick.DROP:
            return frozenset({Verdict.WAITS})
        case Trick.CONTRADICT:  # too late when the first of the two ended the run
            return frozenset({Verdict.NAMED, Verdict.HARMLESS} if last else {Verdict.NAMED})
        case Trick.NUMBER_NEXT | Trick.NUMBER_PAST if not protocol.layouts[strike.number]:
            return frozenset({Verdict.NAMED, Verdict.WAITS})  # two empty messages are the same
        case Trick.NUMBER_NEXT:
            return frozenset({Verdict.NAMED, Verdict.WAITS} if last else {Verdict.NAMED})
        case Trick.REPLAY:
            return frozenset({protocol.replayed[strike.number]})
        case Trick.SWAP:
            return frozenset({protocol.swapped[strike.number]})
        case _:
            return frozenset({Verdict.NAMED})


def judge(protocol: Protocol, strike: Strike, outcome: Outcome) -> None:
    """Raise ``AssertionError`` unless every party ended as the rules say."""
    ends = judge_common(protocol, strike.attacker, outcome)
    for victim in outcome.victims:
        if ends[victim] is Verdict.WAITS and outcome.held_up(victim, strike.attacker):
            continue
        allowed = expected(protocol, strike, malformed=victim in outcome.malformed)
        assert ends[victim] in allowed, f"{strike}: party {victim} {ends[victim].value}: {outcome.errors}"


def judge_cheat(protocol: Protocol, attacker: int, cheat: Cheat, outcome: Outcome) -> None:
    """The same for a cheat."""
    ends = judge_common(protocol, attacker, outcome)
    found = {end for party, end in ends.items() if party != attacker}
    others = {Verdict.WAITS, Verdict.UNNAMED, Verdict.NAMED, Verdict.HARMLESS}
    assert cheat.ends in found, f"{found}: {outcome.errors}"
    assert found <= {cheat.ends} | others, f"{found}: {outcome.errors}"


def judge_common(protocol: Protocol, attacker: int, outcome: Outcome) -> dict[int, Verdict]:
    """What holds however the attack went; how every honest party ended."""
    honest = [party for party in protocol.parties if party != attacker]
    usable = _conclude(protocol, outcome)
    ends = {}
    for party in honest:
        error = outcome.errors.get(party)
        if error is not None:
            _check_error(party, error, attacker)
        elif party not in outcome.results:
            _check_waiting(party, attacker, outcome)
        ends[party] = _end(outcome, party, usable)
    return ends


def _end(outcome: Outcome, party: int, usable: bool) -> Verdict:
    match outcome.errors.get(party):
        case FaultyParticipant(ban=ban):
            return Verdict.BANNED if ban else Verdict.NAMED
        case None if party in outcome.results:
            return Verdict.HARMLESS if usable else Verdict.UNNAMED
        case None:
            return Verdict.WAITS
        case _:
            return Verdict.UNNAMED


def _conclude(protocol: Protocol, outcome: Outcome) -> bool:
    try:
        protocol.conclude(outcome.results)
    except UnknownFault:
        return False
    return True


def _check_error(party: int, error: ProtocolError, attacker: int) -> None:
    assert isinstance(error, FaultyParticipant | UnknownFault), f"party {party}: {error!r}"
    if isinstance(error, FaultyParticipant):
        assert error.participant == attacker, f"party {party} blames {error}, the attacker is {attacker}"
    else:
        assert _HASH.search(error.investigation), f"no transcript hash in: {error}"
        assert "compare" in error.investigation, f"nothing to compare in: {error}"


def _check_waiting(party: int, attacker: int, outcome: Outcome) -> None:
    run = outcome.runs[party]
    assert run.state is RunState.RUNNING, f"party {party} is {run.state} without result or error"
    silent = [peer for peer in run.missing if peer == attacker or peer not in outcome.results]
    assert silent, f"party {party} hangs: it waits for {run.missing}, who have finished"


def _deliver(
    outcome: Outcome,
    send: Callable[[int, list[Message]], list[Message]],
    source: random.Random,
    *,
    fifo: bool = True,
) -> None:
    """Bring messages about until none is left; a link keeps its order."""
    queue: list[tuple[int, int, bytes]] = []

    def step(party: int, action: Callable[[], Progress]) -> None:
        try:
            progress = action()
        except ProtocolError as error:
            outcome.errors[party] = error
            return
        queue.extend((party, to, payload) for to, payload in send(party, list(progress.outgoing)))
        if progress.result is not None:
            outcome.results[party] = progress.result

    for party, run in outcome.runs.items():
        step(party, run.start)
    for _ in range(DELIVERIES_MAX):
        if not queue:
            return
        links = list(dict.fromkeys((sender, to) for sender, to, _ in queue))
        sender, to = links[0] if fifo else source.choice(links)
        at = next(place for place, item in enumerate(queue) if item[:2] == (sender, to))
        payload = queue.pop(at)[2]
        run = outcome.runs[to]
        step(to, lambda run=run, sender=sender, payload=payload: run.receive(sender, payload))  # type: ignore[misc]
    raise AssertionError(f"{DELIVERIES_MAX} deliveries and no end")


class TwoFaces(Rounds):
    """An attacker that shows its last peer another face than all others: two runs of honest code."""

    def __init__(self, protocol: Protocol, attacker: int) -> None:
        peers = tuple(party for party in protocol.parties if party != attacker)
        super().__init__(attacker, peers, first=_never, body_bytes_max=0)
        self._faces = [protocol.start(attacker, 1, face) for face in (0, 1)]

    def start(self) -> Progress:
        """Start both."""
        return self._merged([face.start() for face in self._faces])

    def receive(self, sender: int, payload: bytes) -> Progress:
        """Hand it to both; each goes on as far as it can."""
        progress = []
        for face in self._faces:
            with suppress(ProtocolError):
                progress.append((face, face.receive(sender, payload)))
        by_face = dict(progress)
        return self._merged([by_face.get(face, Progress()) for face in self._faces])

    def _merged(self, both: list[Progress]) -> Progress:
        last = self.peers[-1]
        first = [message for message in both[0].outgoing if message[0] != last]
        second = [message for message in both[1].outgoing if message[0] == last]
        return Progress((*first, *second), both[0].result)


def _never(_bodies: Mapping[int, bytes]) -> StepResult:
    raise AssertionError("its faces run instead")


class _Hand:
    """The attacker's hand on what its honest code sends."""

    def __init__(self, protocol: Protocol, strike: Strike, outcome: Outcome) -> None:
        self._protocol, self._strike, self._outcome = protocol, strike, outcome
        self._source = random.Random(f"{strike}/{strike.seed}")
        self._held: list[Message] = []

    def alter(self, messages: list[Message]) -> list[Message]:
        """What goes out instead of ``messages``, which are of one round or of several."""
        strike, sent = self._strike, []
        for to, payload in messages:
            if payload[0] == strike.number and to in strike.receivers:
                before = payload
                arriving = self._instead(to, payload)
                sent += [(to, data) for data in arriving]
                if arriving != [before]:
                    self._outcome.victims.add(to)
            else:
                sent.append((to, payload))
        if any(payload[0] == strike.number + 1 for _, payload in messages):
            sent += self._held
            self._held = []
        return sent

    def _instead(self, to: int, payload: bytes) -> list[bytes]:
        strike = self._strike
        if self._protocol.broadcast:
            self._source = random.Random(f"{strike}/{strike.seed}")
        match strike.act:
            case Change() as change:
                return [self._changed(to, payload, change)]
            case Trick.LATE:
                self._held.append((to, payload))
                return []
            case trick:
                return self._tricked(to, payload, trick)

    def _tricked(self, to: int, payload: bytes, trick: Trick) -> list[bytes]:
        number, body = payload[0], payload[1:]
        simple = {
            Trick.DROP: [],
            Trick.REPEAT: [payload, payload],
            Trick.CONTRADICT: [payload, payload[:-1] + bytes([payload[-1] ^ 1]) if body else payload + b"\0"],
            Trick.NUMBER_NEXT: [bytes([number + 1]) + body],
            Trick.NUMBER_FAR: [bytes([number + 2]) + body],
            Trick.NUMBER_PAST: [bytes([number - 1]) + body],
            Trick.TRUNCATE: [payload[:-1]],
            Trick.EXTEND: [payload + b"\0"],
            Trick.BARE: [payload[:1]],
            Trick.EMPTY: [b""],
            Trick.OVERSIZE: [payload + bytes(1 << 20)],
        }
        if trick in simple:
            return simple[trick]
        if trick is Trick.REPLAY:
            return [transcript(self._protocol, 2)[number, self._strike.attacker, to]]
        return [transcript(self._protocol, 1)[number, self._strike.attacker, self._another(to)]]

    def _place(self, to: int) -> Placed | None:
        """Where the field stands in this round's body to one receiver, if there is one."""
        target, strike = self._strike.target, self._strike
        found = placed(self._protocol.layout(strike.number, strike.attacker, to))
        return next((item for item in found if item.field == target), None)

    def _changed(self, to: int, payload: bytes, change: Change) -> bytes:
        item = self._place(to)
        if item is None:
            return payload
        length = item.field.length
        start = 1 + item.offset + self._strike.element * length
        new = self._value(to, payload[start : start + length], change)
        if not item.field.well_formed(new):
            self._outcome.malformed.add(to)
        return payload[:start] + new + payload[start + length :]

    def _value(self, to: int, old: bytes, change: Change) -> bytes:
        match change:
            case Change.OTHER:
                return self._other(old)
            case Change.FLIP:
                bit = self._source.randrange(8 * len(old))
                return bytes(x ^ (1 << bit % 8) * (at == bit // 8) for at, x in enumerate(old))
            case Change.ZEROS:
                return bytes(len(old))
            case Change.ONES:
                return b"\xff" * len(old)
            case Change.NOISE:
                return self._source.randbytes(len(old))
            case Change.FOREIGN:
                return self._cut(transcript(self._protocol, 2), to, shift=0)
            case Change.CROSSED:
                return self._cut(transcript(self._protocol, 1), self._another(to), shift=0) or old
            case Change.SHIFTED:
                return self._cut(transcript(self._protocol, 1), to, shift=1)

    def _other(self, old: bytes) -> bytes:
        target = self._strike.target
        assert target is not None
        group = target.group
        match target.kind:
            case Kind.POINT:
                if target.well_formed(old) and self._source.randrange(2):
                    return group.mul_public(old, group.order - 1)
                return group.base_mul(self._source.randrange(1, group.order))
            case Kind.SCALAR:
                shift = self._source.choice((1, group.order - 1, self._source.randrange(1, group.order)))
                return group.scalar_bytes((group.scalar_of(old) + shift) % group.order)
            case Kind.BYTES:
                return bytes([old[0] ^ 0x80]) + old[1:]

    def _cut(self, sent: Mapping[tuple[int, int, int], bytes], to: int, *, shift: int) -> bytes:
        item = self._place(to)
        if item is None:  # that receiver has no such field: there is nothing to take from its message
            return b""
        field, strike = item.field, self._strike
        start = 1 + item.offset + (strike.element + shift) % field.count * field.length
        return sent[strike.number, strike.attacker, to][start : start + field.length]

    def _another(self, to: int) -> int:
        others = [party for party in self._protocol.parties if party not in (to, self._strike.attacker)]
        return others[0] if others else to
