"""What our decoders would sign, an independent library reads alike; ``make differential`` looks at more."""

import dataclasses

import pytest

from policy.decode import evm
from policy.decode.decoded import Call, Decoder, Source, Undecodable
from policy.values import replace
from tests.differential import planted_solana
from tests.differential.comparing import Comparison, Tally, case_at, compare
from tests.differential.evm import CALLS
from tests.differential.families import FAMILIES
from tests.differential.planted import FLAWS, UNFLAWED

SEED = 20_261_126
SAMPLE = {"evm": 1_200, "solana": 1_200, "bitcoin": 300}
FLAW_CASES_MAX = 5_000


def tally_of(comparison: Comparison, count: int) -> Tally:
    *_, tally = compare(comparison, seed=SEED, count=count)
    return tally


@pytest.mark.parametrize("name", FAMILIES)
def test_both_decoders_agree_on_all_that_ours_signs(name: str) -> None:
    tally = tally_of(FAMILIES[name], SAMPLE[name])

    assert tally.disagreements == []
    assert min(tally.plain, tally.payments, tally.cancellations, tally.refused_by_both) > SAMPLE[name] // 50
    assert tally.stricter


@pytest.mark.parametrize("flaw", FLAWS)
def test_a_planted_flaw_is_found(flaw: str) -> None:
    name, decoder = FLAWS[flaw]
    comparison = dataclasses.replace(FAMILIES[name], decoder=decoder)
    found = (
        tally.disagreements
        for tally in compare(comparison, seed=SEED, count=FLAW_CASES_MAX)
        if tally.disagreements
    )

    assert next(found, []) != []


@pytest.mark.parametrize("name", FAMILIES)
def test_a_case_depends_on_seed_and_number_alone(name: str) -> None:
    assert case_at(FAMILIES[name], SEED, 17).tx == case_at(FAMILIES[name], SEED, 17).tx
    assert case_at(FAMILIES[name], SEED, 17).tx != case_at(FAMILIES[name], SEED + 1, 17).tx


def test_a_call_whose_value_is_not_looked_at_is_found() -> None:
    def valueless(tx: bytes, source: Source) -> Call | Undecodable:
        found = evm.decode_call(tx, source)
        return replace(found, value=0) if isinstance(found, Call) else found

    calls = dataclasses.replace(CALLS, ours=valueless)

    assert tally_of(dataclasses.replace(FAMILIES["evm"], calls=calls), 200).disagreements


@pytest.mark.parametrize(("name", "decoder"), [("evm", UNFLAWED), ("solana", planted_solana.UNFLAWED)])
def test_the_planting_itself_is_no_flaw(name: str, decoder: Decoder) -> None:
    assert tally_of(dataclasses.replace(FAMILIES[name], decoder=decoder), 600).disagreements == []
