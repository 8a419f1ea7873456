"""What a scoring observer has learnt, as a document: so that a start does not read the whole log again.

Amounts may be wider than the canonical encoding allows, and nobody signs this: it is plain JSON. Payments
stand apart, one record each, as they only ever become more; so do the tables of the log's state.
"""

import json
from collections.abc import Iterable, Mapping
from typing import Any, Final

from custody.risk.habits import Ask, Habits, House, OfAsset, Pace, Payment, Sum
from custody.risk.reading import Reader, Scored, Stated
from custody.risk.scoring import MODEL, Score, Share
from policy.fact_entries import Basis

FORMAT: Final = 1  # to be raised when what is learnt or how it stands here changes and the model does not


def reader_document(reader: Reader) -> dict[str, Any]:
    """All that a reader has learnt but the payments."""
    return {
        "format": FORMAT,
        "model": MODEL,
        "habits": {name: _habits(habits) for name, habits in reader.house.habits.items()},
        "open": [_scored(one) for one in reader.open.values()],
        "stated": [_stated(one) for one in reader.stated.values()],
    }


def read_reader(found: Mapping[str, Any], payments: Iterable[Payment]) -> Reader:
    """The reader of a document. What the policy names it is to be told. Raises ``ValueError``, and more."""
    if (found["format"], found["model"]) != (FORMAT, MODEL):
        raise ValueError("it is of another program")
    reader = Reader()
    for name, one in found["habits"].items():
        _read_habits(reader.house, name, one)
    for payment in payments:
        reader.house.remember(payment)
    reader.open = {one.ask.request: one for one in map(_read_scored, found["open"])}
    reader.stated = {one.request: one for one in map(_read_stated, found["stated"])}
    return reader


def encode(document: Mapping[str, Any]) -> bytes:
    """The bytes of a document."""
    return json.dumps(document, separators=(",", ":")).encode()


def _habits(habits: Habits) -> dict[str, Any]:
    return {
        "assets": {
            name: {"logs": list(one.logs), "daily": _pace(one.daily)} for name, one in habits.assets.items()
        },
        "hours": habits.hours.counts,
        "quarterly": _pace(habits.quarterly),
        "failures": list(habits.failures),
        "again": [[*place, *one] for place, one in habits.gathering.again.items()],
        "ahead": [[day, *place, most, other] for day, place, most, other in habits.gathering.ahead],
    }


def _read_habits(house: House, name: str, found: Mapping[str, Any]) -> None:
    habits = house.of(name)
    for asset, one in found["assets"].items():
        of_asset: OfAsset = habits.of(asset)
        of_asset.logs.extend(one["logs"])
        _read_pace(of_asset.daily, one["daily"])
    habits.hours.counts = list(found["hours"])
    _read_pace(habits.quarterly, found["quarterly"])
    habits.failures.extend(found["failures"])
    habits.gathering.again = {(chain, to): (first_ms, count) for chain, to, first_ms, count in found["again"]}
    habits.gathering.ahead.extend(
        (day, (chain, to), most, other) for day, chain, to, most, other in found["ahead"]
    )


def _pace(pace: Pace) -> dict[str, Any]:
    return {"late": _sum(pace.late), "taught": _sum(pace.taught), "peaks": [list(one) for one in pace.peaks]}


def _read_pace(pace: Pace, found: Mapping[str, Any]) -> None:
    pace.late.parts = dict(map(tuple, found["late"]))
    pace.taught.parts = dict(map(tuple, found["taught"]))
    pace.peaks.extend((period, amount) for period, amount in found["peaks"])


def _sum(found: Sum) -> list[list[int]]:
    return [[step, amount] for step, amount in found.parts.items()]


def _scored(one: Scored) -> dict[str, Any]:
    ask = one.ask
    return {
        "ask": [
            ask.request.hex(),
            ask.initiator,
            ask.chain,
            ask.asset,
            ask.amount,
            ask.destination,
            ask.named,
            ask.time_ms,
        ],
        "shares": [[share.feature, share.points, share.why] for share in one.score.shares],
        "payees": list(one.payees),
        "expires_ms": one.expires_ms,
    }


def _read_scored(found: Mapping[str, Any]) -> Scored:
    request, *rest = found["ask"]
    shares = tuple(Share(*share) for share in found["shares"])
    return Scored(
        Ask(bytes.fromhex(request), *rest), Score(shares), tuple(found["payees"]), found["expires_ms"]
    )


def _stated(one: Stated) -> dict[str, Any]:
    return {
        "index": one.index,
        "request": one.request.hex(),
        "result": one.result,
        "risk": one.risk,
        "basis": one.basis.to_json() if one.basis else None,
        "signers": list(one.signers),
        "wrong": one.wrong,
    }


def _read_stated(found: Mapping[str, Any]) -> Stated:
    basis = found["basis"]
    return Stated(
        index=found["index"],
        request=bytes.fromhex(found["request"]),
        result=found["result"],
        risk=found["risk"],
        basis=_read_basis(basis) if basis else None,
        signers=tuple(found["signers"]),
        wrong=found["wrong"],
    )


def _read_basis(found: Mapping[str, Any]) -> Basis:
    shares = tuple((share["feature"], share["points"]) for share in found["shares"])
    return Basis(found["model"], bytes.fromhex(found["list"]), shares)
