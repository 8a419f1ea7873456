"""Two programs on one log: entries fold alike in both until the newer rules are in force, and there the older
one stops by name; what it had is neither lost nor folded wrongly.

The next program is this one's ``policy`` with one more version of the rules, in a process of its own.
"""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from policy.governance import RULES_SUPPORTED
from policy.ledger import UnknownVersion, fold
from policy.log.merkle import leaf_hash
from signer_nodes.api import node_pb2 as pb
from tests.architecture.planting import REPOSITORY
from tests.simulation.cluster import note_of
from tests.simulation.node_faults import CALLER, WORLD, Machine
from tests.simulation.world import Book

FOLD = """
import sys
from policy.ledger import fold, initial
state = initial()
for line in sys.stdin:
    state, outcome = fold(state, bytes.fromhex(line))
    print(state.digest.hex(), state.rules, outcome.kind, flush=True)
"""
HAS = f"RULES_SUPPORTED = {RULES_SUPPORTED}\n"
NEXT = RULES_SUPPORTED + 1


@pytest.fixture(scope="module")
def next_program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("next")
    shutil.copytree(REPOSITORY / "policy", folder / "policy", ignore=shutil.ignore_patterns("__pycache__"))
    file = folder / "policy" / "governance.py"
    text = file.read_text()
    assert text.count(HAS) == 1
    file.write_text(text.replace(HAS, f"RULES_SUPPORTED = {NEXT}\n"))
    return folder


def folded_by(program: Path, entries: list[bytes]) -> list[list[str]]:
    """State hash, rules in force and kind after each entry, by another program."""
    found = subprocess.run(
        [sys.executable, "-c", FOLD],
        cwd=program,
        env={"PYTHONPATH": str(program)},
        input="\n".join(entry.hex() for entry in entries),
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return [line.split() for line in found.stdout.splitlines()]


def switched() -> Book:
    """A log that has come to the next version of the rules, as everybody said to be ready."""
    book = Book(WORLD)
    book.pay(100, nonce=0)
    book.version(NEXT, by=WORLD.cosigners)
    assert book.last.accepted
    return book


LATER = b'{"body":{},"kind":"veto","signatures":[],"time_ms":99999999999999}'


def test_both_fold_alike_up_to_the_switch_and_only_the_newer_one_beyond(next_program: Path) -> None:
    book = switched()

    found = folded_by(next_program, [*book.entries, LATER])

    own = [[state.digest.hex(), str(state.rules)] for state, _ in book.past[1:]]
    assert [line[:2] for line in found[:-1]] == own
    assert found[-1][1] == str(NEXT)
    with pytest.raises(UnknownVersion, match=f"under rules {NEXT}, this program has {RULES_SUPPORTED}"):
        fold(book.state, LATER)


async def test_a_node_of_the_older_program_stops_by_name_where_the_newer_rules_begin(tmp_path: Path) -> None:
    machine = Machine(tmp_path / "node", Book(WORLD))
    book = machine.book
    book.version(NEXT, by=WORLD.cosigners)
    await machine.send(book)
    runtime = await machine.up()
    size = book.frontier.size
    later = book.fork()
    later.frontier = book.frontier.append(leaf_hash(LATER))
    call = pb.Append(start=size, entries=[LATER], checkpoint=note_of(later))

    with pytest.raises(UnknownVersion, match="upgrade it"):
        await runtime.append(CALLER, call)
    stopped = runtime.must_upgrade.done()
    cosigned = await runtime.head(CALLER, pb.HeadQuery())
    machine.down()
    again = await (await machine.up()).head(CALLER, pb.HeadQuery())
    machine.down()

    assert stopped
    assert (cosigned.size, again.size) == (size, size)
