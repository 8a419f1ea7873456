"""An operator signs what the request asks for under the policy they hold, whatever the draft says."""

import dataclasses
import time
from collections.abc import Callable
from typing import Any

import pytest

from cli.approvals import checked, details, sentence
from cli.connection import Connection
from cli.demo.chain import CHAIN
from cli.demo.policy import CUSTOMER, STRANGER, demo_policy
from policy.approval import Approval, Slot
from policy.document import parse_policy, policy_hash
from policy.encoding import Json
from policy.errors import OperationalError
from policy.intent import Intent, Request, request_id
from policy.model import Approve, Requirement
from policy.values import replace

POLICY = demo_policy("0x" + "11" * 20)
ORIGIN = "log.example.com/test"
CONNECTION = Connection(ORIGIN, "127.0.0.1:1", b"", parse_policy(POLICY), policy_hash(POLICY))
HOUR_MS = 3_600_000
NOW = time.time_ns() // 1_000_000
INTENT = Intent(CHAIN, "hot", "eth", 40 * 10**18, CUSTOMER)
REQUEST = Request(ORIGIN, "payments", INTENT, 10**16, "order-1", NOW, NOW + 3_600_000)


def draft(**changes: Any) -> dict[str, Json]:
    approval = Approval(
        origin=ORIGIN,
        request=request_id(REQUEST.body()),
        intent=INTENT,
        calldata_hash=INTENT.calldata_hash(native=True),
        fee_ceiling=10**16,
        slot=Slot(CHAIN, "0x" + "22" * 20, 7),
        policy=CONNECTION.policy_hash,
        expires_ms=NOW + 900_000,
        approval_id=bytes(32),
        operator="bob",
    )
    body = replace(approval, **changes).body()
    assert isinstance(body, dict)
    return {name: value for name, value in body.items() if name not in ("approval_id", "operator")}


def test_an_honest_draft_is_completed_with_a_fresh_id() -> None:
    first = checked(draft(), REQUEST, connection=CONNECTION, operator="bob")
    second = checked(draft(), REQUEST, connection=CONNECTION, operator="bob")

    assert (first.intent, first.operator, first.slot.nonce) == (INTENT, "bob", 7)
    assert first.approval_id != second.approval_id


@pytest.mark.parametrize(
    "changes",
    [
        {"intent": replace(INTENT, destination=STRANGER)},
        {"intent": replace(INTENT, amount=41 * 10**18)},
        {"intent": replace(INTENT, wallet="cold")},
        {"calldata_hash": bytes(32)},
        {"origin": "log.example.com/other"},
        {"policy": bytes(32)},
    ],
    ids=["destination", "amount", "wallet", "calldata", "origin", "policy"],
)
def test_a_draft_for_anything_else_is_not_signed(changes: dict[str, Any]) -> None:
    with pytest.raises(OperationalError, match="do not sign"):
        checked(draft(**changes), REQUEST, connection=CONNECTION, operator="bob")


def test_a_draft_cannot_raise_the_fee_or_the_time_above_the_requests() -> None:
    greedy = draft(fee_ceiling=10**20, expires_ms=NOW + 10**9)

    approval = checked(greedy, REQUEST, connection=CONNECTION, operator="bob")
    assert approval.fee_ceiling == REQUEST.fee_ceiling
    assert approval.expires_ms <= REQUEST.expires_ms


@pytest.mark.parametrize(("delay_ms", "wallet"), [(7 * HOUR_MS, "hot"), (0, "cold")])
def test_an_approval_lasts_past_the_longest_delay_or_a_ceremony(delay_ms: int, wallet: str) -> None:
    intent = replace(INTENT, wallet=wallet)
    request = replace(REQUEST, intent=intent, expires_ms=NOW + 100 * HOUR_MS)
    then = Approve(((Requirement("treasury", 1),),), delay_ms)
    rules = tuple(dataclasses.replace(rule, then=then) for rule in CONNECTION.policy.rules)
    connection = dataclasses.replace(CONNECTION, policy=dataclasses.replace(CONNECTION.policy, rules=rules))
    given = draft(request=request_id(request.body()), intent=intent, expires_ms=NOW + 200 * HOUR_MS)

    approval = checked(given, request, connection=connection, operator="bob")
    latest = request.expires_ms if wallet == "cold" else time.time_ns() // 1_000_000 + 8 * HOUR_MS
    assert latest - 10_000 <= approval.expires_ms <= latest


@pytest.mark.parametrize(
    "told",
    [
        "40 eth",
        "40000000000000000000 base units",
        "0x8ba1f109551bD432803012645Ac136ddd64DBA72",
        "at most 0.01 eth",
        "payments",
        "order-1",
        "transaction 7",
    ],
)
def test_the_sentence_tells_everything_that_is_signed(told: str) -> None:
    approval = checked(draft(), REQUEST, connection=CONNECTION, operator="bob")

    lines = [sentence(approval, REQUEST, connection=CONNECTION), *details(approval, CONNECTION)]

    assert any(told in line for line in lines)


def test_the_account_that_a_request_names_to_pay_is_told() -> None:
    intent = replace(INTENT, source="m/0/7")
    request = replace(REQUEST, intent=intent)
    given = draft(request=request_id(request.body()), intent=intent)
    approval = checked(given, request, connection=CONNECTION, operator="bob")

    assert "path m/0/7" in "\n".join(details(approval, CONNECTION))
    assert "path" not in "\n".join(details(replace(approval, intent=INTENT), CONNECTION))


def test_a_malformed_draft_is_refused() -> None:
    broken: Callable[[], Approval] = lambda: checked(  # noqa: E731 - the call is what is tested
        {**draft(), "surprise": 1}, REQUEST, connection=CONNECTION, operator="bob"
    )

    with pytest.raises(OperationalError, match="no approval"):
        broken()
