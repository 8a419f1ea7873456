"""What a person sees on a cold machine before it signs, all by its own fold and decoder. Pure."""

from policy.encoding import Json
from policy.evaluate import Outcome
from policy.reservations import payment_verdict
from policy.state import CANCEL, Job, State


def job_shown(state: State, job: Job, *, root: bytes) -> dict[str, Json]:
    """What the job's bytes do, why the policy allows it, and where in the log that stands.

    The amounts are the request's: the fold has compared them with what the bytes were decoded to.
    """
    record = state.requests[job.request_id]
    intent = record.request.intent
    approvals: list[Json] = [approval.operator for approval in record.approvals]
    return {
        "request": job.request_id.hex(),
        "job": job.job_id.hex(),
        "purpose": job.purpose,
        "intent": intent.to_json(),
        "fee_max": str(job.fee_max),
        "initiator": record.request.initiator,
        "key": job.key,
        "signers": list(job.signers),
        "signatures": len(job.signings),
        "transaction": job.tx.hex(),
        "verdict": _verdict(state, job),
        "approvals": approvals,
        "policy": state.policy_hash.hex(),
        "log": {"size": state.size, "root": root.hex(), "time_ms": state.time_ms, "reserved_at": job.index},
    }


def lines(shown: dict[str, Json]) -> list[str]:
    """The same for a person who reads."""
    intent, log = shown["intent"], shown["log"]
    parts = intent if isinstance(intent, dict) else {}
    place = log if isinstance(log, dict) else {}
    return [
        f"{shown['purpose']} asked by {shown['initiator']}, request {shown['request']}",
        *(f"  {name}: {value}" for name, value in sorted(parts.items())),
        f"  fee at most: {shown['fee_max']}",
        f"  verdict: {shown['verdict']}",
        f"  approved by: {shown['approvals']}",
        f"  key {shown['key']}, signed by {shown['signers']}",
        f"  reserved at entry {place.get('reserved_at')} of {place.get('size')}",
        f"  log time {place.get('time_ms')}",
        f"  log root {place.get('root')}",
        f"  policy {shown['policy']}",
    ]


def _verdict(state: State, job: Job) -> str:
    if job.purpose == CANCEL:
        return "allow: it closes the anchor of a request that is over and pays nobody"
    verdict = payment_verdict(state, job)
    word = "allow" if verdict.outcome is Outcome.ALLOW else verdict.outcome.name.lower()
    return f"{word} by rule {verdict.rule}: {verdict.reason}"
