"""What the console is made of, without a browser: sessions, texts, headers, and who may look."""

import hashlib
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.requests import Request

from cli.authenticator import SoftwareAuthenticator
from cli.identities import load_identity
from cli.main import invoke
from custody.api.errors import CallRefused
from custody.auditors import AUDITOR, Auditor, read_auditors
from custody.console.guard import Guard
from custody.console.house import visit
from custody.console.log_index import Tree
from custody.console.people import OPERATOR, People
from custody.console.sessions import CHALLENGE_MS, IDLE_MS, LIFE_MS, Sessions, login_digest
from custody.console.texts import LANGUAGES, catalogue, preferred
from policy.encoding import Json
from policy.errors import OperationalError
from policy.log.merkle import frontier_at, leaf_hash, leaf_reader, prove_inclusion, verify_inclusion
from policy.roster import parse_roster
from policy.state import State
from tests.unit.custody_cluster import ORIGIN, authenticator, roster_document

SITE = "https://custody.example.com"
CONSOLE = Path(__file__).parents[2] / "custody" / "console"
ADR = Path(__file__).parents[2] / "docs" / "adr" / "0032-a-page-is-no-authority.md"


class Entrance:
    """Sessions of a roster's operators, by a clock that the test moves."""

    def __init__(self, *auditors: Auditor) -> None:
        self.now_ms = 1_000_000
        self.state = State(origin=ORIGIN, roster_or_none=parse_roster(roster_document()))
        self.sessions = Sessions(People(auditors), SITE, state=lambda: self.state, now_ms=lambda: self.now_ms)

    def log_in(self, passkey: SoftwareAuthenticator, *, nonce: str = "", site: str = SITE) -> str:
        nonce = nonce or self.sessions.challenge()
        assertion = passkey.assert_(login_digest(ORIGIN, site, nonce=nonce))
        return self.sessions.log_in(nonce, passkey.credential().id, assertion=assertion)


def test_an_operators_passkey_begins_a_session_of_theirs() -> None:
    entrance = Entrance()
    found = entrance.sessions.find(entrance.log_in(authenticator("otto")))

    assert found is not None
    assert (found.person.name, found.person.role) == ("otto", OPERATOR)


def test_an_auditor_is_known_by_the_configuration() -> None:
    passkey = authenticator("anna")
    entrance = Entrance(Auditor("anna", passkey.credential(), None))
    found = entrance.sessions.find(entrance.log_in(passkey))

    assert found is not None
    assert (found.person.name, found.person.role) == ("anna", AUDITOR)


def test_a_login_is_good_once_in_its_time_and_for_this_site() -> None:
    entrance, passkey = Entrance(), authenticator("otto")
    used = entrance.sessions.challenge()
    entrance.log_in(passkey, nonce=used)
    late = entrance.sessions.challenge()
    entrance.now_ms += CHALLENGE_MS

    for nonce in (used, late, "00" * 32, "ff" * 56, "0"):
        with pytest.raises(CallRefused, match="used or took too long"):
            entrance.log_in(passkey, nonce=nonce)
    with pytest.raises(CallRefused, match="something else"):
        entrance.log_in(passkey, site="https://evil.example.com")


@pytest.mark.parametrize(("step_ms", "steps"), [(IDLE_MS + 1, 1), (IDLE_MS, LIFE_MS // IDLE_MS + 1)])
def test_a_session_ends_when_nobody_uses_it_and_after_its_time_anyway(step_ms: int, steps: int) -> None:
    entrance = Entrance()
    token = entrance.log_in(authenticator("otto"))
    alive = []
    for _ in range(steps):
        entrance.now_ms += step_ms
        alive.append(entrance.sessions.find(token) is not None)

    assert alive == [True] * (steps - 1) + [False]


def test_a_session_ends_with_its_passkeys_place_in_the_roster() -> None:
    entrance = Entrance()
    token = entrance.log_in(authenticator("otto"))
    roster = roster_document()
    operators = roster["operators"]
    assert isinstance(operators, list)
    left: list[Json] = [one for one in operators if isinstance(one, dict) and one["name"] != "otto"]
    entrance.state = State(origin=ORIGIN, roster_or_none=parse_roster({**roster, "operators": left}))

    assert entrance.sessions.find(token) is None


def test_what_only_watches_keeps_no_session_alive() -> None:
    entrance = Entrance()
    token = entrance.log_in(authenticator("otto"))
    for _ in range(2):
        entrance.now_ms += IDLE_MS // 2 + 1
        found = entrance.sessions.find(token, touch=False)

    assert found is None


@pytest.mark.parametrize(("headers", "lasts"), [({}, True), ({"HX-Request": "true"}, False)])
def test_a_page_that_refreshes_itself_keeps_no_session_alive(headers: dict[str, str], lasts: bool) -> None:
    entrance = Entrance()
    token = entrance.log_in(authenticator("otto"))
    house: Any = SimpleNamespace(sessions=entrance.sessions, cookie="session")
    raw = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
    scope: dict[str, Any] = {
        "type": "http",
        "method": "GET",
        "path": "/",
        "headers": [*raw, (b"cookie", f"session={token}".encode())],
        "app": SimpleNamespace(state=SimpleNamespace(house=house)),
    }
    for _ in range(2):
        entrance.now_ms += IDLE_MS // 2 + 1
        found = visit(Request(scope)).session

    assert (found is not None) == lasts


def test_both_languages_say_the_same_things_with_the_same_values() -> None:
    texts = [catalogue(language) for language in LANGUAGES]
    values = [{name: sorted(re.findall(r"\{(\w+)\}", said)) for name, said in one.items()} for one in texts]

    assert values[0] == values[1]
    assert all(said.strip() for one in texts for said in one.values())


def test_every_text_that_a_page_or_script_asks_for_is_in_the_catalogue() -> None:
    pages = "".join(path.read_text() for path in (CONSOLE / "templates").glob("*.html"))
    scripts = "".join(path.read_text() for path in (CONSOLE / "static").glob("*.js"))
    asked = set(re.findall(r"""\bt\(["']([a-z_.]+[a-z_])["'][,)]""", pages))
    asked |= {
        f"js.{name}" for name in re.findall(r"""\b(?:text|need)\((?:[^"()]*, )?"([a-z_]+)"[,)]""", scripts)
    }

    assert len(asked) > 100
    assert asked <= set(catalogue("en"))


@pytest.mark.parametrize(
    ("accepted", "language"),
    [("zh-CN,zh;q=0.9,en;q=0.8", "zh"), ("de,zh;q=0.5", "zh"), ("fr", "en"), ("", "en"), (",;;,", "en")],
)
def test_the_reader_gets_the_first_of_their_languages_that_we_have(accepted: str, language: str) -> None:
    assert preferred(accepted) == language


def test_pages_have_no_script_or_style_of_their_own() -> None:
    for path in (CONSOLE / "templates").glob("*.html"):
        text = path.read_text()
        assert not re.search(r"<style|\sstyle=|\son\w+=|javascript:|<script(?![^>]*\ssrc=)", text), path
        assert not re.search(r"""(?:src|href)="(?:https?:)?//""", text), path


def test_what_others_wrote_is_what_the_decision_names() -> None:
    for path in sorted((CONSOLE / "static" / "vendor").glob("*.min.*")):
        assert hashlib.sha256(path.read_bytes()).hexdigest() in ADR.read_text(), path


async def test_a_call_to_another_host_or_from_another_site_reaches_nothing() -> None:
    async def reached(scope: object, receive: object, send: object) -> None:
        raise AssertionError("the call came through")

    client = httpx.AsyncClient(transport=httpx.ASGITransport(Guard(reached, SITE)))
    async with client:
        host = await client.get("https://evil.example.com/")
        origin = await client.post(f"{SITE}/login", headers={"Origin": "https://evil.example.com"})
        none = await client.post(f"{SITE}/login")

    assert [one.status_code for one in (host, origin, none)] == [421, 403, 403]
    for answer in (host, origin, none):
        assert "script-src 'self'" in answer.headers["Content-Security-Policy"]
        assert "unsafe" not in answer.headers["Content-Security-Policy"]
        assert answer.headers["Strict-Transport-Security"]


def test_a_file_that_is_no_auditors_card_is_named(tmp_path: Path) -> None:
    card = tmp_path / "anna.json"
    card.write_text('{"kind":"auditor","name":"anna"}')
    missing = tmp_path / "ben.json"

    with pytest.raises(
        OperationalError, match=r"anna\.json is no auditor's card: .*neither a passkey nor a key"
    ):
        read_auditors([card])
    with pytest.raises(OperationalError, match=r"ben\.json is no auditor's card"):
        read_auditors([missing])


def test_an_auditors_card_of_the_command_line_is_one_that_the_configuration_takes(tmp_path: Path) -> None:
    folder = tmp_path / "anna"
    invoke("identity", "create", "auditor", "anna", "--dir", str(folder))
    card = folder / "card.json"

    (auditor,) = read_auditors([card])
    assert (auditor.name, auditor.credential) == ("anna", None)
    assert auditor.key == load_identity(folder).key.public_key().public_bytes_raw()
    with pytest.raises(OperationalError, match="second card of anna"):
        read_auditors([card, card])


@given(st.integers(1, 3000), st.data())
def test_what_the_console_keeps_of_the_tree_proves_as_the_tree_itself(size: int, data: st.DataObject) -> None:
    tree, leaves = Tree(), [leaf_hash(number.to_bytes(4, "big")) for number in range(size)]
    index, half = data.draw(st.integers(0, size - 1)), data.draw(st.integers(0, size))
    tree.leaves += leaves[:half]
    frontier_at(tree.read, half)
    tree.leaves += leaves[half:]
    proof, root = prove_inclusion(tree.read, index, size=size), frontier_at(tree.read, size).root()

    assert root == frontier_at(leaf_reader(leaves), size).root()
    assert verify_inclusion(leaves[index], index, size=size, root=root, proof=proof)
