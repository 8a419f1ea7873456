"""``coordinator quarantine`` and ``release``: a node out of the signing sets, and back."""

from argparse import Namespace
from pathlib import Path

from cli.results import Misuse, Result
from custody.config_reading import load_config
from custody.quarantine import FILE, read_quarantine, write_quarantine
from policy.fact_entries import REASON_CHARACTERS_MAX

EFFECT = "A running coordinator takes it up within a second; status shows it."


def quarantine(arguments: Namespace) -> Result:
    """``coordinator quarantine``."""
    if not 0 < len(arguments.reason) <= REASON_CHARACTERS_MAX or not arguments.reason.isprintable():
        raise Misuse(f"--reason has 1 to {REASON_CHARACTERS_MAX} printable characters")
    path, reasons = _load(arguments)
    reasons[arguments.node] = arguments.reason
    write_quarantine(path, reasons)
    return Result({"quarantine": reasons}, (f"{arguments.node} is in no signing set any more.", EFFECT))


def release(arguments: Namespace) -> Result:
    """``coordinator release``; a node that is in no quarantine is released already."""
    path, reasons = _load(arguments)
    reasons.pop(arguments.node, None)
    write_quarantine(path, reasons)
    return Result({"quarantine": reasons}, (f"{arguments.node} may sign again.", EFFECT))


def _load(arguments: Namespace) -> tuple[Path, dict[str, str]]:
    config = load_config(Path(arguments.config))
    if arguments.node not in config.nodes:
        raise Misuse(
            f"{arguments.node[:64]!r} is none of {', '.join(sorted(config.nodes))}: name one of them"
        )
    path = config.data_dir / FILE
    return path, read_quarantine(path)
