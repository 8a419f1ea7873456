"""A template outlives a moment in which the machine has no process to give."""

import asyncio
import errno
import os
import socket
from typing import Any, cast

import pytest

from policy.errors import OperationalError
from signer_nodes.adapters.worker import WorkerTemplate
from signer_nodes.adapters.worker_child import _fork
from signer_nodes.schnorr_wire import FinishJob


@pytest.mark.parametrize("call", ["fork", "pidfd_open"])
def test_a_worker_that_cannot_be_forked_ends_its_run_and_not_the_template(
    monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    def refused(*_arguments: object) -> int:
        raise OSError(errno.EAGAIN, "no process")

    monkeypatch.setattr(os, "fork", lambda: 1 << 22)
    monkeypatch.setattr(os, call, refused)
    mine, its = socket.socketpair()
    template = WorkerTemplate(cast("Any", None), mine)
    job = FinishJob(bytes(32), cast("Any", None), ())

    async def start() -> None:
        asking = asyncio.create_task(template.start(job, randomness=bytes(32), timeout_s=1))
        request, pipes, _flags, _address = await asyncio.to_thread(socket.recv_fds, its, 1, 1)
        assert request == b"f"
        _fork(its, socket.socket(fileno=pipes[0]))
        await asking

    with its, mine, pytest.raises(OperationalError, match="no process or memory"):
        asyncio.run(start())


def test_a_template_that_does_not_answer_is_given_up_and_its_late_answer_never_taken() -> None:
    mine, its = socket.socketpair()
    template = WorkerTemplate(cast("Any", None), mine, timeout_s=0.05)
    job = FinishJob(bytes(32), cast("Any", None), ())

    with its, mine:
        for _ in range(2):
            with pytest.raises(OperationalError, match="is gone: restart"):
                asyncio.run(template.start(job, randomness=bytes(32), timeout_s=1))
