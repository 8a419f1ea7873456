"""The systemd units: what each is denied, and by whose judgement beside ours."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from cli.parser import build_parser

UNITS = Path(__file__).resolve().parents[2] / "deploy" / "systemd"
HARDENING = UNITS / "quorumkeep-.service.d" / "hardening.conf"
NAMES = ("node", "witness", "coordinator", "rebalancer", "risk", "observe", "sweeper")
EXPOSURE_MAX = 2.0  # of 10; 1.4 when this was written
REQUIRED = {
    "NoNewPrivileges": ["yes"],
    "CapabilityBoundingSet": [""],
    "ProtectSystem": ["strict"],
    "ProtectHome": ["yes"],
    "PrivateTmp": ["yes"],
    "PrivateDevices": ["yes"],
    "MemoryDenyWriteExecute": ["yes"],
    "RestrictAddressFamilies": ["AF_INET AF_INET6 AF_UNIX"],
    "SystemCallFilter": ["@system-service", "~@privileged @keyring @setuid"],
    "LimitCORE": ["0"],
    "MemorySwapMax": ["0"],
    "UMask": ["0077"],
}
needs_systemd = pytest.mark.skipif(
    shutil.which("systemd-analyze") is None, reason="there is no systemd-analyze"
)


def settings(text: str, section: str = "Service") -> dict[str, list[str]]:
    """The settings of a section, each with all the values it is given."""
    found: dict[str, list[str]] = {}
    inside = ""
    for line in text.splitlines():
        if match := re.fullmatch(r"\[(\w+)\]", line):
            inside = match[1]
        elif inside == section and line and not line.startswith("#"):
            key, _, value = line.partition("=")
            found.setdefault(key, []).append(value)
    return found


def unit(name: str) -> dict[str, list[str]]:
    return settings((UNITS / f"quorumkeep-{name}.service").read_text())


def test_every_unit_is_named_here_and_has_a_user_of_its_own() -> None:
    made = re.findall(r"(?m)^u (\S+)", (UNITS / "quorumkeep.sysusers.conf").read_text())

    assert {path.name for path in UNITS.glob("*.service")} == {f"quorumkeep-{name}.service" for name in NAMES}
    assert made == [f"quorumkeep-{name}" for name in NAMES] == [unit(name)["User"][0] for name in NAMES]


def test_what_holds_for_all_of_them_takes_privileges_away() -> None:
    held = settings(HARDENING.read_text())

    assert {key: held.get(key) for key in REQUIRED} == REQUIRED


@pytest.mark.parametrize("name", NAMES)
def test_units_take_nothing_back_but_what_callbacks_of_a_node_need(name: str) -> None:
    taken = set(unit(name)) & set(settings(HARDENING.read_text()))

    assert taken == ({"MemoryDenyWriteExecute"} if name in ("node", "witness") else set())


@pytest.mark.parametrize("name", NAMES)
def test_a_unit_keeps_to_a_folder_that_nobody_else_may_enter(name: str) -> None:
    own = unit(name)
    paths = re.findall(r"/var/lib/[^/ ]+", " ".join((*own["ExecStart"], *own.get("Environment", []))))

    assert (own["StateDirectory"], own["StateDirectoryMode"]) == ([f"quorumkeep-{name}"], ["0700"])
    assert set(paths) == {f"/var/lib/quorumkeep-{name}"}


@pytest.mark.parametrize("name", ["node", "witness"])
def test_a_pin_comes_sealed_to_the_machine_and_a_wrong_one_is_not_tried_again(name: str) -> None:
    own = unit(name)
    sealed = f"/etc/credstore.encrypted/quorumkeep-{name}.pin"

    assert own["LoadCredentialEncrypted"] == [f"pin:{sealed}"]
    assert own["Restart"] == ["on-abnormal"]
    assert own["RestartForceExitStatus"] == ["75"]  # what may pass by itself: before the PIN is tried
    assert "Environment" not in own and "pin" not in own["ExecStart"][0]


@pytest.mark.parametrize("name", ["coordinator", "rebalancer", "risk", "observe", "sweeper"])
def test_what_holds_no_pin_is_started_again_whatever_ended_it(name: str) -> None:
    start = settings((UNITS / f"quorumkeep-{name}.service").read_text(), "Unit")

    assert unit(name)["Restart"] == ["always"] and start["StartLimitIntervalSec"] == ["0"]
    assert unit(name)["RestartPreventExitStatus"] == ["2"]  # but what cannot be used stays so


@pytest.mark.parametrize("name", ["rebalancer", "risk", "observe", "sweeper"])
def test_a_unit_of_the_command_line_starts_a_command_that_there_is(name: str) -> None:
    program, *arguments = unit(name)["ExecStart"][0].split()
    parsed = build_parser().parse_args(arguments)

    assert program == "/opt/quorumkeep/bin/quorumkeep" and arguments[1] == "run"
    assert parsed.identity == f"/var/lib/quorumkeep-{name}/identity"


@needs_systemd
@pytest.mark.parametrize("name", NAMES)
def test_systemd_reads_every_unit_without_complaint(name: str, tmp_path: Path) -> None:
    done = analyze("verify", name, tmp_path)

    assert (done.returncode, done.stderr) == (0, "")


@needs_systemd
def test_a_setting_that_systemd_does_not_know_is_seen(tmp_path: Path) -> None:
    done = analyze("verify", "node", tmp_path, more="NoSuchSetting=yes\n")

    assert "NoSuchSetting" in done.stderr


@needs_systemd
@pytest.mark.parametrize("name", NAMES)
def test_systemd_itself_finds_little_exposed(name: str, tmp_path: Path) -> None:
    done = analyze("security", name, tmp_path)
    level = re.search(r"Overall exposure level for \S+: ([0-9.]+)", done.stdout)

    assert level and float(level[1]) <= EXPOSURE_MAX


@needs_systemd
def test_without_the_hardening_systemd_finds_much_exposed(tmp_path: Path) -> None:
    done = analyze("security", "node", tmp_path, hardened=False)
    level = re.search(r"Overall exposure level for \S+: ([0-9.]+)", done.stdout)

    assert level and float(level[1]) > EXPOSURE_MAX


def analyze(
    verb: str, name: str, folder: Path, *, more: str = "", hardened: bool = True
) -> "subprocess.CompletedProcess[str]":
    """What systemd says of a unit whose program is where this test's is."""
    if hardened:
        shutil.copytree(HARDENING.parent, folder / HARDENING.parent.name)
    path = folder / f"quorumkeep-{name}.service"
    text = (UNITS / path.name).read_text().replace("/opt/quorumkeep/bin", str(Path(sys.executable).parent))
    path.write_text(text.replace("[Service]\n", f"[Service]\n{more}"))
    offline = ["--offline=yes"] if verb == "security" else ["--man=no"]
    return subprocess.run(
        ["systemd-analyze", verb, *offline, str(path)], capture_output=True, text=True, check=False
    )
