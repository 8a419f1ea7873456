"""A bill of materials from files and their owners; tests/e2e/test_containers.py holds it against an image."""

import hashlib
import json
from pathlib import Path, PurePosixPath
from typing import Any

import pytest

from deploy.containers.sbom import Origin, bill_of_materials, debian_owners
from tests.e2e.bills import bundled, check_bill

IMAGE = Origin("own", "quorumkeep-node", "1.0")
NUMPY = Origin("pypi", "Num.Py", "2.4.6")
LIBC = Origin("deb", "libc6", "2.36-9+deb12u14", "amd64", "glibc")
SITE = PurePosixPath("/opt/site-packages")
METADATA = SITE / "num_py.dist-info/METADATA"
BLAS = SITE / "numpy.libs/libblas-1.so.3"
FILES = {
    PurePosixPath("/etc/passwd"): b"root",
    METADATA: b"Metadata-Version: 2.4\nName: Num_Py\nVersion: 2.4.6\n",
    SITE / "numpy/a.py": b"a",
    SITE / "numpy/a.pyc": b"compiled",
    BLAS: b"blas",
    PurePosixPath("/lib/libc.so.6"): b"libc",
}
OWNERS = dict(zip(FILES, (IMAGE, NUMPY, NUMPY, NUMPY, NUMPY, LIBC), strict=True))


def document() -> dict[str, Any]:
    made: dict[str, Any] = json.loads(bill_of_materials(IMAGE, FILES, origins=OWNERS))
    return made


def files() -> dict[str, bytes]:
    return {str(place): data for place, data in FILES.items()}


def test_owners_stand_by_the_names_that_scanners_know() -> None:
    assert {one["purl"] for one in document()["components"]} == {
        "pkg:deb/debian/libc6@2.36-9%2Bdeb12u14?arch=amd64&upstream=glibc",
        "pkg:pypi/num-py@2.4.6",
    }


def test_a_library_inside_a_distribution_stands_by_its_hash() -> None:
    inside = bundled(document()["components"])

    assert inside == {str(BLAS): hashlib.sha256(b"blas").hexdigest()}


@pytest.mark.parametrize(
    "change",
    [
        {"/usr/bin/strange": b""},
        {str(BLAS): b"another"},
        {str(METADATA): b"Name: num-py\nVersion: 2.4.7\n"},
        {str(SITE / "x.dist-info/METADATA"): b"Name: x\nVersion: 1\n"},
    ],
)
def test_the_comparison_with_an_image_sees_what_a_bill_leaves_out(change: dict[str, bytes]) -> None:
    check_bill(document(), files())

    with pytest.raises(AssertionError):
        check_bill(document(), files() | change)


def test_a_file_without_an_owner_is_refused() -> None:
    with pytest.raises(KeyError):
        bill_of_materials(IMAGE, {**FILES, PurePosixPath("/bin/strange"): b""}, origins=OWNERS)


def test_the_same_files_give_the_same_bytes_and_another_byte_another_number() -> None:
    once, again = (bill_of_materials(IMAGE, FILES, origins=OWNERS) for _ in range(2))
    changed = bill_of_materials(IMAGE, {**FILES, PurePosixPath("/etc/passwd"): b"rooT"}, origins=OWNERS)

    assert once == again
    assert json.loads(once)["serialNumber"] != json.loads(changed)["serialNumber"]


def test_a_file_that_dpkg_does_not_know_has_no_package(tmp_path: Path) -> None:
    (tmp_path / "libmine.so").touch()

    assert debian_owners([tmp_path / "libmine.so"]) == {}
