"""Every import-linter contract of pyproject.toml holds here, and is seen to fail where it is broken."""

import tomllib
from pathlib import Path

import pytest

from tests.architecture.planting import REPOSITORY, plant, plant_house, run_tool

# contract, file with the forbidden import, the import
BROKEN = [
    ("layers", "policy/rules.py", "import signer_nodes"),
    ("layers", "policy/rules.py", "import custody"),
    ("layers", "policy/rules.py", "import cli"),
    ("layers", "signer_nodes/gate.py", "import cli"),
    ("layers", "custody/service.py", "from cli import main"),
    ("node-trusts-nobody", "signer_nodes/gate.py", "from custody import requests"),
    ("node-trusts-nobody", "signer_nodes/mpc/dkg.py", "def late() -> None:\n    import custody.requests"),
    ("coordinator-has-no-share", "custody/service.py", "import signer_nodes"),
    ("coordinator-has-no-share", "custody/service.py", "from signer_nodes.mpc import dkg"),
    ("coordinator-has-no-share", "custody/service.py", "from signer_nodes import gate"),
    ("api-stands-alone", "signer_nodes/api/client.py", "from signer_nodes import gate"),
    ("api-stands-alone", "signer_nodes/api/client.py", "from ..mpc import dkg"),
    ("client-stands-alone", "custody/client.py", "from custody import service"),
    ("client-stands-alone", "custody/http_client.py", "from signer_nodes.api import client"),
    ("client-stands-alone", "custody/api/calls.py", "import custody.service"),
    ("cli-holds-no-share", "cli/main.py", "from signer_nodes.mpc import dkg"),
    ("cli-holds-no-share", "cli/demo/run.py", "import signer_nodes.hsm.token"),
    ("node-runs-no-tools", "signer_nodes/gate.py", "from policy import prove"),
    ("node-runs-no-tools", "signer_nodes/gate.py", "import policy.prove.differences"),
    ("node-runs-no-tools", "signer_nodes/mpc/dkg.py", "from policy.backtest import run"),
]
TARGETS = {
    "policy/prove/__init__.py": "",
    "policy/prove/differences.py": "",
    "policy/backtest.py": "",
    "signer_nodes/gate.py": "",
    "signer_nodes/mpc/dkg.py": "",
    "signer_nodes/hsm/token.py": "",
    "signer_nodes/api/client.py": "",
    "custody/requests.py": "",
    "custody/api/calls.py": "",
    "custody/service.py": "from signer_nodes.api import client\nimport policy\n",
    "cli/main.py": "import custody.service\nfrom signer_nodes.api import client\n",
    "cli/demo/__init__.py": "",
}


@pytest.fixture
def house(tmp_path: Path) -> Path:
    plant_house(tmp_path)
    return tmp_path


def lint(root: Path, *arguments: str) -> tuple[int, str]:
    done = run_tool(root, "lint-imports", "--no-cache", *arguments)
    return done.returncode, done.stdout + done.stderr


def test_this_house_keeps_its_layers() -> None:
    code, output = lint(REPOSITORY)

    assert code == 0, output


def test_a_house_without_the_tools_and_one_with_every_room_keep_the_layers(house: Path) -> None:
    empty = lint(house)
    plant(house, TARGETS)
    furnished = lint(house)

    assert empty[0] == 0, empty[1]
    assert furnished[0] == 0, furnished[1]


@pytest.mark.parametrize(("contract", "path", "line"), BROKEN)
def test_a_forbidden_import_is_seen(house: Path, contract: str, path: str, line: str) -> None:
    plant(house, TARGETS | {path: line + "\n", "policy/rules.py": line + "\n" if "rules" in path else ""})

    code, output = lint(house, "--contract", contract)

    assert code == 1, output
    assert "0 kept, 1 broken" in output


def test_an_import_by_a_detour_is_seen(house: Path) -> None:
    plant(house, TARGETS | {"policy/ledger.py": "from policy import prove\n"})
    plant(house, {"signer_nodes/gate.py": "from policy import ledger\n"})

    code, output = lint(house, "--contract", "node-runs-no-tools")

    assert code == 1, output


def test_every_contract_is_seen_to_fail() -> None:
    configured = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))
    contracts = {contract["id"] for contract in configured["tool"]["importlinter"]["contracts"]}

    assert contracts == {contract for contract, _, _ in BROKEN}
