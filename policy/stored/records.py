"""How each table of the state stands in records: one exact encoding, written and read here alone.

Records are pinned by the hash over all of them and were written by this very program, so reading does not
check them again; a request is parsed as it was when it was logged.
"""

import json
from collections.abc import Callable
from typing import Any, Final, TypeVar

from policy.approval import Slot
from policy.encoding import Json, canonical
from policy.intent import parse_request
from policy.state import ApprovalRecord, Deposit, Job, JobStatus, RequestState, Screening, Signing
from policy.stored.layered import Codec, Layered, Stored, apart
from policy.stored.pages import Read
from policy.windows import Counted, Window

K = TypeVar("K")
V = TypeVar("V")
Pair = tuple[str, str]
_TIME_BYTES: Final = 8
_NUMBER_BYTES: Final = 8


def plain(data: bytes) -> bytes:
    """Bytes stand as they are."""
    return bytes(data)


def _pair_key(pair: Pair) -> bytes:
    return canonical(list(pair))


def _read_pair(data: bytes) -> Pair:
    first, second = json.loads(data)
    return first, second


def _slot_key(slot: Slot) -> bytes:
    return canonical(_slot(slot))


def _read_slot_key(data: bytes) -> Slot:
    return _read_slot(json.loads(data))


def _number_key(number: int) -> bytes:
    return number.to_bytes(_NUMBER_BYTES, "big")


def _read_number(data: bytes) -> int:
    return int.from_bytes(data, "big")


def _values(value: Callable[[V], bytes], read: Callable[[bytes], V]) -> tuple[Any, Any]:
    return value, lambda _, data: read(data)


def _timed(item: tuple[int, bytes]) -> bytes:
    return item[0].to_bytes(_TIME_BYTES, "big") + item[1]


def _read_timed(data: bytes) -> tuple[int, bytes]:
    return int.from_bytes(data[:_TIME_BYTES], "big"), data[_TIME_BYTES:]


_BYTES = _values(plain, plain)
_MARK = _values(lambda _: b"", lambda _: True)

ID_TO_ID: Final[Codec[bytes, bytes]] = Codec(plain, plain, *_BYTES)
PAIR_TO_ID: Final[Codec[Pair, bytes]] = Codec(_pair_key, _read_pair, *_BYTES)
SLOT_TO_ID: Final[Codec[Slot, bytes]] = Codec(_slot_key, _read_slot_key, *_BYTES)
IDS: Final[Codec[bytes, bool]] = Codec(plain, plain, *_MARK)
DEPOSITS: Final[Codec[bytes, Deposit]] = Codec(
    plain, plain, *_values(_timed, lambda data: Deposit(*_read_timed(data)))
)
TIMED: Final[Codec[int, tuple[int, bytes]]] = Codec(_number_key, _read_number, *_values(_timed, _read_timed))


def _slot(slot: Slot) -> Json:
    return [slot.chain, slot.account, str(slot.nonce)]


def _read_slot(found: Any) -> Slot:
    return Slot(found[0], found[1], int(found[2]))


def encode_request(state: RequestState) -> bytes:
    """The record of a request, all but its id."""
    fields: dict[str, Json] = {
        "body": state.request.body(),
        "rule": state.rule,
        "logged_ms": state.logged_ms,
        "closed": state.closed,
        "rejected_by": state.rejected_by,
        "jobs": [job.hex() for job in state.jobs],
        "approvals": [_approval(one) for one in state.approvals],
        "scopes": [list(scope) for scope in state.scopes],
    }
    if state.observed:
        fields["observed"] = state.observed.hex()
    if state.screening is not None:
        fields["screening"] = [state.screening.result, state.screening.risk, state.screening.observed_ms]
    if state.anchor is not None:
        fields["anchor"] = _slot(state.anchor)
    return canonical(fields)


def decode_request(identifier: bytes, data: bytes) -> RequestState:
    """Read ``encode_request``."""
    found = json.loads(data)
    return RequestState(
        request_id=identifier,
        request=parse_request(found["body"]),
        rule=found["rule"],
        logged_ms=found["logged_ms"],
        closed=found["closed"],
        observed=bytes.fromhex(found.get("observed", "")),
        rejected_by=found["rejected_by"],
        screening=Screening(*found["screening"]) if "screening" in found else None,
        anchor=_read_slot(found["anchor"]) if "anchor" in found else None,
        jobs=tuple(map(bytes.fromhex, found["jobs"])),
        approvals=tuple(map(_read_approval, found["approvals"])),
        scopes=tuple((limit, key) for limit, key in found["scopes"]),
    )


def _approval(record: ApprovalRecord) -> Json:
    return {
        "operator": record.operator,
        "slot": _slot(record.slot),
        "policy": record.policy.hex(),
        "fee_ceiling": str(record.fee_ceiling),
        "expires_ms": record.expires_ms,
        "logged_ms": record.logged_ms,
    }


def _read_approval(found: Any) -> ApprovalRecord:
    return ApprovalRecord(
        operator=found["operator"],
        slot=_read_slot(found["slot"]),
        policy=bytes.fromhex(found["policy"]),
        fee_ceiling=int(found["fee_ceiling"]),
        expires_ms=found["expires_ms"],
        logged_ms=found["logged_ms"],
    )


def encode_job(job: Job) -> bytes:
    """The record of a job, all but its id."""
    fields: dict[str, Json] = {
        "index": job.index,
        "request": job.request_id.hex(),
        "purpose": job.purpose,
        "tx": job.tx.hex(),
        "suite": job.suite,
        "key": job.key,
        "epoch": job.epoch,
        "signers": list(job.signers),
        "presignatures": [item.hex() for item in job.presignatures],
        "signings": [_signing(signing) for signing in job.signings],
        "signatures": [signature.hex() for signature in job.signatures],
        "anchor": _slot(job.anchor),
        "fee_max": str(job.fee_max),
        "unit": job.unit,
        "policy": job.policy.hex(),
        "book": job.book.hex(),
        "time_ms": job.time_ms,
        "status": job.status.value,
        "signed_ms": job.signed_ms,
    }
    if job.value is not None:
        fields["value"] = str(job.value)
    return canonical(fields)


def decode_job(identifier: bytes, data: bytes) -> Job:
    """Read ``encode_job``."""
    found = json.loads(data)
    return Job(
        job_id=identifier,
        index=found["index"],
        request_id=bytes.fromhex(found["request"]),
        purpose=found["purpose"],
        tx=bytes.fromhex(found["tx"]),
        suite=found["suite"],
        key=found["key"],
        epoch=found["epoch"],
        signers=tuple(found["signers"]),
        presignatures=tuple(map(bytes.fromhex, found["presignatures"])),
        signings=tuple(map(_read_signing, found["signings"])),
        signatures=tuple(map(bytes.fromhex, found["signatures"])),
        anchor=_read_slot(found["anchor"]),
        fee_max=int(found["fee_max"]),
        value=int(found["value"]) if "value" in found else None,
        unit=found["unit"],
        policy=bytes.fromhex(found["policy"]),
        book=bytes.fromhex(found["book"]),
        time_ms=found["time_ms"],
        status=JobStatus(found["status"]),
        signed_ms=found["signed_ms"],
    )


def _signing(signing: Signing) -> Json:
    fields: dict[str, Json] = {
        "path": signing.path,
        "message": signing.message.hex(),
        "tweak": str(signing.tweak),
        "public_key": signing.public_key.hex(),
    }
    if signing.merkle_root is not None:
        fields["merkle_root"] = signing.merkle_root.hex()
    return fields


def _read_signing(found: Any) -> Signing:
    return Signing(
        path=found["path"],
        message=bytes.fromhex(found["message"]),
        tweak=int(found["tweak"]),
        public_key=bytes.fromhex(found["public_key"]),
        merkle_root=bytes.fromhex(found["merkle_root"]) if "merkle_root" in found else None,
    )


REQUESTS: Final[Codec[bytes, RequestState]] = Codec(plain, plain, encode_request, decode_request)
JOBS: Final[Codec[bytes, Job]] = Codec(plain, plain, encode_job, decode_job)


def windows(read: Read, counted: bytes, *, queue: bytes) -> Codec[Pair, Window]:
    """Windows by their place, without what is counted and queued in them: that is under two more roots."""

    def decode(place: Pair, data: bytes) -> Window:
        found = json.loads(data)
        return Window(
            total=int(found["total"]),
            head=found["head"],
            tail=found["tail"],
            queue=Layered(Stored(queue_of(place), read, root=queue)),
            counted=Layered(Stored(counted_of(place), read, root=counted)),
        )

    return apart("windows", Codec(_pair_key, _read_pair, _encode_window, decode))


def _encode_window(window: Window) -> bytes:
    return canonical({"total": str(window.total), "head": window.head, "tail": window.tail})


def counted_of(place: Pair) -> Codec[bytes, Counted]:
    """What each request counts in the window at ``place``."""
    prefix = _prefix("counted", place)

    def encode(item: Counted) -> bytes:
        held = item.signed_ms is None
        return canonical([str(item.amount)] if held else [str(item.amount), item.signed_ms or 0])

    def decode(_: bytes, data: bytes) -> Counted:
        amount, *signed_ms = json.loads(data)
        return Counted(int(amount), signed_ms[0] if signed_ms else None)

    return Codec(lambda request: prefix + request, lambda data: _inside(prefix, data), encode, decode)


def queue_of(place: Pair) -> Codec[int, tuple[int, bytes]]:
    """The queue of the window at ``place``."""
    prefix = _prefix("queue", place)

    def read_key(data: bytes) -> int | None:
        inside = _inside(prefix, data)
        return None if inside is None else _read_number(inside)

    return Codec(lambda number: prefix + _number_key(number), read_key, *_values(_timed, _read_timed))


def _prefix(table: str, place: Pair) -> bytes:
    name = _pair_key(place)
    return b"%s/%d/%s" % (table.encode(), len(name), name)


def _inside(prefix: bytes, data: bytes) -> bytes | None:
    return data[len(prefix) :] if data.startswith(prefix) else None
