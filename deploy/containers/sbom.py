"""What an image holds, as a CycloneDX document made from the files in it, not from a list of wishes.

Every file has one owner: a Python distribution, a Debian package (by what dpkg says of the file that was
copied), the interpreter, or this project. A shared library inside a distribution stands there by its hash.
"""

import hashlib
import json
import re
import shutil
import subprocess
import uuid
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import Final, NamedTuple

from cyclonedx.model import HashAlgorithm, HashType
from cyclonedx.model.bom import Bom, BomMetaData
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.model.component_evidence import ComponentEvidence, Occurrence
from cyclonedx.output.json import JsonV1Dot6
from packageurl import PackageURL

LIBRARY: Final = re.compile(r"lib[^/]*\.so(\.[0-9.]+)?")
PACKAGE_FORMAT: Final = "${source:Package} ${Version} ${Architecture}"
NO_TIME: Final = datetime(1970, 1, 1, tzinfo=UTC)  # the same files give the same bytes
Content = Mapping[PurePosixPath, bytes]


class Origin(NamedTuple):
    """Who made a file: ``kind`` is pypi, deb, generic (no package manager knows it) or own."""

    kind: str
    name: str
    version: str
    architecture: str = ""
    source: str = ""

    @property
    def purl(self) -> PackageURL:
        """The package, in the words of vulnerability scanners."""
        qualifiers = {"arch": self.architecture, "upstream": self.source} if self.architecture else None
        namespace = "debian" if self.kind == "deb" else None
        name = re.sub(r"[-_.]+", "-", self.name).lower() if self.kind == "pypi" else self.name
        kind = "generic" if self.kind == "own" else self.kind
        return PackageURL(kind, namespace, name=name, version=self.version, qualifiers=qualifiers)


def bill_of_materials(image: Origin, files: Content, *, origins: Mapping[PurePosixPath, Origin]) -> str:
    """The document of an image (CycloneDX 1.6, JSON); ``origins`` has the owner of each of its ``files``."""
    owned: dict[Origin, list[PurePosixPath]] = {image: []}
    for place in sorted(files):
        if place.suffix != ".pyc":  # made here from the file of the same name
            owned.setdefault(origins[place], []).append(place)
    root, *components = [_component(owner, places, files) for owner, places in owned.items()]
    root.type = ComponentType.CONTAINER
    bom = Bom(components=components, metadata=BomMetaData(component=root, timestamp=NO_TIME))
    bom.register_dependency(root, components)
    listed = "\n".join(f"{place} {_hash(files[place])}" for place in sorted(files))
    bom.serial_number = uuid.uuid5(uuid.NAMESPACE_OID, listed)
    return _in_order(JsonV1Dot6(bom).output_as_string())


def _in_order(text: str) -> str:
    """The library leaves the order of places to chance; a file that is made again must be the same."""
    document = json.loads(text)
    for one in (document["metadata"]["component"], *document["components"]):
        one["evidence"]["occurrences"].sort(key=lambda place: str(place["location"]))
    return json.dumps(document, indent=1)


def debian_owners(sources: Iterable[Path]) -> dict[Path, Origin]:
    """Which installed Debian package each file is of; those that dpkg does not know are left out."""
    if shutil.which("dpkg") is None:
        return {}
    spellings = {spelling: path for path in sources for spelling in _spellings(path)}
    owners = {}
    for line in _said("dpkg", "-S", *spellings):
        packages, _, spelling = line.rpartition(": ")
        owners[spellings[spelling]] = packages.split(", ")[0]
    described = {name: _package(name) for name in set(owners.values())}
    return {path: described[name] for path, name in owners.items()}


def _component(owner: Origin, places: list[PurePosixPath], files: Content) -> Component:
    bundled = [place for place in places if owner.kind == "pypi" and LIBRARY.fullmatch(place.name)]
    return Component(
        name=owner.name,
        version=owner.version,
        type=ComponentType.LIBRARY,
        purl=owner.purl,
        bom_ref=str(owner.purl),
        evidence=ComponentEvidence(occurrences=[Occurrence(location=str(place)) for place in places]),
        components=[_bundled(place, files[place]) for place in bundled],
    )


def _bundled(place: PurePosixPath, data: bytes) -> Component:
    digest = HashType(alg=HashAlgorithm.SHA_256, content=_hash(data))
    return Component(name=place.name, type=ComponentType.FILE, bom_ref=str(place), hashes=[digest])


def _spellings(path: Path) -> tuple[str, ...]:
    """A file under /usr/lib may be known by its name before the two were merged."""
    text = str(path)
    return (text, text.removeprefix("/usr")) if text.startswith("/usr/lib") else (text,)


def _package(name: str) -> Origin:
    (said,) = _said("dpkg-query", "-W", "-f", PACKAGE_FORMAT, name)
    source, version, architecture = said.split()
    return Origin("deb", name.partition(":")[0], version, architecture, source)


def file_hash(path: Path) -> str:
    """What stands for the version of a file that no package manager knows."""
    return _hash(path.read_bytes())


def _said(*command: str) -> list[str]:
    """The lines of the answer; dpkg's code says no more than that one of the files is not known."""
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.splitlines()


def _hash(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
