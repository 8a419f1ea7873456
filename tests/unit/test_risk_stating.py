"""Scoring observers believe no log that is not cosigned, and state nothing that does not follow from it."""

import json
import logging
from pathlib import Path

import pytest

from custody.adapters.risk_files import ExchangeFolder
from custody.risk.following import BadLog
from custody.risk.ports import NoScreening, Offered
from policy.encoding import Json
from policy.errors import OperationalError
from policy.state import Screening
from tests.simulation.world import DAY_MS, OTHER, Book, World, identity_key, state_as
from tests.unit.risk_house import BookLog, Listed, Watcher
from tests.unit.test_risk_reading import paying, read

WORLD = World()


@pytest.fixture
def log() -> BookLog:
    return BookLog(paying(9))


def pair(log: BookLog, shared: Path) -> tuple[Watcher, Watcher]:
    return Watcher(log, "oskar", shared=shared), Watcher(log, "olga", shared=shared)


def screening(log: BookLog, request: bytes) -> Screening | None:
    return log.book.state.requests[request].screening


def test_two_observers_state_what_waits_once_and_the_log_proves_it(log: BookLog, tmp_path: Path) -> None:
    oskar, olga = pair(log, tmp_path)
    request = log.book.request(600, to=OTHER)

    (first,) = oskar.look()
    assert (first.logged, first.signers) == (False, ("oskar",))
    assert screening(log, request) is None
    (second,) = olga.look()
    assert (second.logged, second.signers) == (True, ("olga", "oskar"))
    assert oskar.look() == olga.look() == []

    scored, stated = read(log.book)[1][request], read(log.book)[2]
    assert [one.wrong for one in stated] == [""]
    assert stated[0].risk == first.risk == scored.score.risk > 0
    assert not list(tmp_path.glob("*.json"))


def test_one_observer_is_enough_where_none_may_be_corrupt(tmp_path: Path) -> None:
    world = World(nodes=3, witnesses=0, w=2, f=0)
    book = Book(world, start=False)
    book.genesis(roster=world.roster(cosigners=world.roster()["cosigners"]))
    book.key()
    log = BookLog(book)
    request = book.request(100)
    watcher = Watcher(log, "oskar", shared=None)
    log.by = ("node-1", "node-2")

    (made,) = watcher.look()

    assert made.logged
    assert screening(log, request) is not None


def test_a_request_that_is_over_or_signed_is_not_stated(log: BookLog, tmp_path: Path) -> None:
    book = log.book
    rejected, signed = book.request(100), book.reserve(book.request(90), nonce=20)
    book.reject(rejected, by="alice")
    book.sign(signed)
    short = book.request(80, expires_ms=book.now_ms + 10)
    book.advance(20)
    book.price(7)
    open_one = book.request(70)

    made = pair(log, tmp_path)[0].look()

    assert [one.request for one in made] == [open_one]
    assert short in book.state.requests


def test_what_people_have_stated_is_left_alone(log: BookLog, tmp_path: Path) -> None:
    request = log.book.request(600, to=OTHER)
    log.book.screen(request, result="reviewed", risk=1)

    assert pair(log, tmp_path)[0].look() == []


def test_a_new_list_screens_again_what_waits_and_states_only_news(log: BookLog, tmp_path: Path) -> None:
    oskar, olga = pair(log, tmp_path)
    request = log.book.request(600, to=OTHER)
    oskar.look(), olga.look()
    for one in (oskar, olga):
        one.listed.list_hash = bytes([1] * 32)
    assert oskar.look() == []

    for one in (oskar, olga):
        one.listed.addresses = {OTHER}
    log.book.advance(1000)
    oskar.look()
    (made,) = olga.look()

    assert (made.logged, made.result) == (True, "sanctioned")
    found = screening(log, request)
    assert found is not None
    assert found.result == "sanctioned"
    assert [one.wrong for one in read(log.book)[2]] == ["", ""]
    assert oskar.look() == olga.look() == []


def test_without_a_list_nothing_is_stated_not_even_a_score(log: BookLog, tmp_path: Path) -> None:
    oskar = Watcher(log, "oskar", shared=tmp_path)
    log.book.request(600)
    oskar.listed.old = True

    with pytest.raises(NoScreening, match="1 of 1 requests wait"):
        oskar.look()

    assert not list(tmp_path.glob("*.json"))
    oskar.listed.old = False
    assert len(oskar.look()) == 1


def test_a_list_that_is_too_old_is_said_before_a_request_waits_for_it(log: BookLog, tmp_path: Path) -> None:
    oskar = Watcher(log, "oskar", shared=tmp_path)
    oskar.listed.old = True

    with pytest.raises(NoScreening):
        oskar.look()


def test_observers_with_other_lists_do_not_add_up_and_say_so(
    log: BookLog, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    oskar = Watcher(log, "oskar", shared=tmp_path)
    olga = Watcher(log, "olga", shared=tmp_path, listed=Listed(OTHER))
    request = log.book.request(600, to=OTHER)
    oskar.look()
    with caplog.at_level(logging.WARNING):
        (made,) = olga.look()

    assert not made.logged
    assert "oskar states something else" in caplog.text
    assert screening(log, request) is None


@pytest.mark.parametrize("spoiled", ["signature", "stranger", "json", "long", "float"])
def test_what_lies_in_the_exchange_is_believed_only_by_its_signature(
    log: BookLog, tmp_path: Path, spoiled: str
) -> None:
    oskar, olga = pair(log, tmp_path)
    request = log.book.request(600, to=OTHER)
    oskar.look()
    path = tmp_path / f"{request.hex()}.oskar.json"
    document = json.loads(path.read_bytes())
    if spoiled == "signature":
        document["signature"] = "00" * 64
        path.write_text(json.dumps(document))
    elif spoiled == "stranger":
        document["signature"] = state_as("screening", document["body"], "mallory").hex()
        path.rename(tmp_path / f"{request.hex()}.mallory.json").write_text(json.dumps(document))
    elif spoiled == "float":
        path.write_text(json.dumps({**document, "body": {"risk": 1.5}}))
    else:
        path.write_bytes(b"{" if spoiled == "json" else b" " * 20_000)

    (made,) = olga.look()

    assert (made.logged, made.signers) == (False, ("olga",))
    assert screening(log, request) is None


def test_who_is_no_observer_states_nothing(log: BookLog, tmp_path: Path) -> None:
    log.book.request(600)

    with pytest.raises(OperationalError, match="no observer mallory"):
        Watcher(log, "mallory", shared=tmp_path).look()


def test_a_door_that_is_shut_is_tried_again_and_others_are_not_forgotten(
    log: BookLog, tmp_path: Path
) -> None:
    oskar, olga = pair(log, tmp_path)
    log.book.request(600), log.book.request(500)
    oskar.look()
    log.closed = True
    with pytest.raises(OperationalError, match="2 of 2"):
        olga.look()
    log.closed = False

    assert [one.logged for one in olga.look()] == [True, True]


def test_a_statement_that_was_logged_without_an_answer_is_not_made_twice(
    log: BookLog, tmp_path: Path
) -> None:
    oskar, olga = pair(log, tmp_path)
    request = log.book.request(600, to=OTHER)
    oskar.look()
    log.untold = True
    with pytest.raises(OperationalError, match="no answer came"):
        olga.look()
    log.untold = False

    assert screening(log, request) is not None
    assert oskar.look() == olga.look() == []
    assert len(log.handed) == 1
    assert not list(tmp_path.glob("*.json"))


def test_whoever_needs_others_and_shares_nothing_with_them_is_told_so(log: BookLog) -> None:
    with pytest.raises(OperationalError, match="2 observers have to state the same: name the folder"):
        Watcher(log, "oskar", shared=None).look()


def test_a_look_costs_what_is_new(log: BookLog, tmp_path: Path) -> None:
    oskar = Watcher(log, "oskar", shared=tmp_path)
    oskar.look()
    read_before = log.asked
    log.book.request(600)
    oskar.look()

    assert read_before == len(log.book.entries) - 1
    assert log.asked == read_before + 1


# The log that is believed.


def test_a_checkpoint_without_enough_cosignatures_is_not_believed(log: BookLog, tmp_path: Path) -> None:
    log.book.request(600)
    log.by = ("node-1", "node-2")

    with pytest.raises(BadLog, match="2 cosignatures, 3 are needed"):
        Watcher(log, "oskar", shared=tmp_path).look()


@pytest.mark.parametrize("place", [0, 5, -1])
def test_another_entry_than_the_checkpoint_covers_ends_the_observer_for_good(
    log: BookLog, tmp_path: Path, place: int
) -> None:
    log.book.request(600)
    index = place % len(log.book.entries)
    log.tampered[index] = log.book.entries[3]
    oskar = Watcher(log, "oskar", shared=tmp_path)
    for _ in range(2):
        with pytest.raises(BadLog, match=r"not those of their checkpoint|genesis entry that is pinned"):
            oskar.look()
        log.tampered.clear()

    assert not list(tmp_path.glob("*.json"))


def test_a_branch_that_does_not_extend_what_was_read_is_found(log: BookLog, tmp_path: Path) -> None:
    oskar = Watcher(log, "oskar", shared=tmp_path)
    oskar.look()
    other = log.book.fork(len(log.book.entries) - 1)
    other.advance(DAY_MS)
    other.request(5), other.request(6)
    log.book = other

    with pytest.raises(BadLog, match="not those of their checkpoint"):
        oskar.look()


def test_an_older_head_is_no_news(log: BookLog, tmp_path: Path) -> None:
    oskar = Watcher(log, "oskar", shared=tmp_path)
    request = log.book.request(600)
    oskar.look()
    whole, log.book = log.book, log.book.fork(5)

    assert [one.request for one in oskar.look()] == [request]
    log.book = whole


def test_what_was_read_halfway_is_not_stated_before_it_is_signed(log: BookLog, tmp_path: Path) -> None:
    oskar = Watcher(log, "oskar", shared=tmp_path)
    oskar.look()
    whole, log.book = log.book, log.book.fork()
    whole.request(600), whole.request(500)
    short, log.book = log.book, whole
    log.at_once, log.cut_at = 1, len(whole.entries) - 1
    with pytest.raises(OperationalError, match="the connection is gone"):
        oskar.look()
    log.book, log.cut_at = short, 0

    with pytest.raises(OperationalError, match="does not cover what was read"):
        oskar.look()
    log.book = whole
    assert len(oskar.look()) == 2


# The folder that observers share.


BOTH = ("olga", "oskar")


def test_an_exchange_gives_what_others_left_and_takes_back_ones_own(tmp_path: Path) -> None:
    one, other = ExchangeFolder(tmp_path, "oskar"), ExchangeFolder(tmp_path, "olga")
    request = bytes([7] * 32)
    body: dict[str, Json] = {"risk": 5}
    assert (one.others(request, BOTH), one.mine()) == ((), ())
    signature = identity_key("oskar").sign(b"x")
    one.offer(request, Offered("oskar", body, signature))
    changed: dict[str, Json] = {"risk": 6}
    one.offer(request, Offered("oskar", changed, signature))

    assert one.others(request, BOTH) == ()
    assert other.others(request, BOTH) == (Offered("oskar", {"risk": 6}, signature),)
    assert other.others(bytes(32), BOTH) == ()
    assert (one.mine(), other.mine()) == ((request,), ())
    assert other.others(request, ["olga"]) == ()
    other.withdraw(request)
    one.withdraw(request)
    one.withdraw(request)
    assert other.others(request, BOTH) == ()


def test_an_exchange_that_is_gone_is_not_made_anew(tmp_path: Path) -> None:
    gone = tmp_path / "not-mounted"
    signature = identity_key("oskar").sign(b"x")

    with pytest.raises(OperationalError, match="mend the folder"):
        ExchangeFolder(gone, "oskar").offer(bytes(32), Offered("oskar", {"risk": 5}, signature))

    assert not gone.exists()


def test_files_under_other_names_keep_no_observers_statement_out(tmp_path: Path) -> None:
    one, other = ExchangeFolder(tmp_path, "oskar"), ExchangeFolder(tmp_path, "olga")
    request = bytes([7] * 32)
    signature = identity_key("oskar").sign(b"x")
    for number in range(100):
        (tmp_path / f"{request.hex()}.a{number}.json").write_text("{}")
    one.offer(request, Offered("oskar", {"risk": 5}, signature))

    assert other.others(request, BOTH) == (Offered("oskar", {"risk": 5}, signature),)
