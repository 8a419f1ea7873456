"""``quorumkeep risk`` on the command line: over a running coordinator, and over a published log alone."""

import asyncio
import hashlib
import json
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from cli.main import invoke, main
from cli.results import DONE, REFUSED, Misuse, Result, Table
from cli.risk.assignment import FILE, load_assignment
from custody.adapters.api_server import CustodyServicer, ServerTls, start_server
from custody.adapters.identity import boot_credentials
from policy.encoding import Json, canonical
from policy.errors import OperationalError
from policy.fact_entries import Basis
from policy.settings import ConfigError
from tests.simulation.world import OTHER, STRANGER, Book
from tests.unit.custody_cluster import PAYEE, identity
from tests.unit.test_audit import published, trust_file, written
from tests.unit.test_cli_holdings import Watch
from tests.unit.test_custody_statements import OBSERVERS, house_with, rule, submit
from tests.unit.test_risk_reading import paying, points, read, state
from tests.waiting import until

ASSIGNMENT = 'exchange = "../shared"\n[screening]\nfile = "../list.json"\nmax_age_days = 7\n'


class Desk(Watch):
    """Scoring observers at a running coordinator."""

    server: Any

    async def risk(self, *argv: str, who: str = OBSERVERS[0]) -> Result:
        more = ("--as", str(self.folder / who), "--client", str(self.folder / "client.json"))
        return await asyncio.to_thread(invoke, "risk", *argv, *more, "--trust", self.trust)


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    forbid: Json = {"name": "bad", "when": {"screenings": ["sanctioned"]}}
    house = house_with(tmp_path, rule({"outcome": "allow"}, risk_max=49), forbids=[forbid])
    mine = boot_credentials("coordinator", identity("coordinator"))
    async with house.with_key() as running:
        servicer = CustodyServicer(running.service, running.parts)
        tls = ServerTls(mine.certificate_pem, mine.key_pem)
        server, port = await start_server(servicer, "127.0.0.1:0", tls=tls)
        found = Desk(tmp_path, running, port)
        found.house, found.server = house, server
        (tmp_path / "shared").mkdir()
        for name in OBSERVERS:
            (tmp_path / name / FILE).write_text(ASSIGNMENT)
        listed(tmp_path)
        yield found
        await server.stop(0)


def listed(folder: Path, *addresses: str, day: str = "") -> None:
    day = day or datetime.now(UTC).date().isoformat()
    document = {"source": "tests", "as_of": day, "addresses": list(addresses)}
    (folder / "list.json").write_text(json.dumps(document))


async def cosigned(desk: Desk) -> None:
    """Wait until w cosigners have all there is."""
    parts = desk.running.parts
    await until(lambda: parts.replication.quorum.size == parts.sequencer.state.size)


async def test_two_observers_score_what_waits_and_it_is_paid_by_their_word(desk: Desk) -> None:
    request = await submit(desk.running, desk.house, "first")
    await desk.running.until(request, "waiting")
    await cosigned(desk)

    alone = await desk.risk("run", "--once")
    both = await desk.risk("run", "--once", who=OBSERVERS[1])
    await desk.running.until(request, "settled")
    verified = await desk.risk("verify")
    explained = await desk.risk("explain", request.hex())

    assert [one["logged"] for one in alone.document["statements"]] == [False]
    (made,) = both.document["statements"]
    assert (made["logged"], made["risk"], made["result"]) == (True, 35, "clear")
    assert (verified.code, verified.document["recomputed"], verified.document["wrong"]) == (DONE, 1, [])
    assert {one["feature"] for one in explained.document["shares"]} == {"first-use", "amount"}
    assert explained.document["stated"][0]["risk"] == 35


async def test_who_is_on_the_list_is_not_paid(desk: Desk) -> None:
    listed(desk.folder, PAYEE.upper().replace("X", "x"))
    request = await submit(desk.running, desk.house, "first")
    await desk.running.until(request, "waiting")
    await cosigned(desk)

    for who in OBSERVERS:
        await desk.risk("run", "--once", who=who)

    found = desk.running.parts.sequencer.state.requests[request].screening
    assert found is not None
    assert found.result == "sanctioned"
    assert (await desk.running.service.get(request)).state != "settled"


async def test_a_list_that_is_too_old_ends_a_look_with_what_to_do(desk: Desk) -> None:
    listed(desk.folder, day="2020-02-29")
    await cosigned(desk)

    with pytest.raises(OperationalError, match=r"days old, and 7 are allowed: fetch a new one"):
        await desk.risk("run", "--once")


async def test_an_observer_must_know_whose_log_it_is(desk: Desk) -> None:
    more = ("--as", str(desk.folder / OBSERVERS[0]), "--client", str(desk.folder / "client.json"))

    with pytest.raises(Misuse, match="--trust is missing"):
        await asyncio.to_thread(invoke, "risk", "run", "--once", *more)
    with pytest.raises(Misuse, match="--trust"):
        await asyncio.to_thread(invoke, "risk", "run", "--once", *more, "--trust", "nowhere.json")


# A published log alone.


def scored_book() -> tuple[Book, bytes]:
    book = paying(10)
    request = book.request(600, to=OTHER)
    state(book, request, read(book)[1][request].score.points)
    return book, request


def ask(book: Book, folder: Path, *argv: str) -> Result:
    log = written(folder / "log", published(book))
    return invoke("risk", *argv, "--log", str(log), "--trust", str(trust_file(folder)))


def test_a_score_is_shown_as_a_table_of_shares_that_add_up(tmp_path: Path) -> None:
    book, request = scored_book()

    found = ask(book, tmp_path, "score", request.hex())

    assert sum(one["points"] for one in found.document["shares"]) == found.document["risk"]
    (table,) = [one for one in found.text if isinstance(one, Table)]
    assert [row[0] for row in table.rows] == list(points(book, request))
    assert "risk 75, at or above 50" in str(found.text[0])


def test_a_request_in_a_file_is_scored_as_if_it_came_next(tmp_path: Path) -> None:
    book, _ = scored_book()
    asked = book.asked(601, to=OTHER)
    file = tmp_path / "request.json"
    file.write_bytes(canonical(asked.body()))

    said = ask(book, tmp_path, "score", str(file))
    book.log_request(asked)
    logged = ask(book, tmp_path, "score", said.document["request"])

    assert said.document["shares"] == logged.document["shares"]
    assert said.document["risk"] > 0


def test_an_unknown_request_and_a_file_of_something_else_are_named(tmp_path: Path) -> None:
    book, _ = scored_book()
    (tmp_path / "list.json").write_text("[]")

    with pytest.raises(OperationalError, match="no admitted request"):
        ask(book, tmp_path, "score", "ab" * 32)
    with pytest.raises(OperationalError, match="is no request"):
        ask(book, tmp_path, "explain", str(tmp_path / "list.json"))


def test_a_true_log_is_verified_and_one_false_share_is_found(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    book, request = scored_book()
    good = ask(book, tmp_path, "verify")
    book.advance(5)
    state(book, request, (("first-use", 25), ("amount", 1)))
    log = written(tmp_path / "bad", published(book))

    code = main(["risk", "verify", "--json", "--log", str(log), "--trust", str(trust_file(tmp_path))])

    found = json.loads(capsys.readouterr().out)
    assert (good.code, good.document["ok"], good.document["recomputed"]) == (DONE, True, 1)
    assert (code, found["ok"], found["recomputed"]) == (REFUSED, False, 2)
    assert [one["index"] for one in found["wrong"]] == [len(book.entries) - 1]
    assert found["log"]["ok"]


def test_a_log_that_does_not_hold_verifies_no_score(tmp_path: Path) -> None:
    book, _ = scored_book()
    files = published(book, by=("node-1",))
    log = written(tmp_path / "log", files)

    found = invoke("risk", "verify", "--log", str(log), "--trust", str(trust_file(tmp_path)))

    assert (found.code, found.document["ok"]) == (REFUSED, False)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "screening.file is missing"),
        ("[screening]", "screening.file is missing"),
        ('every = 5\n[screening]\nfile = "a"', "every is not known here"),
        ('every_s = 0\n[screening]\nfile = "a"', "every_s"),
        ('[screening]\nfile = "a"\nclear = "x"\nhit = "x"', "one word"),
        ('[screening]\nfile = "a"\nmax_age_days = 1.5', "max_age_days"),
        ("[screening", "risk.toml"),
    ],
)
def test_an_assignment_says_what_is_wrong_with_it(tmp_path: Path, text: str, why: str) -> None:
    (tmp_path / FILE).write_text(text)

    with pytest.raises(OperationalError, match=why):
        load_assignment(tmp_path)


def test_all_that_is_wrong_with_an_assignment_is_said_at_once_with_its_line(tmp_path: Path) -> None:
    text = 'every_s = 0\nevery = 5\nexchange = "nowhere"\n[screening]\nfile = 7\nclear = "NO"\n'
    (tmp_path / FILE).write_text(text)

    with pytest.raises(ConfigError) as caught:
        load_assignment(tmp_path)

    found = [f"{one.line} {one.key}" for one in caught.value.problems]
    assert found == ["1 every_s", "2 every", "3 exchange", "5 screening.file", "6 screening.clear"]


@pytest.mark.parametrize(
    ("named", "passing"), [("nowhere", True), ("list.json", False), ("nowhere/in", True)]
)
def test_an_exchange_that_is_no_folder_is_refused_at_the_start_and_not_made(
    tmp_path: Path, named: str, passing: bool
) -> None:
    listed(tmp_path)
    (tmp_path / FILE).write_text(f'exchange = "{named}"\n[screening]\nfile = "list.json"\n')
    before = sorted(tmp_path.iterdir())

    with pytest.raises(
        ConfigError, match=r"line 1: exchange is .*, which is no folder: .* make it"
    ) as caught:
        load_assignment(tmp_path)

    assert [one.passing for one in caught.value.problems] == [passing]
    assert sorted(tmp_path.iterdir()) == before


def test_an_assignment_has_defaults_and_paths_from_its_folder(tmp_path: Path) -> None:
    (tmp_path / FILE).write_text('[screening]\nfile = "list.json"\n')

    found = load_assignment(tmp_path)

    assert found.list_file == tmp_path / "list.json"
    assert (found.max_age_days, found.every_s, found.exchange) == (7, 5, None)
    assert (found.words.clear, found.words.hit) == ("clear", "sanctioned")


async def test_a_running_observer_waits_out_a_coordinator_and_ends_when_it_is_told_to(desk: Desk) -> None:
    home = desk.folder / OBSERVERS[0]
    (home / FILE).write_text("every_s = 1\n" + ASSIGNMENT)
    request = await submit(desk.running, desk.house, "first")
    await desk.running.until(request, "waiting")
    await cosigned(desk)
    where = ["--as", str(home), "--client", str(desk.folder / "client.json"), "--trust", desk.trust]
    command = [sys.executable, "-m", "cli.main", "risk", "run", "--json", *where]

    pipe = subprocess.PIPE
    running = await asyncio.to_thread(lambda: subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True))
    assert running.stderr is not None
    stderr = running.stderr
    said = await asyncio.to_thread(
        lambda: next(line for line in stderr if "waits for other observers" in line)
    )
    await desk.server.stop(0)
    failed = await asyncio.to_thread(lambda: next(line for line in stderr if "not now" in line))
    running.send_signal(signal.SIGTERM)
    out, _ = await asyncio.to_thread(running.communicate, timeout=20)

    assert request.hex()[:16] in said
    assert "unavailable" in failed
    assert (running.returncode, len(json.loads(out)["statements"])) == (0, 1)
    assert (home / "risk.db").exists()


@pytest.mark.parametrize(
    ("listed_one", "result", "why"),
    [
        (OTHER, "sanctioned", ""),
        (OTHER, "clear", "is on the list of tests"),
        (STRANGER, "clear", ""),
        (STRANGER, "sanctioned", "nobody it pays is on the list"),
    ],
)
def test_a_screening_is_made_again_by_the_list_that_it_names(
    tmp_path: Path, listed_one: str, result: str, why: str
) -> None:
    listed(tmp_path, listed_one)
    file = tmp_path / "list.json"
    book = paying(10)
    request = book.request(600, to=OTHER)
    basis = Basis("open-2", hashlib.sha256(file.read_bytes()).digest(), read(book)[1][request].score.points)
    book.screen(request, result=result, risk=basis.risk, basis=basis.to_json())

    found = ask(book, tmp_path, "verify", "--list", str(file))

    assert found.document["screened_again"] == 1
    assert found.code == (REFUSED if why else DONE)
    assert why in "".join(one["wrong"] for one in found.document["wrong"])
    listed(tmp_path, listed_one, PAYEE)
    assert ask(book, tmp_path, "verify", "--list", str(file)).document["screened_again"] == 0


def test_a_list_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    book, _ = scored_book()

    with pytest.raises(Misuse, match=r"--list .*gone\.json"):
        ask(book, tmp_path, "verify", "--list", str(tmp_path / "gone.json"))
