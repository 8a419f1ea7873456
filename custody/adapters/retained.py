"""What is kept for a while only: nonces of calls while their signatures hold, and old events of the feed."""

from collections.abc import Collection

from sqlalchemy import Connection, delete, exists, func, insert, select, update

from custody.adapters.leased import Leased, insert_or_ignore
from custody.adapters.tables import DELIVERIES, EVENTS, NONCES, TRIMMED, WEBHOOKS
from custody.feeds import NonceUse
from policy.encoding import INTEGER_MAX

TRIM_AT_ONCE = 1000


class Retained(Leased):
    """See ``custody.feeds.FeedStorage``."""

    def use_nonce(self, caller: str, nonce: str, *, until_s: int, now_s: int, nonces_max: int) -> NonceUse:
        """Use a nonce up until ``until_s``; those whose time is over are forgotten."""
        with self._transaction() as db:
            db.execute(delete(NONCES).where(NONCES.c.until_s < now_s))
            if db.execute(select(func.count()).select_from(NONCES)).scalar_one() >= nonces_max:
                return NonceUse.TOO_MANY
            values = {"caller": caller, "nonce": nonce, "until_s": until_s}
            kept = insert_or_ignore(db, NONCES).returning(NONCES.c.nonce)
            return NonceUse.FRESH if db.execute(kept, values).first() is not None else NonceUse.USED

    def trimmed(self, initiator: str = "") -> int:
        """Up to this number of an initiator's feed, or of everybody's, events may be gone."""
        with self._reading() as db:
            trimmed = _trimmed(db)
            if not initiator or not trimmed:
                return trimmed
            mine = EVENTS.c.initiator == initiator  # the newest event of each of its requests is kept
            later = select(func.min(EVENTS.c.number) - 1).where(mine, EVENTS.c.sequence > trimmed)
            newest = select(func.max(EVENTS.c.number)).where(mine)
            return next(
                (found for one in (later, newest) if (found := db.execute(one).scalar()) is not None), 0
            )

    def trim_events(self, before_ms: int, webhooks: Collection[str], *, held: Collection[bytes] = ()) -> int:
        """Drop events from before, some at once; how many numbers further the feed is trimmed.

        What one of these webhooks is still owed stays, and so do the newest event of each request and all
        events of those that are ``held``.
        """
        with self._transaction() as db:
            start = _trimmed(db)
            stop = min(start + TRIM_AT_ONCE, _older(db, start, before_ms=before_ms), _queued(db, webhooks))
            if stop <= start:
                return 0
            later = EVENTS.alias()
            followed = exists().where(
                later.c.request == EVENTS.c.request, later.c.sequence > EVENTS.c.sequence
            )
            gone = DELIVERIES.c.webhook.not_in(webhooks) & DELIVERIES.c.sequence.between(start + 1, stop)
            db.execute(delete(DELIVERIES).where(gone))
            owed = exists().where(DELIVERIES.c.sequence == EVENTS.c.sequence)
            loose = EVENTS.c.request.not_in(held)
            here = EVENTS.c.sequence.between(start + 1, stop)
            db.execute(delete(EVENTS).where(here, followed, ~owed, loose))
            if not start:
                db.execute(insert(TRIMMED).values(place=0, sequence=stop))
            else:
                db.execute(update(TRIMMED).values(sequence=stop))
            return stop - start


def _trimmed(db: Connection) -> int:
    return db.execute(select(TRIMMED.c.sequence)).scalar() or 0


def _older(db: Connection, start: int, *, before_ms: int) -> int:
    """The newest event that is older, and behind which none is."""
    younger = select(EVENTS.c.sequence).where(EVENTS.c.sequence > start, EVENTS.c.time_ms >= before_ms)
    first = db.execute(younger.order_by(EVENTS.c.sequence).limit(1)).scalar()
    return first - 1 if first else db.execute(select(func.max(EVENTS.c.sequence))).scalar() or 0


def _queued(db: Connection, webhooks: Collection[str]) -> int:
    """Up to which event all of these have been queued what they are owed."""
    known = select(func.min(WEBHOOKS.c.position)).where(WEBHOOKS.c.webhook.in_(webhooks))
    position = db.execute(known).scalar()
    return INTEGER_MAX if position is None else position
