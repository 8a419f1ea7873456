"""The house rules that no linter knows, as functions from a checkout's root to its violations.

Each looks at source text only, so that a test can run it on a planted tree as well as on this one.
"""

import ast
import re
import sys
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

PACKAGES = ("policy", "signer_nodes", "custody", "cli")

FUNCTION_LINES_MAX = 60
FILE_LINES_MAX = 500
PARAMETERS_MAX = 6
POSITIONAL_MAX = 2

PURE_FOLDERS = ("policy", "signer_nodes/mpc")
PURE_FILES = (
    "signer_nodes/gate.py",
    "signer_nodes/session.py",
    "signer_nodes/presignatures.py",
    "signer_nodes/witness.py",
    "custody/requests.py",
    "custody/broadcasts.py",
    "custody/backup/manifest.py",
    "custody/indicators/notes.py",
    "custody/indicators/scoring.py",
    "custody/indicators/window.py",
    "custody/rebalancing/moves.py",
    "custody/rebalancing/observing.py",
    "custody/rebalancing/proposing.py",
    "custody/rebalancing/records.py",
    "custody/risk/gathering.py",
    "custody/risk/habits.py",
    "custody/risk/lookalikes.py",
    "custody/risk/memory.py",
    "custody/risk/numbers.py",
    "custody/risk/reading.py",
    "custody/risk/sanctions.py",
    "custody/risk/scoring.py",
)
IMPURE_MODULES = (
    # the plan's list
    *("asyncio", "socket", "ssl", "time", "random", "secrets", "os", "pathlib", "io", "threading", "logging"),
    *("grpc", "sqlite3", "sqlalchemy", "pkcs11"),
    # other doors to the same rooms
    *("concurrent", "ctypes", "http", "importlib", "multiprocessing", "select", "selectors", "shutil"),
    *("signal", "subprocess", "tempfile", "urllib", "uuid"),
    *("Crypto.Random", "nacl.bindings.randombytes", "nacl.utils.random", "numpy.random"),
)
IMPURE_NAMES = frozenset({"__import__", "breakpoint", "input", "open", "print"})
IMPURE_ATTRIBUTES = frozenset({"random", "randombytes", "urandom"})
IMPURE_CALLS = frozenset({"generate", "now", "today", "utcnow"})
THIRD_PARTY = frozenset(
    {
        "coincurve",
        "cryptography",
        "embit",
        "immutables",
        "msgspec",
        "nacl",
        "orjson",
        "rfc8785",
        "sha3",
        "solders",
    }
)
THIRD_PARTY_MPC = THIRD_PARTY | {"numpy"}
THIRD_PARTY_PROVE = THIRD_PARTY | {"z3"}

REGISTRY_WORDS = tuple(  # in two parts each, so that this file does not break its own rule
    first + second
    for first, second in (
        ('"resolved": "', "http"),
        ("index", "-url"),
        ("--", "registry"),
        ("npmjs", ".org"),
        ("python", "hosted.org"),
        ("pypi", ".org/simple"),
    )
)

WIRING = frozenset(
    {"signer_nodes/main.py", "cli/main.py"}
    | {
        f"custody/{part}main.py"
        for part in ("", "backup/", "check/", "observing/", "rebalancing/", "risk/", "sweeping/")
    }
)
AUTHORING = "cli/policies/"
YAML_LIBRARIES = frozenset({"yaml", "_yaml", "ruamel"})
HTTP_DOORS = ("custody/adapters/http/", "custody/console/")
HTTP_SERVING = frozenset({"fastapi", "h11", "http_message_signatures", "pydantic", "starlette", "uvicorn"})
HTTP_CALLING = frozenset({"httpx"})
PAGES = frozenset({"jinja2", "markupsafe"})
CLIENT = ("custody/client.py", "custody/http_client.py", "custody/api/")
CLIENT_LIBRARIES = frozenset({"cryptography", "google", "grpc", "httpx"})  # keys, and grpc's own messages
_ADAPTERS = re.compile(r"(signer_nodes|custody)\.adapters(\.|$)")
_GENERATED = re.compile(r"_pb2(_grpc)?\.pyi?$|^v\d{4}_")  # written by tools

BLOCKS = ("body", "orelse", "finalbody", "handlers", "cases")  # of statements, in a statement
FunctionNode = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True, slots=True)
class Violation:
    """One broken rule, where it is and what to do about it."""

    path: str
    line: int
    message: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.message}"


def purity(root: Path) -> list[Violation]:
    """Impure imports, names and calls in pure modules, and third-party code beyond the short list."""
    return [
        Violation(path, line, message)
        for path, tree in _trees(root, PACKAGES, where=_is_pure)
        for line, message in [*_impure_imports(path, tree), *_impure_names(tree)]
    ]


def wiring(root: Path) -> list[Violation]:
    """Imports of an adapters package outside it and outside the ``main.py`` of a process."""
    return [
        Violation(path, line, f"{name}: adapters are wired in main.py only; take a port as an argument")
        for path, tree in _trees(root, PACKAGES, words=("adapters",))
        if path not in WIRING and not _ADAPTERS.match(_module_name(path))
        for line, name in _imports(path, tree)
        if _ADAPTERS.match(name)
    ]


def authoring(root: Path) -> list[Violation]:
    """YAML outside the tools of policy authors: whatever decides reads canonical JSON alone."""
    return [
        Violation(path, line, f"{name}: only {AUTHORING} reads YAML; take the canonical document")
        for path, tree in _trees(root, PACKAGES, words=YAML_LIBRARIES)
        if not path.startswith(AUTHORING)
        for line, name in _imports(path, tree)
        if name.split(".")[0] in YAML_LIBRARIES
    ]


def serving(root: Path) -> list[Violation]:
    """What serves HTTP or pages outside the doors for them, and what calls it outside custody."""
    rooms = ((HTTP_SERVING, HTTP_DOORS), (HTTP_CALLING, ("custody/",)), (PAGES, ("custody/console/",)))
    return [
        Violation(
            path, line, f"{name}: only {' and '.join(folders)} import it; nobody else waits for it or runs it"
        )
        for path, tree in _trees(root, PACKAGES, words=HTTP_SERVING | HTTP_CALLING | PAGES)
        for line, name in _imports(path, tree)
        for libraries, folders in rooms
        if name.split(".")[0] in libraries and not path.startswith(folders)
    ]


def client(root: Path) -> list[Violation]:
    """What a backend's client imports beyond policy, API, grpc and httpx with what these two speak."""
    return [
        Violation(path, line, f"{name}: a backend's client imports only policy, grpc and httpx")
        for path, tree in _trees(root, ("custody",), where=lambda path: path.startswith(CLIENT))
        for line, name in _imports(path, tree)
        if name.split(".")[0] not in (*sys.stdlib_module_names, *PACKAGES, *CLIENT_LIBRARIES)
    ]


def sizes(root: Path) -> list[Violation]:
    """Files and functions beyond their sizes; in the packages also parameter lists."""
    found = []
    for path, tree in _trees(root, (*PACKAGES, "tests")):
        lines = len((root / path).read_text(encoding="utf-8").splitlines())
        if lines > FILE_LINES_MAX:
            found.append(Violation(path, 1, f"file has {lines} lines, at most {FILE_LINES_MAX}: split it"))
        for function, scope in _functions(tree):
            messages = [_length(function)]
            if not path.startswith("tests/"):
                messages += [_parameters(function, scope), _positional(function, scope)]
            found += [Violation(path, function.lineno, message) for message in messages if message]
    return found


def committed_text(root: Path, paths: Iterable[str], *, machine: Iterable[str]) -> list[Violation]:
    """Registry addresses, and the folders of this ``machine``, in text files; ``paths`` under root."""
    words = dict.fromkeys(REGISTRY_WORDS, "registry address") | dict.fromkeys(machine, "path of this machine")
    found = []
    for path in paths:
        try:
            text = (root / path).read_text(encoding="utf-8")
        except (UnicodeDecodeError, FileNotFoundError, IsADirectoryError):
            continue  # not a text file of the tree
        for number, line in enumerate(text.splitlines(), 1):
            found += [
                Violation(path, number, f"{what} {word!r}") for word, what in words.items() if word in line
            ]
    return found


# --- reading the tree -------------------------------------------------------------------------------


def _trees(
    root: Path,
    folders: Iterable[str],
    *,
    where: Callable[[str], bool] = lambda _: True,
    words: Collection[str] = ("",),
) -> Iterator[tuple[str, ast.Module]]:
    """The files that may break a rule: parsing is what takes long, and all of them are many."""
    for folder in folders:
        for file in sorted((root / folder).rglob("*.py")):
            path = file.relative_to(root).as_posix()
            if _GENERATED.search(file.name) or not where(path):
                continue
            text = file.read_text(encoding="utf-8")
            if any(word in text for word in words):
                yield path, ast.parse(text, str(file))


def _module_name(path: str) -> str:
    return path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


def _imports(path: str, tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Every imported name in full, wherever the statement stands; relative ones resolved."""
    package = _module_name(path).split(".")
    if not path.endswith("/__init__.py"):
        package.pop()
    for node in ast.walk(tree):
        match node:
            case ast.Import():
                yield from ((node.lineno, alias.name) for alias in node.names)
            case ast.ImportFrom():
                parents = package[: len(package) - node.level + 1] if node.level else []
                base = ".".join([*parents, *([node.module] if node.module else [])])
                yield from ((node.lineno, f"{base}.{alias.name}") for alias in node.names)
            case _:
                pass


# --- purity -----------------------------------------------------------------------------------------


def _is_pure(path: str) -> bool:
    return path in PURE_FILES or any(path.startswith(f"{folder}/") for folder in PURE_FOLDERS)


def _impure_imports(path: str, tree: ast.Module) -> Iterator[tuple[int, str]]:
    allowed = THIRD_PARTY
    if path.startswith("signer_nodes/mpc/"):
        allowed = THIRD_PARTY_MPC
    if path.startswith("policy/prove/"):
        allowed = THIRD_PARTY_PROVE
    for line, name in _imports(path, tree):
        top = name.split(".")[0]
        if any(f"{name}.".startswith(f"{module}.") for module in IMPURE_MODULES):
            yield line, f"pure module imports {name}: take its result as an argument"
        elif top not in sys.stdlib_module_names and top not in PACKAGES and top not in allowed:
            yield line, f"pure module imports {name}, which is not on the short list: write an ADR first"
        elif path == "signer_nodes/witness.py" and top in PACKAGES and top != "policy":
            yield line, f"the witness imports {name}: it may import policy only"


def _impure_names(tree: ast.Module) -> Iterator[tuple[int, str]]:
    for node in ast.walk(tree):
        match node:
            case ast.Name(id=name, ctx=ast.Load()) if name in IMPURE_NAMES:
                yield (
                    node.lineno,
                    f"pure module uses {name}: return an effect, or take the data as an argument",
                )
            case ast.Attribute(value=ast.Name(id="builtins"), attr=name) if name in IMPURE_NAMES:
                yield node.lineno, f"pure module uses builtins.{name}: return an effect instead"
            case ast.Attribute(attr=name) if name in IMPURE_ATTRIBUTES:
                yield node.lineno, f"pure module draws .{name}: take `randomness: bytes` as an argument"
            case ast.Call(func=ast.Attribute(attr=name), args=[], keywords=[]) if name in IMPURE_CALLS:
                yield node.lineno, f"pure module calls .{name}(): take time and randomness as arguments"
            case _:
                pass


# --- sizes ------------------------------------------------------------------------------------------


def _functions(scope: ast.Module | ast.ClassDef | FunctionNode) -> Iterator[tuple[FunctionNode, ast.AST]]:
    """Every function with the module, class or function it stands in; expressions hold none."""
    waiting: list[ast.AST] = [*scope.body]
    while waiting:
        node = waiting.pop()
        if isinstance(node, FunctionNode):
            yield node, scope
        if isinstance(node, ast.ClassDef | FunctionNode):
            yield from _functions(node)
        else:
            waiting.extend(one for blocks in BLOCKS for one in getattr(node, blocks, ()))


def _length(function: FunctionNode) -> str | None:
    end = function.end_lineno or function.lineno
    lines = end - function.lineno + 1
    first = function.body[0]
    if ast.get_docstring(function, clean=False) is not None:
        lines -= (first.end_lineno or first.lineno) - first.lineno + 1
    if lines <= FUNCTION_LINES_MAX:
        return None
    return f"{function.name} has {lines} lines, at most {FUNCTION_LINES_MAX}: split it"


def _positional_names(function: FunctionNode, scope: ast.AST) -> list[str]:
    names = [argument.arg for argument in (*function.args.posonlyargs, *function.args.args)]
    static = any(isinstance(mark, ast.Name) and mark.id == "staticmethod" for mark in function.decorator_list)
    return names[1:] if isinstance(scope, ast.ClassDef) and not static else names


def _parameters(function: FunctionNode, scope: ast.AST) -> str | None:
    arguments = function.args
    stars = [argument for argument in (arguments.vararg, arguments.kwarg) if argument]
    count = len(_positional_names(function, scope)) + len(arguments.kwonlyargs) + len(stars)
    if count <= PARAMETERS_MAX:
        return None
    return f"{function.name} has {count} parameters, at most {PARAMETERS_MAX}: name what belongs together"


def _positional(function: FunctionNode, scope: ast.AST) -> str | None:
    public = function.name == "__init__" or not function.name.startswith("_")
    names = _positional_names(function, scope)
    if not public or isinstance(scope, FunctionNode) or len(names) <= POSITIONAL_MAX:
        return None
    return (
        f"{function.name}: keyword-only from the third parameter; put `*,` before {names[POSITIONAL_MAX]!r}"
    )
