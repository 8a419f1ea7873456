"""What the demo says while it plays, and what it says at the end."""

import sys
import time
from dataclasses import dataclass, field
from typing import Any

from cli.demo.scenes import Scene, Seen
from cli.results import DONE, REFUSED, Document, Result, Table

MARKS = {True: "[green]ok[/green]", False: "[red]WRONG[/red]"}
HASH_SHOWN = 18


@dataclass(slots=True)
class Report:
    """Collects what was seen; every step is a line on standard error."""

    started: float = field(default_factory=time.monotonic)
    rows: list[Document] = field(default_factory=list)
    key: Document = field(default_factory=dict)
    log: Document = field(default_factory=dict)
    hsm: str = "SoftHSM 2, one token for each process (a stand-in: its keys are files)"
    chains: list[Document] = field(default_factory=list)

    def say(self, text: str) -> None:
        """A line about what is being done, with the seconds since the start."""
        print(f"{time.monotonic() - self.started:6.1f} s  {text}", file=sys.stderr, flush=True)

    def scene(self, scene: Scene, seen: Seen, *, seconds: float) -> None:
        """Take in what a scene saw."""
        self.rows.append(
            {
                "name": scene.name,
                "expected": scene.expected,
                "status": seen.status,
                "tx_hash": seen.tx_hash,
                "block": seen.block,
                "rule": seen.rule,
                "seconds": round(seconds, 3),
                "reason": seen.reason or None,
            }
        )
        end = f", transaction {seen.tx_hash}" if seen.tx_hash else ""
        end += f" in block {seen.block}" if seen.block else ""
        why = f": {seen.reason}" if seen.reason else ""
        rule = f" by rule {seen.rule}" if seen.rule else ""
        self.say(f"  {seen.status}{rule}{end}{why}")

    @property
    def ok(self) -> bool:
        """Whether every scene came out as expected and the log verifies."""
        as_expected = all(row["status"] == row["expected"] for row in self.rows)
        return bool(self.rows) and as_expected and self.log.get("verified") is True

    def result(self, *, nodes: int, min_signers: int) -> Result:
        """The whole of it."""
        seconds = round(time.monotonic() - self.started, 1)
        document: Document = {
            "nodes": nodes,
            "min_signers": min_signers,
            "hsm": self.hsm,
            "chain": ", ".join(f"{one['version']}, {one['chain']}" for one in self.chains),
            "chains": self.chains,
            "key": self.key,
            "scenes": self.rows,
            "log": self.log,
            "ok": self.ok,
            "seconds": seconds,
        }
        return Result(document, (self._table(), *self._summary(seconds)), DONE if self.ok else REFUSED)

    def _table(self) -> Table:
        rows = tuple(
            (
                row["name"],
                row["status"],
                MARKS[row["status"] == row["expected"]],
                row["rule"] or "",
                (row["tx_hash"] or "")[:HASH_SHOWN],
                f"{row['seconds']:.2f}",
            )
            for row in self.rows
        )
        return Table(("scene", "came out", "as expected", "rule", "transaction", "seconds"), rows)

    def _summary(self, seconds: float) -> tuple[str, ...]:
        log: dict[str, Any] = self.log
        verified = "verifies" if log.get("verified") else "DOES NOT VERIFY"
        return (
            f"The log of {log.get('size')} entries {verified}: {log.get('cosigners')} cosigners on its head, "
            f"{log.get('replayed_verdicts')} verdicts recomputed, {log.get('mismatches')} of them differ.",
            f"{'All as it should be' if self.ok else 'Something is wrong: see above'}, after {seconds} s.",
        )
