"""New polynomials over an old key: the run that refresh and reshare have in common.

Every dealer draws a polynomial ``f(x) = c + x·g(x)`` whose constant term ``c`` all parties know in the
exponent before the run: zero in a refresh, λ_i times the dealer's public share in a reshare. So ``c`` is
never sent. What is sent are the commitments of ``g``, exactly ``min_signers - 1`` points, so that no dealer
can move the key or change how many shares it takes. Three rounds:

1. from each dealer to all, a hash commitment to its opening;
2. from each dealer to all, the opening: the points of ``g``;
3. from each dealer to each receiver, the value f(index), privately; from everyone to everyone, the hash of
   all public messages and of the old key's public record.

Beside it the receivers set their pairs up anew where the suite has pairwise state (``setup`` says how). What
is refused names its sender; only unequal hashes of the public messages name nobody: a dealer told two
parties two things, two parties know different old records, or a reporter lies.

Parties are numbered for the run; a receiver's share has an index of its own. The channel is authenticated,
and confidential for round 3 and for the pairs. New shares count only when every party of the run has signed
``transcript`` and the runtime holds all signatures; until then the old shares stay, and are all that counts.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Final, TypeVar

from policy.encoding import tagged_hash
from policy.errors import CallerError, FaultyParticipant, UnknownFault
from signer_nodes.mpc import setup
from signer_nodes.mpc.curve import PointAtInfinity
from signer_nodes.mpc.groups import SCALAR_BYTES, Group
from signer_nodes.mpc.keyshare import KeyShare, PairState
from signer_nodes.mpc.rounds import Done, Rounds, Send, blaming, parts
from signer_nodes.mpc.sharing import Polynomial, add_commitments, evaluate_commitments, random_polynomial
from signer_nodes.mpc.stream import RandomStream

COMMITMENT_BYTES: Final = 32
TRANSCRIPT_BYTES: Final = 32
StateT = TypeVar("StateT")
NextT = TypeVar("NextT")


@dataclass(frozen=True, slots=True)
class OldCommittee:
    """The public record of a key before the run: everyone takes part in it from the same."""

    min_signers: int
    participants: tuple[str, ...]
    public_shares: tuple[bytes, ...] = field(repr=False)
    group_key: bytes
    chain_code: bytes = field(repr=False)
    epoch: int

    @classmethod
    def of(cls, share: KeyShare) -> "OldCommittee":
        """The record that a share carries along."""
        return cls(
            share.min_signers,
            share.participants,
            share.public_shares,
            share.group_key,
            share.chain_code,
            share.epoch,
        )

    def digest(self) -> bytes:
        """The hash of all of it."""
        names = tuple(name.encode() for name in self.participants)
        numbers = self.epoch.to_bytes(4, "big") + bytes([self.min_signers, len(names)])
        points = (self.group_key, self.chain_code, *self.public_shares)
        return tagged_hash("mpc/redeal/old-record", numbers, *names, *points)


@dataclass(frozen=True, slots=True)
class Plan:
    """What all parties agreed on before, and who this one is.

    ``context`` hashes the session and everything but the key's old record, whose digest is ``old_record``.
    ``dealers`` gives every dealer's constant term in the exponent, None for zero; ``receivers`` the index of
    every receiver's new share. Both are by party number. ``pairwise`` names key and epoch if pair states are
    made.
    """

    group: Group
    context: bytes
    old_record: bytes
    min_signers: int
    dealers: Mapping[int, bytes | None]
    receivers: Mapping[int, int]
    me: int
    pairwise: tuple[str, int] | None

    @property
    def peers(self) -> tuple[int, ...]:
        """All parties' numbers but this one's."""
        return tuple(sorted((self.dealers.keys() | self.receivers.keys()) - {self.me}))

    @property
    def paired(self) -> tuple[int, ...]:
        """The peers that this party sets a pair up with."""
        if self.pairwise is None or self.me not in self.receivers:
            return ()
        return tuple(peer for peer in self.peers if peer in self.receivers)

    @property
    def opening_bytes(self) -> int:
        """The length of an opening."""
        return (self.min_signers - 1) * self.group.point_bytes


@dataclass(frozen=True, slots=True)
class Redealt:
    """What the run gives to one party.

    ``share`` is the sum of the values dealt to it, zero if it receives none. ``moved`` gives for every share
    index the sum of all ``x·g(x)`` in the exponent: what the new public shares have over the sum of the
    constant terms.
    """

    share: int = field(repr=False)
    moved: Mapping[int, bytes]
    transcript: bytes
    pairs: tuple[PairState, ...] = field(repr=False)


@dataclass(frozen=True, slots=True)
class _Dealing:
    constant: int = field(repr=False)
    slope: Polynomial = field(repr=False)
    opening: bytes = field(repr=False)
    commitment: bytes

    def at(self, index: int) -> int:
        return (self.constant + index * self.slope.at(index)) % self.slope.group.order


@dataclass(frozen=True, slots=True)
class _Run:
    plan: Plan
    finish: Callable[[Redealt], object] = field(repr=False)
    dealing: _Dealing | None = field(repr=False)


@dataclass(frozen=True, slots=True)
class _Opened:
    """The checked points of every dealer's ``g``, by party number, and the hash of all public messages."""

    points: Mapping[int, tuple[bytes, ...]]
    transcript: bytes


@dataclass(frozen=True, slots=True)
class _Bodies:
    """One round's bodies, cut: what dealers sent, what everyone sent, what peers of a pair sent."""

    dealt: dict[int, bytes] = field(repr=False)
    from_all: dict[int, bytes] = field(repr=False)
    paired: dict[int, bytes] = field(repr=False)


def start_redeal(
    plan: Plan, constant: int | None, *, finish: Callable[[Redealt], object], randomness: bytes
) -> Rounds:
    """A run that ends in what ``finish`` makes of its ``Redealt``.

    ``constant`` is this dealer's constant term, None if this party deals nothing. ``randomness``: 32 fresh
    bytes, never used again.
    """
    if (constant is not None) != (plan.me in plan.dealers):
        raise CallerError("a dealer deals from its constant term, and nobody else has one")
    streams = RandomStream(randomness)
    dealing = None if constant is None else _deal(plan, constant, stream=streams.fork("deal"))
    body_bytes_max = max(
        COMMITMENT_BYTES + setup.OFFER_BYTES,
        plan.opening_bytes + setup.REPLY_BYTES,
        SCALAR_BYTES + TRANSCRIPT_BYTES + setup.CONFIRMATION_BYTES,
    )
    first = partial(_commit_step, _Run(plan, finish, dealing), streams)
    return Rounds(plan.me, plan.peers, first=first, body_bytes_max=body_bytes_max)


def _commit_step(run: _Run, streams: RandomStream, _bodies: Mapping[int, bytes]) -> Send:
    plan = run.plan
    offers = {peer: setup.offer(_pair_name(plan, peer), streams.fork(f"pair/{peer}")) for peer in plan.paired}
    commitment = b"" if run.dealing is None else run.dealing.commitment
    outbox = {peer: commitment + (offers[peer].body if peer in offers else b"") for peer in plan.peers}
    return Send(outbox, partial(_open_step, run, offers))


def _open_step(run: _Run, offers: Mapping[int, setup.Offered], bodies: Mapping[int, bytes]) -> Send:
    plan = run.plan
    read = _read(plan, bodies, dealt=COMMITMENT_BYTES, paired=setup.OFFER_BYTES)
    commitments = dict(read.dealt)
    opening = b""
    if run.dealing is not None:
        commitments[plan.me] = run.dealing.commitment
        opening = run.dealing.opening
    replies = _each(setup.reply, offers, bodies=read.paired)
    outbox = {peer: opening + (replies[peer].body if peer in replies else b"") for peer in plan.peers}
    return Send(outbox, partial(_deal_step, run, commitments, replies))


def _deal_step(
    run: _Run,
    commitments: Mapping[int, bytes],
    replies: Mapping[int, setup.Replied],
    bodies: Mapping[int, bytes],
) -> Send:
    plan = run.plan
    read = _read(plan, bodies, dealt=plan.opening_bytes, paired=setup.REPLY_BYTES)
    openings = dict(read.dealt)
    if run.dealing is not None:
        openings[plan.me] = run.dealing.opening
    opened = _open_all(plan, commitments, openings=openings)
    pairs = _each(setup.confirm, replies, bodies=read.paired)
    outbox = {
        peer: _value_for(run, peer) + opened.transcript + (pairs[peer].confirmation if peer in pairs else b"")
        for peer in plan.peers
    }
    return Send(outbox, partial(_last_step, run, opened, pairs))


def _last_step(
    run: _Run, opened: _Opened, pairs: Mapping[int, setup.Confirming], bodies: Mapping[int, bytes]
) -> Done:
    plan = run.plan
    value_bytes = SCALAR_BYTES if plan.me in plan.receivers else 0
    read = _read(plan, bodies, dealt=value_bytes, paired=setup.CONFIRMATION_BYTES, from_all=TRANSCRIPT_BYTES)
    agreeing = {peer for peer, view in read.from_all.items() if view == opened.transcript}
    share = _collect(run, opened, values=read.dealt, agreeing=agreeing)
    if len(agreeing) < len(plan.peers):
        others = sorted(read.from_all.keys() - agreeing)
        raise UnknownFault(
            f"party {plan.me} and parties {others} saw different public messages, here transcript "
            f"{opened.transcript.hex()}, or know different records of the key: compare what each received, "
            "by its channel signatures, and the key in the log"
        )
    states = tuple(_each(setup.finish, pairs, bodies=read.paired).values())
    return Done(run.finish(Redealt(share, _moved(plan, opened), opened.transcript, states)))


def _deal(plan: Plan, constant: int, *, stream: RandomStream) -> _Dealing:
    """The commitment needs no salt: at least one coefficient of ``slope`` is uniform."""
    slope = random_polynomial(plan.group, stream, terms=plan.min_signers - 1)
    opening = b"".join(slope.commit())
    return _Dealing(constant, slope, opening, _commitment(plan, plan.me, opening))


def _open_all(plan: Plan, commitments: Mapping[int, bytes], *, openings: Mapping[int, bytes]) -> _Opened:
    dealers = sorted(plan.dealers)
    points = {}
    for dealer in dealers:
        with blaming(dealer):
            if _commitment(plan, dealer, openings[dealer]) != commitments[dealer]:
                raise FaultyParticipant(dealer, "opened something else than it had committed to")
            encoded = parts(openings[dealer], *[plan.group.point_bytes] * (plan.min_signers - 1))
            points[dealer] = tuple(map(plan.group.point_of, encoded))
    public = [messages[dealer] for messages in (commitments, openings) for dealer in dealers]
    return _Opened(points, tagged_hash("mpc/redeal/transcript", plan.context, plan.old_record, *public))


def _value_for(run: _Run, peer: int) -> bytes:
    if run.dealing is None or peer not in run.plan.receivers:
        return b""
    return run.plan.group.scalar_bytes(run.dealing.at(run.plan.receivers[peer]))


def _collect(run: _Run, opened: _Opened, *, values: Mapping[int, bytes], agreeing: Collection[int]) -> int:
    """Check what each dealer dealt, and add it up.

    A dealer with another view of the public messages is not blamed for its value: with another record of
    the old key it deals from another constant term than this party expects.
    """
    plan = run.plan
    index = plan.receivers.get(plan.me)
    if index is None:
        return 0
    total = 0 if run.dealing is None else run.dealing.at(index)
    for dealer, encoded in values.items():
        with blaming(dealer):
            value = plan.group.scalar_of(encoded, nonzero=True)
            expected = _in_exponent(plan, opened.points[dealer], constant=plan.dealers[dealer], index=index)
            if dealer in agreeing and plan.group.base_mul(value) != expected:
                raise FaultyParticipant(dealer, f"dealt party {plan.me} a share off its polynomial")
            total += value
    return total % plan.group.order


def _moved(plan: Plan, opened: _Opened) -> dict[int, bytes]:
    try:
        summed = add_commitments(plan.group, [opened.points[dealer] for dealer in sorted(plan.dealers)])
        indices = sorted(plan.receivers.values())
        return {index: _in_exponent(plan, summed, constant=None, index=index) for index in indices}
    except PointAtInfinity as error:
        raise UnknownFault(
            f"the dealt polynomials of transcript {opened.transcript.hex()} cancel out: compare it at every "
            "party, and start again with a new session id"
        ) from error


def _in_exponent(plan: Plan, slope: Sequence[bytes], *, constant: bytes | None, index: int) -> bytes:
    """``constant + index·g(index)`` in the exponent, from the commitments of ``g``."""
    term = plan.group.mul_public(evaluate_commitments(plan.group, slope, index=index), index)
    return term if constant is None else plan.group.add([constant, term])


def _read(plan: Plan, bodies: Mapping[int, bytes], *, dealt: int, paired: int, from_all: int = 0) -> _Bodies:
    """Cut each body into the parts that its sender has to send: these lengths, zero where it has none."""
    read = _Bodies({}, {}, {})
    for sender, body in bodies.items():
        lengths = (dealt if sender in plan.dealers else 0, from_all, paired if sender in plan.paired else 0)
        with blaming(sender):
            first, second, third = parts(body, *lengths)
        if sender in plan.dealers and dealt:
            read.dealt[sender] = first
        read.from_all[sender] = second
        if sender in plan.paired:
            read.paired[sender] = third
    return read


def _each(
    step: Callable[[StateT, bytes], NextT], states: Mapping[int, StateT], *, bodies: Mapping[int, bytes]
) -> dict[int, NextT]:
    """One step of the set-up with every peer. It knows the peer by its share's index: name the party."""
    results = {}
    for peer, body in bodies.items():
        try:
            results[peer] = step(states[peer], body)
        except FaultyParticipant as error:
            raise FaultyParticipant(peer, error.reason, ban=error.ban) from error
    return results


def _pair_name(plan: Plan, peer: int) -> setup.PairName:
    key_id, epoch = plan.pairwise or ("", 0)
    return setup.PairName(plan.context, key_id, epoch, plan.receivers[plan.me], plan.receivers[peer])


def _commitment(plan: Plan, dealer: int, opening: bytes) -> bytes:
    return tagged_hash("mpc/redeal/commitment", plan.context, bytes([dealer]), opening)
