"""``cold``: carry a ceremony between the coordinator and machines without a network."""

from argparse import Namespace
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from cli.connection import caller, load_connection
from cli.programs import NODE, become, program
from cli.results import Result
from policy.errors import OperationalError

Letter = tuple[str, int, bytes]


def export(arguments: Namespace) -> Result:
    """``cold export``: begin a ceremony, or go on with it: the letters to carry now."""
    connection, identity = load_connection(arguments), caller(arguments)
    with connection.open(identity) as client:
        report, letters = client.cold(request=arguments.request, key=arguments.key)
    return _shown(report, _written(Path(arguments.out), report, letters))


def take(arguments: Namespace) -> Result:
    """``cold import``: bring hellos and letters of cold machines to the coordinator."""
    connection, identity = load_connection(arguments), caller(arguments)
    with connection.open(identity) as client:
        for name in arguments.files:
            report, letters = client.cold(files=[_read(Path(name))])
    return _shown(report, [f"{node}: letter {number} waits for cold export" for node, number, _ in letters])


def sign(arguments: Namespace) -> Result:
    """``cold sign``: become ``quorumkeep-node cold`` with the same arguments, on a cold machine."""
    become(program(NODE, "cold", *arguments.rest))


def _written(folder: Path, report: Mapping[str, Any], letters: Sequence[Letter]) -> list[str]:
    """One file a letter; the same letter again has the same name."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    names = []
    for node, number, data in letters:
        path = folder / f"{str(report['ceremony'])[:8]}-{node}-{number}.letter"
        path.write_bytes(data)
        names.append(str(path))
    return names


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise OperationalError(
            f"cannot read {path}: {error.strerror}; give the files of a machine"
        ) from error


def _shown(report: Mapping[str, Any], files: Sequence[str]) -> Result:
    lines = [f"ceremony: {report['stage']} {report['outcome']}".rstrip()]
    if waits := report.get("waits_for"):
        lines.append(f"pass {report['passes']}: waiting for {', '.join(waits)}")
    lines.append(f"hellos that no ceremony has used: {', '.join(report['hellos']) or 'none'}")
    return Result({**report, "files": list(files)}, [*lines, *files])
