"""What is wrong with a policy file, and where: lines and columns count from 1, as editors show them."""

from collections.abc import Sequence
from typing import NamedTuple

from policy.errors import MalformedError


class Place(NamedTuple):
    """A line and a column of a file."""

    line: int
    column: int


START = Place(1, 1)


class Fault(NamedTuple):
    """One mistake: where it is, and what was expected there."""

    place: Place
    message: str

    def at(self, path: object) -> str:
        """As compilers say it: ``file:line:column: message``."""
        return f"{path}:{self.place.line}:{self.place.column}: {self.message}"


class FaultyError(MalformedError):
    """A document that could not be read on; ``faults`` are the mistakes found so far, at least one."""

    def __init__(self, faults: Sequence[Fault]) -> None:
        super().__init__(faults[0].at("line"))
        self.faults = tuple(faults)
