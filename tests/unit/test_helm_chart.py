"""The Helm chart, without a cluster: Kubernetes accepts what it makes, and no pod has more than it needs."""

import json
import shutil
import subprocess
import tomllib
from functools import cache
from itertools import chain
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from cli.parser import build_parser
from custody.config_reading import load_config
from deploy.containers.assemble import EXCHANGE
from tests.architecture.planting import REPOSITORY

CHART = REPOSITORY / "deploy" / "helm" / "quorumkeep"
EXAMPLES = sorted((CHART.parent / "examples").glob("*.yaml"))
OFFERED = REPOSITORY / ".venv" / "bin" / "helm"
HELM = str(OFFERED) if OFFERED.exists() else shutil.which("helm")
OLDEST, NEWEST = "1.29", "1.37"
HARMLESS = {"ConfigMap", "NetworkPolicy", "PodDisruptionBudget", "Service", "ServiceAccount", "StatefulSet"}
pytestmark = pytest.mark.skipif(
    HELM is None, reason="helm is not installed, and make setup could not fetch it"
)
NODE = {"name": "a", "pinSecret": "s", "public": "p", "storage": {"size": "1Gi"}}
every_example = pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: str(path.stem))


def helm(*arguments: str) -> "subprocess.CompletedProcess[str]":
    assert HELM is not None
    return subprocess.run([HELM, *arguments], capture_output=True, text=True, check=False)


@cache
def made(example: Path, *more: str) -> list[dict[str, Any]]:
    """What the chart makes of an example."""
    done = helm("template", "treasury", str(CHART), "-n", "custody", "-f", str(example), *more)
    assert done.returncode == 0, done.stderr
    return [one for one in yaml.safe_load_all(done.stdout) if one]


def of_kind(example: Path, kind: str, *more: str) -> list[dict[str, Any]]:
    return [one for one in made(example, *more) if one["kind"] == kind]


def pods(example: Path) -> list[dict[str, Any]]:
    return [one["spec"]["template"] for one in of_kind(example, "StatefulSet")]


@every_example
def test_helm_itself_has_nothing_to_say(example: Path) -> None:
    done = helm("lint", "--strict", str(CHART), "-f", str(example))

    assert done.returncode == 0, done.stdout


@every_example
@pytest.mark.parametrize("version", [OLDEST, NEWEST])
def test_kubernetes_accepts_every_object_to_the_last_field(example: Path, version: str) -> None:
    for one in made(example):
        kubernetes_validate.validate(one, version, strict=True)


def test_a_field_that_kubernetes_does_not_know_is_seen() -> None:
    (account,) = of_kind(EXAMPLES[0], "ServiceAccount")

    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate({**account, "automount": False}, NEWEST, strict=True)


@every_example
def test_pods_keep_to_the_restricted_profile(example: Path) -> None:
    assert pods(example)
    for pod in pods(example):
        spec, (container,) = pod["spec"], pod["spec"]["containers"]

        assert spec["securityContext"]["runAsNonRoot"] and spec["securityContext"]["runAsUser"] == 10001
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "privileged": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert spec["automountServiceAccountToken"] is False
        assert not {"hostNetwork", "hostPID", "hostIPC", "initContainers"} & set(spec)
        assert all("hostPath" not in volume for volume in spec["volumes"])
        assert "@sha256:" in container["image"]


@every_example
def test_secrets_are_named_and_none_is_made(example: Path) -> None:
    volumes = list(chain.from_iterable(pod["spec"]["volumes"] for pod in pods(example)))
    environment = [one for pod in pods(example) for one in pod["spec"]["containers"][0].get("env", ())]

    assert {one["kind"] for one in made(example)} <= HARMLESS
    assert {one["name"] for one in environment} <= {"CREDENTIALS_DIRECTORY", "POD_NAME"}
    assert all(volume["secret"]["defaultMode"] == 0o440 for volume in volumes if "secret" in volume)


@pytest.mark.parametrize(
    "wrong",
    [
        {
            "nodes": [
                {"name": "a", "pin": "12345678", "pinSecret": "s", "public": "p", "storage": {"size": "1Gi"}}
            ]
        },
        {"nodes": [{"name": "a", "pinSecret": "My Secret", "public": "p", "storage": {"size": "1Gi"}}]},
        {"coordinator": {"config": 'database = "postgresql+psycopg://me:secret@db/x"'}},
        {"coordinator": {"config": 'database = "postgresql+psycopg://me@db/x?password=secret"'}},
        {"coordinator": {"config": "-----BEGIN PRIVATE KEY-----"}},
        {"images": {"node": {"repository": "r", "digest": "latest"}}},
        {"pins": {"node-a": "12345678"}},
    ],
)
def test_values_that_hold_a_secret_or_are_not_known_are_refused(
    tmp_path: Path, wrong: dict[str, Any]
) -> None:
    values = tmp_path / "values.yaml"
    values.write_text(json.dumps(wrong))
    done = helm("template", "treasury", str(CHART), "-f", str(EXAMPLES[0]), "-f", str(values))

    assert done.returncode != 0 and "values don't meet the specifications of the schema" in done.stderr


def test_an_image_without_a_digest_is_refused() -> None:
    done = helm("template", "t", str(CHART), "-f", str(EXAMPLES[1]), "--set", "images.node.digest=")

    assert done.returncode != 0 and "name the image by its sha256 digest" in done.stderr


@every_example
def test_no_two_of_one_kind_share_a_machine_whoever_installed_them(example: Path) -> None:
    for pod in pods(example):
        (term,) = pod["spec"]["affinity"]["podAntiAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]

        assert term["topologyKey"] == "kubernetes.io/hostname" and term["namespaceSelector"] == {}
        assert term["labelSelector"]["matchLabels"].items() <= pod["metadata"]["labels"].items()


@every_example
def test_every_pod_has_a_budget_of_one_and_only_one_budget(example: Path) -> None:
    budgets = [one["spec"] for one in of_kind(example, "PodDisruptionBudget")]

    for pod in pods(example):
        held = [one for one in budgets if selects(one["selector"], pod)]
        assert [one["maxUnavailable"] for one in held] == [1]


def selects(selector: dict[str, Any], pod: dict[str, Any]) -> bool:
    labels: dict[str, str] = pod["metadata"]["labels"]
    return bool(selector["matchLabels"].items() <= labels.items())


@every_example
def test_nothing_is_let_in_or_out_but_what_a_policy_names(example: Path) -> None:
    policies = [one["spec"] for one in of_kind(example, "NetworkPolicy")]
    (closed,) = [one for one in policies if not {"ingress", "egress"} & set(one)]

    assert closed["policyTypes"] == ["Ingress", "Egress"]
    assert all(selects(closed["podSelector"], pod) for pod in pods(example))
    for rule in chain.from_iterable((*one.get("ingress", ()), *one.get("egress", ())) for one in policies):
        sides = rule.get("from", rule.get("to"))
        assert sides and {} not in sides  # an empty list, or an empty peer, is everybody


def test_a_node_is_reached_by_cosigners_and_coordinators_on_one_port_and_reaches_cosigners_alone() -> None:
    (policy,) = [
        one["spec"]
        for one in of_kind(example_of("node"), "NetworkPolicy")
        if "cosigners" in one["metadata"]["name"]
    ]

    assert [rule["ports"] for rule in policy["ingress"] + policy["egress"]] == [
        [{"protocol": "TCP", "port": 7700}],
        [{"protocol": "TCP", "port": 7700}],
    ]
    assert [one["ipBlock"]["cidr"] for one in policy["egress"][0]["to"] if "ipBlock" in one] == [
        "198.51.100.12/32",
        "203.0.113.40/32",
    ]


def example_of(beginning: str) -> Path:
    return next(path for path in EXAMPLES if path.stem.startswith(beginning))


def test_a_node_is_one_and_is_upgraded_by_whoever_deletes_its_pod() -> None:
    nodes = [
        one
        for one in of_kind(example_of("one"), "StatefulSet")
        if one["metadata"]["name"] != "treasury-coordinator"
    ]
    services = {one["metadata"]["name"]: one["spec"] for one in of_kind(example_of("one"), "Service")}

    assert [one["metadata"]["name"] for one in nodes] == ["node-a", "node-b", "node-c", "witness"]
    for node in nodes:
        assert (node["spec"]["replicas"], node["spec"]["updateStrategy"]) == (1, {"type": "OnDelete"})
        assert services[node["metadata"]["name"]]["publishNotReadyAddresses"] is True


def test_a_wrong_pin_is_not_tried_by_one_start_after_the_other() -> None:
    (pod,) = pods(example_of("node"))

    assert pod["spec"]["containers"][0]["args"][-1] == "--hold-refused-pin"


@every_example
def test_probes_ask_the_process_itself_and_a_start_may_take_ten_minutes(example: Path) -> None:
    for pod in pods(example):
        (container,) = pod["spec"]["containers"]
        if "pause" in str(container.get("command")):
            continue
        if container["name"] == "service":  # it serves nobody who could ask
            assert not any("Probe" in key for key in container)
            continue
        alive, ready = (
            container["livenessProbe"]["exec"]["command"],
            container["readinessProbe"]["exec"]["command"],
        )
        start = container["startupProbe"]

        assert "--alive" in alive and "--alive" not in ready
        assert start["failureThreshold"] * start["periodSeconds"] == 600


@pytest.mark.parametrize("beginning", ["coordinator", "one"])
def test_the_coordinator_reads_the_configuration_that_the_chart_writes(
    tmp_path: Path, beginning: str
) -> None:
    (written,) = of_kind(example_of(beginning), "ConfigMap")
    names = [f"treasury-coordinator-{number}" for number in range(len(written["data"]))]
    advertised = []
    for name in names:
        (tmp_path / "config.toml").write_text(written["data"][f"{name}.toml"])
        advertised.append(load_config(tmp_path / "config.toml").advertise)

    assert advertised == [
        f"{name}.treasury-coordinator-pods.custody.svc" if len(names) > 1 else "" for name in names
    ]


def services(*more: str) -> dict[str, dict[str, Any]]:
    """The containers of the services, by kind."""
    sets = [one for one in made(example_of("services"), *more) if one["kind"] == "StatefulSet"]
    return {
        one["metadata"]["labels"]["app.kubernetes.io/component"]: one["spec"]["template"]["spec"][
            "containers"
        ][0]
        for one in sets
    }


def known_kinds() -> set[str]:
    """Every kind that a value may have."""
    schema = json.loads((CHART / "values.schema.json").read_text())
    return set(schema["definitions"]["service"]["properties"]["kind"]["enum"])


def test_every_kind_of_service_runs_a_command_that_there_is_by_settings_from_outside() -> None:
    found = services("--set", "services[1].setup=false")

    assert set(found) == known_kinds()
    for kind, container in found.items():
        parsed = build_parser().parse_args(container["args"])
        mounts = {one["mountPath"]: one for one in container["volumeMounts"]}
        settings = mounts[f"/var/lib/quorumkeep/identity/{kind}.toml"]

        assert container["args"][:2] == [kind, "run"] and parsed.identity == "/var/lib/quorumkeep/identity"
        assert hasattr(parsed, "trust") == ("--trust" in container["args"])
        assert settings["readOnly"] and settings["subPath"] == f"{kind}.toml"
        assert mounts["/var/lib/quorumkeep"]["name"] == "data"
        assert container["ports"] == [{"name": "metrics", "containerPort": 7690}]


def test_scoring_observers_share_a_claim_where_the_image_has_a_folder_for_it() -> None:
    sets = [one["spec"]["template"]["spec"] for one in of_kind(example_of("services"), "StatefulSet")]
    claims = {
        volume["name"]: volume for pod in sets for volume in pod["volumes"] if "exchange" in str(volume)
    }
    mounted = [mount["mountPath"] for mount in services()["risk"]["volumeMounts"]]

    assert claims == {"exchange": {"name": "exchange", "persistentVolumeClaim": {"claimName": "observers"}}}
    assert str(EXCHANGE) in mounted


def test_a_coordinator_reaches_whom_it_tells_and_chains_on_any_port_and_nobody_else_so() -> None:
    (spec,) = (
        one["spec"]
        for one in of_kind(example_of("coordinators"), "NetworkPolicy")
        if one["metadata"]["name"].endswith("-coordinators")
    )
    (anywhere,) = (rule["to"] for rule in spec["egress"] if "ports" not in rule)

    assert anywhere == [{"ipBlock": {"cidr": f"192.0.2.{last}/32"}} for last in (30, 40)]


def test_settings_whose_urls_hold_keys_come_from_a_secret() -> None:
    (observe, sweep) = (services()[kind]["volumeMounts"] for kind in ("observe", "sweep"))
    names = [{one["mountPath"]: one["name"] for one in mounts} for mounts in (observe, sweep)]

    assert names[0]["/var/lib/quorumkeep/identity/observe.toml"] == names[0]["/run/secrets"] == "secret"
    assert names[1]["/var/lib/quorumkeep/identity/sweep.toml"] == "public"
    assert "/run/secrets" not in names[1]


def test_an_identity_is_made_inside_while_the_pod_waits() -> None:
    waiting = services()["risk"]

    assert "pause" in str(waiting["command"]) and "args" not in waiting
    assert not any("identity" in one["mountPath"] for one in waiting["volumeMounts"])


def test_a_service_reaches_the_coordinators_door_alone_and_an_observer_its_chains() -> None:
    policies = {
        one["metadata"]["name"]: one["spec"]
        for one in of_kind(example_of("services"), "NetworkPolicy")
        if "services" in one["metadata"]["name"]
    }
    doors, chains = policies["treasury-services"], policies["treasury-services-chains"]
    asking = next(
        one["values"]
        for one in chains["podSelector"]["matchExpressions"]
        if one["key"] == "app.kubernetes.io/component"
    )

    assert set(policies) == {"treasury-services", "treasury-services-chains"}
    assert [rule["ports"] for rule in doors["egress"]] == [[{"protocol": "TCP", "port": 7600}]]
    assert asking == ["observe"]
    assert chains["egress"] == [{"to": [{"ipBlock": {"cidr": "198.51.100.30/32"}}]}]


def test_a_coordinator_lets_every_kind_of_service_in() -> None:
    (policy,) = [
        one["spec"]
        for one in of_kind(example_of("coordinators"), "NetworkPolicy")
        if one["metadata"]["name"].endswith("-coordinators")
    ]
    selectors = [one["podSelector"] for one in policy["ingress"][0]["from"] if "podSelector" in one]
    (let_in,) = [one["matchExpressions"][0]["values"] for one in selectors if "matchExpressions" in one]

    assert set(let_in) == known_kinds()


def test_coordinators_at_rest_run_nothing_and_have_what_a_restore_needs() -> None:
    def container(*more: str) -> dict[str, Any]:
        (found,) = of_kind(example_of("coordinators"), "StatefulSet", *more)
        one: dict[str, Any] = found["spec"]["template"]["spec"]["containers"][0]
        return one

    serving, waiting = container(), container("--set", "coordinator.setup=true")

    assert "signal.pause()" in waiting["command"][-1] and "command" not in serving
    assert not any("Probe" in key for key in waiting)
    assert waiting["volumeMounts"] == serving["volumeMounts"]


def test_the_chart_is_of_this_version() -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]

    assert chart["appVersion"] == project["version"]
