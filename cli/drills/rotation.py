"""The drill of a key that is not to be trusted any more: a new one takes its place and gets all it has."""

import time

from cli.demo import policy as names
from cli.demo.scenario import account, make_key
from cli.demo.scenes import SETTLED, Stage
from cli.drills.losses import pay
from cli.drills.steps import Steps
from cli.main import invoke
from cli.results import Document
from policy.errors import OperationalError, QuorumkeepError

NEW = f"{names.KEY}-2"
DELAY_MS, EFFECT_S, WAITING_S = 1000, 30.0, 30.0
POLL_S = 0.2
HELD, TOKENS = 3 * 10**18, 5 * 10**names.TOKEN_DECIMALS
SWEEPER = names.REBALANCER


def rotate_key(stage: Stage, steps: Steps) -> None:
    """Key main is suspect: policy, key, sweep."""
    deployment = stage.deployment
    old = [account(deployment, path) for path in (names.PATH_PLAIN, *names.PATHS_APPROVED)]
    deployment.chain.pay(old[1], HELD)
    token = deployment.connection().policy.assets[names.TOKEN].contract or ""
    deployment.chain.pay_token(token, old[1], amount=TOKENS)
    pay(stage, steps, label="before")
    to_empty = _change_policy(stage, steps)
    made = make_key(deployment, NEW)
    new = account(deployment, names.PATH_PLAIN)
    steps.must("the wallet has an address of the new key", new not in old, seen=made)
    before = deployment.chain.balance(new) + sum(map(deployment.chain.balance, old))
    for wallet in to_empty:
        _sweep(stage, steps, wallet)
    left, ceiling = [deployment.chain.balance(one) for one in old], names.FEE_CEILING
    steps.must("the old key has no more than what fees could have cost", sum(left) <= 3 * ceiling, seen=left)
    fees = before - deployment.chain.balance(new) - sum(left)
    steps.must("the rest has the new key, less the fees", 0 < fees <= 3 * ceiling, seen=fees)
    moved = deployment.chain.token_balance(token, new)
    steps.must("it has every token, too", moved == TOKENS, seen=moved)
    ended = stage.pay("0.01 eth", idempotency_key="stranger", wallet=to_empty[0], to=names.CUSTOMER)
    steps.must("the old accounts pay nobody else", ended["state"] == "denied", seen=ended)
    paid = pay(stage, steps, label="after")
    shown = deployment.ask("bob", "request", "show", paid)
    steps.must("backends ask as before, and the new key pays", shown["account"] == new, seen=shown)


def _change_policy(stage: Stage, steps: Steps) -> list[str]:
    """The quorum's policy by which the new key takes the place of the old one, in effect and handed out."""
    deployment, folder = stage.deployment, stage.deployment.folder
    anna, berta = names.ADMINISTRATORS
    policy, change = str(folder / "rotated.json"), str(folder / "rotated-change.json")
    retired = invoke(
        *("policy", "retire-key", str(folder / "policy.json"), "--key", names.KEY, "--to", NEW),
        *("--approval", f"2 of {names.GROUP}", "--out", policy),
    ).document
    drafted = deployment.ask(anna, "admin", "draft", "policy", "--document", policy, "--out", change)
    for name in (anna, berta):
        deployment.ask(name, "admin", "sign", change, "--fingerprint", drafted["fingerprint"])
    deployment.ask(anna, "admin", "submit", change)
    deadline = time.monotonic() + EFFECT_S
    while True:
        try:
            deployment.ask(anna, "admin", "hand-out", change, "--dir", str(folder))
            break
        except QuorumkeepError:
            if time.monotonic() > deadline:
                raise
            time.sleep(POLL_S)
    steps.must(
        "the policy of the quorum is in effect after its delay", NEW in deployment.connection().policy.keys
    )
    return [str(name) for name in retired["to_empty"]]


def _sweep(stage: Stage, steps: Steps, wallet: str) -> None:
    """Empty one account, with the approvals that the rule asks for."""
    asked: Document = stage.deployment.ask(
        SWEEPER,
        *("request", "sweep", "--wallet", wallet, "--to-wallet", names.WALLET),
        *("--rpc", stage.deployment.chain.url, "--idempotency-key", f"rotate-{wallet}"),
    )
    for one in asked["requests"]:
        found = stage.wait_state(one["request"], "waiting", "denied", timeout_s=WAITING_S)
        if found["state"] != "waiting":
            raise OperationalError(
                f"the sweep of {wallet} is {found['state']}: {found['rule']} {found['error']}"
            )
        for operator in ("bob", "carol"):
            stage.deployment.ask(operator, "approve", one["request"], "--yes")
        ended = stage.wait_state(one["request"], SETTLED)
        steps.must(f"two operators approve that {wallet} is emptied", ended["state"] == SETTLED, seen=ended)
