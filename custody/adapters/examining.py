"""What a coordinator would find in a database, without changing anything there."""

import os
from pathlib import Path
from urllib.parse import quote

from sqlalchemy import Connection, Engine, make_url, select, text
from sqlalchemy.exc import SQLAlchemyError

from custody.adapters.backup_tables import newest_note
from custody.adapters.leased import engine_of, is_damage
from custody.adapters.schema import HEAD, MEND, check_whole, version_of
from custody.adapters.tables import ENTRIES
from custody.check.findings import Wrong
from policy.audit import NOTE_BYTES_MAX
from policy.errors import MalformedError, OperationalError
from policy.log.checkpoint import parse_checkpoint, parse_note
from policy.log.merkle import leaf_hash

NONE, EMPTY, OLDER, READY = "none", "empty", "older", "ready"


def examine(url: str, *, origin: str, genesis: bytes | None) -> tuple[str, int]:
    """How a database stands, and the size of its log. Raises ``Wrong`` for one that no coordinator can use.

    Without the genesis entry nobody can say whose log it is.
    """
    try:
        engine = engine_of(url)
        if engine.dialect.name == "sqlite" and not Path(engine.url.database or "").exists():
            _check_place(Path(engine.url.database or "").parent)
            return NONE, 0
        try:
            return _examined(engine, origin, genesis)
        finally:
            engine.dispose()
    except OperationalError as error:
        raise Wrong(f"cannot be used: {error}") from error
    except (SQLAlchemyError, ImportError, ValueError, OSError) as error:
        said = _unsaid(url, str(getattr(error, "orig", None) or error))
        to_do = MEND if is_damage(error) else "correct the URL, the account's rights, or start the server"
        raise Wrong(f"cannot be read: {said}; {to_do}") from error


def _examined(engine: Engine, origin: str, genesis: bytes | None) -> tuple[str, int]:
    with engine.connect() as db:
        if db.dialect.name == "postgresql":
            _check_writable(db)
        version = version_of(db)
        if version is None:
            return EMPTY, 0
        if version > HEAD:
            raise Wrong(
                f"has tables of version {version}, this program {HEAD}: use the later program, or another one"
            )
        if version == HEAD:
            check_whole(db)
        return (READY if version == HEAD else OLDER), _check_log(db, origin, genesis)


def _check_place(folder: Path) -> None:
    """The nearest folder that is there takes files."""
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    if not folder.is_dir() or not os.access(folder, os.W_OK):
        raise Wrong(f"is to be made below {folder}, where this user cannot write: give it to this user")


def _check_writable(db: Connection) -> None:
    if db.execute(text("SELECT pg_is_in_recovery()")).scalar():
        raise Wrong(
            "is a standby, which nobody writes: name both servers in the URL, with "
            "target_session_attrs=read-write"
        )
    allowed = text("SELECT has_schema_privilege(current_schema(), 'CREATE')")
    if not db.execute(allowed).scalar():
        raise Wrong("has a schema in which this account cannot make tables: grant it CREATE there")


def _check_log(db: Connection, origin: str, genesis: bytes | None) -> int:
    first = db.execute(select(ENTRIES.c.data).order_by(ENTRIES.c.index).limit(1)).scalar()
    if first is None:
        return 0
    try:
        checkpoint = parse_checkpoint(parse_note(newest_note(db), NOTE_BYTES_MAX).body)
    except MalformedError as error:
        raise Wrong(f"is damaged: {error}; restore a backup, or name an empty one") from error
    if checkpoint.origin != origin or (genesis is not None and leaf_hash(first) != leaf_hash(genesis)):
        raise Wrong(
            f"holds another log, of {checkpoint.origin}: name this deployment's, or move that one away"
        )
    return checkpoint.size


def _unsaid(url: str, said: str) -> str:
    """One line of what a driver said, without the URL and its passwords."""
    try:
        known = make_url(url)
    except (SQLAlchemyError, ValueError):
        return "the URL is none of SQLAlchemy's"
    line = " ".join(said.split()).replace(url, "the URL")
    for secret in (str(known.password or ""), *_texts(known.query.get("password"))):
        for written in {secret, quote(secret, safe="")} - {""}:
            line = line.replace(written, "***")
    return line[:300]


def _texts(value: str | tuple[str, ...] | None) -> tuple[str, ...]:
    return (value,) if isinstance(value, str) else value or ()
