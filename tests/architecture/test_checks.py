"""Each check of the house rules is seen to fail on a planted violation, and to pass without it."""

from pathlib import Path

import pytest

from tests.architecture import checks
from tests.architecture.planting import plant

CLEAN = '''"""Clean."""
import builtins
import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass

import coincurve
import cryptography.hazmat.primitives.asymmetric.ed25519
import rfc8785
import sha3

from policy.errors import CallerError


@dataclass(frozen=True, slots=True)
class Job:
    first: int
    second: int
    third: int
    fourth: int
    fifth: int
    sixth: int
    seventh: int

    def admit(self, entries: bytes, now_ms: int, *, randomness: bytes) -> "builtins.bytes":
        return json.dumps(self.first).encode() + hashlib.sha256(entries + randomness).digest()


def opened(path: str) -> str:
    return "open(" + path
'''

IMPURE = [
    *("import " + name for name in checks.IMPURE_MODULES),
    "import os.path",
    "from os import urandom",
    "from numpy import random",
    "from nacl.utils import random",
    "from nacl.bindings import randombytes",
    "from nacl import bindings\nnonce = bindings.randombytes(32)",
    "from Crypto import Random",
    "from time import monotonic",
    "def late() -> None:\n    import socket",
    "text = open('file').read()",
    "reader = open",
    "name = input()",
    "print('done')",
    "import builtins\nbuiltins.open('file')",
    "module = __import__('os')",
    "import numpy as np\nnoise = np.random",
    "import datetime\nnow = datetime.datetime.now()",
    "key = Ed25519PrivateKey.generate()",
    "import requests",
    "import web3",
]
NUMERIC = ["import numpy as np"]


@pytest.mark.parametrize(
    "path", ["policy/a.py", "policy/log/a.py", "signer_nodes/mpc/a.py", *checks.PURE_FILES]
)
def test_a_clean_module_is_pure(tmp_path: Path, path: str) -> None:
    plant(tmp_path, {path: CLEAN})

    assert checks.purity(tmp_path) == []


@pytest.mark.parametrize("line", IMPURE)
def test_an_impurity_is_seen(tmp_path: Path, line: str) -> None:
    plant(tmp_path, {"policy/a.py": line + "\n"})

    assert len(checks.purity(tmp_path)) >= 1


@pytest.mark.parametrize("path", ["policy/decode/a.py", "signer_nodes/mpc/ot/a.py", *checks.PURE_FILES])
def test_every_pure_place_is_looked_at(tmp_path: Path, path: str) -> None:
    plant(tmp_path, {path: "import secrets\n"})

    assert [found.path for found in checks.purity(tmp_path)] == [path]


def test_runtimes_may_be_impure(tmp_path: Path) -> None:
    plant(tmp_path, {"signer_nodes/runtime.py": "import asyncio\n", "custody/service.py": "import time\n"})

    assert checks.purity(tmp_path) == []


@pytest.mark.parametrize("line", NUMERIC)
def test_numeric_libraries_are_for_the_protocols_alone(tmp_path: Path, line: str) -> None:
    plant(tmp_path, {"signer_nodes/mpc/a.py": line + "\n", "policy/a.py": line + "\n"})

    assert [found.path for found in checks.purity(tmp_path)] == ["policy/a.py"]


def test_the_solver_is_for_proofs_alone(tmp_path: Path) -> None:
    plant(tmp_path, {"policy/prove/a.py": "import z3\n", "policy/evaluate.py": "import z3\n"})

    assert [found.path for found in checks.purity(tmp_path)] == ["policy/evaluate.py"]


def test_a_witness_imports_policy_only(tmp_path: Path) -> None:
    plant(tmp_path, {"signer_nodes/witness.py": "import policy.log\nfrom signer_nodes import gate\n"})

    assert [found.line for found in checks.purity(tmp_path)] == [2]


@pytest.mark.parametrize(
    ("path", "line"),
    [
        ("signer_nodes/runtime.py", "from signer_nodes.adapters import disk"),
        ("signer_nodes/runtime.py", "from signer_nodes import adapters"),
        ("signer_nodes/runtime.py", "from .adapters.disk import Disk"),
        ("signer_nodes/mpc/a.py", "from ..adapters import disk"),
        ("custody/service.py", "import custody.adapters.database"),
        ("custody/console/main.py", "from custody.adapters import database"),
        ("custody/__init__.py", "from .adapters import database"),
        ("cli/demo/run.py", "def late() -> None:\n    from custody.adapters import database"),
    ],
)
def test_an_adapter_used_outside_main_is_seen(tmp_path: Path, path: str, line: str) -> None:
    plant(tmp_path, {path: line + "\n"})

    assert [found.path for found in checks.wiring(tmp_path)] == [path]


@pytest.mark.parametrize("path", [*sorted(checks.WIRING), "custody/adapters/outbox.py"])
def test_main_and_adapters_themselves_use_adapters(tmp_path: Path, path: str) -> None:
    plant(tmp_path, {path: "from custody.adapters import database\nfrom custody import ports\n"})

    assert checks.wiring(tmp_path) == []


@pytest.mark.parametrize("name", ["policy/a.py", "tests/unit/test_a.py"])
@pytest.mark.parametrize(("lines", "seen"), [(500, 0), (501, 1)])
def test_a_file_has_500_lines_at_most(tmp_path: Path, name: str, lines: int, seen: int) -> None:
    plant(tmp_path, {name: "#\n" * lines})

    assert len(checks.sizes(tmp_path)) == seen


@pytest.mark.parametrize(("lines", "seen"), [(59, 0), (60, 1)])
@pytest.mark.parametrize(
    "head", ["def a():\n", "async def a():\n", "def a():\n    '''One.\n\n    Two.\n    '''\n"]
)
def test_a_function_has_60_lines_at_most_without_its_docstring(
    tmp_path: Path, head: str, lines: int, seen: int
) -> None:
    plant(tmp_path, {"custody/a.py": head + "    a()\n" * lines, "tests/test_a.py": head + "    a()\n"})

    assert len(checks.sizes(tmp_path)) == seen


@pytest.mark.parametrize(
    ("source", "seen"),
    [
        ("def a(one, two, *, three, four, five, six): ...", 0),
        ("def a(one, two, *, three, four, five, six, seven): ...", 1),
        ("def a(one, two, *three, four, five, six, **seven): ...", 1),
        ("def _a(one, two, three, four, five, six, seven): ...", 1),
        ("def a(one, two, three): ...", 1),
        ("def a(one, two, /, three): ...", 1),
        ("def a(one, two, *three): ...", 0),
        ("def _a(one, two, three): ...", 0),
        ("def outer(one):\n    def inner(two, three, four): ...", 0),
        ("class A:\n    def a(self, one, two, *, three, four, five, six): ...", 0),
        ("class A:\n    def a(self, one, two, three): ...", 1),
        ("class A:\n    def __init__(self, one, two, three): ...", 1),
        ("class A:\n    def __exit__(self, one, two, three): ...", 0),
        ("class A:\n    @classmethod\n    def a(cls, one, two): ...", 0),
        ("class A:\n    @staticmethod\n    def a(one, two): ...", 0),
        ("class A:\n    @staticmethod\n    def a(one, two, three): ...", 1),
        ("if True:\n    def a(one, two, three): ...", 1),
    ],
)
def test_parameters_are_six_at_most_and_keyword_only_from_the_third(
    tmp_path: Path, source: str, seen: int
) -> None:
    plant(tmp_path, {"policy/a.py": source + "\n"})

    assert len(checks.sizes(tmp_path)) == seen


def test_generated_stubs_are_not_judged(tmp_path: Path) -> None:
    plant(tmp_path, {"custody/api/door_pb2.py": "#\n" * 501, "custody/api/door_pb2_grpc.py": "#\n" * 501})

    assert checks.sizes(tmp_path) == []


@pytest.mark.parametrize("text", [*checks.REGISTRY_WORDS, "open /home/somebody/house/key"])
def test_a_registry_or_a_folder_of_this_machine_is_seen(tmp_path: Path, text: str) -> None:
    plant(tmp_path, {"docs/a.md": f"first\n{text}\n", "docs/b.md": "See https://example.com/house/key.\n"})
    (tmp_path / "picture.png").write_bytes(b"\x89PNG\xff\x00" + text.encode())

    found = checks.committed_text(
        tmp_path, ["docs/a.md", "docs/b.md", "picture.png", "gone.md"], machine=["/home/somebody/"]
    )

    assert {(violation.path, violation.line) for violation in found} == {("docs/a.md", 2)}


@pytest.mark.parametrize("line", ["import yaml", "from yaml import parse", "import ruamel.yaml"])
@pytest.mark.parametrize("path", ["policy/a.py", "signer_nodes/a.py", "custody/a.py", "cli/genesis.py"])
def test_yaml_where_policies_are_not_written_is_seen(tmp_path: Path, path: str, line: str) -> None:
    plant(tmp_path, {path: f"def late() -> None:\n    {line}\n", "cli/policies/a.py": line + "\n"})

    assert [found.path for found in checks.authoring(tmp_path)] == [path]


@pytest.mark.parametrize(
    ("path", "line"),
    [
        ("signer_nodes/main.py", "import uvicorn"),
        ("custody/service.py", "from fastapi import FastAPI"),
        ("custody/client.py", "import pydantic"),
        ("policy/fields.py", "from starlette.requests import Request"),
        ("cli/connection.py", "import httpx"),
        ("custody/adapters/http/app.py", "import jinja2"),
    ],
)
def test_http_where_it_is_not_served_is_seen(tmp_path: Path, path: str, line: str) -> None:
    door = {"custody/adapters/http/a.py": "import fastapi\n", "custody/a.py": "import httpx\n"}
    door["custody/console/a.py"] = "import fastapi\nimport jinja2\n"
    plant(tmp_path, {path: f"def late() -> None:\n    {line}\n", **door})

    assert [found.path for found in checks.serving(tmp_path)] == [path]


@pytest.mark.parametrize("path", ["custody/client.py", "custody/http_client.py", "custody/api/calls.py"])
@pytest.mark.parametrize("line", ["import sqlalchemy", "from web3 import Web3", "import pydantic"])
def test_a_client_that_needs_more_is_seen(tmp_path: Path, path: str, line: str) -> None:
    usual = "import asyncio\nimport grpc\nimport httpx\nfrom policy import intent\n"
    plant(tmp_path, {path: f"{usual}def late() -> None:\n    {line}\n", "custody/service.py": line + "\n"})

    assert [(found.path, found.line) for found in checks.client(tmp_path)] == [(path, 6)]
