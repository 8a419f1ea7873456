"""The log that is measured with: taken in whole, whether signatures are checked or not."""

from itertools import islice

from msgspec.structs import asdict

from cli.policies.sample_log import sample_entries
from policy.ledger import fold, initial, initial_unverified

ENTRIES = 150


def test_each_entry_is_taken_in_and_both_folds_come_to_the_same_state() -> None:
    checked, unchecked = initial(), initial_unverified()
    kinds = set()

    for entry in islice(sample_entries(), ENTRIES):
        checked, outcome = fold(checked, entry)
        unchecked, same = fold(unchecked, entry)
        kinds.add(outcome.kind)
        assert outcome.accepted and outcome == same

    assert kinds == {"genesis", "key", "price", "request", "approval", "reserve", "signature", "observation"}
    assert checked.digest == unchecked.digest and asdict(checked) == asdict(unchecked)


def test_only_a_fold_that_does_not_check_takes_in_what_nobody_signed() -> None:
    *before, entry = islice(sample_entries(), 4)
    assert b'"kind":"request"' in entry
    at = entry.index(b'"signature":"') + len(b'"signature":"')
    forged = entry[:at] + b"00" * 64 + entry[at + 128 :]
    checked, unchecked = initial(), initial_unverified()

    for one in before:
        checked, unchecked = fold(checked, one)[0], fold(unchecked, one)[0]

    assert not fold(checked, forged)[1].accepted
    assert fold(unchecked, forged)[1].accepted
