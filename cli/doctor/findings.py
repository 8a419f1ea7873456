"""What the doctor can find: stable codes, how grave each is, and what to do (``docs/doctor.md``).

A finding is about facts that the doctor was shown. What nobody showed it, it does not know: such checks are
listed as left out, never as passed.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum
from typing import Final

from cli.results import Document
from policy import concentration as c


class Gravity(Enum):
    """``BROKEN`` ends the command with 1."""

    BROKEN = "broken"
    RISK = "risk"
    NOTE = "note"


BROKEN, RISK, NOTE = Gravity.BROKEN, Gravity.RISK, Gravity.NOTE
CATALOGUE: Final[dict[str, tuple[Gravity, str]]] = {
    "file-missing": (BROKEN, "put it back from your copy; genesis sign makes client.json and trust.json"),
    "file-broken": (BROKEN, "correct it, or put it back from your copy"),
    "key-readable": (BROKEN, "run chmod 600 on it; if others had access to the machine, replace the key"),
    "folder-open": (RISK, "run chmod 700 on it: it belongs to the coordinator's machine alone"),
    "data-readable": (
        RISK,
        "run chmod 700 on that folder: who is paid stands there, and what waits",
    ),
    "certificate-over": (BROKEN, "have a new one issued, and restart the coordinator"),
    "certificate-ends-soon": (RISK, "have a new one issued before it ends"),
    "certificate-foreign": (BROKEN, "enrol the cosigner again, by the fingerprint of its card"),
    "genesis-foreign": (
        BROKEN,
        "compare the fingerprint with the nodes' owners: one of the files is another log's",
    ),
    "cosigner-unconfigured": (BROKEN, "quorumkeep enroll node, and restart the coordinator"),
    "disk-full": (
        BROKEN,
        "make room now: entries are durable before they are sent, so nothing is signed without",
    ),
    "disk-filling": (RISK, "make room, or move the folder to a larger disk"),
    "log-key-old": (
        NOTE,
        "think of when the log key was last out of sight; it cannot be changed without a new log",
    ),
    "signing-stopped": (
        BROKEN,
        "bring lost cosigners back, release nodes, or replace them: docs/runbook-lost-cosigner.md",
    ),
    "none-to-spare": (
        RISK,
        "bring back what is down; where all are up, add cosigners or another participant",
    ),
    "losses": (NOTE, "keep these under different people, in different places"),
    "host-signs": (RISK, "move nodes to machines, providers and people of their own"),
    "one-host": (RISK, "move cosigners to machines of their own"),
    c.OWN_REQUEST: (BROKEN, "name the person behind the backend in the roster, or take one of the names out"),
    c.ONE_PERSON_APPROVES: (RISK, "ask for more approvals, or of more than one group"),
    c.IN_EVERY_QUORUM: (RISK, "enrol another operator in the group"),
    c.NEEDED_BY_RULE: (RISK, "enrol another operator in the group"),
    c.SEVERAL_ROLES: (RISK, "give one of the roles to somebody else"),
    c.ADMINISTRATOR_ALONE: (RISK, "raise the administrators' quorum, or give a key to somebody else"),
    c.ADMINISTRATORS_ALL_NEEDED: (RISK, "enrol another administrator, with the same quorum"),
    c.OBSERVER_ALONE: (RISK, "enrol observers of other people, who look at other sources"),
    c.OBSERVERS_TOO_FEW: (RISK, "enrol more observers: deposits, prices and holdings wait for f + 1 of them"),
    c.OBSERVERS_NONE_SPARE: (RISK, "enrol another observer"),
    "policy-fault": (RISK, "quorumkeep policy check says where; draw a corrected policy up"),
    "policy-remark": (NOTE, "quorumkeep policy check says where"),
    "invariant-broken": (BROKEN, "quorumkeep policy prove shows the transaction; change the policy"),
    "coordinator-unreachable": (
        BROKEN,
        "look at its log, its machine and its line; clients pin its certificate",
    ),
    "client-stale": (RISK, "quorumkeep admin hand-out writes a new client.json for everybody"),
    "cosigner-down": (RISK, "look at its log: docs/runbook-lost-cosigner.md says when to replace it"),
    "cosigner-behind": (RISK, "look whether its machine or its line is slow"),
    "log-not-cosigned": (RISK, "look at the cosigners: w of them have to answer"),
    "frozen": (BROKEN, "find out why; the quorum's unfreeze ends it: docs/administration.md"),
    "quarantine": (NOTE, "quorumkeep coordinator release, once its machine is trusted again"),
    "clock-off": (RISK, "set the clock and keep it by NTP: beyond 2 s a node refuses to cosign"),
    "presignatures-none": (RISK, "look at the nodes of that set: payments wait for what they make"),
    "key-committee-differs": (RISK, "quorumkeep key reshare leads where the policy wants it: docs/keys.md"),
    "key-missing": (RISK, "quorumkeep key create: the wallets of that key have no address yet"),
    "epoch-not-destroyed": (
        RISK,
        "look at the node: until its receipt, its old share is still worth something",
    ),
    "backup-missing": (RISK, "quorumkeep key backup, one node at a time: docs/runbook-recovery.md"),
    "backup-of-old-epoch": (RISK, "make new ones and destroy the old: they rebuild the key for ever"),
    "backup-old": (NOTE, "rehearse the recovery, and make new ones"),
}


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong, or worth knowing, in a sentence without its full stop."""

    code: str
    about: str
    said: str

    @property
    def gravity(self) -> Gravity:
        """How grave it is."""
        return CATALOGUE[self.code][0]

    @property
    def to_do(self) -> str:
        """What to do about it."""
        return CATALOGUE[self.code][1]

    def to_json(self) -> Document:
        """As ``--json`` shows it."""
        return {
            "code": self.code,
            "gravity": self.gravity.value,
            "about": self.about,
            "said": self.said,
            "to_do": self.to_do,
        }


def gravest_first(findings: Iterable[Finding]) -> list[Finding]:
    """In the order in which to read them; those of one code together."""
    order, codes = list(Gravity), list(CATALOGUE)
    return sorted(set(findings), key=lambda one: (order.index(one.gravity), codes.index(one.code), one.about))
