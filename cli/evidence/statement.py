"""``audit statement``: a wallet's movements by the log, for those who keep the books."""

import csv
import io
from argparse import Namespace
from pathlib import Path

from cli.audit import as_json, as_text
from cli.evidence.camt import beyond_schema, camt053, number, unexplained
from cli.evidence.period import iso_time, read_period
from cli.files import write_bytes
from cli.policies.replaying import audited
from cli.results import REFUSED, Misuse, Result
from policy.movements import Movement, Movements, Totals

COLUMNS = (
    *("time", "entry", "kind", "asset", "credit", "debit", "counterparty"),
    *("request", "job", "transaction", "block", "fee_max", "fee_asset"),
)


def statement(arguments: Namespace) -> Result:
    """``audit statement``: refused when the log does not hold, or has nothing to state."""
    period = read_period(arguments)
    movements = Movements(arguments.wallet, from_ms=period.from_ms, to_ms=period.to_ms)
    report = audited(arguments, movements)
    document = {"wallet": arguments.wallet, "from": str(period.since), "to": str(period.until)}
    if not report.ok:
        return Result(document | {"log": as_json(report)}, ("no statement of it", as_text(report)), REFUSED)
    if not movements.known:
        raise Misuse(f"no policy of the log has a wallet {arguments.wallet!r}: name one of them")
    xml = arguments.format == "camt053"
    if xml and not movements.totals():
        said = f"the log has no movement or holding of {arguments.wallet} up to then, and camt.053 needs one"
        return Result(document | {"log": as_json(report)}, (said, "ask for csv"), REFUSED)
    text = camt053(movements, wallet=arguments.wallet, period=period) if xml else as_csv(movements)
    document |= {
        "movements": len(movements.found),
        "totals": [_total(movements, one) for one in movements.totals()],
        "beyond_schema": beyond_schema(movements) if xml else [],
        "file": arguments.out or None,
        "log": as_json(report),
    }
    if not arguments.out:
        return Result(document | {"statement": text}, (text.rstrip("\n"),))
    write_bytes(Path(arguments.out), text.encode())
    return Result(document, _said(arguments.out, movements, xml=xml))


def as_csv(movements: Movements) -> str:
    """Rows of movements, and one row of totals for each asset."""
    out = io.StringIO()
    rows = csv.writer(out, lineterminator="\n")
    rows.writerow(COLUMNS)
    rows.writerows(_row(one) for one in movements.found)
    for one in movements.totals():
        sums = (number(one.credits, one.asset), number(one.debits, one.asset))
        rows.writerow(("", "", "total", one.asset.name, *sums, *[""] * 7))
    return out.getvalue()


def _row(one: Movement) -> tuple[str, ...]:
    amount, fee = number(one.amount, one.asset), number(one.fee_max, one.fee_asset)
    return (
        *(iso_time(one.time_ms), str(one.index), one.kind, one.asset.name),
        *((amount, "") if one.credit else ("", amount)),
        *(one.counterparty, one.request.hex(), one.job.hex(), one.transaction, str(one.block)),
        *(("", "") if one.credit or not one.request else (fee, one.fee_asset.name)),
    )


def _total(movements: Movements, one: Totals) -> dict[str, object]:
    opening, closing = movements.booked(one.asset.name)
    other = unexplained(movements, one)
    return {
        "opening": number(opening.amount, one.asset) if opening else None,
        "closing": number(closing.amount, one.asset) if closing else None,
        "unexplained": None if other is None else number(other, one.asset),
        "asset": one.asset.name,
        "movements": one.count,
        "credit": number(one.credits, one.asset),
        "debit": number(one.debits, one.asset),
        "net": number(one.net, one.asset),
    }


def _said(out: str, movements: Movements, *, xml: bool) -> list[str]:
    lines = [f"{out} has {len(movements.found)} movements."]
    for one in movements.totals():
        sums = (number(one.credits, one.asset), number(one.debits, one.asset), number(one.net, one.asset))
        lines.append(f"{one.asset.name}: credit {sums[0]}, debit {sums[1]}, net {sums[2]}")
        other = unexplained(movements, one)
        if xml and other is None:
            lines.append(f"{one.asset.name}: not both balances are booked, as none was stated at that time")
        if xml and other:
            lines.append(f"{one.asset.name}: the balances differ by {number(other, one.asset)} beside that")
    if xml and (names := beyond_schema(movements)):
        lines.append(
            f"{', '.join(names)}: more than camt.053's types have room for; a strict reader refuses it"
        )
    return lines
