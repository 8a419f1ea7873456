"""A new key in one run of three rounds: key generation, and pairwise set-up beside it if the suite has one.

With it each body is the key generation's part followed by the set-up's part; ``dkg`` and ``setup`` say
what they are and what they prove. The result counts only with all n signatures over ``transcript``; until
the runtime holds them, a share is neither sealed as live nor used.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial

from policy.suites import suite_named
from signer_nodes.mpc import dkg, setup
from signer_nodes.mpc.dkg import KeygenParameters
from signer_nodes.mpc.rounds import Done, Rounds, Send, blaming, parts
from signer_nodes.mpc.stream import RandomStream


@dataclass(frozen=True, slots=True)
class _Run:
    parameters: KeygenParameters
    dealing: dkg.Dealing


def start_keygen(parameters: KeygenParameters, randomness: bytes) -> Rounds:
    """A run that ends in a ``KeygenResult``. ``randomness``: 32 fresh bytes, never used again.

    The transport must be authenticated and confidential, and bound to ``parameters.participants``.
    """
    if not suite_named(parameters.suite).pairwise:
        return dkg.start_dkg(parameters, randomness)
    body_bytes_max = max(
        dkg.COMMITMENT_BYTES + setup.OFFER_BYTES,
        dkg.opening_bytes(parameters) + setup.REPLY_BYTES,
    )
    first = partial(_commit_step, parameters, RandomStream(randomness))
    return Rounds(parameters.index, parameters.peers, first=first, body_bytes_max=body_bytes_max)


def _commit_step(parameters: KeygenParameters, streams: RandomStream, _bodies: Mapping[int, bytes]) -> Send:
    run = _Run(parameters, dkg.deal(parameters, streams.fork("dkg")))
    offers = {
        peer: setup.offer(_pair_name(parameters, peer), streams.fork(f"pair/{peer}"))
        for peer in parameters.peers
    }
    outbox = {peer: run.dealing.commitment + offered.body for peer, offered in offers.items()}
    return Send(outbox, partial(_open_step, run, offers))


def _open_step(run: _Run, offers: Mapping[int, setup.Offered], bodies: Mapping[int, bytes]) -> Send:
    public, private = _split(bodies, dkg.COMMITMENT_BYTES, setup.OFFER_BYTES)
    replies = {peer: setup.reply(offers[peer], body) for peer, body in private.items()}
    commitments = {**public, run.parameters.index: run.dealing.commitment}
    outbox = {peer: run.dealing.opening + replied.body for peer, replied in replies.items()}
    return Send(outbox, partial(_deal_step, run, commitments, replies))


def _deal_step(
    run: _Run,
    commitments: Mapping[int, bytes],
    replies: Mapping[int, setup.Replied],
    bodies: Mapping[int, bytes],
) -> Send:
    length = dkg.opening_bytes(run.parameters)
    public, private = _split(bodies, length, setup.REPLY_BYTES)
    openings = {**public, run.parameters.index: run.dealing.opening}
    opened = dkg.open_dealings(run.parameters, commitments, openings=openings)
    pairs = {peer: setup.confirm(replies[peer], body) for peer, body in private.items()}
    outbox = {
        peer: dkg.deal_body(run.dealing, opened, receiver=peer) + pair.confirmation
        for peer, pair in pairs.items()
    }
    return Send(outbox, partial(_last_step, run, opened, pairs))


def _last_step(
    run: _Run, opened: dkg.Opened, pairs: Mapping[int, setup.Confirming], bodies: Mapping[int, bytes]
) -> Done:
    dealt, confirmed = _split(bodies, dkg.DEAL_BYTES, setup.CONFIRMATION_BYTES)
    states = tuple(setup.finish(pairs[peer], body) for peer, body in confirmed.items())
    result = dkg.collect(run.parameters, run.dealing, opened=opened, bodies=dealt)
    return Done(replace(result, pairs=states))


def _pair_name(parameters: KeygenParameters, peer: int) -> setup.PairName:
    return setup.PairName(parameters.context, parameters.key_id, parameters.epoch, parameters.index, peer)


def _split(bodies: Mapping[int, bytes], first: int, second: int) -> tuple[dict[int, bytes], dict[int, bytes]]:
    heads, tails = {}, {}
    for sender, body in bodies.items():
        with blaming(sender):
            heads[sender], tails[sender] = parts(body, first, second)
    return heads, tails
