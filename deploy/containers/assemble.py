#!/usr/bin/env python3
"""Assemble an image from this machine: no registry, no base image, nothing but what its process needs.

Run it from the checkout: ``.venv/bin/python -m deploy.containers.assemble build/node``, or with ``--image
coordinator``, or ``--image service`` for rebalancers, sweepers and observers. It writes ``rootfs.tar`` (the
interpreter, the packages that the process imports, the shared libraries all of these need, our own packages,
for a node SoftHSM), ``Dockerfile`` and ``sbom.cdx.json`` into the folder, which is the whole build context.
There is no shell in an image, no coordinator in a node's, no node in another's, and the command line in a
service's alone.
"""

import argparse
import contextlib
import importlib.util
import io
import marshal
import platform
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path, PurePath, PurePosixPath
from typing import Final, NamedTuple

from deploy.containers.sbom import Origin, bill_of_materials, debian_owners, file_hash
from policy.program import PROGRAM

HERE: Final = Path(__file__).resolve().parent
ROOT: Final = HERE.parent.parent
PROJECT_PACKAGES: Final = ("policy", "signer_nodes")
AUTHORS_TOOLS: Final = frozenset({"prove", "backtest.py"})
"""What of ``policy`` no node imports: the tools of its authors, and their solver."""
COORDINATOR_PACKAGES: Final = ("policy", "signer_nodes/api", "custody")
NOT_IN_COORDINATOR: Final = frozenset({"prove", "rebalancer", "choosing.py", "deciding.py"})
"""Proofs, and forecasts with their numerics: these are other processes'."""
SERVICE_PACKAGES: Final = (*COORDINATOR_PACKAGES, "cli")
NOT_IN_SERVICE: Final = frozenset(
    {"prove", "demo", "drills", "console", "http", "yaml_reader.py", "codes.py", "completion.py"}
)
"""Doors, proofs, and what people use a command line for who sit before it."""
NODE_DISTRIBUTIONS: Final = (
    "coincurve",
    "cryptography",
    "grpcio",
    "immutables",
    "msgspec",
    "numpy",
    "orjson",
    "protobuf",
    "pynacl",
    "python-pkcs11",
    "rfc8785",
    "safe-pysha3",
    "uvloop",
)
"""What ``policy`` and ``signer_nodes`` import; a test compares this with their import statements."""
COORDINATOR_DISTRIBUTIONS: Final = (
    "SQLAlchemy",
    "aiohttp",
    "alembic",
    "coincurve",
    "cryptography",
    "fastapi",
    "grpcio",
    "h11",
    "http-message-signatures",
    "httpx",
    "immutables",
    "jinja2",
    "markupsafe",
    "msgspec",
    "orjson",
    "prometheus-client",
    "protobuf",
    "psycopg",
    "psycopg-binary",
    "pydantic",
    "pynacl",
    "rfc8785",
    "rlp",
    "safe-pysha3",
    "starlette",
    "uvicorn",
    "uvloop",
)
SERVICE_DISTRIBUTIONS: Final = (
    "SQLAlchemy",
    "aiohttp",
    "alembic",
    "coincurve",
    "cryptography",
    "fido2",
    "grpcio",
    "httpx",
    "immutables",
    "msgspec",
    "numpy",
    "orjson",
    "prometheus-client",
    "protobuf",
    "pynacl",
    "python-pkcs11",
    "rfc8785",
    "rich",
    "rlp",
    "safe-pysha3",
    "uvloop",
)
USER: Final = 10001
VERSION: Final = f"python{sys.version_info.major}.{sys.version_info.minor}"
BASE: Final = PurePosixPath("/usr/local")
VENV: Final = PurePosixPath("/opt/quorumkeep")
SITE: Final = VENV / "lib" / VERSION / "site-packages"
DATA: Final = PurePosixPath("/var/lib/quorumkeep")
EXCHANGE: Final = PurePosixPath("/srv/observers")
"""Where observers show each other what they state; a volume takes its owner from the image."""
SBOM: Final = PurePosixPath("/usr/share/doc/quorumkeep/sbom.cdx.json")
SOFTHSM_UTIL: Final = "softhsm2-util"
SOFTHSM_MODULE: Final = PurePosixPath("/usr/lib/softhsm/libsofthsm2.so")
INTERPRETER: Final = Origin("generic", "cpython", platform.python_version())
NEVER: Final = frozenset(
    (
        *("__pycache__", "dist-packages", "ensurepip", "idlelib", "lib2to3", "site-packages", "SelfTest"),
        *("test", "tests", "tkinter", "turtledemo", f"_tkinter.{sysconfig.get_config_var('SOABI')}.so"),
    )
)
NEVER_SUFFIXES: Final = frozenset((".a", ".c", ".h", ".pth", ".pxd", ".pyx"))
MERGED: Final = ("bin", "lib", "lib64", "sbin")
HASH_BASED_UNCHECKED: Final = (1).to_bytes(4, "little")
LIBRARY: Final = re.compile(r"^\s+(?:(?P<name>\S+) => )?(?P<path>/\S+) \(0x", re.MULTILINE)
MISSING: Final = re.compile(r"^\s+(\S+) => not found", re.MULTILINE)


class Kind(NamedTuple):
    """What one image is made of, and the file that says how it is built and run."""

    packages: tuple[str, ...]
    but: frozenset[str]
    distributions: tuple[str, ...]
    has_token: bool


IMAGES: Final = {
    "node": Kind(PROJECT_PACKAGES, AUTHORS_TOOLS, NODE_DISTRIBUTIONS, has_token=True),
    "service": Kind(SERVICE_PACKAGES, NOT_IN_SERVICE, SERVICE_DISTRIBUTIONS, has_token=False),
    "coordinator": Kind(COORDINATOR_PACKAGES, NOT_IN_COORDINATOR, COORDINATOR_DISTRIBUTIONS, has_token=False),
}


class AssemblyError(RuntimeError):
    """Something that the image needs is not on this machine."""


class Image:
    """The image's files: root's and writable by nobody, except the process's own folder.

    ``origin`` is whose files are being added.
    """

    def __init__(self, origin: Origin) -> None:
        self._members: dict[PurePosixPath, tuple[tarfile.TarInfo, bytes]] = {}
        self.binaries: list[Path] = []
        self.origin = origin
        self.origins: dict[PurePosixPath, Origin] = {}

    @contextlib.contextmanager
    def of(self, origin: Origin) -> Iterator[None]:
        """What is added meanwhile is of this origin."""
        before, self.origin = self.origin, origin
        yield
        self.origin = before

    @property
    def files(self) -> dict[PurePosixPath, bytes]:
        """What is in the image's files; folders and links are left out."""
        return {name: data for name, (member, data) in self._members.items() if member.isreg()}

    def folder(self, name: PurePosixPath, *, mode: int = 0o755, user: int = 0) -> None:
        """A folder and those above it; one that is there already keeps its mode."""
        if name in self._members or name == name.parent:
            return
        self.folder(name.parent)
        self._add(name, tarfile.DIRTYPE, mode=mode, user=user)

    def link(self, name: PurePosixPath, target: str) -> None:
        self.folder(name.parent)
        self._add(name, tarfile.SYMTYPE, mode=0o777).linkname = target

    def text(self, name: PurePosixPath, text: str) -> None:
        self._data(name, text.encode(), mode=0o644)

    def file(self, name: PurePosixPath, source: Path) -> None:
        """Copy ``source``: a module also compiled, a binary remembered, as it needs libraries."""
        data = source.read_bytes()
        is_binary = data.startswith(b"\x7fELF")
        self._data(name, data, mode=0o755 if is_binary else 0o644)
        if is_binary:
            self.binaries.append(source)
        if name.suffix == ".py":
            self._compiled(name, data)

    def tree(self, name: PurePosixPath, source: Path, *, but: frozenset[str] = frozenset()) -> None:
        """Copy what lies under ``source`` except tests, what a node never imports, and these names."""
        for path in sorted(source.rglob("*")):
            relative = path.relative_to(source)
            if path.is_file() and is_wanted(relative) and not but.intersection(relative.parts):
                self.file(name / relative, path)

    def holds(self, name: PurePosixPath) -> bool:
        return name in self._members

    def write(self, path: Path) -> None:
        """Write the archive; no time of this machine is in it."""
        with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as archive:
            for _, (member, data) in sorted(self._members.items()):
                archive.addfile(member, io.BytesIO(data))

    def _compiled(self, name: PurePosixPath, source: bytes) -> None:
        """Byte code that no time stamp makes stale, as a read-only root could never renew it."""
        try:
            code = compile(source, str(name), "exec", dont_inherit=True)
        except SyntaxError:  # a template, or for another Python: nobody imports it
            return
        header = importlib.util.MAGIC_NUMBER + HASH_BASED_UNCHECKED + importlib.util.source_hash(source)
        cached = PurePosixPath(importlib.util.cache_from_source(str(name)))
        self._data(cached, header + marshal.dumps(code), mode=0o644)

    def _data(self, name: PurePosixPath, data: bytes, *, mode: int) -> None:
        self.folder(name.parent)
        self._add(name, tarfile.REGTYPE, data, mode=mode)

    def _add(
        self, name: PurePosixPath, kind: bytes, data: bytes = b"", *, mode: int, user: int = 0
    ) -> tarfile.TarInfo:
        member = tarfile.TarInfo(str(name.relative_to("/")))
        member.type, member.mode, member.size = kind, mode, len(data)
        member.uid = member.gid = user
        self._members[name] = member, data
        self.origins[name] = self.origin
        return member


def assemble(folder: Path, image_of: str = "node") -> int:
    """Write the build context into ``folder``; the archive's size in bytes.

    Raises ``AssemblyError`` when this machine lacks a package, SoftHSM or a library of either.
    """
    kind = IMAGES[image_of]
    own = Origin("own", f"quorumkeep-{image_of}", PROGRAM)
    image = Image(own)
    _system(image)
    with image.of(INTERPRETER):
        _interpreter(image)
    for name in sorted(closure(kind.distributions)):
        _distribution(image, name)
    for package in kind.packages:
        whole = package.partition("/")[0]
        image.file(SITE / whole / "__init__.py", ROOT / whole / "__init__.py")
        image.tree(SITE / package, ROOT / package, but=kind.but)
    if kind.has_token:
        _softhsm(image)
    if image_of == "service":
        image.folder(EXCHANGE, mode=0o700, user=USER)
    _libraries(image)
    sbom = bill_of_materials(own, image.files, origins=image.origins)
    image.text(SBOM, sbom)
    folder.mkdir(parents=True, exist_ok=True)
    label = f'LABEL org.opencontainers.image.version="{PROGRAM}"\n'
    (folder / "Dockerfile").write_text((HERE / f"{image_of}.Dockerfile").read_text() + label)
    (folder / SBOM.name).write_text(sbom)
    image.write(folder / "rootfs.tar")
    return (folder / "rootfs.tar").stat().st_size


def is_wanted(path: PurePath) -> bool:
    """Whether a node could need the file; tests, sources of binaries and windows on a screen it cannot."""
    return path.suffix not in NEVER_SUFFIXES and not NEVER.intersection(path.parts)


def closure(names: Iterable[str]) -> frozenset[str]:
    """The distributions ``names`` and all that they require here, by their normal names."""
    found: set[str] = set()
    waiting = list(names)
    while waiting:
        name = _normal(waiting.pop())
        if name not in found:
            found.add(name)
            waiting += _required(name)
    return frozenset(found)


def _required(name: str) -> list[str]:
    """Requirements that are installed: those of extras and of other platforms are not, or do no harm."""
    required = []
    for line in _installed(name).requires or ():
        match = re.match(r"[A-Za-z0-9._-]+", line)
        if match and "extra ==" not in line and _is_installed(match[0]):
            required.append(match[0])
    return required


def _system(image: Image) -> None:
    """The folders and tables that a C library expects, and the node's own folder."""
    for name in MERGED:
        image.link(PurePosixPath("/") / name, f"usr/{name}")
        image.folder(PurePosixPath("/usr") / name)
    image.text(PurePosixPath("/etc/passwd"), f"root:x:0:0::/:\nquorumkeep:x:{USER}:{USER}::{DATA}:\n")
    image.text(PurePosixPath("/etc/group"), f"root:x:0:\nquorumkeep:x:{USER}:\n")
    image.text(PurePosixPath("/etc/nsswitch.conf"), "passwd: files\ngroup: files\nhosts: files dns\n")
    image.folder(PurePosixPath("/tmp"), mode=0o1777)  # noqa: S108 - the image's own
    image.folder(PurePosixPath("/etc/quorumkeep"))
    image.folder(DATA, mode=0o700, user=USER)


def _interpreter(image: Image) -> None:
    """This interpreter under /usr/local, and a virtual environment of it for the packages."""
    image.file(BASE / "bin" / VERSION, Path(sys.executable).resolve())
    image.tree(BASE / "lib" / VERSION, Path(sysconfig.get_path("stdlib")))
    image.text(VENV / "pyvenv.cfg", f"home = {BASE}/bin\ninclude-system-site-packages = false\n")
    image.link(VENV / "bin/python3", f"{BASE}/bin/{VERSION}")


def _distribution(image: Image, name: str) -> None:
    found = _installed(name)
    with image.of(Origin("pypi", name, found.version)):
        for path in found.files or ():
            source = Path(str(found.locate_file(path)))
            if ".." not in path.parts and is_wanted(path) and source.is_file():
                image.file(SITE / path, source)


def _softhsm(image: Image) -> None:
    """The package's module, where provisioning looks for it, and the tool that initialises a token."""
    util = shutil.which(SOFTHSM_UTIL)
    modules = [Path(SOFTHSM_MODULE), *Path("/usr/lib").glob("*/softhsm/libsofthsm2.so")]
    module = next((path for path in modules if path.exists()), None)
    if util is None or module is None:
        raise AssemblyError("SoftHSM is not installed: apt-get install softhsm2")
    _system_files(
        image,
        {
            SOFTHSM_MODULE: module.resolve(),
            PurePosixPath("/usr/bin") / SOFTHSM_UTIL: Path(util).resolve(),
        },
    )


def _system_files(image: Image, files: Mapping[PurePosixPath, Path]) -> None:
    """Files of the operating system, each with the package it is of."""
    owners = debian_owners(files.values())
    for place, source in files.items():
        unknown = Origin("generic", source.name, file_hash(source))
        alone = INTERPRETER if source.is_relative_to(sys.base_prefix) else unknown
        with image.of(owners.get(source, alone)):
            image.file(place, source)


def _libraries(image: Image) -> None:
    """What the dynamic loader would load for the binaries so far, all of it where a loader looks first."""
    command = [shutil.which("ldd") or "ldd", *map(str, image.binaries)]
    answer = subprocess.run(command, capture_output=True, text=True, check=False).stdout
    missing = sorted(set(MISSING.findall(answer)))
    if missing:
        raise AssemblyError(f"libraries are missing on this machine: {', '.join(missing)}")
    found = {match["name"] or match["path"]: Path(match["path"]) for match in LIBRARY.finditer(answer)}
    if "libc.so.6" not in found:
        raise AssemblyError("the interpreter is not linked to a C library that ldd can name")
    own = {path.resolve() for path in image.binaries}
    place = PurePosixPath(found["libc.so.6"].resolve().parent)
    loaded = {
        _merged(name) if name.startswith("/") else place / name: path.resolve()
        for name, path in found.items()
        if name.startswith("/") or path.resolve() not in own
    }
    _system_files(image, loaded)


def _merged(name: str) -> PurePosixPath:
    path = PurePosixPath(name)
    return PurePosixPath("/usr") / path.relative_to("/") if path.parts[1] in MERGED else path


def _installed(name: str) -> Distribution:
    try:
        return distribution(name)
    except PackageNotFoundError as error:
        raise AssemblyError(f"{name} is not installed in this environment: run make setup") from error


def _is_installed(name: str) -> bool:
    try:
        return distribution(name) is not None
    except PackageNotFoundError:
        return False


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def main(arguments: Sequence[str] | None = None) -> int:
    """The program; its exit code."""
    parser = argparse.ArgumentParser(description="Assemble the build context of an image.")
    parser.add_argument("folder", type=Path, help="where rootfs.tar, Dockerfile and sbom.cdx.json go")
    parser.add_argument("--image", choices=sorted(IMAGES), default="node", help="which (%(default)s)")
    options = parser.parse_args(arguments)
    try:
        size = assemble(options.folder, options.image)
    except (AssemblyError, OSError) as error:
        sys.stderr.write(f"assemble: {error}\n")
        return 1
    sys.stderr.write(f"assemble: {options.folder}: {size // 10**6} MB, ready for docker build\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
