"""What comes of looking a configuration over. Pure."""

from dataclasses import dataclass
from typing import Any

from policy.errors import OperationalError
from policy.settings import Problem


class Wrong(OperationalError):
    """What a configuration names cannot be used; it says why, and what to do."""


@dataclass(frozen=True, slots=True)
class Findings:
    """All problems in the order of the file, and how the database stands: "" where nobody could ask.

    Of ``warnings`` none keeps a coordinator from starting.
    """

    problems: tuple[Problem, ...]
    runs: bool
    database: str = ""
    size: int = 0
    warnings: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """As a script reads it."""
        return {
            "ok": not self.problems,
            "problems": [
                {"line": one.line, "key": one.key, "problem": f"{one.key} {one.text}"}
                for one in self.problems
            ],
            "warnings": list(self.warnings),
            "running": self.runs,
            "database": self.database,
            "size": self.size,
        }
