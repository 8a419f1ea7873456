"""``quorumkeep demo``: a deployment from nothing, scenes on its chains, an audit, nothing left running."""

import contextlib
import json
import re
import shutil
import subprocess
import sys
import tempfile
import time
from argparse import Namespace
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from cli.demo import keepers, scenario
from cli.demo import policy as names
from cli.demo.chains import EVM, chosen
from cli.demo.chains.family import Family
from cli.demo.chains.policies import policy_of
from cli.demo.published import wait_published
from cli.demo.report import Report
from cli.demo.road import scenes_of
from cli.demo.scenes import FAILED, SCENES, Scene, Seen, Stage
from cli.demo.supervisor import Supervisor, free_ports
from cli.files import read_document, write_document
from cli.programs import ITSELF, program
from cli.results import Document, Misuse, Result, show
from policy.errors import OperationalError, QuorumkeepError
from policy.words.units import amount_text

AUDIT_S, PUBLISH_S = 120.0, 30.0
IN_DOUBT = re.compile(r"set addresses_claimed = '([0-9a-f]{8})'")
RERUN_NAMES = ("deployment.json", "log")


def demo(arguments: Namespace) -> Result:
    """Play the demo; with ``--serve`` keep it running afterwards until Ctrl-C."""
    families = chosen(arguments.chains)
    with _folder(arguments) as folder, Supervisor() as supervisor:
        report = Report()
        report.say(f"all files are under {folder}")
        deployment = scenario.prepare(folder, supervisor, say=report.say, families=families)
        _play(deployment, report)
        result = report.result(nodes=len(names.NODES), min_signers=names.MIN_SIGNERS)
        if not arguments.serve:
            return result
        site = _open_doors(deployment)
        if families != (EVM,):
            keepers.start_sweeper(deployment)
        code = show(result, as_json=arguments.json)
        sys.stdout.flush()
        _serve(deployment, report, site=site)
        sys.exit(code)


def _play(deployment: scenario.Deployment, report: Report) -> None:
    alone = deployment.families == (EVM,)
    scenario.set_up(deployment, names.demo_policy if alone else partial(policy_of, deployment.families))
    report.say(
        f"making keys that exist in no one place, for each tier others: any {names.MIN_SIGNERS} of "
        f"{len(names.NODES)} sign"
    )
    started = time.monotonic()
    made = scenario.make_keys(deployment)
    report.key = {**made, "seconds": round(time.monotonic() - started, 3)}
    report.say(
        f"  the first address is {made['address']}; each chain's own purse pays in what the scenes pay out"
    )
    scenario.fund(deployment)
    if not alone:
        report.say("starting two observers of the chains; a sweeper is told what to collect")
        keepers.start_observers(deployment)
        keepers.assign_sweeps(deployment)
    report.chains = [_chain(deployment, family) for family in deployment.families]
    stage = Stage(deployment)
    for scene in _scenes(deployment.families):
        report.say(f"{scene.name}: {scene.what}")
        started = time.monotonic()
        seen = _seen(scene, stage)
        report.scene(scene, seen, seconds=time.monotonic() - started)
    report.say("verifying the log in a process of its own: structure, cosigners, signatures, every verdict")
    report.log = audit_log(deployment)


def _scenes(families: tuple[Family, ...]) -> list[Scene]:
    """The fourteen on EVM, and where there are other chains the road on each of them."""
    found = list(SCENES) if EVM in families else []
    if families != (EVM,):
        found += [scene for family in families for scene in scenes_of(family)]
    return found


def _chain(deployment: scenario.Deployment, family: Family) -> Document:
    wallets = deployment.connection().policy.wallets
    addresses = {
        one.wallet: scenario.account(deployment, one.paths[0], wallet=one.wallet)
        for one in family.pockets
        if one.wallet in wallets
    }
    version = deployment.network_of(family).version()
    return {
        "family": family.name,
        "chain": family.chain,
        "url": scenario.endpoint(deployment, family),
        "version": version,
        "addresses": addresses,
    }


def _seen(scene: Scene, stage: Stage) -> Seen:
    """What the scene saw; a scene that could not be played to its end has failed, and the rest go on."""
    try:
        return scene.play(stage)
    except QuorumkeepError as error:
        return Seen(FAILED, reason=str(error))


def audit_log(deployment: scenario.Deployment) -> Document:
    """What an auditor finds who has the published folder and ``trust.json``, and nothing else."""
    log = deployment.folder / "log"
    wait_published(log, int(deployment.status()["size"]), timeout_s=PUBLISH_S)
    trust = deployment.folder / "trust.json"
    command = program(ITSELF, "audit", "verify", str(log), "--trust", str(trust), "--json")
    ran = subprocess.run(command, capture_output=True, timeout=AUDIT_S, check=False)
    try:
        found: Document = json.loads(ran.stdout)
    except ValueError as error:
        said = ran.stderr.decode(errors="replace").strip().splitlines()[-3:]
        raise OperationalError(f"the audit gave no answer: {' | '.join(said)}") from error
    wanted = ("size", "root", "genesis_policy", "cosigners", "replayed_verdicts", "mismatches")
    return {**{name: found[name] for name in wanted}, "verified": ran.returncode == 0 and found["ok"] is True}


@contextlib.contextmanager
def _folder(arguments: Namespace) -> Iterator[Path]:
    """Where the demo keeps its files: the given folder, or a fresh one that is removed at the end."""
    if arguments.dir:
        folder = Path(arguments.dir).resolve()
        if any((folder / name).exists() for name in RERUN_NAMES):
            raise Misuse(f"{folder} holds a deployment already: name a new folder, nothing is overwritten")
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        yield folder
        return
    folder = Path(tempfile.mkdtemp(prefix="quorumkeep-demo-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _open_doors(deployment: scenario.Deployment) -> str:
    """Give the coordinator an HTTP door and a console; it starts again for them. Where browsers find it."""
    http, console = (f"127.0.0.1:{port}" for port in free_ports(2))
    site = f"http://localhost:{console.rpartition(':')[2]}"
    config = deployment.folder / "coordinator" / "config.toml"
    doors = f'\n[http]\nlisten = "{http}"\n\n[console]\norigin = "{site}"\nlisten = "{console}"\n'
    config.write_text(_addresses_claimed(deployment) + config.read_text() + doors)
    client = deployment.folder / "client.json"
    write_document(client, {**read_document(client, "the deployment's file"), "http": http})
    scenario.restart_coordinator(deployment)
    return site


def _addresses_claimed(deployment: scenario.Deployment) -> str:
    """The setting that the coordinator's log asks for since it found a longer log than its own.

    Nobody but this program has been given addresses, so none is missing.
    """
    doubt = IN_DOUBT.search(deployment.supervisor.output(scenario.COORDINATOR_NAME))
    return f'addresses_claimed = "{doubt[1]}"\n' if doubt else ""


def _payment(family: Family, backend: Path) -> tuple[str, str]:
    """The command of one more payment on a chain."""
    amount = amount_text(family.amounts.small // 5, asset=family.asset, decimals=family.decimals)
    return (
        f"quorumkeep request send --as {backend} --wallet {family.hot.wallet} --asset {family.asset} \\",
        f"    --amount '{amount}' --to {family.customer} --idempotency-key {family.name}-1 --wait 30",
    )


def _serve(deployment: scenario.Deployment, report: Report, *, site: str) -> None:
    client, person = deployment.folder / "client.json", deployment.person_folder
    first, *_ = signers = names.ADMINISTRATORS[: names.QUORUM]
    report.say("it keeps running until Ctrl-C. From another terminal, try:")
    for line in (
        f"export QUORUMKEEP_CLIENT={client}",
        *(line for family in deployment.families for line in _payment(family, person(names.PAYMENTS))),
        f"quorumkeep status --as {person('bob')}",
        f"quorumkeep request list --as {person('bob')}",
        f"# backends' HTTP door is in client.json too: docs/quickstart-backend.md, as {names.PAYMENTS}",
        *(f"# {one.chain} is at {scenario.endpoint(deployment, one)}" for one in deployment.families),
        f"# the log is published in {deployment.folder / 'log'}",
        f"# the console is {site}. Make a passkey for bob at {site}/enrol, save its card.json, then:",
        "quorumkeep admin draft replace-passkey bob --card card.json --fingerprint ITS_FINGERPRINT \\",
        f"    --as {person(first)} --out bob.json",
        *(f"quorumkeep admin sign bob.json --as {person(name)}" for name in signers),
        f"quorumkeep admin submit bob.json --as {person(first)}",
        f"# it counts after {names.POLICY_DELAY_MS // 1000} s: log in, and approve",
    ):
        print(f"    {line}", file=sys.stderr, flush=True)
    with contextlib.suppress(KeyboardInterrupt):
        while True:
            time.sleep(1.0)
