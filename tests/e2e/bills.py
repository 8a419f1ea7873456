"""A bill of materials held against the image that it is of."""

import hashlib
import json
import tarfile
from collections import Counter
from email.parser import BytesHeaderParser
from pathlib import Path
from typing import Any

from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from deploy.containers.sbom import LIBRARY

MADE_HERE = {"/usr/share/doc/quorumkeep/sbom.cdx.json"}


def image_files(folder: Path) -> dict[str, bytes]:
    """The files in an image, by their paths from its root."""
    files = {}
    with tarfile.open(folder / "rootfs.tar") as archive:
        for member in archive:
            content = archive.extractfile(member) if member.isreg() else None
            if content is not None:
                files[f"/{member.name}"] = content.read()
    return files


def bill(folder: Path) -> dict[str, Any]:
    """The document, once CycloneDX's own schema has accepted it."""
    text = (folder / "sbom.cdx.json").read_text()
    complaint = JsonStrictValidator(SchemaVersion.V1_6).validate_str(text)
    assert complaint is None, str(complaint)[:1000]
    document: dict[str, Any] = json.loads(text)
    return document


def check_bill(document: dict[str, Any], files: dict[str, bytes]) -> None:
    """Every file has one owner, and every owner is what is really there."""
    components = [document["metadata"]["component"], *document["components"]]
    owned = Counter(place["location"] for one in components for place in one["evidence"]["occurrences"])
    distributions = {one["purl"] for one in components if one["purl"].startswith("pkg:pypi/")}

    assert set(owned) == {name for name in files if not name.endswith(".pyc")} - MADE_HERE
    assert set(owned.values()) == {1}
    assert distributions == installed(files)
    assert bundled(components) == {
        name: hashlib.sha256(data).hexdigest()
        for name, data in files.items()
        if "/site-packages/" in name and LIBRARY.fullmatch(name.rpartition("/")[2])
    }


def bundled(components: list[dict[str, Any]]) -> dict[str, str]:
    """The hashes of the libraries that stand inside the components."""
    inside = [part for one in components for part in one.get("components", ())]
    return {part["bom-ref"]: part["hashes"][0]["content"] for part in inside}


def installed(files: dict[str, bytes]) -> set[str]:
    """The Python distributions whose metadata is in the image."""
    found = set()
    for name, data in files.items():
        if name.endswith(".dist-info/METADATA"):
            said = BytesHeaderParser().parsebytes(data)
            normal = said["Name"].lower().replace("_", "-").replace(".", "-")
            found.add(f"pkg:pypi/{normal}@{said['Version']}")
    return found
