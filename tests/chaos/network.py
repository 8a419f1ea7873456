"""A network of our own for each process: TAP devices in namespaces, joined by a switch in user space.

Every frame between two processes passes the switch, so it can be late, lost or cut, whatever queueing
disciplines the kernel was built with. Everything stands in the mount, network and process namespaces of the
run, and is gone with it.
"""

import fcntl
import json
import os
import struct
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

TUNSETIFF, IFF_TAP, IFF_NO_PI = 0x400454CA, 0x0002, 0x1000
MTU: Final = 9000
NET: Final = "10.77.0"
OUTSIDE: Final = "outside"
"""Where the run itself is: its clients and its chain."""


@dataclass(frozen=True, slots=True)
class Link:
    """What is wrong with a process's link; nothing by default."""

    delay_ms: int = 0
    loss_percent: int = 0
    cut: bool = False


@dataclass
class Network:
    """One namespace and link for each name, and the switch between them."""

    folder: Path
    names: Sequence[str]
    _switch: "subprocess.Popen[bytes] | None" = None
    _links: dict[str, Link] = field(default_factory=dict)
    _apart: set[tuple[str, str]] = field(default_factory=set)

    def address(self, name: str) -> str:
        """The address of a process."""
        return f"{NET}.{1 + (OUTSIDE, *self.names).index(name)}"

    def inside(self, name: str, command: Sequence[str]) -> list[str]:
        """The command, to be run in the namespace of ``name``: it becomes the very process."""
        return ["nsenter", f"--net={self.folder / name}", "--", *command]

    def start(self, seed: int) -> None:
        """Make the namespaces, and start the switch."""
        self.folder.mkdir()
        ports = []
        for number, name in enumerate((OUTSIDE, *self.names), start=1):
            ports.append(_tap(f"q{number}"))
            _run("ip", "link", "set", f"q{number}", "address", _hardware(number), "mtu", str(MTU))
            if name != OUTSIDE:
                place = self.folder / name
                place.touch()
                _run("unshare", f"--net={place}", "true")
                _run("ip", "link", "set", f"q{number}", "netns", str(place))
            self._configure(name, number)
        command = [sys.executable, "-m", "tests.chaos.switch", str(seed), *map(str, ports)]
        self._switch = subprocess.Popen(command, stdin=subprocess.PIPE, pass_fds=ports)
        for port in ports:
            os.close(port)

    def _configure(self, name: str, number: int) -> None:
        device = f"q{number}"
        for command in (
            ("ip", "link", "set", "lo", "up"),
            ("ip", "addr", "add", f"{NET}.{number}/24", "dev", device),
            ("ip", "link", "set", device, "up"),
        ):
            _run(*(command if name == OUTSIDE else self.inside(name, command)))

    def set(self, name: str, link: Link) -> None:
        """From now on the link of ``name`` is like this."""
        self._links[name] = link
        self._tell()

    def part(self, name: str, others: Sequence[str]) -> None:
        """From now on no frame comes from ``name`` to these others or back, and to all else as ever."""
        self._apart = {(name, other) for other in others}
        self._tell()

    def _tell(self) -> None:
        order = (OUTSIDE, *self.names)
        links = [[one.delay_ms, one.loss_percent, one.cut] for one in map(self._link, order)]
        told = {"links": links, "apart": [sorted(map(order.index, pair)) for pair in self._apart]}
        if self._switch is None or self._switch.stdin is None:
            raise RuntimeError("the network was not started")
        self._switch.stdin.write(json.dumps(told).encode() + b"\n")
        self._switch.stdin.flush()

    def stop(self) -> None:
        """End the switch."""
        if self._switch is not None:
            self._switch.kill()
            self._switch.wait()

    def _link(self, name: str) -> Link:
        return self._links.get(name, Link())


def _tap(device: str) -> int:
    port = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(port, TUNSETIFF, struct.pack("16sH22x", device.encode(), IFF_TAP | IFF_NO_PI))
    os.set_inheritable(port, False)
    return port


def _hardware(number: int) -> str:
    return f"02:00:00:00:00:{number:02x}"


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True)
