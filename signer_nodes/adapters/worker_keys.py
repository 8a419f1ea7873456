"""Inside a worker: the runs that begin a key's epoch, from a job to what the node seals.

Part of the worker program: it opens shares, so it is imported by no process that has the token loaded.
"""

import os

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from policy.errors import CallerError, InvariantError, OperationalError, ProtocolError
from signer_nodes.backup import make_backup
from signer_nodes.backup_wire import BackupJob, BackupOutcome
from signer_nodes.envelopes import import_info, open_envelope
from signer_nodes.hsm.context import SealContext
from signer_nodes.hsm.envelope import FILE_KEY_BYTES, NONCE_BYTES, open_blob, seal_blob
from signer_nodes.mpc.dkg import KeygenParameters, KeygenResult
from signer_nodes.mpc.imported import DealtShare, start_import
from signer_nodes.mpc.keygen import start_keygen
from signer_nodes.mpc.keyshare import KeyShare
from signer_nodes.mpc.redeal import OldCommittee
from signer_nodes.mpc.refresh import start_refresh
from signer_nodes.mpc.reshare import ReshareParameters, ReshareResult, start_reshare
from signer_nodes.mpc.rounds import Rounds
from signer_nodes.worker_frames import FileSealed, Holding
from signer_nodes.worker_wire import KeyJob, KeyOutcome, OldKey


def open_share(holding: Holding) -> KeyShare:
    """The share behind a sealed blob, checked against its context and its public share."""
    context = holding.context
    share = KeyShare.from_bytes(open_blob(holding.share.file_key, holding.share.blob, context=context))
    facts = (share.suite, share.key_id, share.epoch, share.group_key)
    stated = (context.suite, context.key_id, context.epoch, context.group_key)
    committee = (share.min_signers, len(share.participants), share.participants[share.index - 1])
    if facts != stated or committee != (context.min_signers, context.participants, context.node):
        raise CallerError("the sealed share is not the one that its context names")
    share.check()
    return share


def backed_up(job: BackupJob, seed: bytes) -> BackupOutcome:
    """The backup of the share that the job brings."""
    share = open_share(job.holding)
    return BackupOutcome(make_backup(share, job.officers, quorum=job.quorum, randomness=seed))


def start_change(job: KeyJob, seed: bytes) -> Rounds:
    """The machine of a key's run."""
    match job.change:
        case "generate":
            return start_keygen(_parameters(job), seed)
        case "refresh":
            return start_refresh(_parameters(job), _held(job), randomness=seed)
        case "import":
            return _start_import(job, seed)
        case "reshare":
            share = open_share(job.holding) if job.holding is not None else None
            return start_reshare(_reshare_parameters(job), share, randomness=seed)
        case other:
            raise CallerError(f"no run begins an epoch by {other!r}")


def _start_import(job: KeyJob, seed: bytes) -> Rounds:
    """Open what the dealer sent. What is wrong with it is nobody's fault among the parties."""
    if job.dealt is None:
        raise CallerError("an import starts from a dealer's envelope")
    info = import_info(job.session, job.suite, key_id=job.key_id, node=job.name)
    try:
        key = X25519PrivateKey.from_private_bytes(job.dealt.one_time_key)
        dealt = DealtShare.from_bytes(open_envelope(key, job.dealt.envelope, info=info))
        return start_import(_parameters(job), dealt, randomness=seed)
    except ProtocolError as error:
        raise OperationalError(f"the dealer's envelope is refused: {error}") from error


def sealed_outcome(job: KeyJob, result: object) -> KeyOutcome:
    """What the node keeps and publishes of a run, secrets sealed under fresh file keys."""
    match result:
        case KeygenResult(share=share, transcript=transcript, pairs=pairs):
            public_shares = share.public_shares
        case ReshareResult(share=share, public_shares=public_shares, transcript=transcript, pairs=pairs):
            pass
        case _:
            raise InvariantError(f"a key's run ended in a {type(result).__name__}")
    if share is not None:
        share.check()
    group_key, chain_code = _lasting(job, share)
    context = SealContext(
        suite=job.suite,
        key_id=job.key_id,
        group_key=group_key,
        node=job.name,
        min_signers=job.min_signers,
        participants=len(job.participants),
        epoch=job.epoch,
    )
    return KeyOutcome(
        context=context,
        public_shares=public_shares,
        chain_code=chain_code,
        transcript=transcript,
        share=_sealed(share.to_bytes(), context) if share is not None else None,
        pairs={pair.peer: _sealed(pair.to_bytes(), context) for pair in pairs},
    )


def _lasting(job: KeyJob, share: KeyShare | None) -> tuple[bytes, bytes]:
    """Group key and chain code: what stays the same in every epoch."""
    if job.old is not None:
        return job.old.group_key, job.old.chain_code
    if share is None:
        raise InvariantError("a new key left this node without a share")
    return share.group_key, share.chain_code


def _parameters(job: KeyJob) -> KeygenParameters:
    return KeygenParameters(
        session=job.session,
        suite=job.suite,
        key_id=job.key_id,
        min_signers=job.min_signers,
        participants=job.participants,
        index=job.party,
        epoch=job.epoch,
    )


def _reshare_parameters(job: KeyJob) -> ReshareParameters:
    return ReshareParameters(
        session=job.session,
        suite=job.suite,
        key_id=job.key_id,
        epoch=job.epoch,
        old=_old_committee(_old(job)),
        dealers=job.dealers,
        min_signers=job.min_signers,
        participants=job.participants,
        name=job.name,
    )


def _old_committee(old: OldKey) -> OldCommittee:
    return OldCommittee(
        min_signers=old.min_signers,
        participants=old.participants,
        public_shares=old.public_shares,
        group_key=old.group_key,
        chain_code=old.chain_code,
        epoch=old.epoch,
    )


def _old(job: KeyJob) -> OldKey:
    if job.old is None:
        raise CallerError("a resharing starts from a key's record")
    return job.old


def _held(job: KeyJob) -> KeyShare:
    if job.holding is None:
        raise CallerError("this run starts from a share")
    return open_share(job.holding)


def _sealed(plaintext: bytes, context: SealContext) -> FileSealed:
    file_key = os.urandom(FILE_KEY_BYTES)
    return FileSealed(
        file_key, seal_blob(file_key, plaintext, context=context, nonce=os.urandom(NONCE_BYTES))
    )
