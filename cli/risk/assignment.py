"""What a scoring observer is to do: ``risk.toml`` in its folder.

```toml
every_s = 5                     # seconds between two looks
exchange = "/srv/observers"     # a folder that the observers share; needed where f + 1 is more than one
metrics_port = 0                # 0: off

[screening]
file = "sanctions.json"         # {"source": "...", "as_of": "2026-11-25", "addresses": [...]}
max_age_days = 7                # of an older list nothing is stated
clear = "clear"                 # the words that the policy's `screenings` knows
hit = "sanctioned"
```
"""

import tomllib
from pathlib import Path

from cli.files import read_bytes
from custody.risk.main import Assignment
from custody.risk.sanctions import Words
from policy.errors import CallerError, MalformedError, OperationalError
from policy.fields import Fields

FILE = "risk.toml"
PATH_MAX, AGE_DAYS_MAX, EVERY_S_MAX = 1000, 366, 3600


def load_assignment(folder: Path) -> Assignment:
    """The file of an observer's folder. Raises ``OperationalError`` naming the field to correct."""
    path = folder / FILE
    try:
        document = tomllib.loads(read_bytes(path, "what the observer is to do").decode())
        return _assignment(Fields(document, ""), folder)
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, CallerError, MalformedError) as error:
        raise OperationalError(f"{path}: {error}; see docs/risk.md") from error


def _assignment(fields: Fields, folder: Path) -> Assignment:
    inner = fields.nested("screening")
    assignment = Assignment(
        list_file=folder / inner.text("file", length_max=PATH_MAX),
        max_age_days=_whole(inner, "max_age_days", 7, high=AGE_DAYS_MAX),
        words=Words(_word(inner, "clear", "clear"), _word(inner, "hit", "sanctioned")),
        every_s=_whole(fields, "every_s", 5, low=1, high=EVERY_S_MAX),
        exchange=folder / fields.text("exchange", length_max=PATH_MAX) if fields.has("exchange") else None,
        metrics_port=_whole(fields, "metrics_port", 0, high=65_535),
        metrics_address=fields.text("metrics_address", length_max=PATH_MAX)
        if fields.has("metrics_address")
        else "127.0.0.1",
    )
    inner.done()
    fields.done()
    if assignment.words.clear == assignment.words.hit:
        raise MalformedError("screening: clear and hit are one word, so nobody is ever found")
    return assignment


def _whole(fields: Fields, name: str, default: int, *, low: int = 0, high: int) -> int:
    return fields.integer(name, low=low, high=high) if fields.has(name) else default


def _word(fields: Fields, name: str, default: str) -> str:
    return fields.name(name) if fields.has(name) else default
