"""Delays, rejections, prices and screenings through a running coordinator."""

from pathlib import Path

import pytest

from custody.api.errors import CallRefused
from custody.enacting import Signed
from policy.encoding import Json, canonical, parse_canonical, statement
from policy.entries import signature_list
from tests.unit.custody_cluster import (
    ETHER,
    ORIGIN,
    complete_approval,
    identity,
    make_request,
    policy_document,
    public,
    roster_document,
)
from tests.unit.custody_house import Clock, House, Running
from tests.waiting import found, until

OBSERVERS = ("watch-a", "watch-b")
PRICES: Json = {"unit": "usd", "decimals": 2, "max_age_ms": 3_600_000}

HOUR_MS = 3_600_000


def rule(outcome: dict[str, Json], **when: Json) -> dict[str, Json]:
    return {"name": "only", "when": {**when}, "then": {**outcome}}


def house_with(folder: Path, *rules: Json, **changed: Json) -> House:
    observers: list[Json] = [{"name": name, "key": public(name).hex()} for name in OBSERVERS]
    policy: dict[str, Json] = {**policy_document(), "rules": list(rules), **changed}
    return House(folder, policy=policy, roster=roster_document(observers=observers))


async def submit(running: Running, house: House, name: str) -> bytes:
    _, body, signature = make_request(name, amount=ETHER, now_ms=house.now_ms())
    return (await running.service.submit(body, signature)).request


def signed(kind: str, body: dict[str, Json], *names: str) -> Signed:
    message = statement(kind, body)
    signatures = signature_list({name: identity(name).sign(message) for name in names})
    return Signed(kind, canonical(body), canonical({"signatures": signatures}))


def no_to(request: bytes, by: str) -> Signed:
    return signed("reject", {"origin": ORIGIN, "request": request.hex(), "by": by, "reason": "a test"}, by)


async def test_a_delayed_payment_settles_when_its_time_has_come(tmp_path: Path) -> None:
    house = house_with(tmp_path, rule({"outcome": "allow", "delay_ms": 60_000}))
    clock = house.now_ms = Clock()
    async with house.with_key() as running:
        request = await submit(running, house, "slow")
        waiting = await running.until(request, "ready")
        assert waiting.rule == "only"
    clock.ahead_ms = 60_001
    async with house.running() as running:  # who was asleep until then would sleep on
        settled = await running.until(request, "settled")

    assert settled.tx_hash


async def test_an_approval_still_counts_when_a_long_delay_is_over(tmp_path: Path) -> None:
    needs: list[Json] = [{"group": "desk", "count": 1}]
    house = house_with(tmp_path, rule({"outcome": "approve", "approvals": needs, "delay_ms": 2 * HOUR_MS}))
    clock = house.now_ms = Clock()
    async with house.with_key() as running:
        life_ms = house.now_ms() + 4 * HOUR_MS
        _, body, signature = make_request("slow", amount=ETHER, now_ms=house.now_ms(), expires_ms=life_ms)
        request = (await running.service.submit(body, signature)).request
        await running.until(request, "waiting")
        (draft,) = await running.service.pending("otto")
        await running.service.approve(*complete_approval(parse_canonical(draft, bytes_max=10_000), "otto"))
        await found(lambda: running.service.get(request), lambda record: "until then" in record.error)
    clock.ahead_ms = 2 * HOUR_MS + 1_000
    async with house.running() as running:  # who was asleep until then would sleep on
        settled = await running.until(request, "settled")

    assert settled.tx_hash


async def test_a_no_within_the_delay_stops_the_payment(tmp_path: Path) -> None:
    house = house_with(tmp_path, rule({"outcome": "allow", "delay_ms": 60_000}))
    clock = house.now_ms = Clock()
    async with house.with_key() as running:
        request = await submit(running, house, "slow")
        await running.until(request, "ready")
        await running.service.enact("otto", no_to(request, "otto"))
        await running.service.enact("otto", no_to(request, "otto"))  # a lost answer: the same again
        denied = await running.until(request, "denied")
        clock.ahead_ms = 120_000
        other = await submit(running, house, "other")
        await running.until(other, "ready")
        await running.cosigned()  # a node counts the delay from when it has the request

    clock.ahead_ms = 240_000
    async with house.running() as running:
        await running.until(other, "settled")

        assert "rejected by otto: a test" in denied.error
        assert (await running.service.get(request)).state == "denied"


@pytest.mark.parametrize("by", ["desk", "watch-a"])
async def test_a_no_of_somebody_else_is_refused_and_not_logged(tmp_path: Path, by: str) -> None:
    house = house_with(tmp_path, rule({"outcome": "allow", "delay_ms": 60_000}))
    async with house.with_key() as running:
        request = await submit(running, house, "slow")
        await running.until(request, "ready")
        size = running.parts.sequencer.state.size

        with pytest.raises(CallRefused, match="no operator or administrator, and not the initiator"):
            await running.service.enact(by, no_to(request, by))

        assert running.parts.sequencer.state.size == size


async def test_a_request_waits_for_its_screening_and_is_paid_after_it(tmp_path: Path) -> None:
    house = house_with(
        tmp_path,
        rule({"outcome": "allow"}, screenings=["clear"]),
        {
            "name": "rest",
            "when": {"risk_min": 0},
            "then": {"outcome": "deny"},
        },
    )
    async with house.with_key() as running:
        request = await submit(running, house, "screened")
        await running.until(request, "waiting")
        body: dict[str, Json] = {
            "origin": ORIGIN,
            "request": request.hex(),
            "result": "clear",
            "risk": 3,
            "observed_ms": running.parts.sequencer.state.time_ms,
        }
        with pytest.raises(CallRefused, match="need 2 observers, got 1"):
            await running.service.enact("watch-a", signed("screening", body, "watch-a"))
        await running.service.enact("watch-a", signed("screening", body, *OBSERVERS))
        settled = await running.until(request, "settled")

    assert settled.tx_hash


async def test_a_value_limit_waits_for_a_price(tmp_path: Path) -> None:
    limit: Json = {"name": "worth", "window_ms": 86_400_000, "per": [], "value_max": "100000000"}
    house = house_with(tmp_path, rule({"outcome": "allow"}), prices=PRICES, limits=[limit])
    async with house.with_key() as running:
        request = await submit(running, house, "priced")
        await until(lambda: request in running.parts.sequencer.state.requests)
        body: dict[str, Json] = {
            "origin": ORIGIN,
            "asset": "eth",
            "unit": "usd/2",
            "price": "250000",
            "observed_ms": running.parts.sequencer.state.time_ms,
        }
        await running.service.enact("watch-b", signed("price", body, *OBSERVERS))
        await running.until(request, "settled")
        used = running.parts.sequencer.state.windows["worth", ""].total

    assert used == 250_000 + 6  # an ether, and a fee of 21,000 gas at 1 gwei, rounded up


async def test_a_payment_that_a_share_is_asked_of_waits_for_holdings_and_is_paid_after_them(
    tmp_path: Path,
) -> None:
    tiers: Json = [{"name": "hot", "role": "hot", "share_min_bp": 1}]
    more: dict[str, Json] = {"prices": PRICES, "tiers": tiers, "holdings": {"max_age_ms": 3_600_000}}
    house = house_with(tmp_path, rule({"outcome": "allow"}), **more)
    async with house.with_key() as running:
        state = running.parts.sequencer.state
        price: dict[str, Json] = {"origin": ORIGIN, "asset": "eth", "unit": "usd/2", "price": "250000"}
        await running.service.enact(
            "watch-b", signed("price", {**price, "observed_ms": state.time_ms}, *OBSERVERS)
        )
        request = await submit(running, house, "shared")
        waiting = await running.until(request, "waiting")
        holdings: dict[str, Json] = {"wallet": "hot-wallet", "asset": "eth", "amount": str(9 * ETHER)}
        seen: dict[str, Json] = {"observed_ms": state.time_ms, "size": state.size, "pending": []}
        await running.service.enact(
            "watch-b", signed("holdings", {"origin": ORIGIN, **holdings, **seen}, *OBSERVERS)
        )
        settled = await running.until(request, "settled")

    assert waiting.rule == "tier-share"
    assert (settled.rule, settled.error) == ("only", "")
    assert settled.tx_hash
