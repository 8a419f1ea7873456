"""Whatever bytes come, every decoder answers with a value or a documented error, soon and in little memory.

``make fuzz`` looks much longer, guided by coverage; these are the quick looks of every run of the tests.
"""

import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from policy.errors import MalformedError
from tests.fuzz.edits import EDIT_BYTES, edited_document
from tests.fuzz.targets import TARGETS, Target

QUICK = [target for target in TARGETS.values() if not target.slow]
SECONDS_MAX = 2.0
MEMORY_BYTES_MAX = 64 << 20
INTERESTING = (
    b"\0",
    b"\xff",
    b"\0\0\0\0",
    b"\xff\xff\xff\xff",
    b"\x7f\xff\xff\xff",
    b"\n\n",
    b'"',
    b"{",
    b"[",
)
MEGABYTE = 1 << 20
FOUND = Path(__file__).parent / "found"
LARGE: dict[str, Callable[[bytes], bytes]] = {
    "zeros": lambda _seed: bytes(MEGABYTE),
    "ones": lambda _seed: b"\xff" * MEGABYTE,
    "a deep list": lambda _seed: b"[" * MEGABYTE,
    "deep objects": lambda _seed: b'{"a":' * (MEGABYTE // 5),
    "a long number": lambda _seed: b"9" * MEGABYTE,
    "a long string": lambda _seed: b'"' + b"a" * MEGABYTE + b'"',
    "lines": lambda _seed: b"a\n" * (MEGABYTE // 2),
    "the valid one again and again": lambda seed: (seed * (1 + MEGABYTE // max(1, len(seed))))[:MEGABYTE],
    "the valid one and much after it": lambda seed: seed + bytes(MEGABYTE),
    "lengths beyond the end": lambda _seed: b"\xff\xff\xff\xf0" * 1000,
}


def ids(target: Target) -> str:
    return target.name


@st.composite
def mutated(draw: st.DrawFn, seeds: list[bytes]) -> bytes:
    """A valid input with one to four changes, or bytes of no kind at all."""
    if draw(st.integers(0, 5)) == 0:
        return draw(st.binary(max_size=200))
    data = draw(st.sampled_from(seeds))
    for _ in range(draw(st.integers(1, 4))):
        at, until = sorted((draw(st.integers(0, len(data))), draw(st.integers(0, len(data)))))
        piece = draw(st.sampled_from(INTERESTING) | st.binary(min_size=1, max_size=4))
        data = draw(
            st.sampled_from(
                (
                    data[:at] + piece + data[at + len(piece) :],  # overwritten
                    data[:at] + piece + data[at:],  # inserted
                    data[:at] + data[until:],  # cut out
                    data[:until] + data[at:],  # repeated
                    data[:at],
                )
            )
        )
    return data


@pytest.mark.parametrize("target", TARGETS.values(), ids=ids)
def test_changed_bytes_get_a_documented_answer(target: Target) -> None:
    seeds = target.seeds()

    @settings(max_examples=4 if target.slow else 40)
    @given(mutated(seeds))
    def answers(data: bytes) -> None:
        target(data)

    answers()


@pytest.mark.parametrize("target", QUICK, ids=ids)
def test_large_input_takes_little_time_and_memory(target: Target) -> None:
    seed = max(target.seeds(), key=len)
    for name, make in LARGE.items():
        data = make(seed)
        started = time.process_time()
        target(data)
        assert time.process_time() - started < SECONDS_MAX, name

    data = LARGE["the valid one again and again"](seed)
    tracemalloc.start()
    try:
        target(data)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < MEMORY_BYTES_MAX


@pytest.mark.parametrize("path", sorted(FOUND.iterdir()), ids=lambda path: path.name)
def test_what_fuzzing_found_once_is_not_found_again(path: Path) -> None:
    """Each file is an input that made the target of its name leak an error of no documented kind."""
    TARGETS[path.stem](path.read_bytes())


def test_every_valid_input_is_accepted_by_its_bytes() -> None:
    """Else the fuzzers would start from what is refused at the first byte."""
    signed_by_nobody = {"boot-signed", "verifier-key", "assertion", "envelope"}
    for target in TARGETS.values():
        if not target.slow and target.name not in signed_by_nobody and not target.name.endswith("-edited"):
            for data in target.seeds():
                target.run(data)


@settings(max_examples=30)
@given(st.binary(min_size=EDIT_BYTES, max_size=10 * EDIT_BYTES))
def test_an_edited_document_is_a_canonical_document(data: bytes) -> None:
    document = b'{"a":[1,2,{"b":"text"}],"c":true}'

    edited = edited_document(document, data)

    assert edited.startswith((b"{", b"[", b'"', b"t")) or edited.lstrip(b"-").isdigit()


def test_a_planted_bug_is_found() -> None:
    """A decoder that leaks an exception of the standard library."""

    def leaky(data: bytes) -> object:
        if len(data) < 4:
            raise MalformedError("too short")
        return data[4 + data[3]]

    target = Target("leaky", leaky, lambda: [b"\0\0\0\1ab"])

    @settings(max_examples=200, database=None, derandomize=True)
    @given(mutated(target.seeds()))
    def answers(data: bytes) -> None:
        target(data)

    with pytest.raises(IndexError):
        answers()
