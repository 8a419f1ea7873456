"""The compose files: what every container is denied, and that no secret is anywhere but in a file."""

import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from cli.parser import build_parser
from tests.architecture.planting import REPOSITORY

FOLDER = REPOSITORY / "deploy" / "containers"
FILES = ("compose.yaml", "service.yaml")
OURS = {f"quorumkeep-{name}:local" for name in ("node", "coordinator", "service")}
NODES = {"node-a", "node-b", "node-c", "witness-1"}
WISHED = {"rebalancer", "sweeper", "observe", "risk"}
SERVICES = NODES | WISHED | {"coordinator-1", "coordinator-2", "postgres", "prometheus"}
SCHEMA = REPOSITORY / ".venv" / "compose-spec.json"
VARIABLES = {
    "QUORUMKEEP_PINS": "/pins",
    "QUORUMKEEP_SECRETS": "/secrets",
    "QUORUMKEEP_POSTGRES_IMAGE": "postgres:17@sha256:" + "0" * 64,
    "QUORUMKEEP_PROMETHEUS_IMAGE": "prom/prometheus:v3.5.0@sha256:" + "0" * 64,
}


def document(name: str) -> dict[str, Any]:
    """A file with its variables put in, as compose does it."""

    def value(match: re.Match[str]) -> str:
        known = VARIABLES.get(match["name"], match["default"] if match["how"] == ":-" else None)
        assert known is not None, f"{match['name']} has neither a default nor a value here"
        return str(known)

    pattern = re.compile(r"\$\{(?P<name>\w+)(?P<how>:-|:\?)(?P<default>[^}]*)\}")
    read: dict[str, Any] = yaml.safe_load(pattern.sub(value, (FOLDER / name).read_text()))
    return read


def whole() -> dict[str, dict[str, Any]]:
    """Both files as one; they share no name."""
    first, second = map(document, FILES)
    parts = ("services", "networks", "volumes", "secrets")
    assert not any(set(first[part]) & set(second[part]) for part in parts)
    return {part: first[part] | second[part] for part in parts}


def test_the_services_are_three_nodes_a_witness_two_coordinators_and_what_stands_around_them() -> None:
    assert set(whole()["services"]) == SERVICES


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_every_container_is_denied_what_none_needs(name: str) -> None:
    service = whole()["services"][name]

    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"] and "cap_add" not in service
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["user"].partition(":")[0] not in ("", "0", "root")
    assert service["ulimits"]["core"] == 0
    if name in WISHED:  # started by a profile; they serve nobody who could ask
        assert service["profiles"] == [name] and service["healthcheck"] == {"disable": True}
    else:
        assert "profiles" not in service and service["healthcheck"]["test"][0] == "CMD"  # no shell
    assert not {"privileged", "pid", "ipc", "devices", "network_mode", "env_file"} & set(service)


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_every_port_is_of_this_machine_alone_and_every_folder_of_it_read_only(name: str) -> None:
    service, named = whole()["services"][name], whole()["volumes"]
    mounts = [mount.split(":") for mount in service.get("volumes", ())]

    assert all(port.startswith("127.0.0.1:") for port in service.get("ports", ()))
    assert all(mount[0] in named or mount[-1] == "ro" for mount in mounts)


def test_secrets_come_by_file_and_each_goes_where_it_is_needed_alone() -> None:
    found = whole()
    given = {name: secrets_of(service) for name, service in found["services"].items()}
    keys = {"coordinator-identity", "coordinator-log-key", "coordinator-database-password"}

    assert all(set(secret) == {"file"} for secret in found["secrets"].values())
    assert given == {
        **{name: {f"{name}-pin"} for name in NODES},
        **{f"coordinator-{number}": keys for number in (1, 2)},
        "postgres": {"postgres-password"},
        "prometheus": set(),
        **{name: set() for name in WISHED},
    }


def secrets_of(service: dict[str, Any]) -> set[str]:
    return {one if isinstance(one, str) else one["source"] for one in service.get("secrets", ())}


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_the_environment_names_folders_and_files_and_holds_no_secret(name: str) -> None:
    environment = whole()["services"][name].get("environment", {})
    suspicious = {key for key in environment if re.search("PASS|PIN|SECRET|TOKEN|KEY", key)}

    assert all(key.endswith("_FILE") for key in suspicious)


def test_images_that_are_not_ours_are_named_by_digest() -> None:
    images = {service["image"] for service in whole()["services"].values()}

    assert all(re.search(r"@sha256:[0-9a-f]{64}$", image) for image in images - OURS)


def test_the_database_is_reached_by_the_coordinators_alone_and_reaches_nothing() -> None:
    found = whole()
    reaching = {name for name, service in found["services"].items() if "database" in service["networks"]}

    assert reaching == {"coordinator-1", "coordinator-2", "postgres"}
    assert found["networks"]["database"]["internal"] is True
    assert "ports" not in found["services"]["postgres"]


def test_what_runs_beside_a_coordinator_reaches_its_door_alone_and_an_observer_its_chains() -> None:
    found = whole()
    networks = {name: set(service["networks"]) for name, service in found["services"].items()}
    sharing = {name for name in networks if networks[name] & {"doors", "chains"}}
    world = set(found["networks"]) - {"database", "doors"}

    assert {name: networks[name] for name in WISHED} == {
        **{name: {"doors"} for name in WISHED},
        "observe": {"doors", "chains"},
    }
    assert [found["services"][f"coordinator-{number}"]["networks"]["doors"] for number in (1, 2)] == [
        {"aliases": ["coordinator"]}
    ] * 2
    assert sharing == WISHED | {"coordinator-1", "coordinator-2", "prometheus"}
    assert {name for name in world if found["networks"][name].get("internal")} == set()
    assert found["networks"]["doors"]["internal"] is True


@pytest.mark.parametrize("name", sorted(WISHED))
def test_what_a_profile_starts_is_a_command_that_there_is_with_its_memory_on_a_volume(name: str) -> None:
    service = whole()["services"][name]
    dockerfile = (FOLDER / "service.Dockerfile").read_text()
    usual = json.loads(dockerfile.partition("\nCMD ")[2])
    arguments = service.get("command", usual)
    parsed = build_parser().parse_args(arguments)

    assert parsed.identity == "/var/lib/quorumkeep/identity"
    assert f"{name}:/var/lib/quorumkeep" in service["volumes"]
    assert getattr(parsed, "trust", None) == (
        "/etc/quorumkeep/trust.json" if name in ("observe", "risk") else None
    )


def test_a_node_that_ended_is_not_started_again_and_others_are() -> None:
    restarts = {name: service["restart"] for name, service in whole()["services"].items()}

    assert restarts == {name: "no" if name in NODES else "unless-stopped" for name in SERVICES}


def test_prometheus_watches_coordinators_and_what_runs_beside_them_with_the_rules_that_ship() -> None:
    config = yaml.safe_load((FOLDER / "prometheus.yaml").read_text())
    mounted = {mount.split(":")[1]: mount for mount in whole()["services"]["prometheus"]["volumes"]}
    rules = mounted[f"/etc/prometheus/{config['rule_files'][0]}"].partition(":")[0]

    targets = {job["job_name"]: job["static_configs"][0]["targets"] for job in config["scrape_configs"]}

    assert targets == {
        "quorumkeep": ["coordinator-1:7690", "coordinator-2:7690"],
        **{f"quorumkeep-{name}": [f"{name}:7690"] for name in WISHED},
    }
    assert (FOLDER / rules).resolve() == REPOSITORY / "deploy" / "prometheus" / "quorumkeep.rules.yaml"


needs_schema = pytest.mark.skipif(not SCHEMA.exists(), reason="make setup could not fetch compose's schema")


@needs_schema
@pytest.mark.parametrize("name", FILES)
def test_the_files_keep_to_the_schema_of_compose(name: str) -> None:
    jsonschema.Draft7Validator(json.loads(SCHEMA.read_text())).validate(document(name))


@needs_schema
def test_a_key_that_compose_does_not_know_is_seen() -> None:
    wrong = document("service.yaml")
    wrong["services"]["postgres"]["readonly"] = True

    with pytest.raises(jsonschema.ValidationError, match="readonly"):
        jsonschema.Draft7Validator(json.loads(SCHEMA.read_text())).validate(wrong)


def test_compose_itself_reads_both_files(tmp_path: Path) -> None:
    offered = (["docker", "compose"], ["docker-compose"])
    answering = [one for one in offered if shutil.which(one[0]) and ran(*one, "version").returncode == 0]
    if not answering:
        pytest.skip("neither docker compose nor docker-compose is installed")
    built = dict.fromkeys(
        (f"QUORUMKEEP_{kind}BUILD" for kind in ("", "COORDINATOR_", "SERVICE_")), str(tmp_path)
    )
    chosen = [part for name in FILES for part in ("-f", str(FOLDER / name))]

    done = ran(*answering[0], *chosen, "config", "-q", **VARIABLES, **built)

    assert done.returncode == 0, done.stderr


def ran(*command: str, **variables: str) -> "subprocess.CompletedProcess[str]":
    environment = {**os.environ, **variables}
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
