"""SoftHSM tokens for tests: one configuration for each process, as many tokens in it as asked for.

SOFTHSM2_CONF is read when the module is initialised, so a process has one configuration; each
pytest-xdist worker is a process of its own and makes its own. Folders lie on the RAM disk where there
is one. A test that starts node processes gives each of them ``write_configuration`` of its own.

A test module asks for these fixtures by ``pytest_plugins = ("tests.fixtures_softhsm",)``.
"""

import itertools
import os
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from signer_nodes.hsm.device import Pkcs11Hsm
from signer_nodes.hsm.provisioning import provision
from signer_nodes.hsm.seal import SealProfile
from signer_nodes.hsm.token import Token

MODULE_CANDIDATES = (
    "/usr/lib/softhsm/libsofthsm2.so",
    "/usr/lib64/pkcs11/libsofthsm2.so",
    "/opt/homebrew/lib/softhsm/libsofthsm2.so",
)
RAM_DISK = Path("/dev/shm")  # noqa: S108
SO_PIN = "so-pin-of-the-tests"
USER_PIN = "user-pin-of-the-tests"


@dataclass(frozen=True, slots=True)
class TokenPlace:
    """Where a provisioned token is and what opens it."""

    module_path: str
    label: str
    so_pin: str = field(default=SO_PIN, repr=False)
    user_pin: str = field(default=USER_PIN, repr=False)

    def open(self) -> Token:
        return Token.open(self.module_path, self.label, pin=lambda: self.user_pin)

    def open_hsm(self, profile: SealProfile = SealProfile.GCM) -> Pkcs11Hsm:
        return Pkcs11Hsm.open(self.module_path, self.label, pin=lambda: self.user_pin, profile=profile)


@dataclass(frozen=True, slots=True)
class SoftHsm:
    """This process's SoftHSM: its module, its folder, and tokens on request."""

    module_path: str
    folder: Path
    _numbers: "itertools.count[int]" = field(default_factory=itertools.count, repr=False)

    def token(self) -> TokenPlace:
        """A fresh token without keys."""
        place = TokenPlace(self.module_path, f"token-{next(self._numbers)}")
        provision(
            place.module_path,
            place.label,
            new_so_pin=lambda: place.so_pin,
            new_user_pin=lambda: place.user_pin,
        )
        return place


def softhsm_module() -> str:
    """The module's path; skips the test where SoftHSM is not installed."""
    for candidate in MODULE_CANDIDATES:
        if Path(candidate).exists() and shutil.which("softhsm2-util"):
            return candidate
    pytest.skip("SoftHSM is not installed: apt-get install softhsm2")


def write_configuration(folder: Path) -> Path:
    """A SoftHSM configuration whose tokens live under ``folder``; its path is for SOFTHSM2_CONF."""
    (folder / "tokens").mkdir(mode=0o700, parents=True, exist_ok=True)
    path = folder / "softhsm2.conf"
    path.write_text(
        f"directories.tokendir = {folder / 'tokens'}\n"
        "objectstore.backend = file\n"
        "log.level = ERROR\n"
        "slots.removable = false\n"
        "library.reset_on_fork = true\n"
    )
    return path


def fast_folder(fallback: Path) -> Path:
    """A new folder on the RAM disk, or ``fallback`` where there is none. The caller removes it."""
    if os.access(RAM_DISK, os.W_OK):
        return Path(tempfile.mkdtemp(prefix="softhsm-", dir=RAM_DISK))
    fallback.mkdir(parents=True, exist_ok=True)
    return fallback


@pytest.fixture(scope="session")
def softhsm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SoftHsm]:
    """This process's SoftHSM. SOFTHSM2_CONF is the only global state it touches."""
    module_path = softhsm_module()
    folder = fast_folder(tmp_path_factory.mktemp("softhsm"))
    before = os.environ.get("SOFTHSM2_CONF")
    os.environ["SOFTHSM2_CONF"] = str(write_configuration(folder))
    yield SoftHsm(module_path, folder)
    if before is None:
        del os.environ["SOFTHSM2_CONF"]
    else:
        os.environ["SOFTHSM2_CONF"] = before
    shutil.rmtree(folder)


@pytest.fixture
def token(softhsm: SoftHsm) -> Iterator[Token]:
    """A fresh token without keys, logged in."""
    opened = softhsm.token().open()
    yield opened
    opened.close()


@pytest.fixture
def hsm(softhsm: SoftHsm) -> Iterator[Pkcs11Hsm]:
    """A fresh HSM with its identity keys."""
    opened = softhsm.token().open_hsm()
    opened.make_identity_keys()
    yield opened
    opened.close()
