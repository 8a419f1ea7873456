"""Presigning: what a batch gives, and how every kind of cheating ends."""

import random
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace

import pytest

from policy.errors import CallerError, FaultyParticipant, MalformedError, ProtocolError, UnknownFault
from signer_nodes.mpc import vole
from signer_nodes.mpc.curve import Q, base_mul, negate
from signer_nodes.mpc.ot.extension import Direction
from signer_nodes.mpc.points import base_point, parse_point
from signer_nodes.mpc.presign import (
    Presignature,
    PresignParameters,
    PresignResult,
    presign_session,
    presignature_id,
    rho_commitment,
    start_presign,
)
from signer_nodes.mpc.rounds import Rounds
from tests.protocols import dealer
from tests.protocols.lockstep import Outcome, flip, run_all

DEALT = dealer.deal(min_signers=2, n=3)
HONEST = dealer.presign(DEALT, (1, 3))
SHARE = HONEST[1].presignatures[0]
BATCH = 4
ROUND_1 = 1 + 32 * (1 + BATCH)  # round byte, commitments: here the OT extension begins
INSTANCE = 4 * 33 + 32
OPENING = 1 + 64  # round byte, view, salt: here the first instance begins
PRODUCT = OPENING + BATCH * INSTANCE
ETAS = PRODUCT + BATCH * vole.DIFFERENCES_BYTES
Edit = Callable[[bytes], bytes]


def runs(signers: tuple[int, ...] = (1, 3), dealt: dealer.Dealt = DEALT) -> dict[int, Rounds]:
    return dealer.make_runs(dealt, signers)


def tampered(number: int, edit: Edit, *, sender: int = 3, to: int = 1) -> Outcome:
    """A run in which one message of ``sender`` is edited on its way."""

    def tamper(source: int, target: int, payload: bytes) -> bytes:
        hit = (source, target, payload[0]) == (sender, to, number)
        return edit(payload) if hit else payload

    return run_all(runs(), tamper)


def put(at: int, data: bytes) -> Edit:
    return lambda payload: payload[:at] + data + payload[at + len(data) :]


def sum_of(results: dict[int, PresignResult], b: int, name: str) -> int:
    values: list[int] = [getattr(result.presignatures[b], name) for result in results.values()]
    return sum(values) % Q


@pytest.mark.parametrize(
    ("min_signers", "n", "signers"),
    [(2, 2, (1, 2)), (2, 3, (2, 3)), (3, 4, (1, 2, 4)), (4, 5, (1, 3, 4, 5))],
)
def test_shares_add_up_under_the_reconstructed_key(
    min_signers: int, n: int, signers: tuple[int, ...]
) -> None:
    dealt = dealer.deal(min_signers=min_signers, n=n, seed=n)

    results = dealer.presign(dealt, signers)

    assert set(results) == set(signers)
    for b in range(BATCH):
        phi, u, v = (sum_of(results, b, name) for name in ("phi", "u", "v"))
        assert v == dealt.secret * phi % Q
        assert {result.presignatures[b].R for result in results.values()} == {
            base_mul(u * pow(phi, -1, Q) % Q)
        }


def test_signers_agree_on_everything_public_and_keep_their_own_opening() -> None:
    for b in range(BATCH):
        shares = [result.presignatures[b] for result in HONEST.values()]
        assert len({(s.presign_id, s.R, s.commitments, s.signers, s.group_key, s.index) for s in shares}) == 1
        for place, share in enumerate(shares):
            opened = rho_commitment(share.session, share.me, b=b, rho=share.rho)
            assert share.commitments[place] == opened

    ids = [share.presign_id for share in HONEST[1].presignatures]
    assert ids == [presignature_id(SHARE.session, b) for b in range(BATCH)]
    assert len(set(ids)) == BATCH


def test_no_secret_repeats_within_a_batch_or_across_batches() -> None:
    other = dealer.presign(DEALT, (1, 3), batch_id=2)

    shares = [s for run in (HONEST, other) for result in run.values() for s in result.presignatures]
    secrets = [value for s in shares for value in (s.rho, s.phi, s.u, s.v)]
    assert len(set(secrets)) == len(secrets) == 2 * 2 * BATCH * 4


def test_a_run_replays_byte_for_byte() -> None:
    assert run_all(runs()).payloads == run_all(runs()).payloads


def test_any_two_of_three_presign_and_no_result_shows_a_secret() -> None:
    for signers in ((1, 2), (2, 3)):
        assert set(dealer.presign(DEALT, signers)) == set(signers)

    text = repr(HONEST[1])
    assert SHARE.rho.hex() not in text and repr(SHARE.rho) not in text
    assert all(str(secret) not in text for secret in (SHARE.phi, SHARE.u, SHARE.v))


def test_a_presignature_reads_back_and_nothing_else_does() -> None:
    data = SHARE.to_bytes()

    assert Presignature.from_bytes(data) == SHARE
    for length in range(len(data)):
        with pytest.raises(MalformedError):
            Presignature.from_bytes(data[:length])
    with pytest.raises(MalformedError):
        Presignature.from_bytes(data + b"\0")


def test_every_flipped_byte_of_a_presignature_is_refused_or_reads_as_itself() -> None:
    data = SHARE.to_bytes()

    for position in range(len(data)):
        changed = flip(data, position, mask=0x81)
        with suppress(MalformedError):
            assert Presignature.from_bytes(changed).to_bytes() == changed


@dataclass(frozen=True)
class Cheat:
    """What party 3 sends to party 1 instead, and what party 1 makes of it."""

    number: int
    edit: Edit
    error: type[ProtocolError]
    ban: bool = False


def other_point(at: int) -> Edit:
    return lambda payload: payload[:at] + negate(payload[at : at + 33]) + payload[at + 33 :]


CHEATS = {
    "OT matrix": Cheat(1, lambda m: flip(m, ROUND_1), FaultyParticipant, ban=True),
    "OT tag of x": Cheat(1, lambda m: flip(m, -129 * 32), FaultyParticipant, ban=True),
    "OT tag of a column": Cheat(1, lambda m: flip(m, -1), FaultyParticipant, ban=True),
    "commitment to R": Cheat(1, lambda m: flip(m, 1), FaultyParticipant),
    "commitment to a rho": Cheat(1, lambda m: flip(m, 33), UnknownFault),
    "view": Cheat(2, lambda m: flip(m, 1), UnknownFault),
    "salt": Cheat(2, lambda m: flip(m, 33), FaultyParticipant),
    "R": Cheat(2, other_point(OPENING), FaultyParticipant),
    "pk": Cheat(2, other_point(OPENING + 33), UnknownFault),
    "gamma u": Cheat(2, other_point(OPENING + 66), FaultyParticipant, ban=True),
    "gamma v": Cheat(2, other_point(OPENING + INSTANCE + 99), FaultyParticipant, ban=True),
    "difference": Cheat(2, lambda m: flip(m, PRODUCT + 31), FaultyParticipant, ban=True),
    "eta": Cheat(2, lambda m: flip(m, ETAS + 31), FaultyParticipant, ban=True),
    "hash of mu": Cheat(2, lambda m: flip(m, -1), FaultyParticipant, ban=True),
    "point off the curve": Cheat(2, put(OPENING, b"\2" + bytes(32)), FaultyParticipant),
    "point not compressed": Cheat(2, put(OPENING + 33, b"\4"), FaultyParticipant),
    "point at infinity": Cheat(2, put(OPENING + 66, bytes(33)), FaultyParticipant),
    "psi of q": Cheat(2, put(OPENING + 132, Q.to_bytes(32, "big")), FaultyParticipant),
    "difference of q": Cheat(2, put(PRODUCT, Q.to_bytes(32, "big")), FaultyParticipant),
    "round 1 too short": Cheat(1, lambda m: m[:-1], FaultyParticipant),
    "round 1 too long": Cheat(1, lambda m: m + b"\0", FaultyParticipant),
    "round 2 too short": Cheat(2, lambda m: m[:-1], FaultyParticipant),
    "round 2 too long": Cheat(2, lambda m: m + b"\0", FaultyParticipant),
    "round 2 empty": Cheat(2, lambda m: m[:1], FaultyParticipant),
}


@pytest.mark.parametrize("name", CHEATS)
def test_a_cheat_ends_the_batch_and_names_and_bans_where_due(name: str) -> None:
    cheat = CHEATS[name]

    outcome = tampered(cheat.number, cheat.edit)

    error = outcome.errors[1]
    assert type(error) is cheat.error
    assert 1 not in outcome.results
    if isinstance(error, FaultyParticipant):
        assert (error.participant, error.ban) == (3, cheat.ban)


def test_a_gamma_that_meets_d_at_infinity_bans_like_any_other() -> None:
    from signer_nodes.mpc import presign

    point, negative = base_point(5), parse_point(negate(base_mul(11)))
    assert not presign._is_product(point, 7, gamma=negative, d=11)
    assert presign._is_product(point, 7, gamma=base_point(24), d=11)
    assert not presign._is_product(point, 7, gamma=base_point(25), d=11)


@pytest.mark.parametrize("public", [OPENING, OPENING + 33])
def test_a_fault_in_public_values_is_judged_before_any_that_could_tell_a_secret(public: int) -> None:
    def both(payload: bytes) -> bytes:
        return flip(other_point(public)(payload), -1)

    error = tampered(2, both).errors[1]

    assert not (isinstance(error, FaultyParticipant) and error.ban)


def test_different_commitments_to_different_signers_are_noticed_and_name_nobody() -> None:
    dealt = dealer.deal(min_signers=3, n=3)

    def split(sender: int, to: int, payload: bytes) -> bytes:
        return flip(payload, 40) if (sender, to, payload[0]) == (2, 3, 1) else payload

    outcome = run_all(runs((1, 2, 3), dealt), split)

    assert not outcome.results
    assert {type(error) for error in outcome.errors.values()} == {UnknownFault}


def test_a_share_of_another_epoch_is_found_by_the_sum_of_the_public_parts() -> None:
    parties = runs()
    foreign = replace(DEALT.shares[3], share=DEALT.shares[3].share + 1)
    parameters = PresignParameters(dealer.session_of(DEALT, (1, 3)), BATCH)
    parties[3] = start_presign(
        parameters, foreign, pairs=DEALT.pairs[3], signers=(1, 3), randomness=b"r" * 32
    )

    outcome = run_all(parties)

    assert {type(error) for error in outcome.errors.values()} == {UnknownFault}
    assert all("group key" in str(error) for error in outcome.errors.values())


def test_one_failed_instance_drops_the_whole_batch_and_late_messages_change_nothing() -> None:
    parties = runs()
    last = OPENING + (BATCH - 1) * INSTANCE + 66

    def tamper(sender: int, _to: int, payload: bytes) -> bytes:
        return other_point(last)(payload) if (sender, payload[0]) == (3, 2) else payload

    outcome = run_all(parties, tamper)

    assert set(outcome.results) == {3}
    honest = next(p for sender, _, p in run_all(runs()).payloads if (sender, p[0]) == (3, 2))
    assert parties[1].receive(3, honest).result is None


def test_another_session_at_one_party_never_gives_a_result() -> None:
    parties = runs()
    parties[3] = dealer.make_runs(DEALT, (1, 3), batch_id=9)[3]

    outcome = run_all(parties)

    assert not outcome.results


def test_a_replayed_round_of_another_batch_bans_or_aborts() -> None:
    old = {(s, p[0]): p for s, _, p in run_all(dealer.make_runs(DEALT, (1, 3), batch_id=9)).payloads}

    for number in (1, 2):
        outcome = tampered(number, lambda _m, number=number: old[3, number])  # type: ignore[misc]
        assert isinstance(outcome.errors[1], FaultyParticipant)
        assert 1 not in outcome.results


@pytest.mark.parametrize("batch", [0, 1, 2, 3, 5, 66, 132])
def test_a_batch_that_is_no_multiple_of_four_is_refused(batch: int) -> None:
    with pytest.raises(CallerError, match=f"batch is {batch}"):
        PresignParameters(b"s" * 32, batch)


@pytest.mark.parametrize("signers", [(1,), (1, 2, 3), (2, 3), (1, 1), (1, 4), (0, 1)])
def test_a_set_that_cannot_sign_is_refused(signers: tuple[int, ...]) -> None:
    with pytest.raises(CallerError):
        start_presign(
            PresignParameters(b"s" * 32, BATCH),
            DEALT.shares[1],
            pairs=DEALT.pairs[1],
            signers=signers,
            randomness=b"r" * 32,
        )


def test_ot_state_of_another_epoch_peer_or_key_is_refused() -> None:
    later = dealer.deal(min_signers=2, n=3, epoch=1).pairs[1][3]
    wrong = [{}, {3: later}, {3: DEALT.pairs[1][2]}, {3: DEALT.pairs[3][1]}]

    for pairs in wrong:
        with pytest.raises(CallerError, match="no OT state toward 3"):
            start_presign(
                PresignParameters(b"s" * 32, BATCH),
                DEALT.shares[1],
                pairs=pairs,
                signers=(1, 3),
                randomness=b"r" * 32,
            )


def session_with(**changes: object) -> bytes:
    names = ["node-1", "node-2"]
    values: dict[str, object] = {
        "version": 1,
        "key_id": "k",
        "epoch": 2,
        "signers": names,
        "batch_id": 3,
        "boot_ids": {"node-1": b"1" * 32, "node-2": b"2" * 32},
    }
    return presign_session(**(values | changes))  # type: ignore[arg-type]


def test_a_session_id_covers_every_field_and_not_the_order_of_names() -> None:
    others = [
        session_with(version=2),
        session_with(key_id="l"),
        session_with(epoch=3),
        session_with(batch_id=4),
        session_with(boot_ids={"node-1": b"1" * 32, "node-2": b"3" * 32}),
        session_with(boot_ids={"node-1": b"2" * 32, "node-2": b"1" * 32}),
        session_with(signers=["node-1", "node-3"], boot_ids={"node-1": b"1" * 32, "node-3": b"2" * 32}),
    ]

    assert len({session_with(), *others}) == len(others) + 1
    assert session_with(signers=["node-2", "node-1"]) == session_with()


@pytest.mark.parametrize("boot_ids", [{}, {"node-1": b"1" * 32}, {"node-1": b"1" * 32, "node-2": b"2" * 31}])
def test_a_session_id_needs_a_whole_boot_id_of_every_signer(boot_ids: dict[str, bytes]) -> None:
    with pytest.raises(CallerError, match="boot id"):
        session_with(boot_ids=boot_ids)


def test_a_direction_is_between_two_parties_in_a_whole_session() -> None:
    for session, sender in ((b"s" * 31, 1), (b"s" * 32, 2)):
        with pytest.raises(CallerError):
            Direction(session, sender, 2, BATCH)


@pytest.mark.parametrize("seed", range(30))
def test_a_random_change_anywhere_ends_in_an_abort_that_blames_no_honest_party(seed: int) -> None:
    source = random.Random(seed)
    number, where = source.choice((1, 2)), source.random()

    def edit(payload: bytes) -> bytes:
        bounds = (1, ROUND_1 + 900) if number == 1 else (1, PRODUCT + 900)
        low, high = bounds if source.random() < 0.6 else (1, len(payload))
        return flip(payload, low + int(where * (high - low)), mask=1 << source.randrange(8))

    outcome = tampered(number, edit)

    for party, error in outcome.errors.items():
        if isinstance(error, FaultyParticipant):
            assert (party, error.participant) == (1, 3)
        else:
            assert isinstance(error, UnknownFault)
