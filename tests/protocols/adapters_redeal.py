"""Refresh, reshare and import as the mutator sees them, with the tables of what altered fields lead to.

All rows name the attacker but ``transcript`` and ``view``: of two different views either holder may lie. A
dealer with another view is not blamed for its value either, so a replayed last round names nobody.
"""

import random
from collections.abc import Mapping
from dataclasses import replace
from functools import cache, partial
from itertools import combinations

from policy.suites import FROST_SECP256K1
from signer_nodes.mpc.dkg import KeygenParameters, KeygenResult
from signer_nodes.mpc.groups import group_of
from signer_nodes.mpc.imported import DealtShare, split, start_import
from signer_nodes.mpc.keyshare import KeyShare
from signer_nodes.mpc.redeal import OldCommittee
from signer_nodes.mpc.refresh import start_refresh
from signer_nodes.mpc.reshare import ReshareParameters, ReshareResult, start_reshare
from signer_nodes.mpc.rounds import Rounds
from tests.protocols import layouts
from tests.protocols.adapters_keys import check_pairs
from tests.protocols.attack_model import Cheat, Protocol, Table, Verdict, seed_of
from tests.protocols.keys import KEY_ID, deal_key, give_their_key, names_of
from tests.protocols.layouts import Layout

HARMLESS, NAMED, UNNAMED = Verdict.HARMLESS, Verdict.NAMED, Verdict.UNNAMED
DEALERS, NEW_COMMITTEE = (1, 2), (2, 3, 4)

REDEAL_TABLE: Table = {
    (1, "commitment"): NAMED,
    (2, "coefficient"): NAMED,
    (3, "value"): NAMED,
    (3, "transcript"): UNNAMED,
}
SETUP_TABLE: Table = {
    (1, "zero commitment"): NAMED,
    (1, "OT request"): NAMED,
    (2, "zero part"): NAMED,
    (2, "OT answer"): NAMED,
    (3, "confirmation"): NAMED,
}


def table_of(found: Mapping[int, Layout], *tables: Table) -> Table:
    """The rows for the fields that there are."""
    rows = {row: verdict for table in tables for row, verdict in table.items()}
    uses = {(number, field.use) for number, layout in found.items() for field in layout}
    return {row: rows[row] for row in uses}


def refresh_protocol(t: int, n: int, suite: str = FROST_SECP256K1) -> Protocol:
    """All n nodes refresh their shares."""
    found = layouts.redeal(t, suite, deals=True, receives=True, pairs=True)
    return Protocol(
        name=f"refresh {t} of {n} {suite}",
        parties=tuple(range(1, n + 1)),
        start=partial(_start_refresh, _old(t, n, suite)),
        layouts=found,
        table=table_of(found, REDEAL_TABLE, SETUP_TABLE),
        replayed={1: NAMED, 2: NAMED, 3: UNNAMED},
        swapped={1: HARMLESS, 2: HARMLESS, 3: NAMED},
        conclude=partial(_conclude_refresh, t),
        cheats=partial(_refresh_cheats, t, n, suite),
    )


def reshare_protocol(suite: str = FROST_SECP256K1, *, dealing: bool = True) -> Protocol:
    """Nodes 1 and 2 of a 2-of-3 key give it to 2, 3 and 4: one leaves, one stays, two are given shares.

    A dealer attacks, or one that is only given a share.
    """

    def layout_of(number: int, sender: int, to: int) -> Layout:
        deals, receives = sender in DEALERS, to in NEW_COMMITTEE
        pairs = receives and sender in NEW_COMMITTEE
        return layouts.redeal(2, suite, deals=deals, receives=receives, pairs=pairs)[number]

    attackers = DEALERS if dealing else (3, 4)
    found = {number: layout_of(number, attackers[-1], 4 if dealing else 3) for number in (1, 2, 3)}
    return Protocol(
        name=f"reshare by a {'dealer' if dealing else 'receiver'} {suite}",
        parties=(1, 2, 3, 4),
        start=partial(_start_reshare, suite),
        layouts=found,
        table=table_of(found, REDEAL_TABLE, SETUP_TABLE),
        replayed={1: NAMED, 2: NAMED, 3: UNNAMED},
        swapped={1: HARMLESS, 2: HARMLESS, 3: NAMED},
        conclude=_conclude_reshare,
        cheats=partial(_reshare_cheats, suite) if dealing else lambda _attacker: {},
        layout_of=layout_of,
        attackers=attackers,
    )


def import_protocol(t: int, n: int, suite: str = FROST_SECP256K1) -> Protocol:
    """n nodes take a key that a dealer has split."""
    found = layouts.imported(suite)
    return Protocol(
        name=f"import {t} of {n} {suite}",
        parties=tuple(range(1, n + 1)),
        start=lambda party, session, face: _start_import(t, n, suite, party, session, face),
        layouts=found,
        table=table_of(found, {(1, "view"): UNNAMED}, SETUP_TABLE),
        replayed=dict.fromkeys(found, NAMED) | {1: UNNAMED},
        swapped=dict.fromkeys(found, NAMED) | ({} if len(found) > 1 else {1: HARMLESS}),
        conclude=partial(_conclude_refresh, t),
        cheats=lambda attacker: {
            "another dealing": Cheat(lambda: _start_import(t, n, suite, attacker, 1, 1), UNNAMED),
            "another session": Cheat(lambda: _start_import(t, n, suite, attacker, 2, 0), UNNAMED),
        },
    )


@cache
def _old(t: int, n: int, suite: str) -> dict[int, KeyShare]:
    return deal_key(t, n, suite=suite)


def _session(number: int) -> bytes:
    return f"session {number}".encode().ljust(32)


def _parameters(share: KeyShare, session: int) -> KeygenParameters:
    return KeygenParameters(
        _session(session),
        share.suite,
        share.key_id,
        share.min_signers,
        share.participants,
        share.index,
        share.epoch + 1,
    )


def _start_refresh(shares: Mapping[int, KeyShare], party: int, session: int, face: int) -> Rounds:
    parameters = _parameters(shares[party], session)
    return start_refresh(parameters, shares[party], randomness=seed_of(party, session, face))


def _reshare_parameters(suite: str, party: int, session: int) -> ReshareParameters:
    names = names_of(4)
    return ReshareParameters(
        session=_session(session),
        suite=suite,
        key_id=KEY_ID,
        epoch=1,
        old=OldCommittee.of(_old(2, 3, suite)[1]),
        dealers=tuple(names[i - 1] for i in DEALERS),
        min_signers=2,
        participants=tuple(names[i - 1] for i in NEW_COMMITTEE),
        name=names[party - 1],
    )


def _start_reshare(suite: str, party: int, session: int, face: int) -> Rounds:
    share = _old(2, 3, suite)[party] if party in DEALERS else None
    parameters = _reshare_parameters(suite, party, session)
    return start_reshare(parameters, share, randomness=seed_of(party, session, face))


@cache
def _dealt(t: int, n: int, suite: str, face: int) -> tuple[DealtShare, ...]:
    group, source = group_of(suite), random.Random(f"imported {suite}")
    return split(
        group.scalar_bytes(source.randrange(1, group.order)),
        suite=suite,
        min_signers=t,
        participants=names_of(n),
        chain_code=b"c" * 32,
        randomness=bytes([face]) * 32,
    )


def _start_import(t: int, n: int, suite: str, party: int, session: int, face: int) -> Rounds:
    parameters = KeygenParameters(_session(session), suite, KEY_ID, t, names_of(n), party)
    dealt = _dealt(t, n, suite, face)[party - 1]
    return start_import(parameters, dealt, randomness=seed_of(party, session))


# --- what results are worth --------------------------------------------------------------------------


def _conclude_refresh(t: int, results: Mapping[int, object]) -> None:
    """One record for all that have one; any t shares give its key."""
    shares, pairs = {}, {}
    for party, result in results.items():
        assert isinstance(result, KeygenResult)
        result.share.check()
        shares[party] = result.share
        pairs.update({(pair.me, pair.peer): pair for pair in result.pairs})
    assert len({OldCommittee.of(share) for share in shares.values()}) <= 1
    assert all(give_their_key([shares[i] for i in quorum]) for quorum in combinations(shares, t))
    check_pairs(pairs)


def _conclude_reshare(results: Mapping[int, object]) -> None:
    """One record for all that have one; any two new shares give the old key."""
    shares, records, pairs = {}, set(), {}
    for party, result in results.items():
        assert isinstance(result, ReshareResult)
        records.add((result.public_shares, result.transcript))
        if result.share is not None:
            result.share.check()
            shares[party] = result.share
        pairs.update({(pair.me, pair.peer): pair for pair in result.pairs})
    assert len(records) <= 1
    assert {OldCommittee.of(share).group_key for share in shares.values()} <= {
        _old(2, 3, share.suite)[1].group_key for share in shares.values()
    }
    assert all(give_their_key([shares[i] for i in quorum]) for quorum in combinations(shares, 2))
    check_pairs(pairs)


# --- cheats: honest code on other inputs -------------------------------------------------------------


def _refresh_cheats(t: int, n: int, suite: str, attacker: int) -> Mapping[str, Cheat]:
    own, seed = _old(t, n, suite)[attacker], seed_of(attacker, 1)
    parameters = _parameters(own, 1)

    def start(parameters: KeygenParameters, share: KeyShare) -> Rounds:
        return start_refresh(parameters, share, randomness=seed)

    other_key = deal_key(t, n, suite=suite, seed=9)[attacker]
    later = replace(own, epoch=own.epoch + 1)
    cheats = {
        "another session": Cheat(partial(start, replace(parameters, session=b"t" * 32), own), NAMED),
        "another key's share": Cheat(partial(start, parameters, other_key), UNNAMED),
        "another epoch": Cheat(partial(start, _parameters(later, 1), later), NAMED),
    }
    if t < n:
        longer = deal_key(t + 1, n, suite=suite)[attacker]
        cheats["more signers"] = Cheat(partial(start, _parameters(longer, 1), longer), NAMED)
    if t > 2:
        shorter = deal_key(t - 1, n, suite=suite)[attacker]
        cheats["fewer signers"] = Cheat(partial(start, _parameters(shorter, 1), shorter), NAMED)
    return cheats


def _reshare_cheats(suite: str, attacker: int) -> Mapping[str, Cheat]:
    own, seed = _old(2, 3, suite)[attacker], seed_of(attacker, 1)
    mine = _reshare_parameters(suite, attacker, 1)

    def start(parameters: ReshareParameters, share: KeyShare) -> Rounds:
        return start_reshare(parameters, share, randomness=seed)

    other = deal_key(2, 3, suite=suite, seed=9)[attacker]
    other_record = replace(mine, old=OldCommittee.of(other))
    return {
        "another session": Cheat(partial(start, replace(mine, session=b"t" * 32), own), NAMED),
        "another key's share": Cheat(partial(start, other_record, other), UNNAMED),
        "more signers": Cheat(partial(start, replace(mine, min_signers=3), own), NAMED),
    }
