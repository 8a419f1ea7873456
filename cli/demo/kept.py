"""A deployment of ``bench service`` that outlives the command: what it takes to start it again.

Its tokens' PINs are in a file beside them, for this user alone: such a deployment guards nothing of worth.
"""

from collections.abc import Mapping
from pathlib import Path

from cli.demo import scenario
from cli.demo.scenario import Deployment
from cli.demo.supervisor import Supervisor
from cli.files import read_document, write_bytes
from cli.results import Misuse, progress
from policy.encoding import canonical
from policy.errors import OperationalError

FILE = "bench.json"
START_S = 24 * 3600.0  # its coordinator folds the whole log first; a process that cannot start says so


def keep(deployment: Deployment) -> None:
    """Write down what starts it again."""
    document = canonical({"ports": dict(deployment.ports), "pins": dict(deployment.pins)})
    write_bytes(deployment.folder / FILE, document, mode=0o600)


def resume(folder: Path, supervisor: Supervisor) -> Deployment | None:
    """Start the deployment kept in ``folder``; None if the folder is empty or not there."""
    if not folder.exists() or not any(folder.iterdir()):
        return None
    if not (folder / FILE).exists():
        raise Misuse(f"{folder} holds other files and no {FILE}: name a new folder, nothing is overwritten")
    ports, pins = _kept(folder / FILE)
    deployment = Deployment(folder, ports, supervisor, progress, pins)
    progress("starting what is kept")
    scenario.start_chains(deployment)
    scenario.start_all(deployment, timeout_s=START_S)
    return deployment


def _kept(path: Path) -> tuple[dict[str, int], dict[str, str]]:
    found: Mapping[str, dict[str, str]] = read_document(path, "the kept deployment")
    try:
        return {name: int(port) for name, port in found["ports"].items()}, dict(found["pins"])
    except (KeyError, TypeError, ValueError, AttributeError):  # what they say may have a PIN
        raise OperationalError(f"{path} is not what --keep wrote: name a new folder") from None
