"""Refresh: new shares of the same key for the same nodes, and new pairwise state; the old shares go.

All n nodes deal polynomials with constant term zero over their shares (``redeal``), so group key, chain code
and ``min_signers`` stay as they are and every share changes. Shares of two epochs do not mix: whoever stole
fewer than ``min_signers`` of one epoch has nothing left of it in the next.
"""

from dataclasses import replace
from functools import partial

from policy.encoding import tagged_hash
from policy.errors import CallerError, UnknownFault
from policy.suites import suite_named
from signer_nodes.mpc.curve import PointAtInfinity
from signer_nodes.mpc.dkg import KeygenParameters, KeygenResult
from signer_nodes.mpc.keyshare import KeyShare
from signer_nodes.mpc.redeal import OldCommittee, Plan, Redealt, start_redeal
from signer_nodes.mpc.rounds import Rounds


def start_refresh(parameters: KeygenParameters, share: KeyShare, *, randomness: bytes) -> Rounds:
    """A run that ends in a ``KeygenResult`` of the epoch after ``share``'s.

    ``parameters`` says which epoch that is, and everything else as the share has it; ``session`` is 32 bytes
    that no run has used before. ``randomness``: 32 fresh bytes, never used again. Raises ``CallerError`` for
    parameters of another key, and ``InvariantError`` for a share that is not behind its public share. The
    result counts only after all n signatures over ``transcript``.
    """
    _check(parameters, share)
    finish = partial(_refreshed, share)
    return start_redeal(_plan(parameters, share), 0, finish=finish, randomness=randomness)


def _plan(parameters: KeygenParameters, share: KeyShare) -> Plan:
    return Plan(
        group=parameters.group,
        context=tagged_hash("mpc/refresh/context", parameters.context),
        old_record=OldCommittee.of(share).digest(),
        min_signers=parameters.min_signers,
        dealers=dict.fromkeys(parameters.indices),
        receivers={index: index for index in parameters.indices},
        me=parameters.index,
        pairwise=(share.key_id, parameters.epoch) if suite_named(share.suite).pairwise else None,
    )


def _check(parameters: KeygenParameters, share: KeyShare) -> None:
    for name in ("suite", "key_id", "min_signers", "participants", "index"):
        wanted, found = getattr(parameters, name), getattr(share, name)
        if wanted != found:
            raise CallerError(f"a refresh keeps the {name}: the share has {found!r}, not {wanted!r}")
    if parameters.epoch != share.epoch + 1:
        raise CallerError(f"after epoch {share.epoch} comes {share.epoch + 1}, not {parameters.epoch}")
    share.check()


def _refreshed(share: KeyShare, redealt: Redealt) -> KeygenResult:
    try:
        public_shares = tuple(
            share.group.add([old, redealt.moved[index]])
            for index, old in enumerate(share.public_shares, start=1)
        )
    except PointAtInfinity as error:
        raise UnknownFault(
            f"a new share of transcript {redealt.transcript.hex()} vanishes: compare it at every party, and "
            "start again with a new session id"
        ) from error
    refreshed = replace(
        share,
        epoch=share.epoch + 1,
        share=(share.share + redealt.share) % share.group.order,
        public_shares=public_shares,
    )
    refreshed.check()
    return KeygenResult(refreshed, redealt.transcript, redealt.pairs)
