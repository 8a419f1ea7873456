"""``quorumkeep audit verify``: the whole check of a published log, on the machine of whoever asks."""

import json
import sys
from collections.abc import Callable, Sequence
from http import HTTPStatus
from pathlib import Path
from urllib.error import HTTPError
from urllib.parse import urlsplit
from urllib.request import urlopen

from rich.console import Console
from rich.progress import Progress, TaskID

from cli.audit_pool import Pool, spare_cores
from cli.audit_state import AuditState
from policy.audit import CHECKPOINT_PATH, NO_HELP, AuditReport, Trust, Work, audit, parse_trust
from policy.errors import MalformedError, OperationalError
from policy.log.tiles import BUNDLE_BYTES_MAX, Read
from policy.replay import Step

OK, FAILED, MISUSE = 0, 1, 2
LONG_ENTRIES = 2000
TIMEOUT_S = 30
LOOPBACK = ("127.0.0.1", "::1", "localhost")


def verify(
    place: str,
    *,
    trust: Path | None,
    since: Sequence[Path] = (),
    state: Path | None = None,
    processes: int | None = None,
    json_output: bool,
) -> int:
    """Check the log in a folder or at a URL; 0 if all of it holds, 1 if not, 2 if it cannot be looked at.

    ``state`` is a file by which an audit that was stopped goes on; ``processes`` is how many work on it.
    """
    spare = spare_cores() if processes is None else processes - 1
    try:
        older = [path.read_bytes() for path in since]
        read = files_at(place) if "://" in place else files_of(Path(place))
        with Pool(spare) as pool:
            work = _work(pool, state, trust)
            report = look_at(read, trust=trust, older=older, work=work)
    except (MalformedError, OperationalError) as error:
        return _misused(str(error), json_output)
    except OSError as error:
        said = f"cannot read {error.filename or place}: {error.strerror or error}; give what is there"
        return _misused(said, json_output)
    print(json.dumps(as_json(report)) if json_output else as_text(report))
    return OK if report.ok else FAILED


def _misused(said: str, json_output: bool) -> int:
    print(f"quorumkeep: {said}", file=sys.stderr)
    if json_output:
        print(json.dumps({"ok": False, "code": "Misuse", "error": said}))
    return MISUSE


def files_of(directory: Path) -> Read:
    """The files of the log in ``directory``. Raises ``MalformedError`` when there is none."""
    if not (directory / CHECKPOINT_PATH).is_file():
        raise MalformedError(f"{directory} has no file {CHECKPOINT_PATH!r}: name the folder of a log")
    return files_below(directory)


def files_below(directory: Path) -> Read:
    """What is there of a log in ``directory``, which may have no checkpoint yet."""

    def read(path: str) -> bytes | None:
        try:
            return (directory / path).read_bytes()
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            return None

    return read


def files_at(url: str) -> Read:
    """The files of the log below ``url``, each read when it is asked for. Raises ``MalformedError``.

    Nothing that comes is believed: an audit finds out whether it holds. Reading raises ``OSError``.
    """
    parts = urlsplit(url)
    if parts.scheme != "https" and not (parts.scheme == "http" and parts.hostname in LOOPBACK):
        raise MalformedError(f"{url!r} is not read from: give an https URL, or the folder of a log")

    def read(path: str) -> bytes | None:
        try:
            with urlopen(f"{url.rstrip('/')}/{path}", timeout=TIMEOUT_S) as answer:  # noqa: S310 - looked at above
                data: bytes = answer.read(BUNDLE_BYTES_MAX + 1)
        except HTTPError as error:
            error.close()
            if error.code in (HTTPStatus.NOT_FOUND, HTTPStatus.GONE):
                return None
            raise
        return data

    return read


def look_at(
    read: Read,
    *,
    trust: Path | None,
    watch: Callable[[Step], None] | None = None,
    older: Sequence[bytes] = (),
    work: Work = NO_HELP,
) -> AuditReport:
    """Check the log whose files ``read`` gives. A bad trust file raises ``MalformedError`` or ``OSError``."""
    pinned = read_trust(trust) if trust else None
    with Progress(console=Console(stderr=True), transient=True) as bar:
        return audit(read, trust=pinned, progress=_shown(bar), watch=watch, older=older, work=work)


def _work(pool: Pool, state: Path | None, trust: Path | None) -> Work:
    checker = pool if pool.processes else None
    if state is None:
        return Work(checker)
    kept = AuditState(state, trust=read_trust(trust) if trust else None)
    return Work(checker, seen=kept.load(), keep=kept.keep)


def as_json(report: AuditReport) -> dict[str, object]:
    """The report as scripts read it."""
    bad = report.first_bad
    return {
        "ok": report.ok,
        "size": report.size,
        "root": report.root.hex(),
        "genesis_policy": report.genesis_policy.hex(),
        "cosigners": report.cosigners,
        "replayed_verdicts": report.replayed_verdicts,
        "mismatches": report.mismatches,
        "inert": report.inert,
        "first_bad": None if bad is None else {"index": bad[0], "why": bad[1]},
        "trust": report.trust,
        "extends": list(report.extends),
        "ceremonies": report.ceremonies,
        "unrecorded": [job.hex() for job in report.unrecorded],
    }


def as_text(report: AuditReport) -> str:
    """The report as people read it."""
    lines = [
        f"{'ok' if report.ok else 'FAILED'}: {report.size} entries, root {report.root.hex()}",
        f"cosigners   {report.cosigners}",
        f"verdicts    {report.replayed_verdicts} recomputed, {report.mismatches} claimed otherwise",
        f"inert       {report.inert} entries without effect",
        f"policy      {report.genesis_policy.hex()} at first",
    ]
    lines += [f"extends     the older checkpoint of {size} entries" for size in report.extends]
    if report.ceremonies or report.unrecorded:
        lines.append(f"ceremonies  {report.ceremonies} on record")
    for job in report.unrecorded:
        lines.append(f"unrecorded  cold job {job.hex()} is signed, and no record of a ceremony names it")
    if report.first_bad is not None:
        index, why = report.first_bad[0], report.first_bad[1].removeprefix("checkpoint: ")
        lines.append(f"first bad   {'the checkpoint' if index == report.size else f'entry {index}'}: {why}")
    if report.trust != "pinned":
        lines.append("trust       the keys are the folder's own: pin them (--trust) to know whose log it is")
    return "\n".join(lines)


def read_trust(path: Path) -> Trust:
    """Pinned trust in a file. Raises ``MalformedError``."""
    try:
        return parse_trust(json.loads(path.read_bytes()))
    except (ValueError, RecursionError) as error:
        raise MalformedError(f"{path} is not JSON: {error}") from error
    except OSError as error:
        raise MalformedError(f"cannot read the trust file {path}: {error.strerror}") from error
    except MalformedError as error:
        raise MalformedError(f"{path} is no trust file, which genesis sign writes: {error}") from error


def _shown(bar: Progress) -> Callable[[int, int], None]:
    """Progress on standard error, for logs long enough to wait for."""
    tasks: list[TaskID] = []

    def progress(done: int, total: int) -> None:
        if total < LONG_ENTRIES:
            return
        if not tasks:
            tasks.append(bar.add_task("folding entries", total=total))
        bar.update(tasks[0], completed=done)

    return progress
