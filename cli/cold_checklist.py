"""What people in front of a cold ceremony read: where it stands, and what each of them does next."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from policy.encoding import Json

DONE, FAILED, NONE = OVER = ("done", "failed", "none")
_HELD_FOR = {
    "payment": "to pay request {request}",
    "cancel": "to cancel the slot of request {request}",
    "generate": "to make key {key}",
    "refresh": "to refresh key {key}",
    "reshare": "to hand key {key} to the machines that the policy names",
}
_STAGES = {
    "catching-up": "the machines are brought the log",
    "reserving": "the payment is being reserved",
    "presigning": "the machines prepare the signature",
    "signing": "the machines sign: people read both screens",
    "making-key": "the machines make the key",
    "shredding": "the machines destroy their old shares",
    DONE: "done",
    FAILED: "failed",
    NONE: "no ceremony is under way",
}


@dataclass(frozen=True, slots=True)
class Item:
    """One line of the checklist."""

    text: str
    done: bool

    def to_json(self) -> Json:
        """For programs."""
        return {"text": self.text, "done": self.done}


def checklist(report: Mapping[str, Any]) -> list[Item]:
    """What is done and what is not, in order."""
    stage = report["stage"]
    if stage == NONE:
        return [Item(f"hellos: {', '.join(report['hellos']) or 'none yet'}", bool(report["hellos"]))]
    nodes, passes, over = ", ".join(report["nodes"]), report["passes"], stage in OVER
    missing = ", ".join(report["waits_for"])
    items = [Item(f"{nodes}: switched on, hellos imported", True)]
    full = passes if over else passes - 1
    if full > 0:
        items.append(Item("pass 1 is back" if full == 1 else f"passes 1 to {full} are back", True))
    if not over:
        items.append(Item(f"pass {passes}: {_STAGES[stage]}; answers of {missing} are to come", False))
    if stage == FAILED:
        return [*items, Item(f"it failed: {report['outcome']}", False)]
    items.append(Item(report["outcome"] if stage == DONE else "the result is in the log", stage == DONE))
    return [*items, Item("machines off and sealed, record signed by all and handed in", False)]


def next_step(report: Mapping[str, Any], files: Sequence[str] = ()) -> str:
    """What is to be done now; ``files`` are letters that were just written."""
    stage = report["stage"]
    if stage == NONE:
        return _begin(report)
    if stage == DONE:
        return (
            "type 'end' at each machine, switch it off and seal it; then quorumkeep cold record --out FILE "
            f"--there NAME=conductor --there NAME=witness --check '...'{_another(report)}"
        )
    if stage == FAILED:
        return (
            "switch every machine off; quorumkeep cold record draws up what happened. To try again switch "
            "them on, import the new hellos and export again. No money has moved; what was reserved stays "
            f"reserved until it is signed or burned{_another(report)}"
        )
    if files:
        looks = "" if stage != "signing" else " Read both screens and compare, then type the request's id."
        return (
            "carry each file to its machine and type its path there; bring back what it writes with "
            f"quorumkeep cold import FILE.{looks}"
        )
    if set(report["waits_for"]) < set(report["nodes"]):
        return f"import the answers of {', '.join(report['waits_for'])} too: quorumkeep cold import FILE"
    return "quorumkeep cold export --out FOLDER writes the letters that are to be carried now"


def _another(report: Mapping[str, Any]) -> str:
    return f". With the hellos that are here: {_begin(report)}" if report["hellos"] else ""


def _begin(report: Mapping[str, Any]) -> str:
    if not report["hellos"]:
        return "start quorumkeep cold sign on each machine, then quorumkeep cold import ITS.hello for each"
    return "quorumkeep cold export --out FOLDER with --request ID or --key NAME begins a ceremony"


def lines(report: Mapping[str, Any], files: Sequence[str] = ()) -> list[str]:
    """All of it, to be printed."""
    stage = report["stage"]
    title = _STAGES[NONE] if stage == NONE else _title(report)
    marks = [f"  [{'x' if item.done else ' '}] {item.text}" for item in checklist(report)]
    if stage != NONE and report["hellos"]:
        marks.append(f"  hellos for a next ceremony: {', '.join(report['hellos'])}")
    return [title, *marks, *files, f"Next: {next_step(report, files)}"]


def _title(report: Mapping[str, Any]) -> str:
    what = _HELD_FOR[report["purpose"]].format(request=report["request"], key=report["key"])
    return f"Ceremony {report['ceremony'][:8]} {what}"
