"""Every mistake in a configuration is said at once, with its line and its fix, before anything starts."""

import socket
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

import custody.main
import signer_nodes.main
from custody import config_reading
from policy.settings import ConfigError, parse_settings
from signer_nodes import config as node_config
from signer_nodes.api.issuing import make_identity_certificate

COORDINATOR = """\
origin = "log.example.com/treasury"
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
NODE = f"""\
name = "node-a"
role = "node"
origin = "log.example.com/treasury"
listen = "127.0.0.1:0"
data_dir = "."
genesis = "genesis.json"
genesis_fingerprint = "{"ab" * 32}"
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
    for name in ("genesis.json", "module.so"):
        (tmp_path / name).write_text("{}")
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
        (lambda path: custody.main.main(["--config", path]), COORDINATOR),
        (lambda path: signer_nodes.main.main(["run", "--config", path]), NODE),
    ],
    ids=["coordinator", "node"],
)
def test_a_program_that_cannot_use_its_configuration_ends_with_2(
    folder: Path, program: Callable[[str], int], text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = folder / "config.toml"
    path.write_text(text.replace("origin", "orgin") + "[colour]\n")

    assert program(str(path)) == 2
    assert not (folder / "data").exists()


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
