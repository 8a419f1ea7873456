"""A change on its way from one administrator to the next: the entry-to-be, without its time.

The file is canonical JSON: ``kind``, ``body`` (what is signed), ``signatures``, ``burns`` of a fork, and of a
policy or roster what it ``replaces``, so that a reader sees the difference; the body names its hash. A policy
may have its ``backtest`` with it, which nobody signs.
"""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from cli.files import read_bytes, write_document
from cli.policies.summaries import read_summary
from cli.results import Misuse
from policy import entries as e
from policy.document import parse_policy
from policy.encoding import INTEGER_MAX, Json, document_hash, parse_canonical
from policy.entry_fields import read_signatures
from policy.errors import CallerError, MalformedError, OperationalError
from policy.fields import Fields
from policy.governance import change_hash
from policy.roster import parse_roster

KINDS = ("policy", "roster", "address", "veto", "freeze", "unfreeze", "version", "fork")
DOCUMENTS = ("policy", "roster")
FILE_BYTES_MAX = 4 * e.ENTRY_BYTES_MAX


@dataclass(frozen=True, slots=True)
class Change:
    """What is signed and what proves it; ``entry`` is the same, read."""

    kind: str
    body: Json
    entry: e.Entry
    signatures: dict[str, bytes] = field(default_factory=dict)
    burns: Json = ""
    replaces: Json = ""
    backtest: dict[str, Any] = field(default_factory=dict)

    @property
    def fingerprint(self) -> str:
        """What everybody who signs compares."""
        return change_hash(self.kind, self.body).hex()

    @property
    def document(self) -> Json:
        """The new policy or roster."""
        return self.body[self.kind] if isinstance(self.body, dict) and self.kind in DOCUMENTS else ""

    @property
    def document_hash(self) -> str:
        """The hash by which a veto names it: of a new policy or roster, or of a list's change; else empty."""
        if self.kind == "address":
            return self.fingerprint
        return document_hash(self.kind, self.document).hex() if self.kind in DOCUMENTS else ""

    @property
    def previous(self) -> str:
        """The hash of the policy or roster that it replaces."""
        return self.entry.previous.hex() if isinstance(self.entry, e.ChangeEntry) else ""

    def proof(self) -> dict[str, Json]:
        """What stands in the entry beside the body."""
        return _proof(self.kind, self.signatures, self.burns)

    def signed(self, signatures: dict[str, bytes]) -> "Change":
        """With more signatures. Raises ``MalformedError`` when they are too many."""
        made = make_change(
            self.kind,
            self.body,
            signatures={**self.signatures, **signatures},
            burns=self.burns,
            replaces=self.replaces,
        )
        return replace(made, backtest=self.backtest)

    def with_backtest(self, summary: Json) -> "Change":
        """With the backtest of its policy. Raises ``MalformedError`` for one of another policy."""
        backtest = read_summary(summary)
        if self.kind != "policy" or backtest["policy"] != self.document_hash:
            raise MalformedError("the backtest is of another policy than the change")
        return replace(self, backtest=backtest)

    def write(self, path: Path) -> None:
        """Write the file. Raises ``OperationalError``."""
        beside: dict[str, Json] = {"replaces": self.replaces, "backtest": self.backtest}
        document: dict[str, Json] = {"kind": self.kind, "body": self.body, **self.proof()}
        write_document(path, document | {name: value for name, value in beside.items() if value})


def make_change(
    kind: str,
    body: Json,
    *,
    signatures: dict[str, bytes] | None = None,
    burns: Json = "",
    replaces: Json = "",
) -> Change:
    """A change, read as strictly as the log reads its entry at any time. Raises ``MalformedError``."""
    given = signatures or {}
    try:
        entry = e.parse_entry(e.make_entry(kind, INTEGER_MAX, body=body, **_proof(kind, given, burns))).entry
    except CallerError as error:
        raise MalformedError(str(error)) from error
    if isinstance(entry, e.ChangeEntry):
        _check_document(entry, replaces)
    return Change(kind, body, entry, given, burns, replaces)


def read_change(path: Path) -> Change:
    """Read a change's file. Raises ``OperationalError``."""
    try:
        return parse_change(read_bytes(path, "the change"))
    except MalformedError as error:
        raise OperationalError(f"{path} is no change: {error}; give the file of admin draft") from error


def parse_change(data: bytes) -> Change:
    """Read a change. Raises ``MalformedError``."""
    fields = Fields(parse_canonical(data, bytes_max=FILE_BYTES_MAX), "change")
    kind, body = fields.choice("kind", *KINDS), fields.raw("body")
    signatures = read_signatures(fields)
    burns = fields.raw("burns") if kind == "fork" else ""
    replaces = fields.raw("replaces") if fields.has("replaces") else ""
    backtest = fields.raw("backtest") if fields.has("backtest") else None
    fields.done()
    change = make_change(kind, body, signatures=signatures, burns=burns, replaces=replaces)
    return change if backtest is None else change.with_backtest(backtest)


def reason_of(text: str) -> str:
    """A reason as it may stand in an entry. Raises ``Misuse``."""
    try:
        return Fields({"reason": text}, "").text("reason", length_max=300)
    except MalformedError as error:
        raise Misuse(f"--reason: {error}") from error


def _check_document(entry: e.ChangeEntry, replaces: Json) -> None:
    """The new document reads, and what is shown as replaced is what the body names."""
    if entry.kind == "policy":
        parse_policy(entry.document)
    else:
        parse_roster(entry.document)
    if replaces and document_hash(entry.kind, replaces) != entry.previous:
        raise MalformedError(f"it replaces another {entry.kind} than the one it shows")


def _proof(kind: str, signatures: dict[str, bytes], burns: Json) -> dict[str, Json]:
    proof: dict[str, Json] = {"signatures": [*e.signature_list(signatures)]}
    return {**proof, "burns": burns} if kind == "fork" else proof
