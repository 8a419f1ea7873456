"""The history of destinations: added up in the transaction that keeps a signed payment."""

from sqlalchemy import Connection, bindparam, insert, select, update

from custody.adapters.tables import DESTINATIONS, REQUESTS, TRANSACTIONS
from custody.projection import payment_of
from custody.records import REQUEST_BYTES_MAX, PaidTo, Payment
from policy.encoding import parse_canonical
from policy.intent import parse_request
from policy.state import PAYMENT

TOTAL_MAX = 2**256 - 1
ROWS_MAX = 50
_PLACE = ("chain", "destination", "asset", "initiator")
_SUMS = ("payments", "total", "last_ms", "last_request")
_HERE = [DESTINATIONS.c[name] == bindparam(f"at_{name}") for name in _PLACE]
_FIND, _BEGIN = select(DESTINATIONS).where(*_HERE), insert(DESTINATIONS)
_CHANGE = update(DESTINATIONS).where(*_HERE).values({name: bindparam(f"new_{name}") for name in _SUMS})
_PAID = (
    select(TRANSACTIONS.c.job)
    .where(TRANSACTIONS.c.request == bindparam("wanted"), TRANSACTIONS.c.purpose == PAYMENT)
    .limit(1)
)


def count_payment(db: Connection, request: bytes, *, payment: Payment) -> None:
    """Add a signed payment, unless a transaction that pays the request was kept before."""
    if db.execute(_PAID, {"wanted": request}).first() is None:
        _add(db, request, payment=payment)


def paid_to(db: Connection, chain: str, *, destination: str) -> tuple[PaidTo, ...]:
    """What was paid to a destination, newest first."""
    mine = (DESTINATIONS.c.chain == chain) & (DESTINATIONS.c.destination == destination)
    rows = db.execute(
        select(DESTINATIONS).where(mine).order_by(DESTINATIONS.c.last_ms.desc()).limit(ROWS_MAX)
    )
    return tuple(PaidTo(**{name: getattr(row, name) for name in PaidTo.__dataclass_fields__}) for row in rows)


def add_up_older(db: Connection) -> None:
    """Once, in a database that is older than this table: count what was signed before.

    When those were signed it does not know any more: they are dated by their request's last change.
    """
    if db.execute(select(DESTINATIONS.c.chain).limit(1)).first() is not None:
        return
    payments = select(TRANSACTIONS.c.request).where(TRANSACTIONS.c.purpose == PAYMENT)
    rows = db.execute(
        select(REQUESTS).where(REQUESTS.c.request.in_(payments)).order_by(REQUESTS.c.updated_ms)
    )
    for row in rows.all():
        request = parse_request(parse_canonical(row.body, bytes_max=REQUEST_BYTES_MAX))
        _add(db, row.request, payment=payment_of(request, signed_ms=row.updated_ms))


def _add(db: Connection, request: bytes, *, payment: Payment) -> None:
    key = {name: getattr(payment, name) for name in _PLACE}
    place = {f"at_{name}": value for name, value in key.items()}
    row = db.execute(_FIND, place).first()
    values = {
        "payments": 1 + (row.payments if row else 0),
        "total": min(payment.amount + (row.total if row else 0), TOTAL_MAX),
        "last_ms": max(payment.signed_ms, row.last_ms if row else 0),
        "last_request": request,
    }
    if row is None:
        db.execute(_BEGIN, key | values)
    else:
        db.execute(_CHANGE, place | {f"new_{name}": value for name, value in values.items()})
