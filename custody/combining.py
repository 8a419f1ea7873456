"""From the signers' openings and partial signatures to one signature of a job, by its suite. Pure."""

from collections.abc import Mapping

from policy import ecdsa, schnorr
from policy.errors import FaultyParticipant, MalformedError
from policy.state import Job, KeyRecord
from policy.suites import DKLS23_SECP256K1


def combine(
    job: Job,
    index: int,
    *,
    key: KeyRecord,
    nonce_point: bytes,
    openings: Mapping[int, bytes],
    partials: Mapping[int, bytes],
) -> bytes:
    """Signature ``index`` as the log carries it, verified. ``nonce_point`` is R, for ECDSA alone.

    ``openings`` and ``partials`` are by party number. Raises ``FaultyParticipant`` where the suite can tell
    who is at fault, and ``UnknownFault`` where it cannot.
    """
    if job.suite == DKLS23_SECP256K1:
        return _ecdsa(job, index, nonce_point=nonce_point, openings=openings, partials=partials)
    signing = job.signings[index]
    task = schnorr.SchnorrTask(
        suite=job.suite,
        message=signing.message,
        group_key=key.group_key,
        tweak=signing.tweak,
        merkle_root=signing.merkle_root,
        job_id=job.job_id,
        index=index,
    )
    shares = dict(enumerate(key.public_shares, start=1))
    return schnorr.combine(partials, openings=openings, public_shares=shares, task=task)


def _ecdsa(
    job: Job,
    index: int,
    *,
    nonce_point: bytes,
    openings: Mapping[int, bytes],
    partials: Mapping[int, bytes],
) -> bytes:
    signing = job.signings[index]
    task = ecdsa.SigningTask(signing.message, signing.tweak, signing.public_key, job.job_id, index)
    read = {party: _partial(party, data) for party, data in partials.items()}
    signature = ecdsa.combine(read, R=nonce_point, rhos=openings, task=task)
    return signature.to_bytes() + bytes([signature.recovery_id])


def _partial(party: int, data: bytes) -> ecdsa.Partial:
    try:
        return ecdsa.Partial.from_bytes(data)
    except MalformedError as error:
        raise FaultyParticipant(party, f"its partial signature: {error}") from error
