"""A node's configuration is read whole, and wrong ones say everything that is wrong."""

from pathlib import Path

import pytest

from policy.settings import ConfigError, Problem
from signer_nodes.config import CLOCK_SKEW_MS_DEFAULT, load_config, parse_config

FOLDER = Path("/srv/node")
MINIMAL = """
name = "node-a"
role = "witness"
origin = "log.example.com/treasury"
listen = "127.0.0.1:0"
data_dir = "data"
genesis = "genesis.json"
genesis_fingerprint = "{fingerprint}"
coordinator_certificate = "/etc/coordinator.pem"
[hsm]
module = "/usr/lib/softhsm/libsofthsm2.so"
token_label = "node-a"
""".format(fingerprint="ab" * 32)
PEER = """
[peers.node-b]
address = "node-b.example.com:7700"
certificate = "node-b.pem"
"""


def problems_of(text: str) -> tuple[Problem, ...]:
    with pytest.raises(ConfigError) as caught:
        parse_config(text, FOLDER)
    return caught.value.problems


def test_minimal_configuration_has_defaults_and_absolute_paths() -> None:
    config = parse_config(MINIMAL, FOLDER)

    assert (config.name, config.role, config.listen) == ("node-a", "witness", "127.0.0.1:0")
    assert config.genesis_fingerprint == b"\xab" * 32
    assert (config.data_dir, config.listen_file) == (FOLDER / "data", None)
    assert config.coordinator_certificate == Path("/etc/coordinator.pem")
    assert config.clock_skew_ms == CLOCK_SKEW_MS_DEFAULT
    assert (config.hsm.softhsm2_conf, config.peers) == (None, {})


def test_everything_optional_is_read() -> None:
    text = 'listen_file = "port"\nclock_skew_ms = 5\n' + MINIMAL + 'softhsm2_conf = "softhsm2.conf"\n' + PEER

    config = parse_config(text, FOLDER)

    assert (config.listen_file, config.clock_skew_ms) == (FOLDER / "port", 5)
    assert config.hsm.softhsm2_conf == FOLDER / "softhsm2.conf"
    assert config.peers["node-b"].address == "node-b.example.com:7700"
    assert config.peers["node-b"].certificate == FOLDER / "node-b.pem"


def test_empty_configuration_names_every_missing_key() -> None:
    missing = {problem.key for problem in problems_of("")}

    assert missing == {
        "name",
        "role",
        "origin",
        "listen",
        "data_dir",
        "genesis",
        "genesis_fingerprint",
        "coordinator_certificate",
        "hsm.module",
        "hsm.token_label",
    }


@pytest.mark.parametrize(
    ("old", "new", "key"),
    [
        ('"node-a"\nrole', '"Node A"\nrole', "name"),
        ('"witness"', '"boss"', "role"),
        ("log.example.com/treasury", "has space", "origin"),
        ('"127.0.0.1:0"', '"127.0.0.1"', "listen"),
        ('"127.0.0.1:0"', '"127.0.0.1:65536"', "listen"),
        ('"127.0.0.1:0"', "7700", "listen"),
        ('"data"', '""', "data_dir"),
        ("ab" * 32, "AB" * 32, "genesis_fingerprint"),
        ("ab" * 32, "ab" * 31, "genesis_fingerprint"),
        ('token_label = "node-a"', 'token_label = "' + "x" * 33 + '"', "hsm.token_label"),
        ("[hsm]", "clock_skew_ms = true\n[hsm]", "clock_skew_ms"),
        ("[hsm]", "clock_skew_ms = -1\n[hsm]", "clock_skew_ms"),
        ("[hsm]", "clock_scew_ms = 1\n[hsm]", "clock_scew_ms"),
        ("[hsm]", 'peers = "all"\n[hsm]', "peers"),
        ('"node-b.example.com:7700"', '"node-b.example.com:0"', "peers.node-b.address"),
        ("[peers.node-b]", "[peers.node-a]", "peers.node-a"),
        ("[peers.node-b]", "[peers.Node]", "peers.Node"),
        ("[peers.node-b]", "[peers.node-b]\nkey = 1", "peers.node-b.key"),
    ],
)
def test_each_wrong_value_is_the_one_problem_named_by_its_key(old: str, new: str, key: str) -> None:
    text = MINIMAL + ("" if key == "peers" else PEER)
    assert old in text

    problems = problems_of(text.replace(old, new, 1))

    assert [problem.key for problem in problems] == [key]
    assert ":" in problems[0].text


def test_all_problems_come_at_once() -> None:
    text = MINIMAL.replace("node-a", "NODE", 1).replace("[hsm]", "extra = 1\n[hsm]")

    assert [problem.key for problem in problems_of(text)] == ["name", "extra"]


def test_file_that_is_no_toml_or_not_there_is_a_problem_too(tmp_path: Path) -> None:
    path = tmp_path / "node.toml"
    with pytest.raises(ConfigError, match="cannot be read"):
        load_config(path)

    path.write_bytes(b"name = ")
    with pytest.raises(ConfigError, match="not TOML"):
        load_config(path)
    path.write_bytes(b"\xff")
    with pytest.raises(ConfigError, match="is not UTF-8"):
        load_config(path)
    path.write_bytes(b"#" * 300_000)
    with pytest.raises(ConfigError, match="bytes"):
        load_config(path)
    path.write_text(MINIMAL)
    assert load_config(path).data_dir == tmp_path.resolve() / "data"
