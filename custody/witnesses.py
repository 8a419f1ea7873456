"""Witnesses of others, which see every published checkpoint: c2sp.org/tlog-witness, from the log's side.

Where any are configured, no payment is finished under a checkpoint that one of them has not cosigned: nodes
may require it, and an auditor who runs one then knows each head under which money moved. A witness that does
not answer stops payments, not the log.
"""

import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Final, Protocol

from custody.branches import NOTE_BYTES_MAX
from policy.errors import MalformedError, OperationalError, ProtocolError
from policy.log.checkpoint import Note, parse_note
from policy.log.note import NoteSignature
from policy.log.tiles import Read
from policy.log.witnessing import Status, ask, lines_of, read_head

OK: Final = 200
SIZE_DIGITS_MAX: Final = 17
_LOG: Final = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Witness:
    """Where a witness is asked, and the name and key of its cosignatures."""

    name: str
    key: bytes
    url: str


class Poster(Protocol):
    """Sends a call to a witness."""

    async def post(self, url: str, body: bytes) -> tuple[int, bytes]:
        """Status and body of the answer. Raises ``OperationalError``."""


class Witnesses:
    """All that are configured, and what each cosigned last as far as this process knows."""

    def __init__(self, witnesses: Mapping[str, Witness], poster: Poster) -> None:
        self._witnesses, self._poster = witnesses, poster
        self._sizes = dict.fromkeys(witnesses, 0)

    async def cosigned(self, read: Read, data: bytes) -> tuple[bytes, tuple[str, ...]]:
        """A published note with their cosignatures, and the names of those that gave none."""
        note, missing = parse_note(data, NOTE_BYTES_MAX), []
        for name, witness in self._witnesses.items():
            try:
                note = note.with_signatures(*await self._asked(witness, read, note))
            except (OperationalError, ProtocolError) as error:
                _LOG.warning("witness %s: %s", name, error)
                missing.append(name)
        return note.to_bytes(), tuple(missing)

    async def _asked(self, witness: Witness, read: Read, note: Note) -> tuple[NoteSignature, ...]:
        status, body = await self._call(witness, read, note, old=self._sizes[witness.name])
        if status == Status.CONFLICT:
            # Its word for this one call: a size that it did not cosign is not held against it at the next.
            status, body = await self._call(witness, read, note, old=_size(body))
        if status != OK:
            raise OperationalError(f"it answered {status}: {body[:200].decode(errors='replace').strip()}")
        lines = lines_of(body, note, keys={witness.name: witness.key})
        self._sizes[witness.name] = read_head(note.body)[1].size
        return lines

    async def _call(self, witness: Witness, read: Read, note: Note, *, old: int) -> tuple[int, bytes]:
        size = read_head(note.body)[1].size
        if old > size:
            raise OperationalError(
                f"it says that it cosigned {old} entries of this log, which has {size}: find out why"
            )
        sent = ask(read, note, old_size=old)
        return await self._poster.post(f"{witness.url.rstrip('/')}/add-checkpoint", sent.to_bytes())


Asking = Callable[[Read, bytes], Awaitable[tuple[bytes, tuple[str, ...]]]]


async def nobody(read: Read, data: bytes) -> tuple[bytes, tuple[str, ...]]:
    """Where no witness is configured a note is published as the quorum left it."""
    return data, ()


def _size(body: bytes) -> int:
    text = body.strip()
    if not text.isdigit() or len(text) > SIZE_DIGITS_MAX:
        raise MalformedError("it does not say how many entries it cosigned last")
    return int(text)
