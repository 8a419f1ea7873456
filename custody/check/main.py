"""Whether a coordinator can start on its configuration, without starting: ``python -m custody.check.main``.

It changes nothing, asks nobody but the database, and may be run beside the coordinator itself.
"""

import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from custody.adapters.examining import examine
from custody.check.findings import Findings, Wrong
from custody.config import Config
from custody.config_reading import read_to_check
from custody.expiring import endings
from policy.settings import ConfigError, Settings
from signer_nodes.api.arguments import Parser
from signer_nodes.api.health import NotServing, ask

DATABASE, ORIGIN = "database", "origin"


def check(path: Path) -> Findings:
    """Everything that is wrong with a configuration and what it names."""
    try:
        config, settings, runs = read_to_check(path, runs=_answers)
    except ConfigError as error:  # no file, or not TOML: there is nothing more to read in it
        return Findings(error.problems, runs=False)
    state, size = _database(config, settings)
    now_s = time.time_ns() // 1_000_000_000
    warnings = tuple(one for one in (ending.warning(now_s) for ending in endings(config)) if one)
    return Findings(tuple(sorted(set(settings.problems))), runs, state, size, warnings)


def _database(config: Config, settings: Settings) -> tuple[str, int]:
    wrong = {one.key for one in settings.problems}
    if wrong & {DATABASE, ORIGIN, "data_dir"}:
        return "", 0
    try:
        genesis = None if "genesis" in wrong else config.genesis.read_bytes()
        return examine(config.database, origin=config.origin, genesis=genesis)
    except Wrong as error:
        settings.problem(DATABASE, str(error))
        return "", 0


def _answers(data_dir: Path) -> bool:
    """Whether a coordinator runs on this folder, so that its ports are taken by itself."""
    try:
        ask(data_dir)
    except NotServing:
        return False
    return True


def main(arguments: Sequence[str] | None = None) -> int:
    """Print what is found as one JSON object; exit 0 when a coordinator can start."""
    parser = Parser(prog="python -m custody.check.main", description=__doc__)
    parser.add_argument("--config", type=Path, required=True, help="the TOML file")
    findings = check(parser.parse_args(arguments).config)
    sys.stdout.write(json.dumps(findings.to_json()) + "\n")
    return 1 if findings.problems else 0


if __name__ == "__main__":
    sys.exit(main())
