"""Pairwise set-up for threshold ECDSA: oblivious-transfer seeds both ways and a seed for zero shares.

Section 2 of the protocol specification. Toward each peer a party is base-OT *receiver* with choices Δ
(it becomes the OT-extension sender) and base-OT *sender* (it becomes the receiver). The pair's zero
seed is a hash of one contribution of each, committed to in round 1 and opened in round 2. Round 3
compares a hash of all four bodies, so that a pair whose seeds do not fit never counts as set up:
bodies altered on the way would otherwise show only as a failed check, and a ban, at the first
signature. Everything is private to the pair; the channel is authenticated and confidential.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Final

from policy.encoding import tagged_hash
from policy.errors import CallerError, FaultyParticipant
from signer_nodes.mpc.keyshare import DELTA_BYTES, ZERO_SEED_BYTES, PairState, check_key_id
from signer_nodes.mpc.ot.base import MESSAGE_BYTES, OtDirection, OtReceiver, answer, receive, request
from signer_nodes.mpc.rounds import Done, Rounds, Send, StepResult, blaming, parts
from signer_nodes.mpc.stream import RandomStream

OFFER_BYTES: Final = 32 + MESSAGE_BYTES
REPLY_BYTES: Final = ZERO_SEED_BYTES + MESSAGE_BYTES
CONFIRMATION_BYTES: Final = 32
_CONTEXT_BYTES: Final = 32


@dataclass(frozen=True, slots=True)
class PairName:
    """Which pair is set up: ``context`` is a 32-byte hash of the session, the key and all parties."""

    context: bytes
    key_id: str
    epoch: int
    me: int
    peer: int

    def __post_init__(self) -> None:
        check_key_id(self.key_id, self.epoch)
        if len(self.context) != _CONTEXT_BYTES or self.me == self.peer:
            raise CallerError(f"a pair needs a context of {_CONTEXT_BYTES} bytes and two distinct parties")

    def mine_first(self, mine: bytes, theirs: bytes) -> tuple[bytes, bytes]:
        """The two values in the order both parties agree on: the lower index first."""
        return (mine, theirs) if self.me < self.peer else (theirs, mine)


@dataclass(frozen=True, slots=True)
class Offered:
    """After round 1 went out. ``body`` is what was sent, ``stream`` feeds this party's answer."""

    name: PairName
    ot: OtReceiver = field(repr=False)
    zero_part: bytes = field(repr=False)
    body: bytes = field(repr=False)
    stream: RandomStream = field(repr=False)


@dataclass(frozen=True, slots=True)
class Replied:
    """After round 2 went out."""

    offered: Offered = field(repr=False)
    their_offer: bytes = field(repr=False)
    receiver_seeds: tuple[tuple[bytes, bytes], ...] = field(repr=False)
    body: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Confirming:
    """After round 3 went out: complete, if the peer confirms the same four bodies."""

    state: PairState = field(repr=False)
    confirmation: bytes


def offer(name: PairName, stream: RandomStream) -> Offered:
    """Round 1: a commitment to a zero-seed part, and the base-OT receiver's message for a fresh Δ."""
    delta, zero_part = stream.bytes(DELTA_BYTES), stream.bytes(ZERO_SEED_BYTES)
    direction = OtDirection(name.context, receiver=name.me, sender=name.peer)
    ot = request(direction, delta, stream=stream.fork("receiver"))
    commitment = _zero_commitment(name, name.me, name.peer, zero_part)
    return Offered(name, ot, zero_part, commitment + ot.message, stream.fork("sender"))


def reply(offered: Offered, their_offer: bytes) -> Replied:
    """Round 2: the zero-seed part, and the answer to the peer's transfers.

    Raises ``FaultyParticipant`` naming the peer.
    """
    name = offered.name
    direction = OtDirection(name.context, receiver=name.peer, sender=name.me)
    with blaming(name.peer):
        _commitment, message = parts(their_offer, OFFER_BYTES - MESSAGE_BYTES, MESSAGE_BYTES)
        body, keys = answer(direction, message, stream=offered.stream)
    return Replied(offered, their_offer, keys, offered.zero_part + body)


def confirm(replied: Replied, their_reply: bytes) -> Confirming:
    """Round 3: open the peer's part, take the chosen seeds, hash all four bodies.

    Raises ``FaultyParticipant`` naming the peer. No failure here depends on a bit of Δ.
    """
    name, offered = replied.offered.name, replied.offered
    with blaming(name.peer):
        their_part, message = parts(their_reply, ZERO_SEED_BYTES, MESSAGE_BYTES)
        committed = replied.their_offer[: OFFER_BYTES - MESSAGE_BYTES]
        if _zero_commitment(name, name.peer, name.me, their_part) != committed:
            raise FaultyParticipant(name.peer, "opened another zero-seed part than it had committed to")
        delta_seeds = receive(offered.ot, message)
    state = PairState(
        name.key_id,
        name.epoch,
        name.me,
        name.peer,
        offered.ot.choices,
        delta_seeds,
        replied.receiver_seeds,
        _pair_hash("zero-seed", name, name.mine_first(offered.zero_part, their_part)),
    )
    mine, theirs = offered.body + replied.body, replied.their_offer + their_reply
    return Confirming(state, _pair_hash("confirmation", name, name.mine_first(mine, theirs)))


def finish(confirming: Confirming, their_confirmation: bytes) -> PairState:
    """The pair's state, if the peer saw the same messages; else ``FaultyParticipant`` names it."""
    if their_confirmation != confirming.confirmation:
        raise FaultyParticipant(
            confirming.state.peer, "confirms other set-up messages than those exchanged with it"
        )
    return confirming.state


def start_setup(
    context: bytes, me: int, *, peers: tuple[int, ...], key_id: str, epoch: int, randomness: bytes
) -> Rounds:
    """A run of the set-up alone, as a refresh needs it; ends in a tuple of ``PairState`` by peer.

    ``context``: 32 bytes that hash a never repeated session id, the key, epoch and committee.
    """
    streams = RandomStream(randomness)
    names = {peer: PairName(context, key_id, epoch, me, peer) for peer in sorted(peers)}
    first = partial(_offer_step, names, streams)
    return Rounds(me, peers, first=first, body_bytes_max=max(OFFER_BYTES, REPLY_BYTES))


def _offer_step(names: Mapping[int, PairName], streams: RandomStream, _bodies: Mapping[int, bytes]) -> Send:
    offers = {peer: offer(name, streams.fork(f"pair/{peer}")) for peer, name in names.items()}
    return Send({peer: item.body for peer, item in offers.items()}, partial(_reply_step, offers))


def _reply_step(offers: Mapping[int, Offered], bodies: Mapping[int, bytes]) -> Send:
    replies = {peer: reply(offers[peer], body) for peer, body in bodies.items()}
    return Send({peer: item.body for peer, item in replies.items()}, partial(_confirm_step, replies))


def _confirm_step(replies: Mapping[int, Replied], bodies: Mapping[int, bytes]) -> Send:
    pairs = {peer: confirm(replies[peer], body) for peer, body in bodies.items()}
    return Send({peer: pair.confirmation for peer, pair in pairs.items()}, partial(_finish_step, pairs))


def _finish_step(pairs: Mapping[int, Confirming], bodies: Mapping[int, bytes]) -> StepResult:
    return Done(tuple(finish(pairs[peer], body) for peer, body in bodies.items()))


def _zero_commitment(name: PairName, owner: int, other: int, part: bytes) -> bytes:
    return tagged_hash("mpc/setup/zero-commitment", name.context, bytes([owner, other]), part)


def _pair_hash(kind: str, name: PairName, values: tuple[bytes, bytes]) -> bytes:
    pair = bytes(sorted((name.me, name.peer)))
    return tagged_hash(f"mpc/setup/{kind}", name.context, pair, *values)
