"""Import: an existing private key is split once by a dealer, who then forgets it.

The dealer knew the key, so an imported key is never worth what a generated one is: it is marked for ever in
its record, and the log says so. What the nodes can check, they do: each that its share is behind the dealer's
commitments, and all together, by one hash, that they were dealt the same commitments and chain code. A wrong
dealt share is the dealer's fault, which is no party of the run: the error names ``DEALER``.

Where the suite has pairwise state, the nodes set it up in the same run (``setup``).
"""

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Final

from policy.encoding import Json, canonical, parse_canonical, tagged_hash
from policy.errors import CallerError, FaultyParticipant, MalformedError, UnknownFault
from policy.fields import Fields
from policy.suites import FROST_ED25519, SUITES, suite_named
from signer_nodes.mpc import setup
from signer_nodes.mpc.curve import PointAtInfinity
from signer_nodes.mpc.dkg import KeygenParameters, KeygenResult
from signer_nodes.mpc.groups import SCALAR_BYTES, Group, group_of
from signer_nodes.mpc.keyshare import CHAIN_CODE_BYTES, PARTIES_MAX, KeyShare, PairState, check_committee
from signer_nodes.mpc.rounds import Done, Rounds, Send, StepResult, blaming, parts
from signer_nodes.mpc.sharing import evaluate_commitments, random_polynomial
from signer_nodes.mpc.stream import RandomStream

DEALER: Final = "dealer"
SEED_BYTES: Final = 32
DEALT_BYTES_MAX: Final = 4096
VIEW_BYTES: Final = 32


@dataclass(frozen=True, slots=True)
class DealtShare:
    """What the dealer hands to party ``index``: its share, and what all parties get alike."""

    suite: str
    index: int
    share: int = field(repr=False)
    commitments: tuple[bytes, ...]
    chain_code: bytes = field(repr=False)

    @property
    def group_key(self) -> bytes:
        """The public key."""
        return self.commitments[0]

    def to_bytes(self) -> bytes:
        """The one encoding. SECRET: it contains the share; it travels in an envelope to its node."""
        document: dict[str, Json] = {
            "suite": self.suite,
            "index": self.index,
            "share": group_of(self.suite).scalar_bytes(self.share).hex(),
            "commitments": [point.hex() for point in self.commitments],
            "chain_code": self.chain_code.hex(),
        }
        return canonical(document)

    @classmethod
    def from_bytes(cls, data: bytes) -> "DealtShare":
        """Decode ``to_bytes``; ``MalformedError`` naming the field for anything else."""
        fields = Fields(parse_canonical(data, bytes_max=DEALT_BYTES_MAX), "dealt share")
        suite = suite_named(fields.choice("suite", *SUITES))
        group = group_of(suite.name)
        index = fields.integer("index", low=1, high=PARTIES_MAX)
        with _naming("dealt share: share"):
            share = group.scalar_of(fields.hex("share", length=SCALAR_BYTES), nonzero=True)
        with _naming("dealt share: commitments"):
            points = fields.items("commitments", lambda value: _point(group, value), count_max=PARTIES_MAX)
        chain_code = fields.hex("chain_code", length=CHAIN_CODE_BYTES)
        fields.done()
        return cls(suite.name, index, share, points, chain_code)


def split(
    private_key: bytes,
    *,
    suite: str,
    min_signers: int,
    participants: tuple[str, ...],
    chain_code: bytes | None,
    randomness: bytes,
) -> tuple[DealtShare, ...]:
    """Split a private key for ``participants``, in their order. The dealer's half: forget the key afterwards.

    ``private_key``: the scalar, 32 bytes, big-endian on secp256k1 and little-endian on Ed25519 (where a
    wallet has a seed: ``scalar_of_seed``). ``chain_code``: the wallet's own, so that addresses stay, or None
    for a fresh one. ``randomness``: 32 fresh bytes, never used again. Raises ``MalformedError`` naming the
    field for what is no key, without repeating it.
    """
    group = group_of(suite)
    check_committee(min_signers, participants)
    with _naming("private_key"):
        secret = group.scalar_of(private_key, nonzero=True)
    stream = RandomStream(randomness)
    code = stream.fork("chain-code").bytes(CHAIN_CODE_BYTES) if chain_code is None else chain_code
    if len(code) != CHAIN_CODE_BYTES:
        raise MalformedError(f"chain_code: has {len(code)} bytes instead of {CHAIN_CODE_BYTES}")
    polynomial = random_polynomial(group, stream.fork("polynomial"), terms=min_signers, constant=secret)
    commitments = polynomial.commit()
    return tuple(
        DealtShare(suite, index, polynomial.at(index), commitments, code)
        for index in range(1, len(participants) + 1)
    )


def scalar_of_seed(seed: bytes) -> bytes:
    """The private key behind a 32-byte Ed25519 seed (RFC 8032, section 5.1.5), for ``split``.

    Raises ``MalformedError`` for another length.
    """
    if len(seed) != SEED_BYTES:
        raise MalformedError(f"seed: has {len(seed)} bytes instead of {SEED_BYTES}")
    half = bytearray(hashlib.sha512(seed).digest()[:SCALAR_BYTES])
    half[0] &= 0b11111000
    half[31] = half[31] & 0b01111111 | 0b01000000
    group = group_of(FROST_ED25519)
    return group.scalar_bytes(int.from_bytes(half, "little") % group.order)


@dataclass(frozen=True, slots=True)
class _Run:
    parameters: KeygenParameters
    share: KeyShare
    view: bytes

    def done(self, pairs: Mapping[int, PairState]) -> Done:
        return Done(KeygenResult(self.share, self.view, tuple(pairs.values())))


def start_import(parameters: KeygenParameters, dealt: DealtShare, *, randomness: bytes) -> Rounds:
    """A run that ends in a ``KeygenResult`` of epoch 0; its ``transcript`` hashes what all were dealt.

    ``randomness``: 32 fresh bytes, never used again. Raises ``FaultyParticipant`` naming ``DEALER`` for a
    share that does not fit. The result counts only after all n signatures over ``transcript``.
    """
    if parameters.epoch != 0:
        raise CallerError(f"an imported key begins at epoch 0, not {parameters.epoch}")
    share = _key_share(parameters, dealt)
    view = tagged_hash("mpc/import/view", parameters.context, dealt.chain_code, *dealt.commitments)
    run = _Run(parameters, share, view)
    first = partial(_view_step, run, RandomStream(randomness))
    body_bytes_max = max(VIEW_BYTES + setup.OFFER_BYTES, setup.REPLY_BYTES)
    return Rounds(parameters.index, parameters.peers, first=first, body_bytes_max=body_bytes_max)


def _view_step(run: _Run, streams: RandomStream, _bodies: Mapping[int, bytes]) -> Send:
    parameters = run.parameters
    paired = parameters.peers if suite_named(parameters.suite).pairwise else ()
    offers = {peer: setup.offer(_pair_name(run, peer), streams.fork(f"pair/{peer}")) for peer in paired}
    outbox = {peer: run.view + (offers[peer].body if peer in offers else b"") for peer in parameters.peers}
    return Send(outbox, partial(_compare_step, run, offers))


def _compare_step(run: _Run, offers: Mapping[int, setup.Offered], bodies: Mapping[int, bytes]) -> StepResult:
    rest = {}
    for peer, body in bodies.items():
        with blaming(peer):
            view, rest[peer] = parts(body, VIEW_BYTES, setup.OFFER_BYTES if peer in offers else 0)
        if view != run.view:
            raise UnknownFault(
                f"parties {run.parameters.index} and {peer} were dealt different commitments or chain codes, "
                f"{run.view.hex()} and {view.hex()}: the dealer dealt two keys, or one of them reports "
                "another than it has; compare what each was dealt"
            )
    if not offers:
        return run.done({})
    replies = {peer: setup.reply(offers[peer], body) for peer, body in rest.items()}
    return Send({peer: item.body for peer, item in replies.items()}, partial(_confirm_step, run, replies))


def _confirm_step(run: _Run, replies: Mapping[int, setup.Replied], bodies: Mapping[int, bytes]) -> Send:
    pairs = {peer: setup.confirm(replies[peer], body) for peer, body in bodies.items()}
    return Send({peer: pair.confirmation for peer, pair in pairs.items()}, partial(_last_step, run, pairs))


def _last_step(run: _Run, pairs: Mapping[int, setup.Confirming], bodies: Mapping[int, bytes]) -> Done:
    return run.done({peer: setup.finish(pairs[peer], body) for peer, body in bodies.items()})


def _key_share(parameters: KeygenParameters, dealt: DealtShare) -> KeyShare:
    found = (dealt.suite, dealt.index, len(dealt.commitments))
    wanted = (parameters.suite, parameters.index, parameters.min_signers)
    if found != wanted:
        raise FaultyParticipant(DEALER, f"dealt (suite, index, min_signers) {found} to who expects {wanted}")
    group = parameters.group
    try:
        public_shares = tuple(
            evaluate_commitments(group, dealt.commitments, index=index) for index in parameters.indices
        )
    except PointAtInfinity as error:
        raise FaultyParticipant(DEALER, "dealt commitments that give somebody no share") from error
    if group.base_mul(dealt.share) != public_shares[dealt.index - 1]:
        raise FaultyParticipant(DEALER, f"dealt party {dealt.index} a share off its polynomial")
    return KeyShare(
        suite=parameters.suite,
        key_id=parameters.key_id,
        epoch=parameters.epoch,
        index=parameters.index,
        min_signers=parameters.min_signers,
        participants=parameters.participants,
        share=dealt.share,
        public_shares=public_shares,
        group_key=dealt.group_key,
        chain_code=dealt.chain_code,
    )


def _pair_name(run: _Run, peer: int) -> setup.PairName:
    parameters = run.parameters
    return setup.PairName(run.view, parameters.key_id, parameters.epoch, parameters.index, peer)


def _point(group: Group, value: Json) -> bytes:
    return group.point_of(Fields({"point": value}, "item").hex("point", length=group.point_bytes))


@contextmanager
def _naming(name: str) -> Iterator[None]:
    try:
        yield
    except MalformedError as error:
        raise MalformedError(f"{name}: {error}") from error
