"""What every screening provider must do: the file-based one, and one in memory as tests have it."""

import hashlib
import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeAlias

import pytest

from custody.adapters.risk_files import ListFile
from custody.risk.ports import NoScreening, Screened, Screener
from custody.risk.sanctions import Words

DAY_MS = 86_400_000
NOW_MS = 1_795_651_200_000  # 2026-11-26
TODAY, OLD, AHEAD = "2026-11-25", "2026-11-01", "2026-12-24"
LISTED = "0x8589427373D6D84E98730D7795D8f6f8731FDA16"
SEGWIT = "bc1qar0srrr7xfkvy5l643lydnw9re59gtzzwf5mdq"
CLEAN = "0x" + "ab" * 20
WORDS = Words("clear", "sanctioned")


class Memory:
    """A provider in memory."""

    def __init__(self, day: str, addresses: Sequence[str]) -> None:
        self.age_days = {TODAY: 1, OLD: 25, AHEAD: -28}[day]
        self.addresses = {address.lower() for address in addresses}
        self.list_hash = hashlib.sha256(json.dumps([day, *addresses]).encode()).digest()

    def screen(self, addresses: Sequence[str], *, now_ms: int) -> Screened:
        if not 0 <= self.age_days + (now_ms - NOW_MS) // DAY_MS <= 7:
            raise NoScreening("the list is not of these days")
        hits = tuple(one for one in addresses if one.lower() in self.addresses)
        return Screened(WORDS.hit if hits else WORDS.clear, self.list_hash, hits)


Make: TypeAlias = Callable[[str, Sequence[str]], Screener]


def write(path: Path, day: str, addresses: Sequence[str]) -> None:
    path.write_text(json.dumps({"source": "tests", "as_of": day, "addresses": list(addresses)}))


@pytest.fixture(params=["file", "memory"])
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Make:
    def file(day: str, addresses: Sequence[str]) -> Screener:
        path = tmp_path / f"{day}-{len(addresses)}.json"
        write(path, day, addresses)
        return ListFile(path, words=WORDS, max_age_days=7)

    return file if request.param == "file" else Memory


def test_who_is_on_the_list_is_found_and_who_is_not_is_clear(make: Make) -> None:
    screener = make(TODAY, [LISTED])

    assert screener.screen([CLEAN], now_ms=NOW_MS).result == "clear"
    assert screener.screen([CLEAN, LISTED.lower()], now_ms=NOW_MS).hits == (LISTED.lower(),)


@pytest.mark.parametrize("address", [LISTED, LISTED.lower(), SEGWIT, SEGWIT.upper()])
def test_an_address_is_the_same_in_any_way_of_writing(make: Make, address: str) -> None:
    found = make(TODAY, [address]).screen([LISTED.lower(), SEGWIT], now_ms=NOW_MS)

    assert found.result == "sanctioned"
    assert len(found.hits) == 1


def test_the_same_list_says_the_same_under_the_same_hash_and_another_under_another(make: Make) -> None:
    one, again, other = make(TODAY, [LISTED]), make(TODAY, [LISTED]), make(TODAY, [LISTED, CLEAN])

    assert one.screen([CLEAN], now_ms=NOW_MS) == again.screen([CLEAN], now_ms=NOW_MS)
    assert one.screen([], now_ms=NOW_MS).list_hash != other.screen([], now_ms=NOW_MS).list_hash


@pytest.mark.parametrize("day", [OLD, AHEAD])
def test_a_list_of_another_time_says_nothing_of_anybody(make: Make, day: str) -> None:
    with pytest.raises(NoScreening):
        make(day, [LISTED]).screen([LISTED], now_ms=NOW_MS)


def test_a_list_grows_old_while_it_is_used(make: Make) -> None:
    screener = make(TODAY, [LISTED])
    screener.screen([CLEAN], now_ms=NOW_MS + 6 * DAY_MS)

    with pytest.raises(NoScreening):
        screener.screen([CLEAN], now_ms=NOW_MS + 8 * DAY_MS)


def test_nobody_to_screen_asks_whether_the_list_is_good(make: Make) -> None:
    assert make(TODAY, []).screen((), now_ms=NOW_MS).hits == ()
    with pytest.raises(NoScreening):
        make(OLD, []).screen((), now_ms=NOW_MS)


# The file alone.


def test_a_file_that_is_replaced_is_read_again(tmp_path: Path) -> None:
    path = tmp_path / "list.json"
    write(path, TODAY, [LISTED])
    screener = ListFile(path, words=WORDS, max_age_days=7)
    before = screener.screen([CLEAN], now_ms=NOW_MS)
    write(tmp_path / "new.json", TODAY, [CLEAN])
    os.replace(tmp_path / "new.json", path)

    after = screener.screen([CLEAN], now_ms=NOW_MS)

    assert (before.result, after.result) == ("clear", "sanctioned")
    assert after.list_hash == hashlib.sha256(path.read_bytes()).digest()


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "not JSON"),
        ("[]", "expected an object"),
        ('{"source": "s", "as_of": "2026-11-25"}', "'addresses' is missing"),
        ('{"source": "s", "as_of": "25.11.2026", "addresses": []}', "no day as"),
        ('{"source": "s", "as_of": "2026-11-25", "addresses": [7]}', "no address"),
        ('{"source": "s", "as_of": "2026-11-25", "addresses": ["  "]}', "no address"),
        ('{"source": "s", "as_of": "2026-11-25", "addresses": [], "more": 1}', "unknown field"),
        ("[" * 100_000, "not JSON|expected an object"),
    ],
)
def test_a_damaged_file_says_nothing_and_why(tmp_path: Path, text: str, why: str) -> None:
    path = tmp_path / "list.json"
    path.write_text(text)

    with pytest.raises(NoScreening, match=why):
        ListFile(path, words=WORDS, max_age_days=7).screen([CLEAN], now_ms=NOW_MS)


def test_a_missing_file_says_nothing_and_where_it_should_be(tmp_path: Path) -> None:
    with pytest.raises(NoScreening, match=r"list\.json"):
        ListFile(tmp_path / "list.json", words=WORDS, max_age_days=7).screen([], now_ms=NOW_MS)
