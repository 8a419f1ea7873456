"""What a person sees on a cold machine before it signs, all by its own fold and decoder. Pure."""

from datetime import UTC, datetime, timedelta
from typing import Final

from policy.encoding import Json
from policy.evaluate import Outcome
from policy.intent import Intent
from policy.reservations import payment_verdict
from policy.state import CANCEL, Job, JobStatus, State
from policy.words.units import amount_text, readable_address

TYPED_MIN: Final = 32  # hexadecimal digits of a request's id: nobody makes two requests that begin alike
_CANCELS: Final = "A CANCELLATION. It pays nobody: it uses up the place of a request that is over, which was"


def job_shown(state: State, job: Job, *, root: bytes) -> dict[str, Json]:
    """What the job's bytes do, why the policy allows it, and where in the log that stands.

    The amounts are the request's: the fold has compared them with what the bytes were decoded to.
    """
    record = state.requests[job.request_id]
    intent = record.request.intent
    approvals: list[Json] = [approval.operator for approval in record.approvals]
    earlier = [one for one in record.jobs if state.jobs[one].status is JobStatus.SIGNED]
    return {
        "request": job.request_id.hex(),
        "job": job.job_id.hex(),
        "purpose": job.purpose,
        "intent": intent.to_json(),
        "pays": _pays(state, intent),
        "fee_max": str(job.fee_max),
        "fee": _fee(state, intent.chain, job.fee_max),
        "signed_before": len(earlier),
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
    place: dict[str, Json] = log if isinstance(log, dict) else {}
    rest = {name: value for name, value in sorted(parts.items()) if name not in ("amount", "destination")}
    return [
        _CANCELS if shown["purpose"] == CANCEL else f"A {str(shown['purpose']).upper()}",
        f"  {shown['pays']}",
        *(f"  {name}: {value}" for name, value in rest.items()),
        f"  fee at most: {shown['fee']}",
        *_earlier(shown),
        f"  request {shown['request']}, asked by {shown['initiator']}",
        f"  verdict: {shown['verdict']}",
        f"  approved by: {_names(shown['approvals'])}",
        f"  key {shown['key']}, signed by {_names(shown['signers'])}",
        f"  reserved at entry {place.get('reserved_at')} of {place.get('size')}",
        f"  log time {_time(place.get('time_ms'))}",
        f"  log root {place.get('root')}",
        f"  policy {shown['policy']}",
    ]


def is_request(typed: str, request: str) -> bool:
    """Whether a person typed the request's id, or enough of its beginning."""
    digits = "".join(typed.split()).lower()
    return len(digits) >= TYPED_MIN and request.startswith(digits)


def _pays(state: State, intent: Intent) -> str:
    to = readable_address(intent.destination)
    if intent.typed_data is not None:
        return f"signs typed data for {to}"
    asset = state.policy.assets.get(intent.asset)
    amount = f"{intent.amount} base units of {intent.asset}"
    if asset is not None:
        amount = amount_text(intent.amount, asset=intent.asset, decimals=asset.decimals)
    if intent.calldata is not None:
        return f"calls {to} with {amount}"
    if state.owned.get((intent.chain, intent.destination)) == intent.wallet:
        return f"{amount} to the wallet itself, at {to}: nothing leaves it but the fee"
    return f"{amount} to {to}"


def _fee(state: State, chain: str, fee_max: int) -> str:
    known = state.policy.chains.get(chain)
    native = state.policy.assets.get(known.native) if known else None
    if known is None or native is None:
        return f"{fee_max} base units"
    return amount_text(fee_max, asset=known.native, decimals=native.decimals)


def _earlier(shown: dict[str, Json]) -> list[str]:
    if not shown["signed_before"]:
        return []
    return [f"  signed before for it: {shown['signed_before']}; the chain takes at most one of them all"]


def _names(listed: Json) -> str:
    return ", ".join(map(str, listed)) if isinstance(listed, list) and listed else "nobody"


def _time(time_ms: object) -> str:
    if not isinstance(time_ms, int):
        return "unknown"
    moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=time_ms)
    return f"{moment:%Y-%m-%d %H:%M:%S} UTC"


def _verdict(state: State, job: Job) -> str:
    if job.purpose == CANCEL:
        return "allow: it closes the anchor of a request that is over and pays nobody"
    verdict = payment_verdict(state, job)
    word = "allow" if verdict.outcome is Outcome.ALLOW else verdict.outcome.name.lower()
    return f"{word} by rule {verdict.rule}: {verdict.reason}"
