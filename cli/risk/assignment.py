"""What a scoring observer is to do: ``risk.toml`` in its folder.

```toml
every_s = 5                     # seconds between two looks
exchange = "/srv/observers"     # a folder that is there, and shared; needed where f + 1 is more than one
metrics_port = 0                # 0: off

[screening]
file = "sanctions.json"         # {"source": "...", "as_of": "2026-11-25", "addresses": [...]}
max_age_days = 7                # of an older list nothing is stated
clear = "clear"                 # the words that the policy's `screenings` knows
hit = "sanctioned"
```
"""

import re
from pathlib import Path

from custody.risk.main import Assignment
from custody.risk.sanctions import Words
from policy.settings import PORT_MAX, ConfigError, Settings, parse_settings
from signer_nodes.api.surroundings import look_for_folder, read_text

FILE = "risk.toml"
AGE_DAYS_MAX, EVERY_S_MAX = 366, 3600
_HOST = re.compile(r"[!-~]{1,100}")


def load_assignment(folder: Path) -> Assignment:
    """The file of an observer's folder. Raises ``ConfigError`` with all its problems."""
    path = folder / FILE
    root = parse_settings(read_text(path), str(path))
    assignment = _assignment(root, folder)
    if assignment.exchange is not None:
        look_for_folder(root, "exchange", path=assignment.exchange)
    root.done()
    if root.problems:
        raise ConfigError(f"{path} (see docs/risk.md)", root.problems)
    return assignment


def _assignment(root: Settings, folder: Path) -> Assignment:
    inner, exchange = root.section("screening"), root.optional_file("exchange")
    words = Words(inner.name("clear", default="clear"), inner.name("hit", default="sanctioned"))
    if words.clear == words.hit:
        inner.problem("clear", "and hit are one word, so nobody is ever found: correct one")
    return Assignment(
        list_file=folder / inner.file("file"),
        max_age_days=inner.integer("max_age_days", default=7, high=AGE_DAYS_MAX),
        words=words,
        every_s=root.integer("every_s", default=5, low=1, high=EVERY_S_MAX),
        exchange=folder / exchange if exchange else None,
        metrics_port=root.integer("metrics_port", default=0, high=PORT_MAX),
        metrics_address=root.text("metrics_address", _HOST, expected="an address", default="127.0.0.1"),
    )
