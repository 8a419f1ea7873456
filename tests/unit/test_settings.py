"""Every mistake in a configuration is said at once, with its line and its fix, before anything starts."""

import json
import socket
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

import custody.main
import signer_nodes.main
from custody import config_reading
from custody.adapters.leased import Leased
from policy.errors import OperationalError
from policy.log.merkle import leaf_hash
from policy.settings import ConfigError, parse_settings
from signer_nodes import config as node_config
from signer_nodes.api.issuing import make_identity_certificate
from tests.unit.custody_cluster import genesis_entry, policy_document

COORDINATOR = """\
origin = "log.example.com/test"
listen = "127.0.0.1:0"
data_dir = "data"
genesis = "genesis.json"
identity_key = "identity.key"
log_key = "log.key"

[nodes.node-a]
address = "127.0.0.1:7700"
certificate = "node-a.pem"

[nodes.node-b]
address = "127.0.0.1:7701"
certificate = "node-b.pem"

[chains."evm:1"]
url = "http://127.0.0.1:8545"
"""
GENESIS = genesis_entry(policy_document())
NODE = f"""\
name = "node-a"
role = "node"
origin = "log.example.com/test"
listen = "127.0.0.1:0"
data_dir = "."
genesis = "genesis.json"
genesis_fingerprint = "{leaf_hash(GENESIS).hex()}"
coordinator_certificate = "coordinator.pem"

[hsm]
module = "module.so"
token_label = "node-a"

[peers.node-b]
address = "127.0.0.1:7701"
certificate = "node-b.pem"

[peers.node-c]
address = "127.0.0.1:7702"
certificate = "node-c.pem"
"""


def secret(path: Path, key: Ed25519PrivateKey) -> None:
    path.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    path.chmod(0o600)


def certificate(path: Path, name: str, key: Ed25519PrivateKey) -> None:
    path.write_bytes(make_identity_certificate(name, key.public_key().public_bytes_raw(), sign=key.sign))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Everything that both configurations name."""
    for name in ("identity.key", "log.key"):
        secret(tmp_path / name, Ed25519PrivateKey.generate())
    for name in ("node-a", "node-b", "node-c", "coordinator"):
        certificate(tmp_path / f"{name}.pem", name, Ed25519PrivateKey.generate())
    (tmp_path / "genesis.json").write_bytes(GENESIS)
    (tmp_path / "module.so").write_text("{}")
    return tmp_path


def said(load: Callable[[Path], object], folder: Path, text: str) -> list[str]:
    """``line key`` of each problem."""
    path = folder / "config.toml"
    path.write_text(text)
    try:
        load(path)
    except ConfigError as error:
        assert all(one.text[-1].isalnum() or one.text[-1] in ")'" for one in error.problems)
        return [f"{one.line} {one.key}" for one in error.problems]
    return []


def test_sound_ones_have_no_problem(folder: Path) -> None:
    assert said(config_reading.load_to_run, folder, COORDINATOR) == []
    assert said(node_config.load_to_run, folder, NODE) == []


Break = Callable[[Path], object]


def _make_folder(folder: Path) -> None:
    (folder / "genesis.json").unlink()
    (folder / "genesis.json").mkdir()


FILES: list[tuple[str, Break, str]] = [
    ("missing", lambda folder: (folder / "genesis.json").unlink(), "4 genesis"),
    ("a folder", _make_folder, "4 genesis"),
    ("no entry", lambda folder: (folder / "genesis.json").write_text("{}"), "4 genesis"),
    ("cut", lambda folder: (folder / "genesis.json").write_bytes(b'{"body":'), "4 genesis"),
    ("a file for a folder", lambda folder: (folder / "data").write_text(""), "3 data_dir"),
    ("open", lambda folder: (folder / "log.key").chmod(0o644), "6 log_key"),
    ("no key", lambda folder: (folder / "log.key").write_text("secret"), "6 log_key"),
    (
        "a public key",
        lambda folder: (folder / "identity.key").write_bytes((folder / "node-a.pem").read_bytes()),
        "5 identity_key",
    ),
    (
        "no certificate",
        lambda folder: (folder / "node-a.pem").write_text("x"),
        "10 nodes.node-a.certificate",
    ),
    (
        "another's",
        lambda folder: (folder / "node-b.pem").rename(folder / "node-a.pem"),
        "10 nodes.node-a.certificate",
    ),
]


@pytest.mark.parametrize(("spoil", "expected"), [one[1:] for one in FILES], ids=[one[0] for one in FILES])
def test_what_a_coordinator_names_must_be_there_and_its_own(
    folder: Path, spoil: Break, expected: str
) -> None:
    spoil(folder)

    assert expected in said(config_reading.load_to_run, folder, COORDINATOR)
    assert said(config_reading.load_config, folder, COORDINATOR) == []


MORE = """
[http]
listen_file = "nowhere/port"
[console]
origin = "https://custody.example.com"
listen = "127.0.0.1:0"
listen_file = "log"
certificate = "node-a.pem"
certificate_key = "log.key"
[auditors]
cards = ["genesis.json"]
[webhooks]
key = "log.key"
[webhooks.to.shop]
initiator = "shop"
url = "https://shop.example.com/"
certificate = "module.so"
[mail]
host = "mail.example.com"
sender = "custody@example.com"
user = "custody"
password_file = "password"
certificate = "log.key"
"""


def test_what_is_used_only_later_is_looked_for_at_the_start_too(folder: Path) -> None:
    """Or a coordinator would run for weeks, and fail at the first mail, browser or delivery."""
    (folder / "log").mkdir()
    (folder / "password").write_text("hunter2")
    (folder / "password").chmod(0o644)
    (folder / "limits.toml").write_text("colour = 1\n")
    first = 'publish_dir = "module.so"\nindicators = "limits.toml"\nmetrics_port = 7601\n'

    assert said(config_reading.load_to_run, folder, first + COORDINATOR + MORE) == [
        "1 publish_dir",
        "2 indicators",
        "3 metrics_port",
        "23 http.listen_file",
        "27 console.listen_file",
        "28 console.certificate",
        "31 auditors.cards",
        "37 webhooks.to.shop.certificate",
        "42 mail.password_file",
        "43 mail.certificate",
    ]


def test_a_file_in_the_folder_that_is_made_at_the_first_start_has_a_place(folder: Path) -> None:
    listening = COORDINATOR.replace("[nodes", 'listen_file = "data/port"\n[nodes', 1)

    assert said(config_reading.load_to_run, folder, listening) == []
    assert said(config_reading.load_to_run, folder, listening.replace("data/", "date/")) != []


@pytest.mark.parametrize(("mode", "text"), [(0o644, "word"), (0o600, "two\nlines"), (0o620, "word")])
def test_a_password_of_mail_that_is_not_taken_later_is_refused_by_a_check_too(
    folder: Path, mode: int, text: str
) -> None:
    (folder / "password").write_text(text)
    (folder / "password").chmod(mode)
    mail = MORE.partition("[mail]")[2].replace('certificate = "log.key"\n', "")

    assert said(config_reading.load_to_run, folder, f"{COORDINATOR}[mail]{mail}") == ["22 mail.password_file"]


@pytest.mark.parametrize(
    "url",
    ["sqlite://", "sqlite:///:memory:", "mysql://custody:hunter2@db/custody", "hunter2", "postgresql://"],
)
def test_a_database_is_a_file_or_postgresql(folder: Path, url: str) -> None:
    text = f'database = "{url}"\n' + COORDINATOR

    assert said(config_reading.load_config, folder, text) == ["1 database"]


def test_a_url_that_no_driver_takes_is_refused_without_showing_it() -> None:
    with pytest.raises(OperationalError, match="correct it") as caught:
        Leased("postgresql+psycopg://custody:u@hunter2:x@db/custody")

    assert "hunter2" not in str(caught.value)


def test_another_origin_than_the_genesis_entrys_is_said_before_nodes_stay_silent(folder: Path) -> None:
    text = COORDINATOR.replace("example.com/test", "example.com/treasure")

    assert said(config_reading.load_to_run, folder, text) == ["1 origin"]


def test_a_mark_before_the_text_and_the_line_ends_of_other_systems_are_taken(folder: Path) -> None:
    path = folder / "config.toml"
    path.write_bytes(b"\xef\xbb\xbf" + COORDINATOR.replace("\n", "\r\n").encode())

    assert config_reading.load_to_run(path).origin == "log.example.com/test"


@pytest.mark.parametrize("text", ["x = " + "[" * 5000 + "]" * 5000, ".".join("a" * 20) + " = 1"])
def test_what_is_nested_too_deep_is_no_configuration(text: str) -> None:
    with pytest.raises(ConfigError, match="deep"):
        parse_settings(text, "it")


def test_what_would_take_long_to_read_is_read_in_no_time(folder: Path) -> None:
    """Both once took minutes: keys of many parts, and values with many ends at which a look may begin."""
    started = time.process_time()
    with pytest.raises(ConfigError, match="line 2: the file has more than 250 dots"):
        parse_settings("a = 1\n" + ".".join(["a"] * 20_000) + " = 1", "x")
    found = parse_settings("before = 1\nx = [\n" + "[1],\n" * 40_000 + "]\nafter = 2\n", "x")

    assert time.process_time() - started < 5
    assert (found.line("before"), found.values["after"]) == (1, 2)
    assert parse_settings("# " + "." * 300 + "\na = 1", "x").line("a") == 2


def test_a_long_value_is_read_in_no_time_and_many_problems_are_counted() -> None:
    text = "z = '''\n" + "a\n" * 20_000 + "'''\n" + "".join(f"k{n} = 1\n" for n in range(150))
    settings = parse_settings(text, "it")
    settings.done()
    error = ConfigError("it", settings.problems)

    assert settings.lines[("k149",)] == 20_152
    assert str(error).splitlines()[-1] == "  and 51 more"


def test_what_a_node_pins_is_compared_before_its_token_is_opened(folder: Path) -> None:
    (folder / "roster.json").write_text("{")
    (folder / "port").mkdir()
    roster = 'roster = "roster.json"\nroster_fingerprint = "' + "ab" * 32 + '"\n'
    first = 'listen_file = "port"\n' + roster + NODE.replace("example.com/test", "example.com/other")

    assert said(node_config.load_to_run, folder, first) == ["1 listen_file", "2 roster", "6 origin"]
    (folder / "genesis.json").write_bytes(b"{" + GENESIS)
    (folder / "roster.json").write_text("{}")
    assert said(node_config.load_to_run, folder, roster + NODE) == ["1 roster", "8 genesis"]


def test_what_a_node_names_must_be_there(folder: Path) -> None:
    for name in ("genesis.json", "module.so", "coordinator.pem", "node-b.pem"):
        (folder / name).unlink()

    found = said(node_config.load_to_run, folder, NODE.replace('data_dir = "."', 'data_dir = "unmounted"'))

    assert found == [
        "5 data_dir",
        "6 genesis",
        "8 coordinator_certificate",
        "11 hsm.module",
        "16 peers.node-b.certificate",
    ]


def test_nobody_is_there_twice_under_two_names(folder: Path) -> None:
    key = Ed25519PrivateKey.generate()
    certificate(folder / "node-b.pem", "node-b", key)
    certificate(folder / "node-c.pem", "node-c", key)
    certificate(folder / "node-a.pem", "node-a", key)

    assert said(node_config.load_to_run, folder, NODE) == ["20 peers.node-c.certificate"]
    assert said(node_config.load_config, folder, NODE.replace("7702", "7701")) == ["19 peers.node-c.address"]
    assert said(config_reading.load_to_run, folder, COORDINATOR) == ["14 nodes.node-b.certificate"]
    same = COORDINATOR.replace("7701", "7700")
    assert said(config_reading.load_config, folder, same) == ["13 nodes.node-b.address"]
    doors = COORDINATOR.replace(":0", ":7600") + '[http]\nlisten = "127.0.0.1:7600"\n'
    assert said(config_reading.load_config, folder, doors) == ["19 http.listen"]


def test_a_port_that_is_in_use_is_said_at_the_start(folder: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        listen = f"127.0.0.1:{taken.getsockname()[1]}"
        found = said(node_config.load_to_run, folder, NODE.replace("127.0.0.1:0", listen))
        doors = COORDINATOR.replace("127.0.0.1:0", listen) + f"[http]\nlisten = {listen!r}\n"
        both = said(config_reading.load_to_run, folder, doors)

    assert found == ["4 listen"]
    assert both == ["2 listen", "19 http.listen", "19 http.listen"]
    assert said(node_config.load_to_run, folder, NODE.replace("127.0.0.1:0", listen)) == []
    elsewhere = NODE.replace("127.0.0.1:0", "192.0.2.1:7700")
    assert said(node_config.load_to_run, folder, elsewhere) == ["4 listen"]


def test_wrong_text_and_wrong_files_are_said_together(folder: Path) -> None:
    (folder / "genesis.json").unlink()
    text = COORDINATOR.replace('origin = "log', 'origin = "the log').replace("[chains", "colour = 1\n[chains")
    text += 'confirmations = "many"\n[pools]\nbatch = 3\n[mail]\n'

    assert said(config_reading.load_to_run, folder, text) == [
        "1 origin",
        "4 genesis",
        "16 nodes.node-b.colour",
        "19 chains.evm:1.confirmations",
        "21 pools.batch",
        "22 mail.host",
        "22 mail.sender",
    ]


@pytest.mark.parametrize(
    ("program", "text"),
    [
        (lambda path: custody.main.main(["--config", path, "--json"]), COORDINATOR),
        (lambda path: signer_nodes.main.main(["run", "--config", path, "--json"]), NODE),
    ],
    ids=["coordinator", "node"],
)
def test_a_program_that_cannot_use_its_configuration_ends_with_2(
    folder: Path, program: Callable[[str], int], text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = folder / "config.toml"
    path.write_text(text.replace("origin", "orgin") + "[colour]\n")

    assert program(str(path)) == 2
    told = json.loads(capsys.readouterr().out)
    assert not told["ok"] and told["code"] == "ConfigError" and "orgin" in told["error"]
    assert not (folder / "data").exists()


def test_what_may_pass_by_itself_ends_a_program_with_75(folder: Path) -> None:
    """A disk that is not mounted yet or a port that is held is waited for; a mistake is not."""
    path, mounted = folder / "config.toml", folder / "mounted"
    mounted.mkdir()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        held = f"127.0.0.1:{taken.getsockname()[1]}"
        for text, code in (
            (COORDINATOR.replace("127.0.0.1:0", held), 75),
            (COORDINATOR.replace('"genesis.json"', '"mounted/genesis.json"'), 75),
            (COORDINATOR.replace('"genesis.json"', '"no/genesis.json"'), 75),
            (COORDINATOR.replace('"genesis.json"', '"other.json"'), 2),
            (COORDINATOR.replace("127.0.0.1:0", held).replace("origin", "orgin"), 2),
        ):
            path.write_text(text)
            assert custody.main.main(["--config", str(path)]) == code, text
        for text, code in (
            (NODE.replace("127.0.0.1:0", held), 75),
            (NODE.replace('data_dir = "."', 'data_dir = "no"'), 75),
            (NODE.replace('data_dir = "."', 'data_dir = "module.so"'), 2),
        ):
            path.write_text(text)
            assert signer_nodes.main.main(["run", "--config", str(path)]) == code, text

    assert custody.main.main(["--config", str(mounted / "config.toml")]) == 75
    assert custody.main.main(["--config", str(folder / "other.toml")]) == 2


def test_no_secret_is_shown(folder: Path) -> None:
    url = "postgresql://custody:hunter2@db/quorumkeep"
    text = f'database = "{url}\\u0007"\n' + COORDINATOR.replace("http://127", "hunter2\\u0007")
    text += '[mail]\nhost = "mail"\nsender = "a@example.com"\npassword = "hunter2"\n'
    text += (
        '[webhooks]\nkey = "log.key"\n[webhooks.to.shop]\ninitiator = "shop"\nurl = "https://u:hunter2@x/"\n'
    )
    path = folder / "config.toml"
    path.write_text(text)

    with pytest.raises(ConfigError) as caught:
        config_reading.load_to_run(path)

    assert len(caught.value.problems) == 4
    assert "hunter2" not in str(caught.value)


def test_every_key_has_the_line_where_it_begins() -> None:
    text = '# a\na = 1\n"b c" = """\nx\n[no]\n"""\nd.e = 2\n'
    text += '[s]  # s\nf = [\n 1,\n]\n[s."t.u"]\ng = {h = 1}\n[[v]]\nw = 1\n'

    found = parse_settings(text, "it").lines

    assert found == {
        ("a",): 2,
        ("b c",): 3,
        ("d",): 7,
        ("d", "e"): 7,
        ("s",): 8,
        ("s", "f"): 9,
        ("s", "t.u"): 12,
        ("s", "t.u", "g"): 13,
        ("s", "t.u", "g", "h"): 13,
        ("v",): 14,
        ("v", "w"): 15,
    }


@pytest.mark.parametrize(
    ("text", "line"), [("a = 1\nb = \nc = 1", 2), ("a = 1\na = 2\n", 2), ("a = [\n1,\n", 3)]
)
def test_what_is_no_toml_is_said_with_its_line(text: str, line: int) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_settings(text, "it")

    assert [problem.line for problem in caught.value.problems] == [line]


@pytest.mark.parametrize("host", ["custody-1.example.com", "10.0.0.1", "[fd00::1]"])
def test_a_coordinator_is_advertised_by_name_or_number(folder: Path, host: str) -> None:
    text = f'advertise = "{host}"\n' + COORDINATOR.replace("127.0.0.1:0", "127.0.0.1:7600")

    assert said(config_reading.load_config, folder, text) == []
