"""The worker: a process that opens shares for one run, and the template that it is forked from.

The template is a program of its own, started before the node touches its token: it has loaded the
protocols and nothing else, holds no secret, and forks once for each run (1 ms; a cold start takes 0.4 s).
It is not ``multiprocessing``'s forkserver, whose children import the node's main module, and with it
PKCS#11 and gRPC. Python integers cannot be wiped; the end of the process wipes them.
"""

import ctypes
import gc
import os
import signal
import socket
import sys
from collections.abc import Sequence
from typing import Final, assert_never

from policy.encoding import Json, canonical, tagged_hash
from policy.errors import (
    CallerError,
    FaultyParticipant,
    InvariantError,
    MalformedError,
    OperationalError,
    UnknownFault,
)
from signer_nodes import worker_frames as frames
from signer_nodes import worker_wire as wire
from signer_nodes.adapters.hardening import harden_process
from signer_nodes.adapters.worker_keys import backed_up, open_share, sealed_outcome, start_change
from signer_nodes.adapters.worker_schnorr import nonces, partial_signatures
from signer_nodes.backup_wire import BackupJob
from signer_nodes.hsm.envelope import open_blob
from signer_nodes.mpc.keyshare import KeyShare, PairState
from signer_nodes.mpc.presign import PresignParameters, PresignResult, start_presign
from signer_nodes.mpc.rounds import Progress, Rounds
from signer_nodes.schnorr_wire import FinishJob, NonceJob
from signer_nodes.worker_wire import Job, KeyJob, PresignJob, PresignOutcome

FORBIDDEN_MODULES: Final = ("pkcs11", "grpc", "google", "sqlite3", "asyncio")
RANDOMNESS_BYTES: Final = 32
_PR_SET_PDEATHSIG: Final = 1


class Link:
    """The worker's end of the pipe."""

    def __init__(self, pipe: socket.socket) -> None:
        self._pipe = pipe

    def send(self, word: bytes, *parts: bytes) -> None:
        """Send one frame."""
        self._pipe.sendall(frames.frame(word, *parts))

    def receive(self) -> tuple[bytes, list[bytes]]:
        """Wait for one frame. Raises ``EOFError`` when the node has gone."""
        length = frames.frame_length(self._exactly(frames.LENGTH_BYTES))
        return frames.split(self._exactly(length))

    def _exactly(self, length: int) -> bytes:
        data = bytearray()
        while len(data) < length:
            part = self._pipe.recv(min(length - len(data), 1 << 20))
            if not part:
                raise EOFError
            data += part
        return bytes(data)


def check_modules() -> None:
    """Raise ``InvariantError`` if this process has loaded what a worker must not have."""
    loaded = sorted({name.split(".")[0] for name in sys.modules} & set(FORBIDDEN_MODULES))
    if loaded:
        raise InvariantError(f"the worker has loaded {', '.join(loaded)}: it must open shares without them")


def run_job(link: Link) -> None:
    """Take one job from ``link``, run it, and send its outcome or the fault that ended it."""
    try:
        link.send(frames.RESULT, *_outcome(link))
    except FaultyParticipant as error:
        if isinstance(error.participant, str):  # an importing dealer, who is no party of the run
            link.send(frames.TROUBLE, f"the {error.participant} {error.reason}"[:500].encode())
            return
        fault: Json = {"participant": error.participant, "reason": error.reason[:500], "ban": error.ban}
        link.send(frames.FAULTY, canonical(fault))
    except UnknownFault as error:
        link.send(frames.UNKNOWN, error.investigation[:500].encode())
    except OperationalError as error:
        link.send(frames.TROUBLE, str(error)[:500].encode())
    except EOFError:
        return  # the node gave up this run
    except Exception as error:  # noqa: BLE001 - its text could hold a secret: only its type leaves
        link.send(frames.FAILED, type(error).__name__.encode())


def _outcome(link: Link) -> list[bytes]:
    word, parts = link.receive()
    if word != frames.RUN or not parts or len(parts[0]) != RANDOMNESS_BYTES:
        raise MalformedError("the first frame names the job and brings 32 random bytes")
    job = wire.parse_job(parts[1:])
    seed = tagged_hash("worker-randomness", parts[0], os.urandom(RANDOMNESS_BYTES))
    parts = _result(link, job, seed)
    check_modules()
    return parts


def _result(link: Link, job: Job, seed: bytes) -> list[bytes]:
    match job:
        case KeyJob():
            return sealed_outcome(job, _pump(link, start_change(job, seed))).to_parts()
        case PresignJob():
            return _presigned(_pump(link, _presigning(job, seed))).to_parts()
        case NonceJob():
            return nonces(job, seed).to_parts()
        case FinishJob():
            return partial_signatures(job).to_parts()
        case BackupJob():
            return backed_up(job, seed).to_parts()
        case _:
            assert_never(job)


def _presigning(job: PresignJob, seed: bytes) -> Rounds:
    share, pairs = _open(job)
    parameters = PresignParameters(job.session, job.batch)
    return start_presign(parameters, share, pairs=pairs, signers=job.signers, randomness=seed)


def _presigned(result: object) -> PresignOutcome:
    if not isinstance(result, PresignResult):
        raise InvariantError(f"presigning ended in a {type(result).__name__}")
    return PresignOutcome(tuple(item.to_bytes() for item in result.presignatures))


def _open(job: PresignJob) -> tuple[KeyShare, dict[int, PairState]]:
    share = open_share(job.holding)
    if share.index != job.index:
        raise CallerError(f"the sealed share is party {share.index}'s, the job is for {job.index}")
    pairs = {
        peer: PairState.from_bytes(open_blob(sealed.file_key, sealed.blob, context=job.holding.context))
        for peer, sealed in job.pairs.items()
    }
    return share, pairs


def _pump(link: Link, machine: Rounds) -> object:
    progress = _sent(link, machine.start())
    while progress.result is None:
        word, parts = link.receive()
        if word != frames.DELIVER or len(parts) != 2 or len(parts[0]) != 1:
            raise MalformedError("expected a message of a peer")
        progress = _sent(link, machine.receive(parts[0][0], parts[1]))
    return progress.result


def _sent(link: Link, progress: Progress) -> Progress:
    for peer, payload in progress.outgoing:
        link.send(frames.SEND, bytes([peer]), payload)
    return progress


def serve_template(control: socket.socket) -> None:
    """Fork one worker for each pipe that comes over ``control``, until the node has gone."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the kernel reaps
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the node decides when its workers end
    harden_process()
    check_modules()
    gc.collect()
    gc.freeze()
    control.sendall(frames.READY)
    while True:
        request, pipes, _flags, _address = socket.recv_fds(control, 1, 1)
        if not request or len(pipes) != 1:
            return
        _fork(control, socket.socket(fileno=pipes[0]))


def _fork(control: socket.socket, pipe: socket.socket) -> None:
    try:
        pid = os.fork()
    except OSError:  # no process to be had now: that ends this run, not the template
        pipe.close()
        control.sendall(frames.BUSY)
        return
    if pid == 0:
        try:
            ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
            control.close()
            run_job(Link(pipe))
        finally:
            os._exit(0)
    pipe.close()
    try:
        handle = os.pidfd_open(pid)  # the worker waits for its job, so it is there unless somebody killed it
    except OSError:
        control.sendall(frames.BUSY)
        return
    socket.send_fds(control, [b"p"], [handle])
    os.close(handle)


def main(arguments: Sequence[str]) -> None:
    """The template's program: its one argument is the descriptor of the control socket."""
    serve_template(socket.socket(fileno=int(arguments[0])))


if __name__ == "__main__":
    main(sys.argv[1:])
