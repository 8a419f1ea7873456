"""The controls of the CryptoCurrency Security Standard, each with what a published log can show of it.

The list is of the standard's public checklist, numbered in its order, in our own words; what is demanded at
which level is read in the standard, whose later editions name and number some controls otherwise. A control
is shown only by a check of the log that can fail. All others need people, or are of a kind that no log and
no program can show.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from policy.audit import PINNED, AuditReport
from policy.entries import ApprovalEntry, ChangeEntry, ReserveEntry, SignatureEntry
from policy.replay import Step
from policy.state import PAYMENT, Job, JobStatus, KeyRecord, State

SHOWN, NOT_SHOWN, PEOPLE, NOT_BY_SOFTWARE = STATUSES = ("shown", "not-shown", "people", "not-by-software")
LOG: Final = "log"
"""In the table: there is a check of the log."""

CONTROLS: Final = (
    ("1.01.1", "a key is made by those who use it", LOG),
    ("1.01.2", "the way of making keys was validated", PEOPLE),
    ("1.01.3", "the generator of random bits is of an approved kind", NOT_BY_SOFTWARE),
    ("1.01.4", "enough entropy went into the key", NOT_BY_SOFTWARE),
    ("1.02.1", "an address of its own for each transaction", PEOPLE),
    ("1.02.2", "several keys are needed to sign", LOG),
    ("1.02.3", "a key more than is needed, for recovery", LOG),
    ("1.02.4", "addresses are derived, not invented", LOG),
    ("1.02.5", "keys are kept in several places", PEOPLE),
    ("1.02.6", "keys are kept by several organisations", PEOPLE),
    ("1.03.1", "keys in use are stored encrypted", NOT_BY_SOFTWARE),
    ("1.03.2", "there is a backup", PEOPLE),
    ("1.03.3", "the backup withstands fire and water", PEOPLE),
    ("1.03.4", "who gets at the backup is controlled", PEOPLE),
    ("1.03.5", "the backup's seal shows tampering", PEOPLE),
    ("1.03.6", "the backup is encrypted", PEOPLE),
    ("1.04.1", "the use of a key needs more than one factor of a person", LOG),
    ("1.04.2", "keys are used on trusted machines alone", NOT_BY_SOFTWARE),
    ("1.04.3", "references of the keys' operators were checked", PEOPLE),
    ("1.04.4", "so was who they are", PEOPLE),
    ("1.04.5", "and their background", PEOPLE),
    ("1.04.6", "each spend is verified before it is signed", LOG),
    ("1.04.7", "no two keys are on one device", PEOPLE),
    ("1.04.8", "random numbers of signatures are of an approved generator", NOT_BY_SOFTWARE),
    ("1.05.1", "there is a plan for a key that is compromised", PEOPLE),
    ("1.05.2", "people are trained in it and rehearse it", PEOPLE),
    ("1.06.1", "there is a procedure to give and take keys", PEOPLE),
    ("1.06.2", "giving and taking is ordered over an authenticated channel", LOG),
    ("1.06.3", "there is a trail of it", LOG),
    ("2.01.1", "outsiders audited and attacked it", PEOPLE),
    ("2.02.1", "there is a policy of how media are wiped", PEOPLE),
    ("2.02.2", "there is a trail of wiped media", PEOPLE),
    ("2.03.1", "reserves were proven to outsiders", PEOPLE),
    ("2.04.1", "what is done is recorded", LOG),
    ("2.04.2", "the record is backed up", PEOPLE),
)


@dataclass(frozen=True, slots=True)
class Control:
    """One control; ``entries`` are the indexes of what shows it, ``why`` says what a check came to."""

    number: str
    what: str
    status: str
    why: str = ""
    entries: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Finding:
    """What a check came to: what is against it, empty if nothing; and the entries that were looked at."""

    against: str
    entries: tuple[int, ...]
    why: str


class Evidence:
    """Hears of every entry of a log, for ``policy.audit.audit``, and keeps what a period has to show."""

    def __init__(self, *, from_ms: int, to_ms: int) -> None:
        self._from_ms, self._to_ms = from_ms, to_ms
        self._state: State | None = None
        self._signed: dict[int, Job] = {}
        self._reserved: dict[bytes, int] = {}
        self._approvals: dict[bytes, list[int]] = {}
        self._rosters: list[int] = []

    def __call__(self, step: Step) -> None:
        """Hear of one entry; what comes after the period is not looked at."""
        if not step.outcome.accepted or step.timed.time_ms >= self._to_ms:
            return
        self._state = step.after
        within = step.timed.time_ms >= self._from_ms
        match step.timed.entry:
            case ApprovalEntry() as entry:
                self._approvals.setdefault(entry.approval.request, []).append(step.index)
            case ReserveEntry():
                self._reserved[step.outcome.subject] = step.index
            case SignatureEntry() as entry if within:
                job = step.after.jobs[entry.job]
                if job.status is JobStatus.SIGNED:
                    self._signed[step.index] = job
            case ChangeEntry(kind="roster") if within:
                self._rosters.append(step.index)
            case _:
                pass

    def controls(self, report: AuditReport) -> list[Control]:
        """Every control, by a log that holds: ``report`` is the check's."""
        found = self._findings(report)
        return [_control(number, what, status, found.get(number)) for number, what, status in CONTROLS]

    def _findings(self, report: AuditReport) -> dict[str, Finding]:
        return {
            "1.01.1": self._made(),
            "1.02.2": self._several(),
            "1.02.3": self._spare(),
            "1.02.4": self._derived(),
            "1.04.1": self._approved(),
            "1.04.6": self._verified(),
            "1.06.2": self._ordered(),
            "1.06.3": _kept(report, (0, *self._rosters)),
            "2.04.1": _kept(report, (0, report.size - 1)),
        }

    def _made(self) -> Finding:
        imported = [f"key {one.key} was imported" for one in self._keys() if one.imported]
        return self._of_keys(imported, "nodes made every key together, each signed for it")

    def _spare(self) -> Finding:
        without = [
            f"key {one.key} needs all of its {one.min_signers} nodes"
            for one in self._keys()
            if len(one.participants) <= one.min_signers
        ]
        return self._of_keys(without, "every key can be used with a node lost")

    def _derived(self) -> Finding:
        state = self._state
        wallets = state.policy.wallets.values() if state else ()
        owned = list(state.owned.values()) if state else []
        missing = [
            f"wallet {one.name} has {owned.count(one.name)} of {len(one.paths)} accounts by a key of the log"
            for one in wallets
            if owned.count(one.name) < len(one.paths)
        ]
        return self._of_keys(missing, "every account of every wallet follows from a key of the log")

    def _keys(self) -> tuple[KeyRecord, ...]:
        return tuple(self._state.keys.values()) if self._state else ()

    def _of_keys(self, against: Iterable[str], why: str) -> Finding:
        entries = tuple(sorted(one.index for one in self._keys()))
        return Finding("; ".join(against) or ("" if entries else "the log has no key"), entries, why)

    def _several(self) -> Finding:
        # That a job has two signers or more is the fold's to refuse; what can be missing is a signature.
        return self._of_signed("", tuple(self._signed), "every signature took the shares of several nodes")

    def _approved(self) -> Finding:
        paid = {index: job for index, job in self._signed.items() if job.purpose == PAYMENT}
        nobody = [index for index, job in paid.items() if job.request_id not in self._approvals]
        against = f"{len(nobody)} of {len(paid)} payments were signed without a person" if nobody else ""
        entries = {one for job in paid.values() for one in self._approvals.get(job.request_id, ())}
        return self._of_signed(against, tuple(sorted(entries)), "every payment has a passkey's approval")

    def _verified(self) -> Finding:
        entries = tuple(sorted({self._reserved[job.job_id] for job in self._signed.values()}))
        return self._of_signed(
            "", entries, "each was reserved first, and the verdict recomputed from the log"
        )

    def _of_signed(self, against: str, entries: tuple[int, ...], why: str) -> Finding:
        return Finding(against if self._signed else "nothing was signed in the period", entries, why)

    def _ordered(self) -> Finding:
        against = "" if self._rosters else "no roster was changed in the period"
        return Finding(
            against, tuple(self._rosters), "every change of the roster has its quorum's signatures"
        )


def _kept(report: AuditReport, entries: tuple[int, ...]) -> Finding:
    against = "" if report.trust == PINNED else "the keys are the folder's own: give --trust"
    return Finding(against, entries, f"the log holds, {report.cosigners} cosigners vouch for it")


def _control(number: str, what: str, status: str, found: Finding | None) -> Control:
    if status != LOG or found is None:
        return Control(number, what, status)
    if found.against:
        return Control(number, what, NOT_SHOWN, found.against)
    return Control(number, what, SHOWN, found.why, found.entries)
