"""The scenes of the demo: one function each, from a request to what became of it.

A scene does what people and programs of a deployment do, by the same commands, and returns what it saw.
What was expected stands beside it; nothing here decides what is right.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from cli.approvals import checked
from cli.demo import policy as names
from cli.demo.hostile import Loot, Plot, attack
from cli.demo.published import signers_of, wait_published
from cli.demo.scenario import (
    COORDINATOR_NAME,
    COSIGNERS,
    Deployment,
    account,
    state_holdings,
    wait_live,
)
from cli.files import load_key
from cli.requests import request_of
from cli.results import Document
from custody.client import CallRefused, Code
from policy.approval import Approval, approval_digest
from policy.encoding import Json, canonical
from policy.errors import OperationalError
from policy.model import TIER_MAXIMUM
from signer_nodes.api.client import PinnedIdentity

SETTLED, DENIED, REFUSED_BY_NODES, FAILED = "settled", "denied", "refused_by_nodes", "failed"
OVER = (SETTLED, DENIED, FAILED, "expired")
SETTLE_S, WAITING_S, PUBLISH_S, RESTOCK_S = 60.0, 30.0, 30.0, 20.0
POLL_S = 0.05
SIGNING_TRIES_MAX = 6


@dataclass(frozen=True, slots=True)
class Seen:
    """What a scene saw. ``reason`` is for people."""

    status: str
    tx_hash: str | None = None
    block: int | None = None
    rule: str | None = None
    reason: str = ""


@dataclass(slots=True)
class Stage:
    """The deployment the scenes play on, and what one scene leaves for another."""

    deployment: Deployment
    first: Document = field(default_factory=dict)
    victim: str = names.NODES[0]

    def send(self, backend: str, amount: str, **options: str) -> Document:
        """Ask for a payment, to the customer unless ``to`` says otherwise; the request as it was taken in."""
        chosen = {"wallet": names.WALLET, "asset": names.ETH, "to": names.CUSTOMER, **options}
        arguments = [
            part for name, value in chosen.items() for part in (f"--{name.replace('_', '-')}", value)
        ]
        return self.deployment.ask(backend, "request", "send", "--amount", amount, *arguments)

    def pay(self, amount: str, **options: str) -> Document:
        """Ask for a payment as the payments backend, and wait until it is over."""
        return self.wait_over(self.send(names.PAYMENTS, amount, **options)["request"])

    def wait_over(self, request: str) -> Document:
        """A request of the payments backend once nothing changes any more."""
        timeout = str(SETTLE_S)
        return self.deployment.ask(names.PAYMENTS, "request", "wait", request, "--timeout", timeout)

    def wait_state(self, request: str, *states: str, timeout_s: float = SETTLE_S) -> Document:
        """The request once it is in one of ``states``."""
        deadline = time.monotonic() + timeout_s
        while True:
            shown = self.deployment.ask(names.OPERATORS[0], "request", "show", request)
            if shown["state"] in states:
                return shown
            if time.monotonic() > deadline:
                raise OperationalError(
                    f"the request is {shown['state']} after {timeout_s:.0f} s: {shown['error']}"
                )
            time.sleep(POLL_S)

    def signers(self, request: str) -> tuple[str, ...]:
        """Who signed a settled request, as the published log has it."""
        log = self.deployment.folder / "log"
        wait_published(log, int(self.deployment.status()["size"]), timeout_s=PUBLISH_S)
        return signers_of(log, bytes.fromhex(request), origin=self.deployment.connection().origin)


@dataclass(frozen=True, slots=True)
class Scene:
    """A scene by its name in the report."""

    name: str
    expected: str
    play: Callable[[Stage], Seen]
    what: str


def small_withdrawal(stage: Stage) -> Seen:
    """A small payment needs no approval: two of the nodes sign it."""
    stage.first = stage.pay("0.5 eth", idempotency_key="order-1")
    return seen_of(stage.first)


def large_withdrawal(stage: Stage) -> Seen:
    """A large one waits for two operators."""
    sent = stage.send(names.PAYMENTS, "40 eth", idempotency_key="order-2")
    stage.wait_state(sent["request"], "waiting", timeout_s=WAITING_S)
    stage.deployment.ask("bob", "approve", sent["request"], "--yes")
    after_one = stage.wait_state(sent["request"], "waiting", timeout_s=WAITING_S)
    if after_one["approvals"] != 1 or after_one["tx_hash"] is not None:
        raise OperationalError(f"one approval of two is in, and the request has {after_one}")
    stage.deployment.ask("carol", "approve", sent["request"], "--yes")
    return seen_of(stage.wait_state(sent["request"], SETTLED, "denied", "failed", "expired"))


def erc20_withdrawal(stage: Stage) -> Seen:
    """A token: the nodes decode the call of its contract."""
    contract = stage.deployment.connection().policy.assets[names.TOKEN].contract or ""
    sent = stage.pay(f"25 {names.TOKEN}", idempotency_key="order-3", asset=names.TOKEN)
    has = stage.deployment.chain.token_balance(contract, names.CUSTOMER)
    if sent["state"] == SETTLED and has != 25 * 10**names.TOKEN_DECIMALS:
        raise OperationalError(f"it settled, but the customer has {has} of the token")
    return seen_of(sent)


def unknown_destination(stage: Stage) -> Seen:
    """An address that is on no list."""
    return seen_of(stage.pay("0.1 eth", idempotency_key="order-4", to=names.STRANGER))


def over_daily_limit(stage: Stage) -> Seen:
    """Within the rule for large payments, but above what may leave the wallet in a day."""
    return seen_of(stage.pay("50 eth", idempotency_key="order-5"))


def self_approval(stage: Stage) -> Seen:
    """Alice can use the desk's key, so her approval of its request is none."""
    sent = stage.send(names.DESK, "2 eth", idempotency_key="desk-1")
    stage.wait_state(sent["request"], "waiting", timeout_s=WAITING_S)
    approval, assertion = _approval(stage, sent["request"], operator="alice", draft_of="bob")
    with stage.deployment.connection().open(stage.deployment.identity("alice")) as client:
        try:
            client.approve(canonical(approval.body()), canonical(assertion))
        except CallRefused as refusal:
            status = DENIED if refusal.code == Code.INITIATOR_CANNOT_APPROVE else FAILED
            still = stage.wait_state(sent["request"], "waiting", timeout_s=WAITING_S)
            if still["approvals"] != 0:
                raise OperationalError("an approval that was refused counts") from refusal
            return Seen(status, rule=refusal.code, reason=refusal.reason)
    return Seen("approved", reason="the coordinator took the initiator's own approval")


def tampered_bytes(stage: Stage) -> Seen:
    """Somebody has the coordinator's machine, and asks the nodes to sign other bytes than were approved."""
    deployment = stage.deployment
    sent = stage.send(names.PAYMENTS, "5 eth", idempotency_key="order-6")
    planned = stage.wait_state(sent["request"], "waiting", timeout_s=WAITING_S)
    deployment.ask("bob", "approve", sent["request"], "--yes")
    approval, assertion = _approval(stage, sent["request"], operator="carol", draft_of="carol")
    paths = deployment.connection().policy.wallets[names.WALLET].paths
    path = next(path for path in paths if account(stage.deployment, path) == planned["account"])
    plot = Plot(approval, assertion, names.KEY, path, names.NODES[:2], planned["rule"], names.STRANGER)
    before = deployment.chain.balance(names.STRANGER)
    deployment.supervisor.stop(COORDINATOR_NAME)
    try:
        outcome = attack(_loot(deployment), plot)
    finally:
        deployment.supervisor.revive(COORDINATOR_NAME)
    deployment.say("the coordinator is started again, and goes on from the log that the thief has lengthened")
    wait_live(deployment, COSIGNERS)
    if deployment.status()["size"] < outcome.size:
        raise OperationalError("the coordinator did not go on from the longer log")
    stage.wait_state(sent["request"], SETTLED)  # what was approved is paid after all
    stolen = deployment.chain.balance(names.STRANGER) - before
    refused = outcome.refused_by(len(COSIGNERS), len(plot.signers)) and stolen == 0
    status = REFUSED_BY_NODES if refused else FAILED
    said = "; ".join(
        f"{name} {did}: {reason}"
        for did, answers in (
            ("did not cosign a lie", outcome.lie_refused),
            ("did not sign", outcome.declined),
        )
        for name, reason in sorted(answers.items())
    )
    return Seen(status, rule=outcome.rule, reason=f"{outcome.reason}; {said}")


def node_down(stage: Stage) -> Seen:
    """kill -9 for one node: the other two sign."""
    stage.deployment.supervisor.kill(stage.victim)
    sent = stage.pay("0.2 eth", idempotency_key="order-7")
    signers = stage.signers(sent["request"])
    if stage.victim in signers:
        raise OperationalError(f"{stage.victim} was killed, and yet signed")
    return seen_of(sent, reason=f"signed by {' and '.join(signers)}")


def node_restart(stage: Stage) -> Seen:
    """It comes back, folds what it has missed, and signs."""
    stage.deployment.supervisor.revive(stage.victim)
    wait_live(stage.deployment, COSIGNERS)
    _wait_restocked(stage)
    for number in range(SIGNING_TRIES_MAX):
        sent = stage.pay("0.05 eth", idempotency_key=f"order-8-{number}")
        signers = stage.signers(sent["request"])
        if stage.victim in signers or sent["state"] != SETTLED:
            return seen_of(sent, reason=f"signed by {' and '.join(signers)}")
    return Seen(FAILED, reason=f"{stage.victim} is back, but signed none of {SIGNING_TRIES_MAX} payments")


def replayed_request(stage: Stage) -> Seen:
    """The first request once more, as after a lost answer: the same result, and nothing is sent twice."""
    if not stage.first:
        raise OperationalError("the first payment did not come through: there is nothing to ask for again")
    account, chain = str(stage.first["account"]), stage.deployment.chain
    before = (chain.sent_by(account), chain.balance(names.CUSTOMER))
    again = stage.pay("0.5 eth", idempotency_key="order-1")
    if again["request"] != stage.first["request"] or again["tx_hash"] != stage.first["tx_hash"]:
        raise OperationalError("the same idempotency key made another payment")
    if (chain.sent_by(account), chain.balance(names.CUSTOMER)) != before:
        raise OperationalError("the replayed request moved something")
    return seen_of(again)


def hot_to_cold(stage: Stage) -> Seen:
    """A move to a colder tier goes by itself."""
    cold = account(stage.deployment, names.PATH_DEEP, wallet=names.COLD)
    return seen_of(stage.pay("1 eth", idempotency_key="sweep-1", to=cold))


def cold_to_hot(stage: Stage) -> Seen:
    """One to a hotter tier takes people and a delay, and what observers state of both."""
    state_holdings(stage.deployment)
    hot = account(stage.deployment, names.PATH_PLAIN)
    sent = stage.send(names.PAYMENTS, "5 eth", idempotency_key="refill-1", wallet=names.COLD, to=hot)
    return approved_by(stage, sent["request"], "bob", "carol")


def warm_to_hot(stage: Stage) -> Seen:
    """From the tier in between one person is enough, and there is no delay: that is what it is for."""
    hot = account(stage.deployment, names.PATH_PLAIN)
    sent = stage.send(names.PAYMENTS, "10 eth", idempotency_key="refill-3", wallet=names.WARM, to=hot)
    return approved_by(stage, sent["request"], "carol")


def hot_maximum(stage: Stage) -> Seen:
    """More than hot may ever hold: no approval helps."""
    hot = account(stage.deployment, names.PATH_PLAIN)
    seen = seen_of(stage.pay("200 eth", idempotency_key="refill-2", wallet=names.COLD, to=hot))
    return seen if seen.rule == TIER_MAXIMUM else Seen(FAILED, rule=seen.rule, reason=seen.reason)


SCENES = (
    Scene("small_withdrawal", SETTLED, small_withdrawal, "0.5 eth, no approval needed"),
    Scene("large_withdrawal", SETTLED, large_withdrawal, "40 eth, two operators approve"),
    Scene("erc20_withdrawal", SETTLED, erc20_withdrawal, "25 of a token"),
    Scene("unknown_destination", DENIED, unknown_destination, "0.1 eth to an address on no list"),
    Scene("over_daily_limit", DENIED, over_daily_limit, "50 eth more on the same day"),
    Scene("self_approval", DENIED, self_approval, "alice approves her own desk's request"),
    Scene(
        "tampered_bytes", REFUSED_BY_NODES, tampered_bytes, "a stolen coordinator changes what was approved"
    ),
    Scene("node_down", SETTLED, node_down, "kill -9 for a node, then 0.2 eth"),
    Scene("node_restart", SETTLED, node_restart, "the node is back, catches up and signs"),
    Scene("hot_to_cold", SETTLED, hot_to_cold, "1 eth from hot to cold, no approval needed"),
    Scene("cold_to_hot", SETTLED, cold_to_hot, "5 eth from cold to hot: two operators, and a delay"),
    Scene("warm_to_hot", SETTLED, warm_to_hot, "10 eth from warm to hot: one operator"),
    Scene("hot_maximum", DENIED, hot_maximum, "200 eth from cold to hot, above the tier's maximum"),
    Scene("replayed_request", SETTLED, replayed_request, "the first request again"),
)


def approved_by(stage: Stage, request: str, *operators: str) -> Seen:
    """What becomes of a request that waits, once these have approved it."""
    stage.wait_state(request, "waiting", timeout_s=WAITING_S)
    for operator in operators:
        stage.deployment.ask(operator, "approve", request, "--yes")
    return seen_of(stage.wait_state(request, *OVER))


def seen_of(shown: Document, reason: str = "") -> Seen:
    """A request's end as a scene reports it; what was refused has no transaction."""
    return Seen(
        shown["state"], shown["tx_hash"], shown["block"], shown["rule"], reason or shown["error"] or ""
    )


def _approval(stage: Stage, request: str, *, operator: str, draft_of: str) -> tuple[Approval, Json]:
    """An operator's signed approval, without handing it in."""
    connection, identity = stage.deployment.connection(), stage.deployment.identity(operator)
    with connection.open(stage.deployment.identity(draft_of)) as client:
        asked = request_of(client.get(bytes.fromhex(request)))
        drafts = [draft for draft in client.pending(draft_of) if draft["request"] == request]
    if not drafts:
        raise OperationalError(f"{draft_of} is shown no draft of an approval to give")
    approval = checked(drafts[0], asked, connection=connection, operator=operator)
    return approval, identity.authenticator().assert_(approval_digest(approval.body())).body()


def _loot(deployment: Deployment) -> Loot:
    folder = deployment.folder / "coordinator"
    cosigners = {
        name: (deployment.address(name), PinnedIdentity.of(name, deployment.card(name).certificate))
        for name in COSIGNERS
    }
    return Loot(
        origin=deployment.connection().origin,
        log_key=load_key(folder / "log.key"),
        identity=load_key(folder / "identity.key"),
        cosigners=cosigners,
    )


def _wait_restocked(stage: Stage) -> None:
    """Wait until a set with the node that came back has the most presignatures, so that it is chosen."""
    deadline = time.monotonic() + RESTOCK_S
    while time.monotonic() < deadline:
        pools = [pool for pool in stage.deployment.status()["pools"] if pool["key"] == names.KEY]
        best = max(pools, key=lambda pool: int(pool["stock"]), default=None)
        if best is not None and stage.victim in best["signers"]:
            return
        time.sleep(POLL_S)
