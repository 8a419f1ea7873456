"""Movements as an ISO 20022 bank statement: the elements of camt.053.001.08, in its order.

A balance is booked (OPBD, CLBD) where observers stated it at the period's beginning or end. The log does not
know all that is paid in, so it makes none itself: what lies between both beside the movements is said. The
other balances are proprietary: NET is what the movements add up to, STATED-BEFORE and STATED-LAST are what
was stated at other times.
"""

from xml.etree import ElementTree

from cli.evidence.period import Period, iso_time
from policy.encoding import tagged_hash
from policy.model import Asset
from policy.movements import Movement, Movements, Stated, Totals
from policy.words.units import amount_text

NAMESPACE = "urn:iso:std:iso:20022:tech:xsd:camt.053.001.08"
ID_CHARACTERS_MAX = 35
CURRENCY_LETTERS, FRACTION_DIGITS_MAX, DIGITS_MAX = 3, 5, 18
BOOKED = ("OPBD", "CLBD")
NOTE = "From the log alone: deposits as observers stated them, no network fees, no tokens that a call moves."

Element = ElementTree.Element


def camt053(movements: Movements, *, wallet: str, period: Period) -> str:
    """The message: one statement for each asset. It needs at least one asset, moved or stated."""
    root = ElementTree.Element("Document", xmlns=NAMESPACE)
    message = _in(root, "BkToCstmrStmt")
    header = _in(message, "GrpHdr")
    _in(header, "MsgId", _id(wallet, period, ""))
    _in(header, "CreDtTm", iso_time(movements.log_ms))
    for totals in movements.totals():
        _statement(_in(message, "Stmt"), movements, totals, wallet=wallet, period=period)
    ElementTree.indent(root)
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{ElementTree.tostring(root, encoding="unicode")}\n'


def number(amount: int, asset: Asset) -> str:
    """An amount as a decimal number, exact."""
    sign = "-" if amount < 0 else ""
    return sign + amount_text(abs(amount), asset=asset.name, decimals=asset.decimals).split()[0]


def beyond_schema(movements: Movements) -> list[str]:
    """The assets whose names, not of three letters, or digits the message's simple types have no room for."""
    amounts = [(one.asset, one.amount) for one in movements.found]
    amounts += [(one.asset, one.amount) for one in (*movements.opening.values(), *movements.closing.values())]
    amounts += [
        (one.asset, abs(whole)) for one in movements.totals() for whole in (one.net, one.credits, one.debits)
    ]
    return sorted({asset.name for asset, amount in amounts if not _fits(amount, asset)})


def _fits(amount: int, asset: Asset) -> bool:
    whole, _, part = number(amount, asset).partition(".")
    name = asset.name
    named = len(name) == CURRENCY_LETTERS and name.isascii() and name.isalpha()
    return named and len(part) <= FRACTION_DIGITS_MAX and len(whole) + len(part) <= DIGITS_MAX


def _statement(into: Element, movements: Movements, totals: Totals, *, wallet: str, period: Period) -> None:
    asset = totals.asset
    _in(into, "Id", _id(wallet, period, asset.name))
    times = _in(into, "FrToDt")
    _in(times, "FrDtTm", iso_time(period.from_ms))
    _in(times, "ToDtTm", iso_time(period.to_ms - 1))
    other = _in(_in(_in(into, "Acct"), "Id"), "Othr")
    _in(other, "Id", _id(wallet, None, asset.name))
    opening, closing = movements.booked(asset.name)
    for booked, code, stated, name in (
        (opening, "OPBD", movements.opening.get(asset.name), "STATED-BEFORE"),
        (closing, "CLBD", movements.closing.get(asset.name), "STATED-LAST"),
    ):
        if booked:
            _balance(into, code, booked)
        elif stated:
            _balance(into, name, stated)
    _balance(into, "NET", Stated(0, period.to_ms - 1, asset, totals.net))
    moved = [one for one in movements.found if one.asset.name == asset.name]
    _summary(_in(into, "TxsSummry"), totals, moved)
    for one in moved:
        _entry(_in(into, "Ntry"), one)
    said = f"Wallet {wallet}, {asset.name} on {asset.chain}. {NOTE} {_difference(movements, totals)}"
    _in(into, "AddtlStmtInf", said)


def unexplained(movements: Movements, totals: Totals) -> int | None:
    """What lies between both booked balances beside the movements; None without both."""
    opening, closing = movements.booked(totals.asset.name)
    return closing.amount - opening.amount - totals.net if opening and closing else None


def _difference(movements: Movements, totals: Totals) -> str:
    other = unexplained(movements, totals)
    if other is None:
        return "Not both balances are booked: none was stated at that time."
    return f"Between both balances lies {number(other, totals.asset)} more than the entries."


def _balance(into: Element, code: str, held: Stated) -> None:
    balance = _in(into, "Bal")
    _in(_in(_in(balance, "Tp"), "CdOrPrtry"), "Cd" if code in BOOKED else "Prtry", code)
    _amount(balance, held.amount, held.asset)
    _in(_in(balance, "Dt"), "DtTm", iso_time(held.observed_ms))


def _summary(into: Element, totals: Totals, moved: list[Movement]) -> None:
    asset = totals.asset
    entries = _in(into, "TtlNtries")
    _in(entries, "NbOfNtries", str(totals.count))
    _in(entries, "Sum", number(totals.credits + totals.debits, asset))
    _amount(_in(entries, "TtlNetNtry"), totals.net, asset, currency=False)
    for name, credit, total in (
        ("TtlCdtNtries", True, totals.credits),
        ("TtlDbtNtries", False, totals.debits),
    ):
        side = _in(into, name)
        _in(side, "NbOfNtries", str(sum(one.credit is credit for one in moved)))
        _in(side, "Sum", number(total, asset))


def _entry(into: Element, one: Movement) -> None:
    _in(into, "NtryRef", f"entry-{one.index}-{'credit' if one.credit else 'debit'}")
    _amount(into, one.amount if one.credit else -one.amount, one.asset, debit=not one.credit)
    _in(_in(into, "Sts"), "Cd", "BOOK")
    _in(_in(into, "BookgDt"), "DtTm", iso_time(one.time_ms))
    _in(_in(_in(into, "BkTxCd"), "Prtry"), "Cd", one.kind)
    paid_out = bool(one.request) and not one.credit
    fee = f" fee at most {number(one.fee_max, one.fee_asset)} {one.fee_asset.name};" if paid_out else ""
    way = "from" if one.credit else "to"
    said = f"{way if one.request else 'at'} {one.counterparty};{fee} transaction {one.transaction}"
    request = f"; request {one.request.hex()}" if one.request else ""
    _in(into, "AddtlNtryInf", f"{said} in block {one.block}{request}")


def _amount(into: Element, amount: int, asset: Asset, *, debit: bool = False, currency: bool = True) -> None:
    found = _in(into, "Amt", number(abs(amount), asset))
    if currency:
        found.set("Ccy", asset.name.upper())
    _in(into, "CdtDbtInd", "DBIT" if debit or amount < 0 else "CRDT")


def _id(wallet: str, period: Period | None, asset: str) -> str:
    """An identifier that the message has room for, the same for the same thing."""
    days = f"{period.since}/{period.until}" if period else ""
    return tagged_hash("movements-statement", f"{wallet}/{days}/{asset}".encode()).hex()[
        : ID_CHARACTERS_MAX - 3
    ]


def _in(parent: Element, name: str, text: str | None = None) -> Element:
    child = ElementTree.SubElement(parent, name)
    child.text = text
    return child
