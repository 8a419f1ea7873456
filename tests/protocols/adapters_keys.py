"""Key generation and set-up as the mutator sees them, with the tables of what altered fields lead to.

All rows name the attacker but one: of two different views of the public messages either holder may lie,
so ``transcript`` names nobody.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from itertools import combinations

from policy.suites import DKLS23_SECP256K1
from signer_nodes.mpc.dkg import KeygenParameters, KeygenResult, start_dkg
from signer_nodes.mpc.keygen import start_keygen
from signer_nodes.mpc.keyshare import KeyShare, PairState
from signer_nodes.mpc.rounds import Rounds
from signer_nodes.mpc.setup import start_setup
from tests.protocols import layouts
from tests.protocols.attack_model import Cheat, Protocol, Table, Verdict, seed_of
from tests.protocols.keys import give_their_key

HARMLESS, NAMED, UNNAMED = Verdict.HARMLESS, Verdict.NAMED, Verdict.UNNAMED
Start = Callable[[KeygenParameters, bytes], Rounds]

DKG_TABLE: Table = {
    (1, "commitment"): NAMED,
    (2, "coefficient"): NAMED,
    (2, "proof R"): NAMED,
    (2, "proof z"): NAMED,
    (2, "chain code"): NAMED,
    (3, "share"): NAMED,
    (3, "transcript"): UNNAMED,
}


SETUP_TABLE: Table = {
    (1, "zero commitment"): NAMED,
    (1, "OT request"): NAMED,
    (2, "zero part"): NAMED,
    (2, "OT answer"): NAMED,
    (3, "confirmation"): NAMED,
}


def dkg_protocol(t: int, n: int, suite: str = DKLS23_SECP256K1) -> Protocol:
    """Key generation alone."""
    return Protocol(
        name=f"dkg {t} of {n} {suite}",
        parties=tuple(range(1, n + 1)),
        start=partial(_start_key, t, n, start_dkg, suite),
        layouts=layouts.dkg(t, suite),
        table=DKG_TABLE,
        replayed=dict.fromkeys((1, 2, 3), NAMED),
        swapped={1: HARMLESS, 2: HARMLESS, 3: NAMED},  # rounds 1 and 2 are the same to everybody
        conclude=partial(_conclude_key, t),
        cheats=partial(_key_cheats, t, n, start_dkg, suite),
    )


def keygen_protocol(t: int, n: int) -> Protocol:
    """Key generation and set-up in one run."""
    return Protocol(
        name=f"keygen {t} of {n}",
        parties=tuple(range(1, n + 1)),
        start=partial(_start_key, t, n, start_keygen, DKLS23_SECP256K1),
        layouts=layouts.keygen(t),
        table={**DKG_TABLE, **SETUP_TABLE},
        replayed=dict.fromkeys((1, 2, 3), NAMED),
        swapped=dict.fromkeys((1, 2, 3), NAMED),
        conclude=partial(_conclude_key, t),
        cheats=partial(_key_cheats, t, n, start_keygen, DKLS23_SECP256K1),
    )


def setup_protocol(n: int) -> Protocol:
    """The pairwise set-up alone, as a refresh runs it."""
    parties = tuple(range(1, n + 1))

    def start(party: int, session: int, face: int) -> Rounds:
        return start_setup(
            f"session {session}".encode().ljust(32),
            party,
            peers=tuple(peer for peer in parties if peer != party),
            key_id="hot-1",
            epoch=1,
            randomness=seed_of(party, session, face),
        )

    return Protocol(
        name=f"set-up among {n}",
        parties=parties,
        start=start,
        layouts=layouts.setup(),
        table=SETUP_TABLE,
        replayed=dict.fromkeys((1, 2, 3), NAMED),
        swapped=dict.fromkeys((1, 2, 3), NAMED),
        conclude=_conclude_setup,
        cheats=lambda attacker: {"another session": Cheat(lambda: start(attacker, 2, 0), NAMED)},
    )


def _start_key(t: int, n: int, start: Start, suite: str, party: int, session: int, face: int) -> Rounds:
    return start(_parameters(t, n, suite, party, session), seed_of(party, session, face))


def _parameters(t: int, n: int, suite: str, party: int, session: int) -> KeygenParameters:
    names = tuple(f"node-{i}" for i in range(1, n + 1))
    return KeygenParameters(f"session {session}".encode().ljust(32), suite, "hot-1", t, names, party)


def _conclude_key(t: int, results: Mapping[int, object]) -> None:
    """One key for all that have one; any t shares give it; pair states fit."""
    shares, pairs = {}, {}
    for party, result in results.items():
        assert isinstance(result, KeygenResult)
        shares[party] = result.share
        result.share.check()
        pairs.update({(pair.me, pair.peer): pair for pair in result.pairs})
    assert len({_public(share) for share in shares.values()}) <= 1
    transcripts = {getattr(result, "transcript", None) for result in results.values()}
    assert len(transcripts) <= 1
    for quorum in combinations(shares, t):
        assert give_their_key([shares[party] for party in quorum])
    check_pairs(pairs)


def _public(share: KeyShare) -> tuple[object, ...]:
    return share.group_key, share.chain_code, share.public_shares, share.epoch, share.participants


def _conclude_setup(results: Mapping[int, object]) -> None:
    pairs = {}
    for result in results.values():
        assert isinstance(result, tuple)
        pairs.update({(pair.me, pair.peer): pair for pair in result})
    check_pairs(pairs)


def check_pairs(pairs: Mapping[tuple[int, int], PairState]) -> None:
    """The sender's seeds are those that its Δ selects; both have one zero seed."""
    for (me, peer), mine in pairs.items():
        theirs = pairs.get((peer, me))
        if theirs is None:
            continue
        assert mine.zero_seed == theirs.zero_seed
        bits = [mine.delta[i // 8] >> i % 8 & 1 for i in range(len(mine.delta_seeds))]
        chosen = tuple(both[bit] for both, bit in zip(theirs.receiver_seeds, bits, strict=True))
        assert mine.delta_seeds == chosen


def _key_cheats(t: int, n: int, start: Start, suite: str, attacker: int) -> Mapping[str, Cheat]:
    mine = _parameters(t, n, suite, attacker, 1)
    others = {
        "another session": replace(mine, session=b"t" * 32),
        "another key": replace(mine, key_id="hot-2"),
        "another epoch": replace(mine, epoch=1),
        "other names": replace(mine, participants=(*mine.participants[:-1], "mallory")),
        "another order": replace(mine, participants=mine.participants[::-1]),
    }
    if t < n:
        others["a longer polynomial"] = replace(mine, min_signers=t + 1)
    if t > 2:
        others["a shorter polynomial"] = replace(mine, min_signers=t - 1)
    seed = seed_of(attacker, 1)
    return {name: Cheat(partial(start, parameters, seed), NAMED) for name, parameters in others.items()}
