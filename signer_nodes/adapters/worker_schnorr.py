"""Inside a worker: nonce pairs and partial signatures of threshold Schnorr, which both take the share."""

from policy.errors import CallerError, FaultyParticipant, ProtocolError
from signer_nodes.adapters.worker_keys import open_share
from signer_nodes.mpc.frost import partial_signature
from signer_nodes.mpc.keyshare import KeyShare
from signer_nodes.mpc.nonces import NoncePair, make_nonces
from signer_nodes.schnorr_wire import FinishItem, FinishJob, FinishOutcome, NonceJob, NonceOutcome, Unsigned


def nonces(job: NonceJob, seed: bytes) -> NonceOutcome:
    """The batch that a job asks for."""
    share = open_share(job.holding)
    if share.index != job.index:
        raise CallerError(f"the sealed share is party {share.index}'s, the job is for {job.index}")
    made = make_nonces(share, session=job.session, batch=job.batch, signers=job.signers, randomness=seed)
    return NonceOutcome(tuple(pair.to_bytes() for pair in made))


def partial_signatures(job: FinishJob) -> FinishOutcome:
    """One answer an item; what is wrong with one does not keep the others from theirs."""
    share = open_share(job.holding)
    return FinishOutcome(tuple(_answer(share, item) for item in job.items))


def _answer(share: KeyShare, item: FinishItem) -> bytes | Unsigned:
    try:
        pair = NoncePair.from_bytes(item.nonces)
        return partial_signature(share, pair, openings=item.openings, task=item.task)
    except FaultyParticipant as error:
        return Unsigned(int(error.participant), error.reason)
    except ProtocolError as error:
        return Unsigned(0, str(error))
