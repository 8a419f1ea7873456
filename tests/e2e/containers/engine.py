"""Whether a container engine answers on this machine, and by which command compose is reached."""

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping

ANSWER_S = 20.0
INSTALLED_S = 60.0
"""For a program that asks nobody: how long it takes is the machine's business."""
TWIN = "the core tests run on local SoftHSM all the same"


class NoEngine(Exception):
    """Why no container can be started here, as one plain sentence."""


def find_compose(environment: Mapping[str, str], *, answer_s: float = ANSWER_S) -> tuple[str, ...]:
    """The compose command of an engine that answers in time. Raises ``NoEngine``."""
    path = environment.get("PATH")
    host = environment.get("DOCKER_HOST", "")
    if sys.platform != "linux":
        raise NoEngine(f"the image is assembled from a Linux machine, and this is {sys.platform}; {TWIN}")
    if host and not host.startswith("unix://"):
        raise NoEngine(f"the container engine is not on this machine (DOCKER_HOST={host}); {TWIN}")
    if shutil.which("docker", path=path) is None:
        raise NoEngine(f"no container engine: docker is not installed; {TWIN}")
    if not _succeeds(environment, answer_s, "docker", "info"):
        raise NoEngine(f"no container engine answers docker info within {answer_s:g} s; {TWIN}")
    for command in (("docker", "compose"), ("docker-compose",)):
        if shutil.which(command[0], path=path) and _succeeds(environment, INSTALLED_S, *command, "version"):
            return command
    raise NoEngine(f"neither docker compose nor docker-compose is installed; {TWIN}")


def _succeeds(environment: Mapping[str, str], answer_s: float, *command: str) -> bool:
    try:
        done = subprocess.run(command, capture_output=True, env=environment, timeout=answer_s, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0


def main() -> None:
    """Say which compose command answers, or end with the reason why none does."""
    try:
        sys.stdout.write(f"{' '.join(find_compose(os.environ))}\n")
    except NoEngine as reason:
        sys.exit(f"images-try: {reason}")


if __name__ == "__main__":
    main()
