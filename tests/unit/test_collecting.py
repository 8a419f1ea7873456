"""The search for cycles goes on after a fold as it did before it, whatever came of the fold."""

import gc

import pytest

from policy.collecting import uncollected


def test_it_is_off_meanwhile_and_on_again_after_an_error() -> None:
    with pytest.raises(ValueError, match="an entry"), uncollected():
        assert not gc.isenabled()
        raise ValueError("an entry")

    assert gc.isenabled()


def test_who_had_it_off_keeps_it_off() -> None:
    gc.disable()
    try:
        with uncollected():
            assert not gc.isenabled()
        assert not gc.isenabled()
    finally:
        gc.enable()
