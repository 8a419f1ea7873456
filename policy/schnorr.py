"""Threshold Schnorr's public half: what signers and combiner compute alike, and adding partial signatures up.

FROST (RFC 9591; Komlo and Goldberg, ePrint 2020/852). Symbols: D, E a signer's nonce commitments, together
its opening; f its binding factor (RFC 9591 writes ρ); R_i = D_i + f_i·E_i, R = Σ R_i; c the challenge; λ_i
the Lagrange coefficient; Y_i a public share; z_i a partial signature; x the group's private key, P = x·G.

A signature stands under the task's *output key* s·P + a·G: s is 1 or -1 and a is 0, but for tweaks and for
taproot, where points are taken with even y. So z = Σ z_i + c·a, and with σ the sign that gives R an even y
z_i·G = σ·R_i + c·λ_i·s·Y_i. Everything here is public and nothing in it is constant-time.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from policy.ciphersuites import Ciphersuite, ciphersuite, tagged, verify
from policy.errors import CallerError, FaultyParticipant, MalformedError, UnknownFault
from policy.groups import PublicGroup, lagrange
from policy.ids import ID_BYTES
from policy.secp256k1 import PointAtInfinity
from policy.suites import suite_named

INDEX_MAX = 2**32 - 1
MESSAGE_BYTES_MAX = 65536
MERKLE_ROOT_BYTES = 32


@dataclass(frozen=True, slots=True)
class SchnorrTask:
    """One signature of a job: what is signed, and under which key made from the group key.

    ``message`` is signed as it is (for Bitcoin the 32-byte signature hash). ``group_key`` is a checked
    point, ``tweak`` τ of its BIP 32 derivation, 0 for the group key itself. ``merkle_root``: None signs
    under the key P + τ·G itself; for taproot, ``b""`` signs under its BIP 341 output key without scripts,
    and 32 bytes under the output key that commits to this root. ``index`` counts the signatures of one job.
    """

    suite: str
    message: bytes
    group_key: bytes
    tweak: int
    merkle_root: bytes | None
    job_id: bytes
    index: int

    def __post_init__(self) -> None:
        suite = ciphersuite(self.suite)
        if len(self.group_key) != suite.group.point_bytes or len(self.job_id) != ID_BYTES:
            raise CallerError(
                f"a task takes a key of {suite.group.point_bytes} bytes and a job id of {ID_BYTES}"
            )
        if not 0 <= self.tweak < suite.group.order or not 0 <= self.index <= INDEX_MAX:
            raise CallerError("a task takes a tweak below the order and an index from 0 to 2**32 - 1")
        if len(self.message) > MESSAGE_BYTES_MAX:
            raise CallerError(
                f"message has {len(self.message)} bytes, at most {MESSAGE_BYTES_MAX} are signed"
            )
        if self.tweak and not suite_named(self.suite).derivable:
            raise CallerError(f"suite {self.suite} derives no keys: its tweak is 0")
        if self.merkle_root is not None and not (
            suite.x_only and len(self.merkle_root) in (0, MERKLE_ROOT_BYTES)
        ):
            raise CallerError(f"a merkle root is for taproot and has 0 or {MERKLE_ROOT_BYTES} bytes")


@dataclass(frozen=True, slots=True)
class OutputKey:
    """The point s·P + a·G that a signature stands under, with even y where the suite wants it."""

    point: bytes
    sign: int
    addend: int


@dataclass(frozen=True, slots=True)
class SigningView:
    """What every signer and the combiner get from the task and the same openings, by signer where it differs.

    ``nonce`` is R with even y where the suite wants it, and ``nonce_sign`` 1 or -1, the σ that made it so.
    """

    key: OutputKey
    binding_factors: Mapping[int, int]
    nonces: Mapping[int, bytes]
    nonce: bytes
    nonce_sign: int
    challenge: int


def output_key(task: SchnorrTask) -> OutputKey:
    """The key of a task: P + τ·G, for taproot with even y, and BIP 341's tweak where there is a root."""
    return _output_key(
        ciphersuite(task.suite), task.group_key, tweak=task.tweak, merkle_root=task.merkle_root
    )


def public_key(task: SchnorrTask) -> bytes:
    """What ``verify`` and everybody else takes as the key of a task's signature."""
    return ciphersuite(task.suite).encode(output_key(task).point)


def derived_public_key(suite: str, group_key: bytes, *, tweak: int, merkle_root: bytes | None) -> bytes:
    """``public_key`` of every task with this key, tweak and root. Raises ``MalformedError`` for no key."""
    found = ciphersuite(suite)
    return found.encode(_output_key(found, group_key, tweak=tweak, merkle_root=merkle_root).point)


def signing_view(task: SchnorrTask, openings: Mapping[int, bytes]) -> SigningView:
    """R and c of RFC 9591 sections 4.4 to 4.6, from D ‖ E of every signer.

    Raises ``FaultyParticipant`` naming the signer whose opening is no two points (which proves it only if the
    opening was authenticated), and ``UnknownFault`` for two equal openings or an R at infinity.
    """
    suite = ciphersuite(task.suite)
    commitments = {party: _commitments(suite, party, openings[party]) for party in sorted(openings)}
    if len(set(openings.values())) != len(openings):
        raise UnknownFault(
            f"two of the signers {sorted(openings)} show the same opening in job {task.job_id.hex()}: one is "
            "a copy; compare whose came first"
        )
    key = output_key(task)
    inputs = binding_inputs(suite, task.message, key_point=key.point, openings=openings)
    factors = {party: suite.h1(data) for party, data in inputs.items()}
    try:
        nonces = {
            party: suite.group.add_checked([D, suite.group.mul_public(E, factors[party])])
            for party, (D, E) in commitments.items()
        }
        nonce, sign = suite.normalise(suite.group.add_checked(list(nonces.values())))
    except PointAtInfinity as error:
        raise UnknownFault(
            f"the signers' nonces in job {task.job_id.hex()} cancel out: compare the openings, and use new "
            "ones in a new job"
        ) from error
    challenge = suite.challenge(suite.encode(nonce), task.message, public_key=suite.encode(key.point))
    return SigningView(key, factors, nonces, nonce, sign, challenge)


def binding_inputs(
    suite: Ciphersuite, message: bytes, *, key_point: bytes, openings: Mapping[int, bytes]
) -> dict[int, bytes]:
    """What H1 hashes to each signer's binding factor (RFC 9591 section 4.4).

    The key is the output key: with the group key here, whoever chooses the tweak last could try many
    challenges against the same R. Job id and index are not in it; docs/spec/frost.md says why.
    """
    identifiers = {party: suite.group.scalar_bytes(party) for party in sorted(openings)}
    listed = b"".join(identifiers[party] + openings[party] for party in identifiers)
    prefix = key_point + suite.h4(message) + suite.h5(listed)
    return {party: prefix + identifier for party, identifier in identifiers.items()}


def combine(
    partials: Mapping[int, bytes],
    *,
    openings: Mapping[int, bytes],
    public_shares: Mapping[int, bytes],
    task: SchnorrTask,
) -> bytes:
    """Add up the partial signatures of a signing set, verify the result, and return its encoding.

    ``public_shares`` has at least those of the signers, from the key's record. When no valid signature
    comes out, every partial signature is checked alone: ``FaultyParticipant`` names the first signer whose
    z does not fit its opening and public share. That proves it to whoever had both from the signer itself
    and gave every signer these same openings; nobody signs them, so it proves nothing to a third.
    ``UnknownFault``: all fit, so the public shares are not those of the group key.
    """
    signers = sorted(partials)
    if signers != sorted(openings) or len(signers) < 2 or not partials.keys() <= public_shares.keys():
        raise CallerError(
            f"need a partial, an opening and a public share a signer, got {signers}, {sorted(openings)} and "
            f"{sorted(public_shares)}"
        )
    suite = ciphersuite(task.suite)
    responses = {party: _response(suite, party, partials[party]) for party in signers}
    view = signing_view(task, openings)
    total = (sum(responses.values()) + view.challenge * view.key.addend) % suite.group.order
    signature = suite.signature(view.nonce, total)
    if verify(task.suite, signature, message=task.message, public_key=suite.encode(view.key.point)):
        return signature
    culprit = _culprit(suite, responses, view=view, public_shares=public_shares)
    if culprit is not None:
        raise FaultyParticipant(culprit, "its partial signature does not fit its opening and public share")
    raise UnknownFault(
        f"partial signatures of {signers} in job {task.job_id.hex()} fit their public shares and make no "
        f"signature: compare the public shares and the group key {task.group_key.hex()} with the key's record"
    )


def _output_key(suite: Ciphersuite, group_key: bytes, *, tweak: int, merkle_root: bytes | None) -> OutputKey:
    order = suite.group.order
    point, sign = suite.normalise(_plus(suite.group, group_key, tweak))
    key = OutputKey(point, sign, sign * tweak % order)
    if merkle_root is None:
        return key
    taproot = int.from_bytes(tagged("TapTweak", suite.encode(point) + merkle_root), "big")
    if taproot >= order:
        raise MalformedError("this key has no taproot output key (BIP 341): use the next index")
    point, flip = suite.normalise(_plus(suite.group, point, taproot))
    return OutputKey(point, sign * flip, flip * (key.addend + taproot) % order)


def _culprit(
    suite: Ciphersuite, responses: Mapping[int, int], *, view: SigningView, public_shares: Mapping[int, bytes]
) -> int | None:
    """The first signer for whom σ·z_i·G = R_i + σ·c·λ_i·s·Y_i does not hold (RFC 9591 section 5.4)."""
    group, signers = suite.group, tuple(responses)
    for party, z in responses.items():
        weight = view.challenge * lagrange(party, signers, order=group.order) * view.key.sign
        term = group.mul_public(public_shares[party], view.nonce_sign * weight % group.order)
        try:
            expected = group.add_checked([view.nonces[party], term])
        except PointAtInfinity:
            return party
        if z == 0 or group.base_mul(view.nonce_sign * z % group.order) != expected:
            return party
    return None


def _commitments(suite: Ciphersuite, party: int, opening: bytes) -> tuple[bytes, bytes]:
    length = suite.group.point_bytes
    try:
        return suite.group.point_of(opening[:length]), suite.group.point_of(opening[length:])
    except MalformedError as error:
        raise FaultyParticipant(party, f"its opening: {error}") from error


def _response(suite: Ciphersuite, party: int, partial: bytes) -> int:
    try:
        return suite.group.scalar_of(partial)
    except MalformedError as error:
        raise FaultyParticipant(party, f"its partial signature: {error}") from error


def _plus(group: PublicGroup, point: bytes, tweak: int) -> bytes:
    return group.add([point, group.base_mul(tweak)]) if tweak else point
