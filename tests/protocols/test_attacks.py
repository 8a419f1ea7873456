"""One party attacks any protocol in any way: it is named where that can be known, and never wins.

The tables in ``adapters_*.py`` say field by field what must come of a change; ``mutator.judge`` says what
must hold in every run. ``make adversarial`` runs the larger sweeps, marked slow.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from policy.errors import FaultyParticipant, UnknownFault
from policy.suites import DKLS23_SECP256K1, FROST_ED25519, FROST_TAPROOT
from signer_nodes.mpc.rounds import Done, Rounds, Send, StepResult
from tests.protocols.adapters_ecdsa import finish_protocol, presign_protocol
from tests.protocols.adapters_frost import frost_protocol
from tests.protocols.adapters_keys import dkg_protocol, keygen_protocol, setup_protocol
from tests.protocols.adapters_redeal import import_protocol, refresh_protocol, reshare_protocol
from tests.protocols.attack_model import Change, Cheat, Protocol, Strike, Trick, Verdict
from tests.protocols.layouts import Field, Layout, body_bytes, octets, placed
from tests.protocols.mutator import TwoFaces, attack, attack_by_cheat, judge, judge_cheat, transcript

LIGHT = [
    dkg_protocol(2, 3),
    dkg_protocol(3, 5, FROST_ED25519),
    refresh_protocol(2, 3),
    refresh_protocol(3, 5, FROST_ED25519),
    reshare_protocol(),
    reshare_protocol(dealing=False),
    import_protocol(2, 3),
    frost_protocol(2, 3),
    frost_protocol(3, 5, FROST_ED25519),
    finish_protocol(2, 3),
    finish_protocol(3, 5),
    presign_protocol(2, 3),
]
HEAVY = [presign_protocol(3, 5), keygen_protocol(2, 3)]
ALL = LIGHT + HEAVY
LARGE = [
    *(dkg_protocol(t, n) for n in (2, 4, 5) for t in range(2, n + 1)),
    *(keygen_protocol(t, n) for t, n in ((2, 2), (3, 4), (3, 5))),
    *(presign_protocol(t, n) for t, n in ((2, 2), (3, 3), (4, 5), (5, 5))),
    presign_protocol(2, 3, batch=8),
    *(finish_protocol(t, n) for t, n in ((2, 2), (4, 5), (5, 5))),
    setup_protocol(2),
    setup_protocol(3),
    refresh_protocol(2, 2, DKLS23_SECP256K1),
    reshare_protocol(DKLS23_SECP256K1),
    reshare_protocol(DKLS23_SECP256K1, dealing=False),
    import_protocol(2, 3, DKLS23_SECP256K1),
    frost_protocol(2, 3, FROST_TAPROOT),
    *(frost_protocol(t, 5) for t in (3, 4, 5)),
]
HEAVY_TRICKS = (Trick.CONTRADICT, Trick.REPLAY, Trick.SWAP)


def named(protocol: Protocol) -> str:
    return protocol.name


def possible(protocol: Protocol, number: int, trick: Trick) -> bool:
    """Nothing comes after the last round, and two parties have no third."""
    if trick is Trick.LATE:
        return number != protocol.last
    return trick is not Trick.SWAP or len(protocol.parties) > 2


def has_two_faces(protocol: Protocol) -> bool:
    """Whether an attacker can tell two parties two things: with three parties, no relay, and a choice."""
    return len(protocol.parties) > 2 and not protocol.broadcast and "receiver" not in protocol.name


def run(protocol: Protocol, strike: Strike) -> set[int]:
    """Attack, judge, and say whom the strike reached."""
    outcome = attack(protocol, strike)
    judge(protocol, strike, outcome)
    return outcome.victims


def by_field(protocols: list[Protocol]) -> list[Any]:
    return [
        pytest.param(protocol, number, target, id=f"{protocol.name}-{number}-{target.name}")
        for protocol in protocols
        for number, target in protocol.fields()
    ]


def by_trick(protocols: list[Protocol], tricks: tuple[Trick, ...]) -> list[Any]:
    return [
        pytest.param(protocol, number, trick, id=f"{protocol.name}-{number}-{trick.name}")
        for protocol in protocols
        for number in protocol.layouts
        for trick in tricks
        if possible(protocol, number, trick)
    ]


def by_cheat(protocols: list[Protocol]) -> list[Any]:
    return [
        pytest.param(protocol, protocol.attackers[-1], name, id=f"{protocol.name}-{name}")
        for protocol in protocols
        for name in protocol.cheats(protocol.attackers[-1])
    ]


@pytest.mark.parametrize("protocol", [*ALL, setup_protocol(2)], ids=named)
def test_the_layouts_cover_every_message_exactly(protocol: Protocol) -> None:
    for (number, sender, to), payload in transcript(protocol, 1).items():
        layout = protocol.layout(number, sender, to)
        assert len(payload) == 1 + body_bytes(layout)
        for target in placed(layout):
            item, start = target.field, 1 + target.offset
            for at in range(start, start + item.size, item.length):
                assert item.well_formed(payload[at : at + item.length]), item.name


@pytest.mark.parametrize("protocol", [*ALL, setup_protocol(2)], ids=named)
def test_every_field_has_a_row_and_every_row_a_field(protocol: Protocol) -> None:
    assert {(number, target.use) for number, target in protocol.fields()} == set(protocol.table)
    assert set(protocol.replayed) == set(protocol.swapped) == set(protocol.layouts)
    names = [(number, target.name) for number, target in protocol.fields()]
    assert len(set(names)) == len(names)


def test_no_row_that_names_nobody_is_there_without_its_reason() -> None:
    """The rows of protocol.md section 7: all others name the attacker."""
    unnamed = {row for protocol in ALL for row, end in protocol.table.items() if end is Verdict.UNNAMED}

    assert unnamed == {
        (1, "view"),
        (3, "transcript"),
        (1, "commitment to rho"),
        (2, "view"),
        (2, "pk"),
        (2, "psi"),
        (2, "w"),
        (2, "u"),
    }


@pytest.mark.parametrize(("protocol", "number", "target"), by_field(LIGHT))
def test_another_value_in_any_field_ends_as_its_row_says(
    protocol: Protocol, number: int, target: Field
) -> None:
    first, last = protocol.attackers[0], protocol.attackers[-1]
    having = {to for to in protocol.peers(first) if target in protocol.layout(number, first, to)}
    to_one = protocol.peers(last) if protocol.broadcast else {max(protocol.peers(last))}
    strikes = [
        Strike(first, number, protocol.peers(first), Change.OTHER, target),
        Strike(last, number, frozenset(to_one), Change.OTHER, target, target.count - 1),
    ]

    reached = [run(protocol, strike) for strike in strikes]

    assert reached == [having, to_one]


@pytest.mark.parametrize(("protocol", "number", "target"), by_field(HEAVY))
def test_another_value_to_one_party_of_a_heavy_protocol_ends_as_its_row_says(
    protocol: Protocol, number: int, target: Field
) -> None:
    attacker, victim = protocol.attackers[0], protocol.parties[-1]

    reached = run(protocol, Strike(attacker, number, frozenset({victim}), Change.OTHER, target))

    assert reached == {victim}


@pytest.mark.parametrize(
    ("protocol", "number", "trick"), by_trick(LIGHT, tuple(Trick)) + by_trick(HEAVY, HEAVY_TRICKS)
)
def test_whole_messages_dropped_repeated_late_replayed_or_misformed(
    protocol: Protocol, number: int, trick: Trick
) -> None:
    attacker = protocol.attackers[-1]

    run(protocol, Strike(attacker, number, protocol.peers(attacker), trick))


@pytest.mark.parametrize(("protocol", "attacker", "name"), by_cheat(ALL))
def test_a_party_on_inputs_of_its_own_gets_nobody_to_a_wrong_result(
    protocol: Protocol, attacker: int, name: str
) -> None:
    cheat = protocol.cheats(attacker)[name]

    outcome = attack_by_cheat(protocol, attacker, cheat)

    judge_cheat(protocol, attacker, cheat, outcome)


@pytest.mark.parametrize("protocol", [protocol for protocol in ALL if has_two_faces(protocol)], ids=named)
def test_a_party_with_two_faces_gives_nobody_a_usable_result_and_has_no_name(protocol: Protocol) -> None:
    attacker = protocol.attackers[0]
    cheat = Cheat(lambda: TwoFaces(protocol, attacker), Verdict.UNNAMED)

    outcome = attack_by_cheat(protocol, attacker, cheat)

    judge_cheat(protocol, attacker, cheat, outcome)
    assert not any(isinstance(error, FaultyParticipant) for error in outcome.errors.values())


@st.composite
def strikes(draw: st.DrawFn, protocols: list[Protocol]) -> tuple[Protocol, Strike]:
    """Any strike of any party on any of these protocols."""
    protocol = draw(st.sampled_from(protocols))
    attacker = draw(st.sampled_from(protocol.attackers))
    number = draw(st.sampled_from(sorted(protocol.layouts)))
    some = draw(st.sets(st.sampled_from(sorted(protocol.peers(attacker))), min_size=1))
    receivers = protocol.peers(attacker) if protocol.broadcast else some
    tricks = [trick for trick in Trick if possible(protocol, number, trick)]
    act = draw(st.sampled_from([*Change, *Change, *tricks]))
    seed = draw(st.integers(0, 2**16))
    if isinstance(act, Trick):
        return protocol, Strike(attacker, number, frozenset(receivers), act, seed=seed)
    if not protocol.layouts[number]:
        return protocol, Strike(attacker, number, frozenset(receivers), Trick.EXTEND, seed=seed)
    target = draw(st.sampled_from(protocol.layouts[number]))
    element = draw(st.integers(0, target.count - 1))
    return protocol, Strike(attacker, number, frozenset(receivers), act, target, element, seed)


@settings(max_examples=80)
@given(strikes(LIGHT))
def test_any_strike_in_any_order_of_delivery_ends_well(struck: tuple[Protocol, Strike]) -> None:
    run(*struck)


@settings(max_examples=6, suppress_health_check=[HealthCheck.too_slow])
@given(strikes(HEAVY))
def test_any_strike_on_a_heavy_protocol_ends_well(struck: tuple[Protocol, Strike]) -> None:
    run(*struck)


# --- the larger sweeps: `make adversarial` -----------------------------------------------------------


def first_of_each_use(protocol: Protocol) -> list[tuple[int, Field]]:
    """One field for each row of the table."""
    found = {(number, target.use): (number, target) for number, target in reversed(protocol.fields())}
    return list(found.values())


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("protocol", ALL + LARGE, ids=named)
def test_every_change_and_trick_of_every_party_ends_well(protocol: Protocol) -> None:
    attackers = protocol.attackers if protocol in LIGHT else protocol.attackers[:1]
    fields = protocol.fields() if protocol in LIGHT else first_of_each_use(protocol)
    for attacker in attackers:
        reach = [protocol.peers(attacker), frozenset({max(protocol.peers(attacker))})]
        if protocol.broadcast or protocol not in LIGHT:
            reach = reach[:1] if protocol.broadcast else reach[-1:]
        for receivers in dict.fromkeys(reach):
            for number, target in fields:
                for change in Change:
                    run(protocol, Strike(attacker, number, receivers, change, target))
            for number in protocol.layouts:
                for trick in Trick:
                    if possible(protocol, number, trick):
                        run(protocol, Strike(attacker, number, receivers, trick))


@pytest.mark.slow
@pytest.mark.timeout(900)
@settings(max_examples=600, suppress_health_check=[HealthCheck.too_slow])
@given(strikes(ALL + LARGE))
def test_many_strikes_end_well(struck: tuple[Protocol, Strike]) -> None:
    run(*struck)


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("protocol", LARGE, ids=named)
def test_every_party_on_inputs_of_its_own_ends_well(protocol: Protocol) -> None:
    for attacker in protocol.attackers:
        for cheat in protocol.cheats(attacker).values():
            judge_cheat(protocol, attacker, cheat, attack_by_cheat(protocol, attacker, cheat))


# --- the judge can say no ----------------------------------------------------------------------------

TOY_LAYOUT: Mapping[int, Layout] = {1: (octets("number", 8),)}


def toy(check: Callable[[int, Mapping[int, bytes]], None]) -> Protocol:
    """Three parties exchange their number and end with all of them; ``check`` looks at what came."""
    parties = (1, 2, 3)

    def start(party: int, session: int, _face: int) -> Rounds:
        others = tuple(other for other in parties if other != party)
        mine = (10 * session + party).to_bytes(8, "big")

        def end(bodies: Mapping[int, bytes]) -> StepResult:
            check(party, bodies)
            return Done(tuple(sorted({**bodies, party: mine}.items())))

        return Rounds(party, others, first=lambda _: Send(dict.fromkeys(others, mine), end), body_bytes_max=8)

    def conclude(results: Mapping[int, object]) -> None:
        assert len(set(results.values()) - {"early"}) <= 1

    table = {(1, "number"): Verdict.NAMED}
    by_round = {1: Verdict.NAMED}
    return Protocol("toy", parties, start, TOY_LAYOUT, table, by_round, by_round, conclude)


def altered(bodies: Mapping[int, bytes]) -> list[int]:
    return [sender for sender, body in bodies.items() if int.from_bytes(body, "big") != 10 + sender]


def names(party: int, bodies: Mapping[int, bytes]) -> None:
    for sender in altered(bodies):
        raise FaultyParticipant(sender, f"told {party} another number")


def names_an_honest_one(_party: int, bodies: Mapping[int, bytes]) -> None:
    if found := altered(bodies):
        raise FaultyParticipant(next(peer for peer in bodies if peer not in found), "it was this one")


def names_nobody(_party: int, bodies: Mapping[int, bytes]) -> None:
    if altered(bodies):
        raise UnknownFault(f"compare the numbers of transcript {bytes(32).hex()}")


def says_nothing(_party: int, bodies: Mapping[int, bytes]) -> None:
    if altered(bodies):
        raise UnknownFault("something is wrong")


def breaks(_party: int, bodies: Mapping[int, bytes]) -> None:
    if altered(bodies):
        raise KeyError("number")


def accepts(_party: int, _bodies: Mapping[int, bytes]) -> None:
    return


TOY_STRIKE = Strike(2, 1, frozenset({1}), Change.OTHER, TOY_LAYOUT[1][0])


def test_a_protocol_that_names_its_attacker_passes_the_judge() -> None:
    assert run(toy(names), TOY_STRIKE) == {1}


@pytest.mark.parametrize(
    ("check", "complaint"),
    [
        (accepts, "assert"),
        (names_an_honest_one, "blames"),
        (names_nobody, "names nobody"),
        (says_nothing, "no transcript hash"),
    ],
)
def test_the_judge_complains(check: Callable[[int, Mapping[int, bytes]], None], complaint: str) -> None:
    with pytest.raises(AssertionError, match=complaint):
        run(toy(check), TOY_STRIKE)


def test_an_error_of_no_documented_family_gets_out() -> None:
    with pytest.raises(KeyError):
        run(toy(breaks), TOY_STRIKE)


def test_a_party_that_waits_for_one_that_has_finished_hangs() -> None:
    silent = toy(names)

    def start(party: int, session: int, face: int) -> Rounds:
        others = tuple(other for other in silent.parties if other != party)
        end = Rounds(party, others, first=lambda _: Done("early"), body_bytes_max=8)
        return end if party == 3 else silent.start(party, session, face)

    with pytest.raises(AssertionError, match="party 1 hangs"):
        run(
            replace(silent, start=start, conclude=lambda _: None),
            replace(TOY_STRIKE, receivers=frozenset({3})),
        )
