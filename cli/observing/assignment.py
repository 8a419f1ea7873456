"""What an observer of chains is to do: ``observe.toml`` in its folder.

```toml
every_s = 5                     # seconds between two looks
metrics_port = 0                # 0: off

[chains."evm:1"]                # the keys of the coordinator's section, of endpoints of its own
url = "http://127.0.0.1:8545"
confirmations = 12
start = 21000000                # the first block to look at; without it the newest one at the first look
```
"""

import re
from pathlib import Path

from custody.chains.config import ChainConfig, read_chain
from custody.observing.main import Assignment
from policy.ids import CHAIN
from policy.settings import PORT_MAX, ConfigError, Settings, parse_settings
from signer_nodes.api.surroundings import read_text

FILE = "observe.toml"
_HOST = re.compile(r"[!-~]{1,100}")
CHAINS_MAX, EVERY_S_MAX, START_MAX = 32, 3600, 2**40


def load_assignment(folder: Path) -> Assignment:
    """The file of an observer's folder. Raises ``ConfigError`` with all its problems."""
    path = folder / FILE
    root = parse_settings(read_text(path), str(path))
    assignment = _assignment(root, folder)
    root.done()
    if not assignment.chains:
        root.problem("chains", "has no chain: write a section for each that is to be watched")
    if root.problems:
        raise ConfigError(str(path), root.problems)
    return assignment


def _assignment(root: Settings, folder: Path) -> Assignment:
    chains: dict[str, ChainConfig] = {}
    starts: dict[str, int] = {}
    for name, table in root.section("chains").sections(CHAIN, expected="a chain", count_max=CHAINS_MAX):
        if not CHAIN.fullmatch(name):
            continue
        chains[name] = read_chain(name, table, folder=folder)
        if table.has("start"):
            starts[name] = table.integer("start", default=0, high=START_MAX)
    return Assignment(
        chains=chains,
        starts=starts,
        every_s=root.integer("every_s", default=5, low=1, high=EVERY_S_MAX),
        metrics_port=root.integer("metrics_port", default=0, high=PORT_MAX),
        metrics_address=root.text("metrics_address", _HOST, expected="an address", default="127.0.0.1"),
    )
