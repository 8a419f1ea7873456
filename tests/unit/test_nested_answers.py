"""An endpoint that nests its answer deeper than anything can print it gets an error, as any nonsense does."""

import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from custody.chains.bitcoin.rpc import satoshi
from custody.chains.solana.rpc import SolanaRpc, key_of, u64_of
from policy.errors import OperationalError


@pytest.fixture(autouse=True)
def usual_depth() -> Iterator[None]:
    """A library of the tests lets recursion go deeper than the stack."""
    before = sys.getrecursionlimit()
    sys.setrecursionlimit(1_000)
    yield
    sys.setrecursionlimit(before)


def nested() -> list[Any]:
    """Lists in lists. A parser stops at about a thousand, and where it stops is not where a printer does."""
    found: list[Any] = []
    for _ in range(5_000):
        found = [found]
    return found


@pytest.mark.parametrize("read", [key_of, u64_of, satoshi])
def test_nothing_of_it_is_read(read: Callable[[Any], Any]) -> None:
    with pytest.raises(OperationalError, match="a list"):
        read(nested())


class Nesting(SolanaRpc):
    """Whose node says why a transaction fails in such lists."""

    async def ask(self, method: str, *parameters: Any, timeout_s: float | None = None) -> Any:
        return {"context": {"slot": 1}, "value": {"err": nested(), "accounts": None}}


async def test_a_reason_that_cannot_be_shown_is_one_all_the_same() -> None:
    found = await Nesting("solana:localnet", "http://127.0.0.1:1").simulate(b"", [])

    assert found.reason == "a list"
