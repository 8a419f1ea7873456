"""The log's leaf hashes and its changes of rules, read once and kept: for proofs and for the history."""

import asyncio
import contextlib
import itertools
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from custody.branches import NOTE_BYTES_MAX
from custody.parts import Parts
from policy.encoding import Json, document_hash, parse_canonical
from policy.entries import ENTRY_BYTES_MAX
from policy.errors import MalformedError, OperationalError
from policy.log.checkpoint import Checkpoint, parse_checkpoint, parse_note
from policy.log.merkle import frontier_at, leaf_hash, leaf_reader, node_hash, prove_inclusion

GOVERNING: Final = ("genesis", "policy", "roster", "address", "veto", "freeze", "unfreeze", "version", "fork")
KINDS: Final = (
    *GOVERNING,
    *("request", "approval", "reserve", "signature", "burn", "observation"),
    *("deposit", "price", "holdings", "screening", "reject", "note", "ceremony", "ban", "shred", "key"),
)
SMALL_LEVEL: Final = 8
READ_BYTES: Final = 256 * 1024
MALFORMED: Final = "malformed"
HISTORY_MAX: Final = 1000
PATIENCE_S: Final = 1.0


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry as the pages list it; ``subject`` is the document, request or job it is about."""

    index: int
    kind: str
    time_ms: int
    subject: str
    signers: tuple[str, ...]
    outcome: str
    rule: str
    document: Json


@dataclass(frozen=True, slots=True)
class Proof:
    """An entry, and what shows that it stands in the log of a checkpoint that w cosigners signed."""

    index: int
    data: bytes
    checkpoint: Checkpoint
    note: bytes
    path: tuple[bytes, ...]


class Tree:
    """The leaf hashes of a log that grows; the larger of its complete subtrees are hashed once."""

    def __init__(self) -> None:
        self.leaves: list[bytes] = []
        self._small = leaf_reader(self.leaves)
        self._kept: dict[tuple[int, int], bytes] = {}

    def read(self, level: int, index: int) -> bytes:
        """The hash of a complete subtree, as ``policy.log.merkle`` asks for it."""
        if level <= SMALL_LEVEL:
            return self._small(level, index)
        if (level, index) not in self._kept:
            left, right = self.read(level - 1, 2 * index), self.read(level - 1, 2 * index + 1)
            self._kept[level, index] = node_hash(left, right)
        return self._kept[level, index]


class LogIndex:
    """Follows the coordinator's log."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._tree = Tree()
        self._kinds: list[str] = []
        self._history: list[Entry] = []
        self._screened: dict[str, list[int]] = {}
        self._catching_up: asyncio.Task[None] | None = None
        self._reading = asyncio.Lock()

    async def newest(self, before: int, limit: int) -> tuple[Entry, ...]:
        """Entries below ``before``, newest first."""
        start = max(0, before - limit)
        found: list[Entry] = []
        while start + len(found) < before:
            part = await self._parts.database.entries(start + len(found), before)
            if not part:
                break
            found += [read_entry(start + len(found) + i, data) for i, data in enumerate(part)]
        return tuple(reversed(found))

    async def newest_of(self, kind: str, before: int, *, limit: int) -> tuple[Entry, ...]:
        """Entries of one kind below ``before``, newest first."""
        async with self._reading:
            await self._follow(self._parts.sequencer.state.size)
        places = range(min(before, len(self._kinds)) - 1, -1, -1)
        found = itertools.islice((place for place in places if self._kinds[place] == kind), limit)
        return tuple([await self._entry(place) for place in found])

    async def _entry(self, index: int) -> Entry:
        (data, *_) = await self._parts.database.entries(index, index + 1)
        return read_entry(index, data)

    async def screenings(self, request: bytes) -> tuple[int, ...]:
        """Where the screenings of a request stand, newest first, as far as the log was read in a moment."""
        if self._catching_up is None or self._catching_up.done():
            self._catching_up = asyncio.create_task(self._catch_up())
        await asyncio.wait({self._catching_up}, timeout=PATIENCE_S)
        return tuple(reversed(self._screened.get(request.hex(), [])))

    async def _catch_up(self) -> None:
        with contextlib.suppress(OperationalError):  # it is tried again when somebody asks again
            async with self._reading:
                await self._follow(self._parts.sequencer.state.size)

    async def history(self) -> tuple[Entry, ...]:
        """What changed the rules, newest first."""
        async with self._reading:
            await self._follow(self._parts.sequencer.state.size)
        return tuple(reversed(self._history[-HISTORY_MAX:]))

    async def prove(self, index: int) -> Proof | None:
        """The proof of an entry; None when no checkpoint with w cosignatures has it yet."""
        note = self._parts.replication.quorum.note
        if not note:
            return None
        checkpoint = parse_checkpoint(parse_note(note, NOTE_BYTES_MAX).body)
        if not 0 <= index < checkpoint.size:
            return None
        async with self._reading:
            await self._follow(checkpoint.size)
            if not await asyncio.to_thread(_matches, self._tree, checkpoint):
                self._tree, self._kinds, self._history = Tree(), [], []  # another branch took its place
                self._screened = {}
                await self._follow(checkpoint.size)
            read = self._tree.read
        path = await asyncio.to_thread(prove_inclusion, read, index, size=checkpoint.size)
        (data, *_) = await self._parts.database.entries(index, index + 1)
        return Proof(index, data, checkpoint, note, path)

    async def _follow(self, size: int) -> None:
        leaves = self._tree.leaves
        while len(leaves) < size:
            part = await self._parts.database.entries(len(leaves), size, bytes_max=READ_BYTES)
            if not part:
                raise OperationalError("the log is being read anew: ask again")
            entries = await asyncio.to_thread(_read, len(leaves), part)
            self._kinds += [one.kind for one in entries]
            self._history += [one for one in entries if one.kind in GOVERNING]
            for one in entries:
                if one.kind == "screening":
                    self._screened.setdefault(one.subject, []).append(one.index)
            leaves += map(leaf_hash, part)


def read_entry(index: int, data: bytes) -> Entry:
    """An entry for people to read; the kind ``malformed`` for one that cannot be read."""
    try:
        document = parse_canonical(data, bytes_max=ENTRY_BYTES_MAX)
    except MalformedError:
        document = {}
    if not isinstance(document, dict):
        document = {}
    body, time_ms, signed = document.get("body"), document.get("time_ms"), document.get("signatures")
    kind = document.get("kind")
    kind = kind if isinstance(kind, str) and kind in KINDS else MALFORMED
    signers = (
        [str(one["name"]) for one in signed if isinstance(one, dict)] if isinstance(signed, list) else []
    )
    fields = body if isinstance(body, dict) else {}
    claimed = document.get("verdict")
    claimed = claimed if isinstance(claimed, dict) else {}
    if "assertion" in document:  # a passkey's: the body says whose
        signers += [str(fields[name]) for name in ("operator", "by") if name in fields]
    return Entry(
        index=index,
        kind=kind,
        time_ms=time_ms if isinstance(time_ms, int) else 0,
        subject=_subject(kind, fields),
        signers=tuple(signers),
        outcome=str(claimed.get("outcome", "")),
        rule=str(claimed.get("rule", "")),
        document=document,
    )


def _subject(kind: str, body: dict[str, Json]) -> str:
    if kind == "request":
        return document_hash("request", body).hex()
    if kind in ("policy", "roster") and kind in body:
        return document_hash(kind, body[kind]).hex()
    return next((str(body[name]) for name in ("request", "job", "target", "key") if name in body), "")


def _read(start: int, part: Iterable[bytes]) -> list[Entry]:
    return [read_entry(start + i, data) for i, data in enumerate(part)]


def _matches(tree: Tree, checkpoint: Checkpoint) -> bool:
    if len(tree.leaves) < checkpoint.size:
        return False
    return frontier_at(tree.read, checkpoint.size).root() == checkpoint.root
