"""Drills of people and thieves: a stolen backup, and a policy that should not be."""

import json
from pathlib import Path

from cli.demo import policy as names
from cli.demo.scenario import COSIGNERS, account, wait_live
from cli.demo.scenes import Stage
from cli.demo.supervisor import Program, run_to_end
from cli.drills.losses import pay
from cli.drills.steps import Steps
from cli.files import write_document
from cli.main import invoke
from cli.programs import NODE, program
from cli.results import Document

LARGE = 10**19
OFFICERS = ("olga", "peter", "quinn")
INVARIANTS: Document = {
    "version": 1,
    "invariants": [
        {
            "name": "large-needs-people",
            "when": {
                "kinds": ["transfer"],
                "tiers": ["hot"],
                "assets": [names.ETH],
                "amount_min": str(names.SMALL_MAX + 1),
            },
            "must": {"approvals_min": 1},
        }
    ],
}


def stolen_backup(stage: Stage, steps: Steps) -> None:
    """A thief has one node's backup and one officer's key; then the backup's epoch ends."""
    pay(stage, steps, label="before")
    vault = _Vault(stage)
    old = {name: vault.backup(name, epoch=0) for name in names.NODES[:2]}
    stolen, other = old[names.NODES[0]], old[names.NODES[1]]
    both, one = OFFICERS[:2], OFFICERS[:1]
    steps.refused(
        "a backup opens for no single officer",
        lambda: vault.recover([stolen, other], one),
        reason="of its officers",
    )
    steps.refused(
        "one backup is no key, whoever opens it",
        lambda: vault.recover([stolen], both),
        reason="backups of 2 nodes",
    )
    found = vault.recover([stolen, other], both)
    wallet = account(stage.deployment, names.PATH_PLAIN).lower()
    steps.must("two backups and two officers give the wallet's address", wallet in found.lower(), seen=found)
    refreshed = stage.deployment.ask(names.ADMINISTRATORS[0], "key", "refresh", names.KEY)
    steps.must("a refresh ends the epoch of the stolen backup", refreshed["epoch"] == 1, seen=refreshed)
    new = vault.backup(names.NODES[1], epoch=1)
    steps.refused(
        "the stolen backup fits to none of the new epoch",
        lambda: vault.recover([stolen, new], both),
        reason="epoch",
    )
    found = vault.recover([stolen, other], both)
    steps.must("old backups together still give the key: destroy them", wallet in found.lower(), seen=found)
    doctor = stage.deployment.ask("anna", "doctor", "--backup", str(other))
    codes = {one["code"] for one in doctor["findings"]}
    steps.must("the doctor tells old backups from good ones", "backup-of-old-epoch" in codes, seen=codes)
    pay(stage, steps, label="after")


class _Vault:
    """Recovery officers, and the backups that are made for them."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._folder = stage.deployment.folder / "vault"
        self._tries = 0
        for name in OFFICERS:
            self._run("officer", "create", "--dir", str(self._folder / name), "--name", name)
        told = {name: self._fingerprint(name) for name in OFFICERS}
        self._officers = [f"{self._folder / name / 'card.json'}={said}" for name, said in told.items()]

    def backup(self, name: str, *, epoch: int) -> Path:
        """A backup of a node's share: the node is stopped meanwhile."""
        deployment, path = self._stage.deployment, self._folder / f"{name}.{epoch}.backup"
        deployment.supervisor.stop(name)
        where = ("--dir", str(deployment.node_folder(name)), "--key", names.KEY, "--out", str(path))
        officers = ("--officer", *self._officers, "--quorum", "2")
        run_to_end(deployment.node_program(name, "backup", *where, *officers))
        deployment.supervisor.revive(name)
        wait_live(deployment, COSIGNERS)
        return path

    def recover(self, backups: list[Path], officers: tuple[str, ...]) -> str:
        """What recovering prints; the private key that it writes is removed at once."""
        self._tries += 1
        out = self._folder / f"recovered-{self._tries}.json"
        keys = [str(self._folder / name / "key.pem") for name in officers]
        try:
            return self._run(
                *("recover", *map(str, backups), "--officer-key", *keys),
                *("--path", names.PATH_PLAIN, "--out", str(out)),
            )
        finally:
            out.unlink(missing_ok=True)

    def _fingerprint(self, name: str) -> str:
        return str(
            invoke("identity", "fingerprint", str(self._folder / name / "card.json")).document["fingerprint"]
        )

    def _run(self, *arguments: str) -> str:
        log = self._folder / f"{arguments[0]}-{self._tries}.log"
        return run_to_end(Program(arguments[0], program(NODE, *arguments), log)).decode()


def bad_policy(stage: Stage, steps: Steps) -> None:
    """A quorum signs a policy by which large payments need nobody; one of them is awake after all."""
    folder, (anna, berta) = stage.deployment.folder, names.ADMINISTRATORS
    for path in names.PATHS_APPROVED:
        stage.deployment.chain.pay(account(stage.deployment, path), 2 * LARGE)
    _large_waits(stage, steps, label="before")
    bad, change = folder / "bad-policy.json", str(folder / "bad-change.json")
    document = json.loads((folder / "policy.json").read_text())
    large = next(rule for rule in document["rules"] if rule["name"] == "large")
    large["then"] = {"outcome": "allow"}
    write_document(bad, {**document, "name": "bad"})
    invariants = folder / "drill.invariants.json"
    write_document(invariants, INVARIANTS)
    held = invoke("policy", "prove", str(folder / "policy.json"), "--invariants", str(invariants))
    steps.must("the policy in force keeps its invariants", held.document["ok"] is True, seen=held.document)
    draft = ("admin", "draft", "policy", "--document", str(bad), "--out", change)
    steps.refused(
        "a draft that breaks an invariant is not drawn up",
        lambda: stage.deployment.ask(anna, *draft, "--invariants", str(invariants)),
        reason="large-needs-people",
    )
    drafted = stage.deployment.ask(anna, *draft)
    flips = json.dumps(drafted.get("backtest", {}))
    steps.must("its backtest goes with the draft for whoever signs", "looser" in flips, seen=flips)
    for name in (anna, berta):
        stage.deployment.ask(name, "admin", "sign", change, "--fingerprint", drafted["fingerprint"])
    stage.deployment.ask(anna, "admin", "submit", change)
    pending = stage.deployment.status()["pending"]
    steps.must("signed by the quorum, it waits for its delay", len(pending) == 1, seen=pending)
    _large_waits(stage, steps, label="while-pending")
    reason = ("--reason", "large payments need people")
    stage.deployment.ask(berta, "admin", "veto", pending[0]["hash"][:8], *reason)
    after = stage.deployment.status()["pending"]
    steps.must("one administrator's veto ends it", after == [], seen=after)
    steps.refused(
        "the same change is never taken in again",
        lambda: stage.deployment.ask(anna, "admin", "submit", change),
        reason="nothing was logged",
    )
    _large_waits(stage, steps, label="after-the-veto")
    pay(stage, steps, label="after")


def _large_waits(stage: Stage, steps: Steps, *, label: str) -> None:
    """A large payment still waits for people."""
    sent = stage.send(names.PAYMENTS, "2 eth", idempotency_key=label)["request"]
    found = stage.wait_state(sent, "waiting", "settled", "denied")
    steps.must(f"a large payment waits for people ({label})", found["state"] == "waiting", seen=found)
