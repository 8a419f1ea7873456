"""The coordinator as a whole: a request's way to its settlement, and what must not get in its way."""

import asyncio
import random
from pathlib import Path

import pytest

from custody.api.errors import CallRefused
from custody.planning import key_of
from custody.requests import State
from policy.accounts import account_at
from policy.encoding import Json, parse_canonical
from policy.entries import parse_entry
from policy.errors import InvariantError
from policy.log.checkpoint import parse_checkpoint, parse_note, quorum
from policy.log.tiles import audit_tiles
from policy.state import JobStatus
from tests.unit.custody_cluster import (
    COSIGNERS,
    ETHER,
    NODES,
    WALLET,
    complete_approval,
    genesis_entry,
    make_request,
    policy_document,
    public,
)
from tests.unit.custody_house import LIFE_MS, FakeChain, House, Running, later
from tests.waiting import WAIT_S, found, until


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path)


async def submit(
    running: Running, house: House, name: str, *, amount: int = ETHER, life_ms: int = 600_000
) -> bytes:
    now = house.now_ms()
    _, body, signature = make_request(name, amount=amount, now_ms=now, expires_ms=now + life_ms)
    return (await running.service.submit(body, signature)).request


async def draft_for(running: Running, operator: str) -> Json:
    drafts = await running.service.pending(operator)
    return parse_canonical(drafts[0], bytes_max=10_000)


def mined(house: House) -> int:
    assert isinstance(house.chain, FakeChain)
    return len(house.chain.mined)


async def test_a_small_request_settles_by_itself(house: House) -> None:
    async with house.with_key() as running:
        _, body, signature = make_request("one", amount=ETHER, now_ms=house.now_ms())

        submitted = await running.service.submit(body, signature)
        settled = await running.until(submitted.request, "settled")

        assert submitted.state is State.RECEIVED
        assert settled.rule == "small"
        assert isinstance(house.chain, FakeChain) and settled.tx_hash in house.chain.mined
        await until(lambda: house.nodes["node-a"].kinds()[-1] == "observation")
        assert house.nodes["node-a"].kinds()[-4:] == ["request", "reserve", "signature", "observation"]


async def test_a_request_waits_for_its_reservation_and_a_signature_for_a_moment_only(house: House) -> None:
    house.together_s = 60.0
    async with house.with_key() as running:
        request = await submit(running, house, "one")
        await running.until(request, "settled")

        node = house.nodes["node-a"]
        await until(lambda: "signature" in node.kinds())
        sent = [[parse_entry(data).kind for data in entries] for _, entries, _ in node.appends]
        assert (sent[-2], sent[-1][0]) == (["request", "reserve"], "signature")


async def test_what_nobody_waits_for_reaches_the_cosigners_all_the_same(house: House) -> None:
    async with house.with_key() as running:
        await submit(running, house, "for people to approve", amount=5 * ETHER)

        await until(lambda: house.nodes["node-a"].kinds()[-1] == "request")


async def test_many_requests_share_checkpoints_and_all_settle(house: House) -> None:
    async with house.with_key() as running:
        requests = [await submit(running, house, f"r{i}", amount=i + 1) for i in range(40)]
        settled = [await running.until(request, "settled") for request in requests]

        assert sorted(record.nonce or 0 for record in settled) == list(range(40))
        assert mined(house) == 40
        assert len(house.nodes["node-a"].appends) < 120


async def test_the_same_request_again_is_one_request(house: House) -> None:
    async with house.with_key() as running:
        _, body, signature = make_request("one", amount=1, now_ms=house.now_ms())
        first = await running.service.submit(body, signature)
        await running.until(first.request, "settled")

        again = await running.service.submit(body, signature)

        assert again.request == first.request
        assert again.state is State.SETTLED
        assert mined(house) == 1


async def test_an_idempotency_key_names_one_body(house: House) -> None:
    async with house.with_key() as running:
        await submit(running, house, "one", amount=1)

        with pytest.raises(CallRefused) as refusal:
            await submit(running, house, "one", amount=2)

        assert refusal.value.code == "idempotency-conflict"


async def test_a_denial_is_on_record_and_holds_no_slot(house: House) -> None:
    async with house.with_key() as running:
        request = await submit(running, house, "huge", amount=11 * ETHER)
        denied = await running.until(request, "denied")

        assert denied.rule == "no-rule-matches"
        assert denied.nonce is None
        await until(lambda: house.nodes["node-a"].kinds()[-1] == "request")


async def test_a_request_over_the_limit_is_denied_and_gives_its_slot_back(house: House) -> None:
    async with house.with_key() as running:
        allowed = [await submit(running, house, f"r{i}") for i in range(21)]
        states = [(await running.until(one, "settled", "denied")).state for one in allowed]

        later = await submit(running, house, "small", amount=1)
        after = await running.until(later, "settled", "denied")

        assert states.count(State.DENIED) == 2  # fees count too, so that 20 ether do not fit into 20
        assert after.state is State.SETTLED


async def test_an_approval_by_another_person_lets_a_large_request_through(house: House) -> None:
    async with house.with_key() as running:
        request = await submit(running, house, "large", amount=5 * ETHER)
        waiting = await running.until(request, "waiting")
        body, assertion = complete_approval(await draft_for(running, "otto"), "otto")

        await running.service.approve(body, assertion)
        settled = await running.until(request, "settled")

        assert waiting.path == "m/0/1"
        assert settled.approvals == 1
        assert await running.service.pending("otto") == []


async def test_who_stands_behind_a_request_cannot_approve_it(house: House) -> None:
    async with house.with_key() as running:
        request = await submit(running, house, "large", amount=5 * ETHER)
        await running.until(request, "waiting")
        body, assertion = complete_approval(await draft_for(running, "otto"), "olga")
        await running.cosigned()
        size = len(house.nodes["node-a"].log)

        with pytest.raises(CallRefused) as refusal:
            await running.service.approve(body, assertion)

        assert refusal.value.code == "initiator-cannot-approve"
        assert await running.service.pending("olga") == []
        assert len(house.nodes["node-a"].log) == size


async def test_an_approval_by_another_passkey_is_refused(house: House) -> None:
    async with house.with_key() as running:
        await running.until(await submit(running, house, "large", amount=5 * ETHER), "waiting")
        draft = await draft_for(running, "otto")
        body, _ = complete_approval(draft, "otto")
        _, other = complete_approval(draft, "olga")

        with pytest.raises(CallRefused) as refusal:
            await running.service.approve(body, other)

        assert refusal.value.code == "bad-signature"


async def test_a_request_that_waits_for_people_does_not_hold_up_others(house: House) -> None:
    async with house.with_key() as running:
        large = await submit(running, house, "large", amount=5 * ETHER)
        await running.until(large, "waiting")

        small = await submit(running, house, "small", amount=1)
        settled = await running.until(small, "settled")

        assert settled.path == "m/0/0"


@pytest.mark.parametrize("name", COSIGNERS)
async def test_one_dead_cosigner_stops_nothing(house: House, name: str) -> None:
    async with house.with_key() as running:
        await running.until(await submit(running, house, "first"), "settled")
        house.nodes[name].down = True

        request = await submit(running, house, "second")
        await running.until(request, "settled")
        house.nodes[name].down = False
        await until(lambda: house.nodes[name].log == house.nodes[_other(name)].log)

        assert running.parts.sequencer.state.requests[request].closed


async def test_a_signer_that_gives_no_partial_is_replaced_and_its_job_released(house: House) -> None:
    async with house.with_key() as running:
        await _stocked(running)
        for name in NODES:
            house.nodes[name].mute = True  # whatever set comes first, it fails; then two of them mend
        request = await submit(running, house, "one")
        await running.until(request, "reserved")
        await until(lambda: len(running.parts.sequencer.state.requests[request].jobs) >= 2)
        house.nodes["node-b"].mute = house.nodes["node-c"].mute = False

        await running.until(request, "settled")
        jobs = running.parts.sequencer.state.requests[request].jobs
        await until(lambda: _status(running, jobs[0]) is JobStatus.BURNED)

        anchors = {running.parts.sequencer.state.jobs[job].anchor for job in jobs}
        assert len(jobs) >= 2
        assert len(anchors) == 1
        assert mined(house) == 1


async def test_presignatures_of_an_earlier_boot_are_not_used(house: House) -> None:
    async with house.with_key() as running:
        await _stocked(running)
        for name in NODES:
            house.nodes[name].restart()

        request = await submit(running, house, "one")
        await running.until(request, "settled")
        assert len(running.parts.sequencer.state.requests[request].jobs) == 1


async def test_an_expired_reservation_is_cancelled_when_others_wait_behind_it(house: House) -> None:
    async with house.with_key() as running:
        await _stocked(running)
        for name in NODES:
            house.nodes[name].mute = True
        stuck = await submit(running, house, "stuck", life_ms=LIFE_MS)
        await running.until(stuck, "reserved")
        later(house)
        await running.until(stuck, "expired")
        for name in NODES:
            house.nodes[name].mute = False

        behind = await submit(running, house, "behind")
        settled = await running.until(behind, "settled")
        cancelled = await running.until(stuck, "cancelled")

        assert (cancelled.nonce, settled.nonce) == (0, 1)
        assert mined(house) == 2


async def test_a_chain_that_is_down_delays_and_loses_nothing(house: House) -> None:
    assert isinstance(house.chain, FakeChain)
    async with house.with_key() as running:
        request = await submit(running, house, "one")
        await running.until(request, "reserved", "signed", "broadcast", "settled")
        house.chain.down = True
        second = await submit(running, house, "two")
        await found(lambda: running.service.get(second), lambda record: "chain is down" in record.error)
        house.chain.down = False

        await running.until(request, "settled")
        await running.until(second, "settled")


async def test_a_restart_goes_on_where_the_process_ended(house: House) -> None:
    async with house.with_key() as running:
        await _stocked(running)
        requests = [await submit(running, house, f"r{i}", amount=1) for i in range(5)]

    async with house.running() as running:
        for request in requests:
            await running.until(request, "settled")

        assert mined(house) == 5


@pytest.mark.parametrize("seed", range(6))
async def test_ends_at_any_moment_lose_no_request_and_pay_none_twice(house: House, seed: int) -> None:
    source = random.Random(seed)
    requests: list[bytes] = []
    async with house.with_key() as running:
        await _stocked(running)
    for life in range(5):
        async with house.running() as running:
            requests.append(await submit(running, house, f"life {life}", amount=life + 1))
            await asyncio.sleep(source.random() * 0.06)
        for name in COSIGNERS:
            if source.random() < 0.3:
                house.nodes[name].restart()
        away = source.choice([*COSIGNERS, ""])  # at most one at a time stays away
        for node in house.nodes.values():
            node.down = node.name == away

    async with house.running() as running:
        for node in house.nodes.values():
            node.down = False
        for request in requests:
            await running.until(request, "settled")

        state = running.parts.sequencer.state
        assert mined(house) == 5
        assert all(len({state.jobs[j].anchor for j in state.requests[r].jobs}) == 1 for r in requests)


async def test_an_empty_database_is_filled_again_from_the_cosigners(house: House) -> None:
    async with house.with_key() as running:
        done = await submit(running, house, "done")
        before = await running.until(done, "settled")
        waiting = await submit(running, house, "large", amount=5 * ETHER)
        await running.until(waiting, "waiting")
        body, assertion = complete_approval(await draft_for(running, "otto"), "otto")
        await running.cosigned()
    _forget(house)

    async with house.running() as running:
        after = await running.until(done, "settled")
        await running.until(waiting, "waiting")
        body, assertion = complete_approval(await draft_for(running, "otto"), "otto")
        await running.service.approve(body, assertion)
        await running.until(waiting, "settled")

        assert (after.tx_hash, after.block, after.rule) == (before.tx_hash, before.block, before.rule)
        assert mined(house) == 2


async def test_what_one_cosigner_holds_survives_the_loss_of_the_database(house: House) -> None:
    async with house.with_key() as running:
        await _stocked(running)
        for name in ("node-b", "node-c", "witness"):
            house.nodes[name].down = True
        request = await submit(running, house, "one")
        await until(lambda: request in house.nodes["node-a"].tip.state.requests)
    _forget(house)
    for node in house.nodes.values():
        node.down = False

    async with house.running() as running:
        await running.until(request, "settled")

        assert mined(house) == 1


async def test_a_database_of_another_branch_is_refused(house: House, tmp_path: Path) -> None:
    async with house.with_key() as running:
        await running.until(await submit(running, house, "one"), "settled")
    (tmp_path / "other").mkdir()
    other = House(tmp_path / "other")
    other.genesis = genesis_entry(policy_document(), time_ms=2_000)
    async with other.with_key() as running:
        await running.until(await submit(running, other, "two"), "settled")
    house.database = other.database

    with pytest.raises(InvariantError, match=r"move (it|the database) away"):
        await _start_once(house)


async def test_a_start_waits_for_enough_cosigners(house: House) -> None:
    async with house.with_key():
        pass
    for name in ("node-b", "node-c"):
        house.nodes[name].down = True
    starting = asyncio.create_task(_start_once(house))

    await asyncio.sleep(0.5)
    waiting = not starting.done()
    house.nodes["node-b"].down = False
    await asyncio.wait_for(starting, WAIT_S)

    assert waiting


async def test_the_published_log_is_whole_and_its_checkpoint_has_its_cosignatures(house: House) -> None:
    async with house.running(publish=True) as running:
        await running.service.change_key("admin", "hot", change="generate")
        await running.until(await submit(running, house, "one"), "settled")
        size = running.parts.sequencer.state.size
        folder = house.folder / "log"
        await until(lambda: _published(folder) >= size)

    note = parse_note((folder / "checkpoint").read_bytes(), 10_000)
    checkpoint = parse_checkpoint(note.body)
    frontier = audit_tiles(lambda path: _read(folder, path), checkpoint.size)
    assert frontier.root() == checkpoint.root
    assert quorum(note, {name: public(name) for name in COSIGNERS}, w=3)


async def test_a_foreign_checkpoint_of_a_cosigner_is_not_believed(house: House) -> None:
    async with house.with_key() as running:
        await running.until(await submit(running, house, "one"), "settled")
        liar = house.nodes["witness"]
        assert liar.note is not None
        text = liar.note.body.replace(b"\n", b"0\n", 2)
        liar.note = type(liar.note)(text, liar.note.signatures)
        liar.log += [b"x"] * (int(text.split(b"\n")[1]) - len(liar.log))

        second = await submit(running, house, "two")
        await running.until(second, "settled")

        assert mined(house) == 2


async def test_an_address_is_what_the_payments_come_from(house: House) -> None:
    async with house.with_key() as running:
        request = await submit(running, house, "one")
        settled = await running.until(request, "settled")

        account, chain, _ = running.service.address(WALLET, "")

        key = key_of(running.parts.sequencer.state, WALLET)
        assert settled.account == account.address == account_at(key, "m/0/0", chain="evm:31337").address
        assert chain == settled.chain


async def test_entries_carry_times_that_never_go_back(house: House) -> None:
    clock = [2_000_000_000_000]
    house.now_ms = lambda: clock[0]
    async with house.with_key() as running:
        await running.until(await submit(running, house, "one"), "settled")
        clock[0] -= 60_000
        await running.until(await submit(running, house, "two"), "settled")

    times = [parse_entry(entry).time_ms for entry in house.nodes["node-a"].log]
    assert times == sorted(times)


def _forget(house: House) -> None:
    for path in house.folder.glob("custody.db*"):
        path.unlink()


def _other(name: str) -> str:
    return next(other for other in NODES if other != name)


def _status(running: Running, job: bytes) -> JobStatus:
    return running.parts.sequencer.state.jobs[job].status


def _published(folder: Path) -> int:
    if not (folder / "checkpoint").exists():
        return 0
    return parse_checkpoint(parse_note((folder / "checkpoint").read_bytes(), 10_000).body).size


def _read(folder: Path, path: str) -> bytes | None:
    file = folder / path
    return file.read_bytes() if file.exists() else None


async def _stocked(running: Running) -> None:
    await until(lambda: sum(stock > 0 for _, stock in running.parts.pools.report()) == 3)


async def _start_once(house: House) -> None:
    async with house.running():
        pass
