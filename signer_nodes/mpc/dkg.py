"""Distributed key generation on either curve: Pedersen/Feldman with proofs, commit before open.

After SimplPedPop and ChillDKG (BlockstreamResearch/bip-frost-dkg), RFC 9591 appendix C and section 1
of the protocol specification. Three rounds, each the same to every peer except for the share:

1. a hash commitment to the whole opening, so that nobody can choose a key after seeing another's;
2. the opening: t coefficient points, a Schnorr proof for the constant term, a chain-code part;
3. the share f_i(j), privately to j, and the hash of all public messages of rounds 1 and 2.

What is refused names its sender. Only a difference between two views of the public messages names
nobody (``UnknownFault``): either its reporter lies or a dealer told two parties two things.

A key counts only once all n parties have signed ``transcript`` with their node identity keys and
every party holds all n signatures; the runtime collects them. Round 3 alone does not tell a party
that the others finished. The channel must be authenticated, and confidential for round 3.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Final

from policy.encoding import tagged_hash
from policy.errors import CallerError, FaultyParticipant, UnknownFault
from policy.suites import suite_named
from signer_nodes.mpc.curve import PointAtInfinity
from signer_nodes.mpc.groups import SCALAR_BYTES, Group, group_of
from signer_nodes.mpc.keyshare import CHAIN_CODE_BYTES, KeyShare, PairState, check_committee, check_key_id
from signer_nodes.mpc.proofs import knows_logarithm, proof_bytes, prove_knowledge
from signer_nodes.mpc.rounds import Done, Rounds, Send, StepResult, blaming, parts
from signer_nodes.mpc.sharing import (
    Polynomial,
    add_commitments,
    evaluate_commitments,
    random_polynomial,
    verify_share,
)
from signer_nodes.mpc.stream import RandomStream

SESSION_BYTES: Final = 32
COMMITMENT_BYTES: Final = 32
TRANSCRIPT_BYTES: Final = 32
DEAL_BYTES: Final = SCALAR_BYTES + TRANSCRIPT_BYTES


@dataclass(frozen=True, slots=True)
class KeygenParameters:
    """What all parties agreed on before: it is hashed into everything they send.

    ``session`` is 32 bytes that no key generation has used before; ``index`` is this party's, from 1,
    and ``participants[index - 1]`` its name.
    """

    session: bytes
    suite: str
    key_id: str
    min_signers: int
    participants: tuple[str, ...]
    index: int
    epoch: int = 0

    def __post_init__(self) -> None:
        suite_named(self.suite)
        check_key_id(self.key_id, self.epoch)
        check_committee(self.min_signers, self.participants)
        if len(self.session) != SESSION_BYTES:
            raise CallerError(f"a session id has {SESSION_BYTES} bytes, got {len(self.session)}")
        if self.index not in self.indices:
            raise CallerError(f"party {self.index} is not one of {len(self.participants)}")

    @property
    def group(self) -> Group:
        """The group of the suite."""
        return group_of(self.suite)

    @property
    def indices(self) -> range:
        """All parties' indices."""
        return range(1, len(self.participants) + 1)

    @property
    def peers(self) -> tuple[int, ...]:
        """All indices but this party's."""
        return tuple(index for index in self.indices if index != self.index)

    @property
    def context(self) -> bytes:
        """The hash of all that the parties agreed on: the session id inside every other hash."""
        names = tuple(name.encode() for name in self.participants)
        numbers = self.epoch.to_bytes(4, "big") + bytes([self.min_signers, len(names)])
        key = (self.suite.encode(), self.key_id.encode())
        return tagged_hash("mpc/keygen/context/v2", self.session, *key, numbers, *names)


@dataclass(frozen=True, slots=True)
class KeygenResult:
    """One party's outcome; it counts only after all n signatures over ``transcript``.

    ``pairs`` is the state toward each peer, for suites that need one; empty for others.
    """

    share: KeyShare
    transcript: bytes
    pairs: tuple[PairState, ...] = field(default=(), repr=False)


@dataclass(frozen=True, slots=True)
class Dealing:
    """One party's secret polynomial and the opening of its commitment."""

    polynomial: Polynomial = field(repr=False)
    opening: bytes = field(repr=False)
    commitment: bytes


@dataclass(frozen=True, slots=True)
class Opened:
    """Every dealer's checked coefficient points, by index, and what all openings give together."""

    coefficients: Mapping[int, tuple[bytes, ...]]
    chain_code: bytes
    transcript: bytes


def opening_bytes(parameters: KeygenParameters) -> int:
    """The length of a round-2 opening."""
    group = parameters.group
    return parameters.min_signers * group.point_bytes + proof_bytes(group) + CHAIN_CODE_BYTES


def deal(parameters: KeygenParameters, stream: RandomStream) -> Dealing:
    """Draw this party's polynomial and its opening. ``stream`` is fresh and used for nothing else.

    The commitment needs no salt: the 32 uniform bytes of the chain-code part hide the rest.
    """
    group = parameters.group
    polynomial = random_polynomial(group, stream, terms=parameters.min_signers)
    points = b"".join(polynomial.commit())
    context = _dealer_context(parameters, parameters.index, points)
    proof = prove_knowledge(group, polynomial.coefficients[0], context=context, stream=stream)
    opening = points + proof + stream.bytes(CHAIN_CODE_BYTES)
    return Dealing(polynomial, opening, _commitment(parameters, parameters.index, opening))


def open_dealings(
    parameters: KeygenParameters, commitments: Mapping[int, bytes], *, openings: Mapping[int, bytes]
) -> Opened:
    """Check every dealer's opening against its commitment; both maps hold all n parties.

    Raises ``FaultyParticipant`` naming the first dealer whose opening is wrong.
    """
    coefficients, chain_parts = {}, []
    for dealer in parameters.indices:
        with blaming(dealer):
            coefficients[dealer], chain_part = _open(
                parameters, dealer, commitment=commitments[dealer], opening=openings[dealer]
            )
        chain_parts.append(chain_part)
    chain_code = tagged_hash("mpc/dkg/chain-code", parameters.context, *chain_parts)
    public = [messages[dealer] for messages in (commitments, openings) for dealer in parameters.indices]
    return Opened(coefficients, chain_code, tagged_hash("mpc/dkg/transcript", parameters.context, *public))


def deal_body(dealing: Dealing, opened: Opened, *, receiver: int) -> bytes:
    """Round 3 to one receiver: its share and this party's view of the public messages."""
    return dealing.polynomial.group.scalar_bytes(dealing.polynomial.at(receiver)) + opened.transcript


def collect(
    parameters: KeygenParameters, dealing: Dealing, *, opened: Opened, bodies: Mapping[int, bytes]
) -> KeygenResult:
    """Check every peer's share, then its view, and add the shares up.

    Raises ``FaultyParticipant`` for a share that its dealer's commitments do not give, and
    ``UnknownFault`` for another view of the public messages.
    """
    received = {dealer: _read_share(parameters, opened, dealer, body) for dealer, body in bodies.items()}
    for peer, body in bodies.items():
        if body[SCALAR_BYTES:] != opened.transcript:
            raise UnknownFault(
                f"parties {parameters.index} and {peer} saw different public messages, transcripts "
                f"{opened.transcript.hex()} and {body[SCALAR_BYTES:].hex()}: compare the commitments and "
                "openings that each received, by their channel signatures"
            )
    share = (dealing.polynomial.at(parameters.index) + sum(received.values())) % parameters.group.order
    return KeygenResult(_key_share(parameters, opened, share), opened.transcript)


def start_dkg(parameters: KeygenParameters, randomness: bytes) -> Rounds:
    """A run that ends in a ``KeygenResult``. ``randomness``: 32 fresh bytes, never used again.

    Key generation alone, for schemes that need no pairwise set-up.
    """
    stream = RandomStream(randomness).fork("dkg")
    body_bytes_max = max(opening_bytes(parameters), DEAL_BYTES)
    first = partial(_first_step, parameters, stream)
    return Rounds(parameters.index, parameters.peers, first=first, body_bytes_max=body_bytes_max)


def _first_step(parameters: KeygenParameters, stream: RandomStream, _bodies: Mapping[int, bytes]) -> Send:
    dealing = deal(parameters, stream)
    return Send(
        dict.fromkeys(parameters.peers, dealing.commitment), partial(_opening_step, parameters, dealing)
    )


def _opening_step(parameters: KeygenParameters, dealing: Dealing, bodies: Mapping[int, bytes]) -> Send:
    commitments = {**bodies, parameters.index: dealing.commitment}
    step = partial(_dealing_step, parameters, dealing, commitments)
    return Send(dict.fromkeys(parameters.peers, dealing.opening), step)


def _dealing_step(
    parameters: KeygenParameters,
    dealing: Dealing,
    commitments: Mapping[int, bytes],
    bodies: Mapping[int, bytes],
) -> Send:
    opened = open_dealings(parameters, commitments, openings={**bodies, parameters.index: dealing.opening})
    outbox = {peer: deal_body(dealing, opened, receiver=peer) for peer in parameters.peers}
    return Send(outbox, partial(_last_step, parameters, dealing, opened))


def _last_step(
    parameters: KeygenParameters, dealing: Dealing, opened: Opened, bodies: Mapping[int, bytes]
) -> StepResult:
    return Done(collect(parameters, dealing, opened=opened, bodies=bodies))


def _open(
    parameters: KeygenParameters, dealer: int, *, commitment: bytes, opening: bytes
) -> tuple[tuple[bytes, ...], bytes]:
    group = parameters.group
    lengths = [group.point_bytes] * parameters.min_signers
    points, proof, chain_part = parts(opening, sum(lengths), proof_bytes(group), CHAIN_CODE_BYTES)
    if _commitment(parameters, dealer, opening) != commitment:
        raise FaultyParticipant(dealer, "opened something else than it had committed to")
    coefficients = tuple(map(group.point_of, parts(points, *lengths)))
    context = _dealer_context(parameters, dealer, points)
    if not knows_logarithm(group, coefficients[0], proof=proof, context=context):
        raise FaultyParticipant(dealer, "does not prove knowledge of its constant term")
    return coefficients, chain_part


def _read_share(parameters: KeygenParameters, opened: Opened, dealer: int, body: bytes) -> int:
    with blaming(dealer):
        encoded, _view = parts(body, SCALAR_BYTES, TRANSCRIPT_BYTES)
        share = parameters.group.scalar_of(encoded, nonzero=True)
        if not verify_share(
            parameters.group, opened.coefficients[dealer], index=parameters.index, share=share
        ):
            raise FaultyParticipant(dealer, f"dealt party {parameters.index} a share off its polynomial")
    return share


def _key_share(parameters: KeygenParameters, opened: Opened, share: int) -> KeyShare:
    try:
        group = parameters.group
        summed = add_commitments(group, [opened.coefficients[dealer] for dealer in parameters.indices])
        public_shares = tuple(
            evaluate_commitments(group, summed, index=index) for index in parameters.indices
        )
    except PointAtInfinity as error:
        raise UnknownFault(
            f"the dealt polynomials of transcript {opened.transcript.hex()} cancel out: compare it at every "
            "party, and start again with a new session id"
        ) from error
    key_share = KeyShare(
        suite=parameters.suite,
        key_id=parameters.key_id,
        epoch=parameters.epoch,
        index=parameters.index,
        min_signers=parameters.min_signers,
        participants=parameters.participants,
        share=share,
        public_shares=public_shares,
        group_key=summed[0],
        chain_code=opened.chain_code,
    )
    key_share.check()
    return key_share


def _dealer_context(parameters: KeygenParameters, dealer: int, points: bytes) -> bytes:
    return tagged_hash("mpc/dkg/dealer", parameters.context, bytes([dealer]), points)


def _commitment(parameters: KeygenParameters, dealer: int, opening: bytes) -> bytes:
    return tagged_hash("mpc/dkg/commitment", parameters.context, bytes([dealer]), opening)
