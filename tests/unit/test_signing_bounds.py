"""What one job's openings can cost another: nothing. They are bounded before any presignature is used."""

from typing import Any, cast

import pytest

from signer_nodes.presignatures import Held, PresignaturePool
from signer_nodes.signing import Signer
from signer_nodes.witness import Refusal
from tests.simulation.world import KEY, PAIR, Book, World
from tests.unit.test_gate import presignature

ME, PEER = PAIR


class Log:
    """The log of a node that has folded ``book``."""

    def __init__(self, book: Book) -> None:
        self.cosigner = book
        self.frozen = False

    def bind_token(self) -> None: ...


class Store:
    def marks_for(self, _job: bytes) -> tuple[Any, ...]:
        return ()


@pytest.mark.parametrize("length", [0, 31, 33, 1 << 20])
def test_an_opening_of_another_length_uses_no_presignature_up(length: int) -> None:
    book, pool = Book(World()), PresignaturePool()
    pool.add([Held(presignature(), KEY, 0, PAIR)])
    identifier = presignature().presign_id
    job = book.reserve(book.request(1), nonce=0, presignatures=[identifier.hex()])
    pool.bind(identifier, job, index=0)
    nobody = cast("Any", None)
    signer = Signer(ME, cast("Any", Log(book)), nobody, cast("Any", Store()), pool, nobody)
    openings = {0: {ME: presignature().rho, PEER: bytes(length)}}

    with pytest.raises(Refusal, match=f"{PEER}'s has {length} bytes"):
        signer._take(book.state.jobs[job], openings)

    assert pool.bound_to(identifier, job, index=0)
