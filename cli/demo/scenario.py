"""Setting the demo's deployment up, by the same commands that people use for a real one."""

import json
import secrets
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cli.connection import Connection, read_connection
from cli.demo import policy as names
from cli.demo.chain import CHAIN, DemoChain
from cli.demo.chains import EVM
from cli.demo.chains.family import Family, Network
from cli.demo.supervisor import PIN_PLACE, Program, Supervisor, free_ports, run_to_end
from cli.files import write_document
from cli.identities import Identity, load_identity
from cli.main import invoke
from cli.programs import COORDINATOR, NODE, program
from cli.results import Document
from policy.encoding import Json
from policy.errors import QuorumkeepError
from signer_nodes.api.card import Card, parse_card

ORIGIN = "demo.example.com/treasury"
COORDINATOR_NAME, ANVIL = "coordinator", EVM.process
START_S, KEYGEN_S = 90.0, 90.0
ETH_FUNDED, WARM_FUNDED, COLD_FUNDED = 10 * 10**18, 300 * 10**18, 1000 * 10**18
TOKEN_FUNDED = 5 * names.TOKEN_MAX
COSIGNERS = (*names.NODES, names.WITNESS)
Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Deployment:
    """A deployment of the demo: where its files are, who listens where, and the PINs of its tokens."""

    folder: Path
    ports: dict[str, int]
    supervisor: Supervisor
    say: Say
    pins: dict[str, str] = field(default_factory=dict, repr=False)
    families: tuple[Family, ...] = (EVM,)

    @property
    def chain(self) -> DemoChain:
        """The EVM chain it runs on."""
        return DemoChain(self.ports[ANVIL])

    def network_of(self, family: Family) -> Network:
        """The test chain of a family."""
        return family.network(self.ports[family.process])

    def node_folder(self, name: str) -> Path:
        """Where a node or witness keeps its files."""
        return self.folder / "nodes" / name

    def person_folder(self, name: str) -> Path:
        """Where a person or backend keeps key and card."""
        return self.folder / "people" / name

    def identity(self, name: str) -> Identity:
        """A person or backend of the demo."""
        return load_identity(self.person_folder(name))

    def connection(self) -> Connection:
        """How clients reach it."""
        return read_connection(self.folder / "client.json")

    def card(self, name: str) -> Card:
        """The card of a node or witness."""
        return parse_card((self.node_folder(name) / "card.json").read_bytes())

    def address(self, name: str) -> str:
        """Where a process listens."""
        return f"127.0.0.1:{self.ports[name]}"

    def command(self, *argv: str) -> Document:
        """Run a command of ours on this deployment; its JSON."""
        return invoke(*argv, "--dir", str(self.folder)).document

    def ask(self, who: str, *argv: str) -> Document:
        """Run a command of ours as ``who``; its JSON."""
        client = str(self.folder / "client.json")
        return invoke(*argv, "--as", str(self.person_folder(who)), "--client", client).document

    def status(self) -> dict[str, Any]:
        """The coordinator's status document."""
        return self.ask(names.OPERATORS[0], "status")

    def node_program(self, name: str, action: str, *arguments: str, pin: bool = True) -> Program:
        """The program of a node or witness."""
        given = ["--pin-fd", PIN_PLACE] if pin else []
        return Program(
            name=name,
            command=program(NODE, action, *arguments, *given),
            log=self.folder / "logs" / f"{name}.log",
            pin=self.pins[name] if pin else "",
        )


def prepare(
    folder: Path, supervisor: Supervisor, *, say: Say, families: tuple[Family, ...] = (EVM,)
) -> Deployment:
    """A deployment of nothing yet, with ports of its own and fresh PINs."""
    order = (*(family.process for family in families), *COSIGNERS, COORDINATOR_NAME)
    ports = dict(zip(order, free_ports(len(order)), strict=True))
    pins = {name: secrets.token_hex(16) for name in COSIGNERS}
    return Deployment(folder, ports, supervisor, say, pins, families)


def set_up(
    deployment: Deployment,
    policy: Callable[[str], dict[str, Json]] = names.demo_policy,
    *,
    policy_delay_ms: int = names.POLICY_DELAY_MS,
) -> None:
    """From nothing to a running deployment without a key; ``policy`` takes the address of a token."""
    lay_out(deployment, policy, policy_delay_ms=policy_delay_ms)
    deployment.say("starting the nodes, the witness and the coordinator")
    start_all(deployment)


def lay_out(
    deployment: Deployment,
    policy: Callable[[str], dict[str, Json]] = names.demo_policy,
    *,
    policy_delay_ms: int = names.POLICY_DELAY_MS,
) -> None:
    """From nothing to the files of a deployment whose nodes have joined; only its chains run."""
    say = deployment.say
    chains = ", ".join(f"{family.chain} ({family.process})" for family in deployment.families)
    say(f"starting {chains}; provisioning three nodes and a witness, each with its own token")
    with ThreadPoolExecutor(len(COSIGNERS)) as pool:
        provisioned = [pool.submit(_provision, deployment, name) for name in COSIGNERS]
        start_chains(deployment)
        _make_identities(deployment)
        _init(deployment)
        fingerprints = [future.result() for future in provisioned]
    say("enrolling everybody by the fingerprints of their cards")
    _enroll(deployment, dict(zip(COSIGNERS, fingerprints, strict=True)))
    token = deployment.chain.deploy_token() if EVM in deployment.families else ""
    write_document(deployment.folder / "policy.json", policy(token))
    fingerprint = _genesis(deployment, policy_delay_ms)
    _configure_chains(deployment)
    with ThreadPoolExecutor(len(COSIGNERS)) as pool:
        list(pool.map(lambda name: _join(deployment, name, fingerprint), COSIGNERS))


def start_all(deployment: Deployment, *, timeout_s: float = START_S) -> None:
    """Start every process but the chain, and wait until all of them work together."""
    for name in COSIGNERS:
        config = str(deployment.node_folder(name) / "config.toml")
        deployment.supervisor.start(deployment.node_program(name, "run", "--config", config))
    config = str(deployment.folder / "coordinator" / "config.toml")
    log = deployment.folder / "logs" / "coordinator.log"
    deployment.supervisor.start(Program(COORDINATOR_NAME, program(COORDINATOR, "--config", config), log))
    wait_live(deployment, COSIGNERS, timeout_s=timeout_s)


def wait_live(deployment: Deployment, wanted: Sequence[str], *, timeout_s: float = START_S) -> None:
    """Wait until the coordinator answers and ``wanted`` cosigners follow its log to the end."""

    def live(_: str) -> bool:
        try:
            status = deployment.status()
        except QuorumkeepError:  # the coordinator is not there yet
            return False
        sizes = {node["name"]: node["size"] for node in status["nodes"] if node["live"]}
        return all(sizes.get(name) == status["size"] for name in wanted)

    deployment.supervisor.wait_for(COORDINATOR_NAME, live, timeout_s=timeout_s)


def endpoint(deployment: Deployment, family: Family) -> str:
    """Where its chain is."""
    return f"http://{deployment.address(family.process)}"


def make_keys(deployment: Deployment) -> Document:
    """Have the nodes make every key of the policy; the first family's hot one."""
    made = {key: make_key(deployment, key) for key in deployment.connection().policy.keys}
    _configure_later(deployment)
    hot = deployment.families[0].hot
    address = account(deployment, hot.paths[0], wallet=hot.wallet)
    return {"group_key": made[hot.key]["group_key"], "address": address}


def account(deployment: Deployment, path: str, *, wallet: str = names.WALLET) -> str:
    """The address of a wallet at a path."""
    return str(deployment.ask(names.PAYMENTS, "address", wallet, "--path", path)["address"])


def state_holdings(deployment: Deployment) -> None:
    """Have the observers state what each EVM wallet holds, each by a look of their own at the chain."""
    path = deployment.folder / f"holdings-{deployment.status()['size']}.json"
    policy = deployment.connection().policy
    assets = [name for name, asset in policy.assets.items() if asset.chain == CHAIN]
    wallets = [name for name, wallet in policy.wallets.items() if wallet.chain == CHAIN]
    stated = [f"{wallet}.{asset}" for wallet in wallets for asset in assets]
    rpc = f"{CHAIN}={deployment.chain.url}"
    for name in names.OBSERVERS:
        deployment.ask(
            name,
            *("observe", "holdings", *stated, "--rpc", rpc, "--block", "latest"),
            *("--trust", str(deployment.folder / "trust.json"), "--out", str(path)),
        )
    deployment.ask(names.OBSERVERS[0], "observe", "submit", str(path))


def make_key(deployment: Deployment, key: str) -> Document:
    """Have the nodes make one key."""
    return deployment.ask(names.ADMINISTRATORS[0], "key", "create", key, "--timeout", str(int(KEYGEN_S)))


def fund(deployment: Deployment) -> None:
    """Give the hot wallets what the scenes pay out, and the others the rest."""
    for family in deployment.families:
        if family is EVM:
            _fund_evm(deployment)
            continue
        for path in family.hot.paths:
            to = account(deployment, path, wallet=family.hot.wallet)
            deployment.network_of(family).pay(to, family.amounts.funded)


def _fund_evm(deployment: Deployment) -> None:
    chain = deployment.chain
    chain.pay(account(deployment, names.PATH_PLAIN), ETH_FUNDED)
    for path in names.PATHS_APPROVED:
        chain.pay(account(deployment, path), names.DAILY_MAX)
    for tier, amount in ((names.WARM, WARM_FUNDED), (names.COLD, COLD_FUNDED)):
        chain.pay(account(deployment, names.PATH_DEEP, wallet=tier), amount)
    assets = deployment.connection().policy.assets
    contract = assets[names.TOKEN].contract or ""
    chain.pay_token(contract, account(deployment, names.PATH_PLAIN), amount=TOKEN_FUNDED)


def start_chains(deployment: Deployment) -> None:
    """Start the chains alone, and wait until they answer."""
    for family in deployment.families:
        command = family.command(deployment.folder, deployment.ports[family.process])
        log = deployment.folder / "logs" / f"{family.process}.log"
        deployment.supervisor.start(Program(family.process, command, log))
    for family in deployment.families:
        _wait_answers(deployment, family)


def _wait_answers(deployment: Deployment, family: Family) -> None:
    network = deployment.network_of(family)
    deployment.supervisor.wait_for(family.process, lambda _: network.answers(), timeout_s=START_S)


def _configure_later(deployment: Deployment) -> None:
    """Add the chains whose settings follow from keys; the coordinator starts again for them."""
    sections = []
    for family in deployment.families:
        if family.settings_later is not None:
            pays = [(one.wallet, path) for one in (family.hot, family.deposits) for path in one.paths]
            payers = [account(deployment, path, wallet=wallet) for wallet, path in pays]
            lines = family.settings_later(deployment.folder, deployment.ports[family.process], *payers)
            sections.append(f'\n[chains."{family.chain}"]\nurl = "{endpoint(deployment, family)}"\n{lines}')
    if sections:
        with (deployment.folder / "coordinator" / "config.toml").open("a") as file:
            file.write("".join(sections))
        restart_coordinator(deployment)


def restart_coordinator(deployment: Deployment) -> None:
    """Have it read its configuration again."""
    deployment.supervisor.stop(COORDINATOR_NAME)
    deployment.supervisor.revive(COORDINATOR_NAME)
    wait_live(deployment, COSIGNERS)


def _configure_chains(deployment: Deployment) -> None:
    """Put into the coordinator's configuration what its families need beside their URLs."""
    path = deployment.folder / "coordinator" / "config.toml"
    config = path.read_text()
    for family in deployment.families:
        section = f'[chains."{family.chain}"]\n'
        config = config.replace(section, section + family.settings)
    path.write_text(config)


def _provision(deployment: Deployment, name: str) -> str:
    """Make a node; the fingerprint that its owner reads out."""
    role = "witness" if name == names.WITNESS else "node"
    arguments = ("--dir", str(deployment.node_folder(name)), "--name", name, "--role", role)
    ran = run_to_end(
        deployment.node_program(name, "provision", *arguments, "--origin", ORIGIN, "--json"),
        timeout_s=START_S,
    )
    return str(json.loads(ran)["fingerprint"])


def _make_identities(deployment: Deployment) -> None:
    for kind, people in _people(deployment):
        for name in people:
            invoke("identity", "create", kind, name, "--dir", str(deployment.person_folder(name)))


def _init(deployment: Deployment) -> None:
    deployment.command(
        "init",
        *("--origin", ORIGIN),
        *(part for one in deployment.families for part in _init_option(deployment, one)),
        *("--listen", deployment.address(COORDINATOR_NAME), "--confirmations", "1"),
    )


def _init_option(deployment: Deployment, family: Family) -> tuple[str, ...]:
    known = family.settings_later is None
    return ("--chain", f"{family.chain}={endpoint(deployment, family)}") if known else ()


def _enroll(deployment: Deployment, fingerprints: dict[str, str]) -> None:
    for name, fingerprint in fingerprints.items():
        card = str(deployment.node_folder(name) / "card.json")
        address = deployment.address(name)
        deployment.command("enroll", "node", card, "--fingerprint", fingerprint, "--address", address)
    for kind, people in _people(deployment):
        for name in people:
            card = str(deployment.person_folder(name) / "card.json")
            said = deployment.identity(name).card.fingerprint
            more = {
                "operator": ("--groups", names.GROUP),
                "backend": (
                    *("--people", ",".join(names.PEOPLE.get(name, ()))),
                    *("--groups", names.BACKEND_GROUPS.get(name, "")),
                ),
            }.get(kind, ())
            deployment.command("enroll", kind, card, "--fingerprint", said, *more)


def _genesis(deployment: Deployment, policy_delay_ms: int) -> str:
    """Have the administrators sign the policy; the fingerprint of the genesis entry."""
    drafted = deployment.command(
        *("genesis", "draft", "--policy", str(deployment.folder / "policy.json")),
        *("--w", str(names.W), "--f", str(names.F), "--quorum", str(names.QUORUM)),
        *("--policy-delay-ms", str(policy_delay_ms)),
    )
    deployment.say(str(drafted["cosigners"]))
    for name in names.ADMINISTRATORS:
        deployment.command("genesis", "sign", "--key", str(deployment.person_folder(name) / "key.pem"))
    return str(deployment.command("genesis", "fingerprint")["fingerprint"])


def _join(deployment: Deployment, name: str, fingerprint: str) -> None:
    folder = deployment.folder
    peers = [
        f"{peer}={deployment.address(peer)}={deployment.node_folder(peer) / 'card.json'}"
        for peer in COSIGNERS
        if peer != name
    ]
    run_to_end(
        deployment.node_program(
            name,
            "join",
            *("--dir", str(deployment.node_folder(name)), "--genesis", str(folder / "genesis.json")),
            *("--fingerprint", fingerprint, "--coordinator", str(folder / "coordinator" / "identity.pem")),
            *("--listen", deployment.address(name)),
            *(part for peer in peers for part in ("--peer", peer)),
            pin=False,
        ),
        timeout_s=START_S,
    )


def _people(deployment: Deployment) -> tuple[tuple[str, tuple[str, ...]], ...]:
    alone = deployment.families == (EVM,)
    backends = (names.PAYMENTS, names.DESK, names.REBALANCER, *(() if alone else (names.SWEEPER,)))
    return (
        ("administrator", names.ADMINISTRATORS),
        ("operator", names.OPERATORS),
        ("backend", backends),
        ("observer", names.OBSERVERS),
    )
