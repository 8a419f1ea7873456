"""Broken before by others: hashes whose fields run into one another, or that serve two purposes.

docs/spec/pitfalls.md says where. The first is held by ``tagged_hash`` and its own tests; here the engine is
held to using nothing else, and each domain for one purpose.
"""

import ast
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
REFERENCE = {"vole_reference.py"}  # computes the same as `vole`, for tests
ENGINE = [path for path in sorted((ROOT / "signer_nodes/mpc").rglob("*.py")) if path.name not in REFERENCE]
PUBLIC = [ROOT / "policy/ecdsa.py"]

# SHA-512 or SHA-256 of a tagged hash and parts of fixed length, SHA-256 of one string, a seed of RFC 8032.
# The ciphersuites of ``policy`` hash as their standards say.
PLAIN_HASHES = {
    ("vole.py", "sha512"),
    ("vole.py", "sha256"),
    ("extension.py", "sha256"),
    ("points.py", "sha256"),
    ("zero.py", "sha512"),
    ("rounds.py", "sha256"),
    ("curve.py", "sha256"),
    ("imported.py", "sha512"),
}


def calls(paths: list[Path], name: str) -> Iterator[tuple[Path, ast.FunctionDef, ast.Call]]:
    """Every call of a function, and the function that it stands in."""
    for path in paths:
        for scope in ast.walk(ast.parse(path.read_text())):
            if isinstance(scope, ast.FunctionDef):
                for node in ast.walk(scope):
                    if isinstance(node, ast.Call) and _called(node) == name:
                        yield path, scope, node


def _called(node: ast.Call) -> str:
    target = node.func
    return target.attr if isinstance(target, ast.Attribute) else getattr(target, "id", "")


def domain(scope: ast.FunctionDef, call: ast.Call) -> str:
    """The domain of a tagged hash: a literal, or a local name that is set to one."""
    first = call.args[0]
    if isinstance(first, ast.Name):
        values = [
            node.value
            for node in ast.walk(scope)
            if isinstance(node, ast.Assign)
            and any(isinstance(target, ast.Name) and target.id == first.id for target in node.targets)
        ]
        assert len(values) == 1, f"{scope.name}: {first.id} is not one literal"
        first = values[0]
    return ast.unparse(first)


def domains(paths: list[Path]) -> Counter[str]:
    return Counter(domain(scope, call) for _, scope, call in calls(paths, "tagged_hash"))


def test_every_hash_of_the_engine_has_a_domain_of_its_own() -> None:
    found = domains(ENGINE + PUBLIC)

    assert len(found) > 25
    assert {tag: count for tag, count in found.items() if count > 1} == {}
    assert all(tag.strip("f'\"").startswith(("mpc/", "quorumkeep/mpc/")) for tag in found)


def test_the_engine_hashes_with_domains_only() -> None:
    plain = {
        (path.name, name)
        for name in ("sha256", "sha512", "sha3_256", "blake2b", "new")
        for path, _, call in calls(ENGINE, name)
        if ast.unparse(call.func).startswith("hashlib")
    }

    assert plain <= PLAIN_HASHES


@pytest.mark.parametrize(
    ("source", "clash"),
    [
        ("def a(): tagged_hash('mpc/x', b'')\ndef b(): tagged_hash('mpc/x', b'')", {"'mpc/x'": 2}),
        ("def a(): tagged_hash('mpc/x', b'')\ndef b():\n tag = 'mpc/x'\n tagged_hash(tag)", {"'mpc/x'": 2}),
        ("def a(): tagged_hash('mpc/x', b'')\ndef b(): tagged_hash('mpc/y', b'')", {}),
    ],
)
def test_a_domain_used_twice_would_be_seen(source: str, clash: dict[str, int], tmp_path: Path) -> None:
    path = tmp_path / "planted.py"
    path.write_text(source)

    assert {tag: count for tag, count in domains([path]).items() if count > 1} == clash
