"""The switch: ``python -m tests.chaos.switch SEED PORT...`` hands frames on between TAP devices.

A line on standard input says what is wrong from now on: ``links`` has [delay_ms, loss_percent, cut] of each
port, ``apart`` the pairs of ports (the lower first) between which nothing goes. It ends with its input.
"""

import contextlib
import heapq
import json
import os
import random
import selectors
import sys
import time
from collections.abc import Sequence

FRAME_MAX, AT_ONCE = 1 << 16, 64
BROADCAST = 0x01
"""The bit of the first byte of an address that names more than one."""


class Switch:
    """Port number n has the device whose hardware address ends with n + 1."""

    def __init__(self, ports: Sequence[int], seed: int) -> None:
        self._ports = ports
        self._source = random.Random(seed)
        self._links: list[list[int]] = [[0, 0, 0] for _ in ports]
        self._apart: set[tuple[int, int]] = set()
        self._late: list[tuple[float, int, int, bytes]] = []
        self._count = 0

    def change(self, line: str) -> None:
        """Take in what is wrong with the links."""
        told = json.loads(line)
        self._links = told["links"]
        self._apart = {(low, high) for low, high in told["apart"]}

    def take(self, sender: int) -> None:
        """Hand on what has come in at a port."""
        with contextlib.suppress(BlockingIOError):
            for _ in range(AT_ONCE):
                frame = os.read(self._ports[sender], FRAME_MAX)
                for receiver in self._receivers(sender, frame):
                    if (min(sender, receiver), max(sender, receiver)) not in self._apart:
                        self._pass(frame, self._links[sender], receiver)

    def wait_s(self) -> float | None:
        """How long nothing is due."""
        return max(0.0, self._late[0][0] - time.monotonic()) if self._late else None

    def deliver(self) -> None:
        """Hand on what is due by now."""
        now = time.monotonic()
        while self._late and self._late[0][0] <= now:
            _, _, receiver, frame = heapq.heappop(self._late)
            self._write(receiver, frame)

    def _receivers(self, sender: int, frame: bytes) -> list[int]:
        if frame[0] & BROADCAST:
            return [number for number in range(len(self._ports)) if number != sender]
        receiver = frame[5] - 1
        return [receiver] if 0 <= receiver < len(self._ports) and receiver != sender else []

    def _pass(self, frame: bytes, sender: Sequence[int], receiver: int) -> None:
        (delay, loss, cut), (delay_there, loss_there, cut_there) = sender, self._links[receiver]
        if cut or cut_there or self._source.randrange(100) < loss + loss_there:
            return
        if not delay + delay_there:
            self._write(receiver, frame)
            return
        self._count += 1
        due = time.monotonic() + (delay + delay_there) / 1000
        heapq.heappush(self._late, (due, self._count, receiver, frame))

    def _write(self, receiver: int, frame: bytes) -> None:
        with contextlib.suppress(OSError):  # its queue is full, or it is not up: a frame is lost
            os.write(self._ports[receiver], frame)


def main(seed: int, *ports: int) -> None:
    """Switch until the input ends."""
    switch = Switch(ports, seed)
    with selectors.DefaultSelector() as selector:
        selector.register(0, selectors.EVENT_READ, -1)
        for number, port in enumerate(ports):
            selector.register(port, selectors.EVENT_READ, number)
        rest = b""
        while True:
            for key, _ in selector.select(switch.wait_s()):
                if key.data >= 0:
                    switch.take(key.data)
                    continue
                if not (data := os.read(0, FRAME_MAX)):
                    return
                *lines, rest = (rest + data).split(b"\n")
                for line in lines:
                    switch.change(line.decode())
            switch.deliver()


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
