"""A split that no count resolves: what the administrators' fork entry needs, and handing it over.

A cosigner on a dead branch leaves it on a fork entry with burn statements of all signers of every job that
it has above its last quorum head. They are collected here before anybody signs; a burn is for ever.
"""

import asyncio
from collections.abc import Mapping

from custody.api.errors import CallRefused, Code
from custody.candidates import EMPTY, Candidate, Tip, extend
from custody.divergence import first_difference, last_quorum
from custody.parts import Parts
from custody.ports import Node
from policy.encoding import Json
from policy.entries import make_entry, signature_list
from policy.errors import InvariantError, OperationalError, ProtocolError
from policy.roster import verify_statement
from policy.state import Job

BRANCH_ENTRIES_MAX = 4096
JOBS_MAX = 64


async def draft_fork(parts: Parts, name: str) -> dict[str, Json]:
    """Body and burns of the fork entry that lets cosigner ``name`` leave its branch. Raises ``CallRefused``.

    Also where that branch starts (``from``), ends (``to``), and its last quorum head (``quorum``).
    """
    node = parts.nodes.get(name)
    if node is None:
        raise CallRefused(Code.CHANGE_REFUSED, f"no cosigner {name[:64]!r} is configured: look at status")
    try:
        return await _draft(parts, node)
    except ProtocolError as error:
        raise CallRefused(Code.CHANGE_REFUSED, str(error)) from error


async def hand_over(parts: Parts, candidate: Candidate) -> dict[str, str]:
    """Give a logged fork entry to every cosigner on another branch: empty for who left, or why not."""
    if callable(candidate.body):
        raise InvariantError("a fork entry's body is known before it is logged")
    time_ms = parts.sequencer.state.time_ms
    entry = make_entry("fork", time_ms, body=candidate.body, **candidate.proof)
    answers = {}
    for name, follower in parts.replication.followers.items():
        if follower.diverged:
            try:
                await follower.leave_by_fork(entry)
                answers[name] = ""
            except (OperationalError, ProtocolError) as error:
                answers[name] = str(error)
    return answers


async def _draft(parts: Parts, node: Node) -> dict[str, Json]:
    head = await node.head()
    shorter = min(head.size, parts.sequencer.state.size)
    differs = await first_difference(node, parts.database, shorter=shorter)
    if differs == shorter:
        raise CallRefused(Code.CHANGE_REFUSED, f"{node.name} is on no other branch: it needs no fork entry")
    quorum = await last_quorum(node, head, database=parts.database, differs=differs)
    if head.size - quorum > BRANCH_ENTRIES_MAX:
        raise CallRefused(
            Code.CHANGE_REFUSED,
            f"{node.name} has {head.size - quorum} entries above its last quorum head, {BRANCH_ENTRIES_MAX} "
            "are looked at: give it a successor",
        )
    common = await _own(parts, EMPTY, quorum)
    jobs = await _jobs_above(node, common, head.size)
    burns = [await _burned(parts, job) for job in jobs]
    ours = await _own(parts, common, shorter)
    body: Json = {
        "origin": parts.sequencer.state.origin,
        "size": shorter,
        "root": ours.frontier.root().hex(),
        "abandoned": [job.job_id.hex() for job in jobs],
    }
    return {"body": body, "burns": [*burns], "from": differs, "to": head.size, "quorum": quorum}


async def _own(parts: Parts, tip: Tip, size: int) -> Tip:
    """Our own log folded on to ``size`` entries."""
    while tip.frontier.size < size:
        entries = await parts.database.entries(tip.frontier.size, size)
        if not entries:
            raise InvariantError(f"the database lacks entry {tip.frontier.size}: move it away, start anew")
        tip = await asyncio.to_thread(_extended, tip, entries)
    return tip


async def _jobs_above(node: Node, tip: Tip, size: int) -> list[Job]:
    """The jobs that a cosigner's branch has above the head ``tip``, in order."""
    start = tip.frontier.size
    while tip.frontier.size < size:
        entries = await node.entries(tip.frontier.size, size)
        if not entries:
            raise OperationalError(f"{node.name} does not show entry {tip.frontier.size}: ask again")
        tip = await asyncio.to_thread(_extended, tip, entries)
    jobs = list(tip.state.jobs_since(start))
    if len(jobs) > JOBS_MAX:
        raise CallRefused(
            Code.CHANGE_REFUSED,
            f"the branch of {node.name} has {len(jobs)} jobs, a fork entry burns {JOBS_MAX}: "
            "give it a successor",
        )
    return jobs


def _extended(tip: Tip, entries: tuple[bytes, ...]) -> Tip:
    for entry in entries:
        tip, _ = extend(tip, entry)
    return tip


async def _burned(parts: Parts, job: Job) -> Json:
    """The burn statements of all signers of a job. Raises ``CallRefused`` naming who gives none, and why."""
    body: Json = {"origin": parts.sequencer.state.origin, "job": job.job_id.hex()}
    keys = parts.sequencer.state.identities
    answers = await asyncio.gather(*(_ask(parts, name, job, body, keys) for name in job.signers))
    missing = [answer for answer in answers if isinstance(answer, str)]
    if missing:
        raise CallRefused(
            Code.CHANGE_REFUSED,
            f"job {job.job_id.hex()} is not burned by all its signers: {'; '.join(missing)}. A signer "
            "that is down: start it. One whose partial signature is out: settle or use up nonce "
            f"{job.anchor.nonce} of the account, and give the stuck cosigner a successor",
        )
    signatures = {n: a for n, a in zip(job.signers, answers, strict=True) if isinstance(a, bytes)}
    return {"job": job.job_id.hex(), "signatures": signature_list(signatures)}


async def _ask(parts: Parts, name: str, job: Job, body: Json, keys: Mapping[str, bytes]) -> bytes | str:
    """A signer's burn statement, or why there is none."""
    node = parts.nodes.get(name)
    if node is None or name not in keys:
        return f"{name} is not configured here"
    try:
        signature = await node.burn(job.job_id)
        verify_statement("burn", body, key=keys[name], signature=signature, signer=name)
    except (OperationalError, ProtocolError) as error:
        return f"{name}: {error}"
    return signature
