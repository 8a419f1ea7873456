"""What observers stated of payments to us, in a table, and what the feed tells of it."""

from typing import Any

from sqlalchemy import Connection, Row, func, insert, select, update

from custody.adapters.leased import values_of
from custody.adapters.tables import ADDRESSES, DEPOSITS
from custody.feeds import Deposit, DepositAddress, UnknownPosition
from custody.records import DepositRecord

DEPOSITS_MAX = 500
_OF_ADDRESS = (ADDRESSES.c.chain == DEPOSITS.c.chain) & (ADDRESSES.c.address == DEPOSITS.c.address)
_WITH_OWNER = select(DEPOSITS, ADDRESSES.c.initiator, ADDRESSES.c.label).select_from(
    DEPOSITS.outerjoin(ADDRESSES, _OF_ADDRESS)
)


def keep_deposit(db: Connection, record: DepositRecord) -> Deposit:
    """Keep the newest statement of a deposit; it with whom it is for."""
    mine = DEPOSITS.c.deposit == record.deposit
    if db.execute(select(DEPOSITS.c.number).where(mine)).first() is None:
        number = select(func.coalesce(func.max(DEPOSITS.c.number), 0) + 1).scalar_subquery()
        db.execute(insert(DEPOSITS).values(**values_of(record), number=number))
    else:
        db.execute(update(DEPOSITS).where(mine).values(values_of(record)))  # in another block it may pay less
    return _deposit(db.execute(_WITH_OWNER.where(mine)).one())


def deposits(db: Connection, wallet: str, *, initiator: str, after: bytes, limit: int) -> tuple[Deposit, ...]:
    """What was paid to a wallet, or to what an initiator was given of it, in order; after one."""
    query = _WITH_OWNER.where(DEPOSITS.c.wallet == wallet)
    if initiator:
        query = query.where(ADDRESSES.c.initiator == initiator)
    if after:
        position = db.execute(query.where(DEPOSITS.c.deposit == after)).first()
        if position is None:
            raise UnknownPosition
        query = query.where(DEPOSITS.c.number > position.number)
    rows = db.execute(query.order_by(DEPOSITS.c.number).limit(min(limit, DEPOSITS_MAX)))
    return tuple(map(_deposit, rows))


def paid_at(db: Connection, address: DepositAddress) -> tuple[Deposit, ...]:
    """What was paid at an address, the newest of it, in order."""
    here = (DEPOSITS.c.chain == address.chain) & (DEPOSITS.c.address == address.address)
    rows = db.execute(_WITH_OWNER.where(here).order_by(DEPOSITS.c.number.desc()).limit(DEPOSITS_MAX)).all()
    return tuple(map(_deposit, reversed(rows)))


def _deposit(row: Row[Any]) -> Deposit:
    record = DepositRecord(**{name: getattr(row, name) for name in DepositRecord.__dataclass_fields__})
    return Deposit(record, row.initiator or "", row.label or "")
