"""Presigning of threshold ECDSA: DKLs23 Protocol 3.6 (ePrint 2023/765), in batches of B, in two rounds.

Symbols: r_i, φ_i, ρ_i of party i; R_i = r_i·G; sk_i = λ_i·share_i + ζ_i, pk_i = sk_i·G; χ_ij = ⟨g, β_ij⟩ of
i's choice bits toward j; c and d the sender's and receiver's shares of a product, with c_ij + d_ji equal
to i's input times χ_ji; Γ = c·G; ψ_ij = φ_i − χ_ij; superscript u for input r, v for input sk.

Rules.
1. A session id is used once: it covers boot ids and a batch id that rises for ever. A repeated one would
   repeat the OT columns and leak inputs. ``randomness`` is fresh for the run.
2. A failed OT consistency, multiplication or Γ check raises ``FaultyParticipant`` with ``ban=True``: before
   the node answers anything it makes the ban durable, destroys the OT state toward that peer and cancels
   all parallel sessions with it. Those checks run only after every check on public values has passed for
   every peer, so that no peer can hide a failed guess behind a fault that bans nobody.
3. If one instance fails, the whole batch is dropped: an exception ends the run and nothing of it is kept.
"""

import hmac
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

from policy.encoding import tagged_hash
from policy.errors import CallerError, FaultyParticipant, UnknownFault
from policy.suites import DKLS23_SECP256K1
from signer_nodes.api.presignature_ids import PRESIGN_PROTOCOL, batch_session, presignature_id
from signer_nodes.mpc import vole
from signer_nodes.mpc.curve import PointAtInfinity, Q
from signer_nodes.mpc.groups import lagrange
from signer_nodes.mpc.keyshare import KeyShare, PairState, check_signers
from signer_nodes.mpc.ot.extension import Direction, ReceiverRows, check_batch, extend_receiver, extend_sender
from signer_nodes.mpc.points import Point, base_point, is_product, sum_points
from signer_nodes.mpc.presign_messages import (
    Commit,
    Commitments,
    InstanceOpening,
    Multiply,
    parse_commit,
    parse_multiply,
    round_bytes_max,
)
from signer_nodes.mpc.presignature import RHO_BYTES, Presignature, rho_commitment
from signer_nodes.mpc.rounds import Done, Rounds, Send
from signer_nodes.mpc.stream import RandomStream
from signer_nodes.mpc.zero import zero_share

__all__ = [
    "PresignParameters",
    "PresignResult",
    "Presignature",
    "presign_session",
    "presignature_id",
    "rho_commitment",
    "start_presign",
]

_SALT_BYTES = 32


@dataclass(frozen=True, slots=True)
class PresignParameters:
    """One batch: its 32-byte session id (``presign_session``) and B, a multiple of 4 up to 128."""

    session: bytes
    batch: int

    def __post_init__(self) -> None:
        check_batch(self.batch)
        if len(self.session) != 32:
            raise CallerError(f"a session id has 32 bytes, got {len(self.session)}")


@dataclass(frozen=True, slots=True)
class PresignResult:
    """The B presignature shares of a batch, in order of instance."""

    presignatures: tuple[Presignature, ...]


@dataclass(frozen=True, slots=True)
class _Party:
    """What holds for the whole run: the batch, who signs, the key, and the OT state toward each peer."""

    session: bytes
    batch: int
    me: int
    signers: tuple[int, ...]
    group_key: bytes
    pairs: Mapping[int, PairState] = field(repr=False)
    gadget: vole.Gadget = field(repr=False)
    memory: vole.Memory = field(repr=False)

    def outgoing(self, peer: int) -> Direction:
        """Where I multiply my inputs by the peer's χ: I am sender of OT extension and product."""
        return Direction(self.session, self.me, peer, self.batch)

    def incoming(self, peer: int) -> Direction:
        """Where the peer multiplies its inputs by my χ."""
        return Direction(self.session, peer, self.me, self.batch)


@dataclass(frozen=True, slots=True)
class _Instance:
    """My own secrets of one instance, and their public points."""

    r: int = field(repr=False)
    phi: int = field(repr=False)
    rho: bytes = field(repr=False)
    sk: int = field(repr=False)
    R: Point
    pk: Point


@dataclass(frozen=True, slots=True)
class _Own:
    """After round 1: my instances, what I committed to, and my side of every OT extension as receiver."""

    instances: tuple[_Instance, ...]
    salt: bytes = field(repr=False)
    commitments: Commitments
    rows: Mapping[int, ReceiverRows] = field(repr=False)
    chis: Mapping[int, list[int]] = field(repr=False)
    stream: RandomStream


@dataclass(frozen=True, slots=True)
class _Sent:
    """After round 2: everyone's commitments, their hash, and my shares (c_u, c_v) toward every peer."""

    commitments: Mapping[int, Commitments]
    view: bytes
    products: Mapping[int, list[vole.Pair]] = field(repr=False)


def presign_session(
    *,
    version: int,
    key_id: str,
    epoch: int,
    signers: Sequence[str],
    batch_id: int,
    boot_ids: Mapping[str, bytes],
) -> bytes:
    """The session id of one batch: 32 bytes, the same at every signer.

    ``signers`` are node names, ``boot_ids`` the 32-byte boot id of each of them, ``batch_id`` a number that
    every node uses once a boot for a (key, set) and that only rises.
    """
    names = sorted(signers)
    if len(set(names)) != len(names) or set(names) != set(boot_ids):
        raise CallerError(f"need one boot id for each of the signers {names}, got {sorted(boot_ids)}")
    return batch_session(
        PRESIGN_PROTOCOL, version=version, key_id=key_id, epoch=epoch, batch_id=batch_id, boot_ids=boot_ids
    )


def start_presign(
    params: PresignParameters,
    share: KeyShare,
    *,
    pairs: Mapping[int, PairState],
    signers: tuple[int, ...],
    randomness: bytes,
) -> Rounds:
    """One signer's run of a batch; its result is a ``PresignResult``.

    ``signers`` are the indices of exactly min_signers parties; ``pairs`` has the OT state toward each of the
    others, of the same key and epoch; ``randomness`` is 32 fresh bytes. The transport must authenticate and
    encrypt: bodies are for one peer each. Raises, from ``receive``: ``FaultyParticipant`` (with a ban for the
    checks of rule 2), ``UnknownFault`` for commitments seen differently, for public key parts that do not add
    up and for R at infinity, which name nobody.
    """
    members = tuple(sorted(signers))
    peers = tuple(peer for peer in members if peer != share.index)
    _check_set(share, members, pairs)
    party = _Party(
        session=params.session,
        batch=params.batch,
        me=share.index,
        signers=members,
        group_key=share.group_key,
        pairs={peer: pairs[peer] for peer in peers},
        gadget=vole.gadget(params.session),
        memory=vole.Memory(params.batch),
    )
    first = partial(
        _commit, party, lagrange(share.index, members, order=Q) * share.share % Q, RandomStream(randomness)
    )
    limit = round_bytes_max(party.incoming(peers[0]))
    return Rounds(share.index, peers, first=first, body_bytes_max=limit)


def _check_set(share: KeyShare, signers: tuple[int, ...], pairs: Mapping[int, PairState]) -> None:
    if share.suite != DKLS23_SECP256K1:
        raise CallerError(f"presignatures are for {DKLS23_SECP256K1}, the key is for {share.suite}")
    check_signers(share, signers)
    for peer in signers:
        pair = pairs.get(peer)
        if peer != share.index and (
            pair is None
            or (pair.me, pair.peer) != (share.index, peer)
            or (pair.key_id, pair.epoch) != (share.key_id, share.epoch)
        ):
            raise CallerError(f"no OT state toward {peer} for key {share.key_id} epoch {share.epoch}")


def _commit(party: _Party, key_share: int, stream: RandomStream, _bodies: Mapping[int, bytes]) -> Send:
    """Round 1: draw everything, commit to it, and extend as receiver toward every peer."""
    instances = _draw(party, key_share, stream)
    salt = stream.fork("salt").bytes(_SALT_BYTES)
    commitments = Commitments(
        _points_commitment(party.session, party.me, salt=salt, points=[item.R for item in instances]),
        tuple(rho_commitment(party.session, party.me, b=b, rho=item.rho) for b, item in enumerate(instances)),
    )
    outbox, rows = {}, {}
    for peer, pair in party.pairs.items():
        direction = party.incoming(peer)
        choices = stream.fork(f"choices/{peer}").bytes(direction.column_bytes)
        message, rows[peer] = extend_receiver(direction, pair.receiver_seeds, choices=choices)
        outbox[peer] = Commit(commitments, message).to_bytes()
    chis = {peer: party.gadget.chi(kept.choices) for peer, kept in rows.items()}
    own = _Own(instances, salt, commitments, rows, chis, stream)
    return Send(outbox, partial(_multiply, party, own))


def _draw(party: _Party, key_share: int, stream: RandomStream) -> tuple[_Instance, ...]:
    scalars, openings = stream.fork("scalars"), stream.fork("rho")
    seeds = {peer: pair.zero_seed for peer, pair in party.pairs.items()}
    instances = []
    for b in range(party.batch):
        r, phi, rho = scalars.scalar(), scalars.scalar(), openings.bytes(RHO_BYTES)
        sk = (key_share + zero_share(seeds, me=party.me, session=party.session, b=b)) % Q
        instances.append(_Instance(r, phi, rho, sk, base_point(r), base_point(sk)))
    return tuple(instances)


def _multiply(party: _Party, own: _Own, bodies: Mapping[int, bytes]) -> Send:
    """Round 2: check every peer's OT extension, multiply as sender toward each, open R."""
    commits = {peer: parse_commit(body, party.outgoing(peer)) for peer, body in bodies.items()}
    commitments = {party.me: own.commitments} | {peer: item.commitments for peer, item in commits.items()}
    view = _view(party, commitments)
    rows = {
        peer: extend_sender(
            party.outgoing(peer), pair.delta_seeds, delta=pair.delta, message=commits[peer].extension
        )
        for peer, pair in party.pairs.items()
    }
    outbox, products = {}, {}
    for peer in party.pairs:
        checks = own.stream.fork(f"check/{peer}")
        inputs = [vole.SenderInput((item.r, item.sk), checks.scalar()) for item in own.instances]
        message, products[peer] = vole.send(
            party.outgoing(peer), rows[peer], vector=party.gadget, inputs=inputs, memory=party.memory
        )
        opened = _open(own, products[peer], own.chis[peer])
        outbox[peer] = Multiply(view, own.salt, opened, message).to_bytes()
    return Send(outbox, partial(_finish, party, own, _Sent(commitments, view, products)))


def _open(own: _Own, products: Sequence[vole.Pair], chis: Sequence[int]) -> tuple[InstanceOpening, ...]:
    return tuple(
        InstanceOpening(item.R, item.pk, base_point(c_u), base_point(c_v), (item.phi - chi) % Q)
        for item, (c_u, c_v), chi in zip(own.instances, products, chis, strict=True)
    )


def _finish(party: _Party, own: _Own, sent: _Sent, bodies: Mapping[int, bytes]) -> Done:
    """The checks, public ones first (rule 2), and the presignature shares."""
    received = {peer: parse_multiply(body, party.incoming(peer)) for peer, body in bodies.items()}
    nonces = _check_public(party, own, sent, received)
    shares = {}
    for peer, message in received.items():
        direction = party.incoming(peer)
        shares[peer] = vole.receive(
            direction, own.rows[peer], vector=party.gadget, message=message.product, memory=party.memory
        )
        _check_gammas(peer, message, shares[peer], own.chis[peer])
    presignatures = []
    for b, nonce in enumerate(nonces):
        terms = [pairs[peer][b] for pairs in (sent.products, shares) for peer in received]
        psi_sum = sum(message.instances[b].psi for message in received.values())
        products = _sum_products(own.instances[b], psi_sum, terms)
        presignatures.append(_presignature(party, own, sent=sent, b=b, R=nonce.encoded, products=products))
    return Done(PresignResult(tuple(presignatures)))


def _sum_products(own: _Instance, psi_sum: int, terms: Sequence[vole.Pair]) -> vole.Pair:
    """u_i = r_i·(φ_i + Σψ_ji) + Σ(c^u + d^u), and v_i the same with sk_i."""
    factor = own.phi + psi_sum
    u = own.r * factor + sum(u for u, _ in terms)
    v = own.sk * factor + sum(v for _, v in terms)
    return u % Q, v % Q


def _presignature(
    party: _Party, own: _Own, *, sent: _Sent, b: int, R: bytes, products: vole.Pair
) -> Presignature:
    u, v = products
    return Presignature(
        session=party.session,
        index=b,
        signers=party.signers,
        me=party.me,
        group_key=party.group_key,
        R=R,
        commitments=tuple(sent.commitments[signer].rhos[b] for signer in party.signers),
        rho=own.instances[b].rho,
        phi=own.instances[b].phi,
        u=u,
        v=v,
    )


def _check_public(
    party: _Party, own: _Own, sent: _Sent, received: Mapping[int, Multiply]
) -> tuple[Point, ...]:
    """Check openings, views and Σ pk = group key; give R = Σ R_i of every instance."""
    for peer, message in received.items():
        points = [opening.R for opening in message.instances]
        found = _points_commitment(party.session, peer, salt=message.salt, points=points)
        if not hmac.compare_digest(found, sent.commitments[peer].points):
            raise FaultyParticipant(peer, "the R it opens do not match its commitment")
    others = [peer for peer, message in received.items() if not hmac.compare_digest(message.view, sent.view)]
    if others:
        raise UnknownFault(
            f"signers {others} report other commitments than signer {party.me} saw, transcript "
            f"{sent.view.hex()}: they or a third sent different commitments to different signers; compare "
            "everyone's signed round-1 messages"
        )
    nonces = []
    for b, own_instance in enumerate(own.instances):
        openings = [message.instances[b] for message in received.values()]
        try:
            key = sum_points([own_instance.pk, *(opening.pk for opening in openings)])
            nonces.append(sum_points([own_instance.R, *(opening.R for opening in openings)]))
        except PointAtInfinity as error:
            raise UnknownFault(
                f"Σ pk or Σ R of instance {b}, transcript {sent.view.hex()}, is infinity: compare the R and "
                "pk that each signer received"
            ) from error
        if not hmac.compare_digest(key.encoded, party.group_key):
            raise UnknownFault(
                f"Σ pk of instance {b}, transcript {sent.view.hex()}, is not the group key: some signer of "
                f"{party.signers} used another share or another zero share; compare epochs and public shares"
            )
    return tuple(nonces)


def _check_gammas(peer: int, message: Multiply, shares: Sequence[vole.Pair], chis: Sequence[int]) -> None:
    """χ·R_j = Γu + d_u·G and χ·pk_j = Γv + d_v·G for every instance, then one verdict for the peer."""
    good = True
    for opening, (d_u, d_v), chi in zip(message.instances, shares, chis, strict=True):
        good &= _is_product(opening.R, chi, gamma=opening.gamma_u, d=d_u)
        good &= _is_product(opening.pk, chi, gamma=opening.gamma_v, d=d_v)
    if not good:
        raise FaultyParticipant(peer, "its product does not fit its R, pk and Γ", ban=True)


def _is_product(point: Point, chi: int, *, gamma: Point, d: int) -> bool:
    try:
        expected = sum_points([gamma, base_point(d)])
    except PointAtInfinity:  # χ is not zero, so χ·point is not infinity either
        return False
    return is_product(point, chi, product=expected)


def _points_commitment(session: bytes, party: int, *, salt: bytes, points: Sequence[Point]) -> bytes:
    tag = "quorumkeep/mpc/presign/commit-points/v1"
    return tagged_hash(tag, session, party.to_bytes(2, "big"), salt, *(point.encoded for point in points))


def _view(party: _Party, commitments: Mapping[int, Commitments]) -> bytes:
    """The hash of all round-1 commitments of both kinds, in order of signer."""
    parts = [part for signer in party.signers for part in (bytes([signer]), commitments[signer].to_bytes())]
    return tagged_hash("quorumkeep/mpc/presign/view/v1", party.session, *parts)
