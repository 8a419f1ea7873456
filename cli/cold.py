"""``cold``: carry a ceremony between the coordinator and machines without a network."""

from argparse import Namespace
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from cli.cold_checklist import DONE, FAILED, NONE, checklist, lines, next_step
from cli.connection import caller, load_connection
from cli.programs import NODE, become, program
from cli.results import DONE as EXIT_DONE
from cli.results import REFUSED, Misuse, Result
from cli.statements import Statement, read_statements, write_statements
from custody.api.errors import CallRefused
from policy.encoding import Json
from policy.errors import OperationalError
from signer_nodes.api.letters import MAGIC

Letter = tuple[str, int, bytes]


def export(arguments: Namespace) -> Result:
    """``cold export``: begin a ceremony, or go on with it: the letters to carry now."""
    connection, identity = load_connection(arguments), caller(arguments)
    if arguments.change and not arguments.key:
        raise Misuse("--change is of a key: give --key NAME with it")
    with connection.open(identity) as client:
        report, letters = client.cold(request=arguments.request, key=arguments.key, change=arguments.change)
    code = REFUSED if report["stage"] in (FAILED, NONE) else EXIT_DONE
    return _shown(report, _written(Path(arguments.out), report, letters), code=code)


def take(arguments: Namespace) -> Result:
    """``cold import``: bring hellos and letters of cold machines to the coordinator, one after the other."""
    connection, identity = load_connection(arguments), caller(arguments)
    files = [(name, _read(Path(name))) for name in arguments.files]
    with connection.open(identity) as client:
        for name, data in files:
            try:
                report, _ = client.cold(files=[data])
            except CallRefused as error:
                raise CallRefused(error.code, f"{name}: {error.reason}") from error
    failed = report["stage"] == FAILED and any(data.startswith(MAGIC) for _, data in files)
    return _shown(report, [], code=REFUSED if failed else EXIT_DONE)


def status(arguments: Namespace) -> Result:
    """``cold status``: how the ceremony stands, and what is to be done next."""
    connection, identity = load_connection(arguments), caller(arguments)
    with connection.open(identity) as client:
        report, _ = client.cold()
    return _shown(report, [])


def end(arguments: Namespace) -> Result:
    """``cold end``: end the ceremony under way; what was reserved stays reserved until it is burned."""
    connection, identity = load_connection(arguments), caller(arguments)
    with connection.open(identity) as client:
        report, _ = client.cold(end=True)
    return _shown(report, [])


def record(arguments: Namespace) -> Result:
    """``cold record``: draw up the record of the ceremony that ended last, and sign it."""
    connection, identity = load_connection(arguments), caller(arguments)
    path = Path(arguments.out)
    if path.exists():
        raise OperationalError(f"{path} exists: sign it with quorumkeep cold witness, or name another file")
    with connection.open(identity) as client:
        report, _ = client.cold()
    if report["stage"] not in (DONE, FAILED):
        raise OperationalError(f"the ceremony is {report['stage']}: it has no record before it is over")
    statement = Statement("ceremony", _body(connection.origin, report, arguments), {}).signed(identity)
    write_statements(path, [statement])
    return _signed(path, statement)


def witness(arguments: Namespace) -> Result:
    """``cold witness``: sign that one was there, after reading the record."""
    identity, path = caller(arguments), Path(arguments.record)
    (statement,) = read_statements(path)
    roles = {one["name"]: one["role"] for one in _people(statement.body)}
    if identity.card.name not in roles:
        raise OperationalError(f"{path} does not say that {identity.card.name} was there: do not sign it")
    statement = statement.asserted(identity) if arguments.passkey else statement.signed(identity)
    write_statements(path, [statement])
    return _signed(path, statement)


def _body(origin: str, report: Mapping[str, Any], arguments: Namespace) -> dict[str, Json]:
    job = {"job": report["job"]} if report["job"] else {}
    outcome = FAILED if report["stage"] == FAILED else ("signed" if report["job"] else "made")
    there: list[Json] = []
    for text in arguments.there:
        name, equals, role = text.partition("=")
        if not equals:
            raise Misuse(f"{text[:80]!r}: say who was there as NAME=ROLE, as anna=conductor")
        there.append({"name": name, "role": role})
    checklist: list[Json] = list(arguments.check)
    return {
        "origin": origin,
        "ceremony": report["ceremony"],
        "key": report["key"],
        "nodes": report["nodes"],
        "began_ms": report["began_ms"],
        "ended_ms": report["ended_ms"],
        "outcome": outcome,
        "checklist": checklist,
        "witnesses": there,
        **job,
    }


def _people(body: Mapping[str, Any]) -> list[dict[str, str]]:
    return list(body["witnesses"])


def _signed(path: Path, statement: Statement) -> Result:
    lines = [f"ceremony {statement.about[:16]}: {statement.body['outcome']} under {statement.body['key']}"]
    lines += [f"  checked: {text}" for text in _texts(statement.body)]
    missing = [
        f"{one['name']} ({one['role']})"
        for one in _people(statement.body)
        if one["name"] not in statement.signers
    ]
    if missing:
        lines.append(f"{path} lacks the signatures of {', '.join(missing)}: quorumkeep cold witness")
    else:
        lines.append(f"{path} is complete: hand it in by quorumkeep observe submit")
    return Result({"file": str(path), **statement.to_json(), "missing": missing}, lines)


def _texts(body: Mapping[str, Any]) -> list[str]:
    return list(body["checklist"])


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


def _shown(report: Mapping[str, Any], files: Sequence[str], *, code: int = EXIT_DONE) -> Result:
    steps: list[Json] = [item.to_json() for item in checklist(report)]
    document = {**report, "files": list(files), "checklist": steps, "next": next_step(report, files)}
    return Result(document, lines(report, files), code)
