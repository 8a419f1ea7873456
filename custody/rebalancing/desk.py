"""The coordinator as the rebalancer sees it, over ``custody.client``: read strictly, asked as one backend."""

from collections.abc import Callable
from typing import TypeVar

from custody.client import CallRefused, Code, CustodyClient, RequestView
from custody.rebalance_report import TAG
from custody.rebalancing.ports import Asked, TurnedAway
from custody.rebalancing.records import Account, Holdings, Movement, Note, Open, Price
from policy.encoding import Json, canonical, parse_canonical, statement
from policy.errors import MalformedError, OperationalError
from policy.fact_entries import NOTE_TEXT_MAX
from policy.fields import Fields
from policy.intent import request_message

REQUEST_BYTES_MAX = 16 * 1024
AGAIN = (Code.UNAVAILABLE, Code.UNAUTHENTICATED, Code.FORBIDDEN, Code.UNKNOWN_KEY)
"""Refusals that end by what others do: a start, a clock that is set, a roster, a key that is made."""
COUNT_MAX, TEXT_MAX = 100_000, 300
OWN_REQUESTS = 200
T = TypeVar("T")


class ClientDesk:
    """Implements ``custody.rebalancing.ports.Desk``. ``sign`` is the backend's Ed25519 key."""

    def __init__(
        self, client: CustodyClient, *, origin: str, name: str, sign: Callable[[bytes], bytes]
    ) -> None:
        self._client = client
        self._sign = sign
        self.origin = origin
        self.name = name

    def holdings(self) -> Holdings:
        """What there is now."""
        return read_holdings(_asked(self._client.holdings))

    def movements(self, after: int) -> tuple[tuple[Movement, ...], int]:
        """Signed payments from a number on, and where to go on."""
        return read_movements(_asked(lambda: self._client.movements(after)))

    def address(self, wallet: str) -> str:
        """Where a wallet is paid to; the policy's nodes find out themselves whether it is the wallet's."""
        return _asked(lambda: self._client.address(wallet)).address

    def submit(self, body: bytes) -> Asked:
        """Sign and hand in a request: Ed25519 is deterministic, so the same bytes are the same request."""
        document = parse_canonical(body, bytes_max=REQUEST_BYTES_MAX)
        return _view(_asked(lambda: self._client.submit_signed(body, self._sign(request_message(document)))))

    def get(self, request: bytes) -> Asked | None:
        """One request of its own, or None."""
        try:
            return _view(_asked(lambda: self._client.get(request)))
        except TurnedAway as error:
            if error.code == Code.UNKNOWN_REQUEST:
                return None
            raise

    def own_requests(self, before: bytes = b"") -> tuple[Asked, ...]:
        """Its newest requests, or those before one of them: a backend sees no others."""
        found = _asked(lambda: self._client.requests(limit=OWN_REQUESTS, before=before))
        return tuple(_view(one) for one in found)

    def call_back(self, request: bytes, reason: str) -> None:
        """Say no to a request of its own before it is signed."""
        body: dict[str, Json] = {
            "origin": self.origin,
            "request": request.hex(),
            "by": self.name,
            "reason": reason,
        }
        signature = self._sign(statement("reject", body)).hex()
        proof: dict[str, Json] = {"signatures": [{"name": self.name, "signature": signature}]}
        _asked(lambda: self._client.enact("reject", body, proof=proof))

    def report(self, body: dict[str, Json]) -> None:
        """Sign and hand in a report of the rebalancer's work."""
        signature = self._sign(statement(TAG, body))
        _asked(lambda: self._client.report(canonical(body), signature))

    def tell(self, note: Note) -> None:
        """Put a note into the log."""
        body: dict[str, Json] = {"origin": self.origin, "by": self.name, "about": note.route}
        body |= {"text": f"{note.kind}: {note.text}"[:NOTE_TEXT_MAX], "noted_ms": note.time_ms}
        signature = self._sign(statement("note", body)).hex()
        proof: dict[str, Json] = {"signatures": [{"name": self.name, "signature": signature}]}
        _asked(lambda: self._client.enact("note", body, proof=proof))


def read_holdings(document: Json) -> Holdings:
    """The coordinator's document of holdings. Raises ``OperationalError``."""
    try:
        fields = Fields(document, "holdings")
        holdings = Holdings(
            time_ms=fields.integer("time_ms"),
            policy=fields.hex("policy", length=32),
            accounts=fields.objects("accounts", _account, count_max=COUNT_MAX),
            open=fields.objects("open", _open, count_max=COUNT_MAX),
            prices=dict(fields.objects("prices", _price, count_max=COUNT_MAX)),
        )
        fields.done()
    except MalformedError as error:
        raise OperationalError(f"the coordinator's holdings: {error}; look at its version") from error
    return holdings


def read_movements(document: Json) -> tuple[tuple[Movement, ...], int]:
    """The coordinator's movements, and where to go on. Raises ``OperationalError``."""
    try:
        fields = Fields(document, "movements")
        found = fields.objects("movements", _movement, count_max=COUNT_MAX), fields.integer("next")
        fields.done()
    except MalformedError as error:
        raise OperationalError(f"the coordinator's movements: {error}; look at its version") from error
    return found


def _account(fields: Fields) -> Account:
    return Account(
        wallet=fields.name("wallet"),
        tier=fields.name("tier"),
        chain=fields.chain("chain"),
        asset=fields.name("asset"),
        path=fields.text("path", length_max=TEXT_MAX),
        account=_text(fields, "account"),
        balance_base=fields.amount("balance") if fields.has("balance") else None,
        error=_text(fields, "error"),
    )


def _open(fields: Fields) -> Open:
    found = Open(
        wallet=fields.name("wallet"),
        asset=fields.name("asset"),
        to=_text(fields, "to"),
        initiator=fields.name("initiator"),
        signed=fields.boolean("signed"),
        amount_base=fields.amount("amount"),
    )
    fields.integer("count")
    return found


def _price(fields: Fields) -> tuple[str, Price]:
    return fields.name("asset"), Price(
        unit=fields.text("unit", length_max=TEXT_MAX),
        price=fields.amount("price", low=1),
        observed_ms=fields.integer("observed_ms"),
    )


def _movement(fields: Fields) -> Movement:
    return Movement(
        number=fields.integer("number"),
        request=fields.hex("request", length=32),
        signed_ms=fields.integer("signed_ms"),
        wallet=fields.name("wallet"),
        asset=fields.name("asset"),
        amount_base=fields.amount("amount"),
        to=_text(fields, "to"),
    )


def _text(fields: Fields, name: str) -> str:
    return fields.text(name, length_max=TEXT_MAX) if fields.has(name) else ""


def _view(view: RequestView) -> Asked:
    return Asked(
        request=view.request,
        body=view.body,
        state=view.state,
        tx_hash=view.tx_hash,
        error=view.error,
        approvals=view.approvals,
        updated_ms=view.updated_ms,
    )


def _asked(ask: Callable[[], T]) -> T:
    """An answer; what may be asked again is ``OperationalError``, what never will be is ``TurnedAway``."""
    try:
        return ask()
    except CallRefused as error:
        if error.code in AGAIN:
            raise OperationalError(f"{error.reason} ({error.code})") from error
        raise TurnedAway(error.code, error.reason) from error
    except MalformedError as error:
        raise OperationalError(f"the coordinator's answer: {error}; look at its version") from error
