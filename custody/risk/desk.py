"""The coordinator as a scoring observer sees it, over ``custody.client``."""

from collections.abc import Callable, Mapping
from typing import TypeVar

from custody.client import CallRefused, CustodyClient
from custody.risk.stating import TAG
from policy.encoding import Json
from policy.entries import signature_list
from policy.errors import OperationalError

T = TypeVar("T")


class ClientDesk:
    """Implements ``custody.risk.ports.Desk``. A refusal is an ``OperationalError``."""

    def __init__(self, client: CustodyClient) -> None:
        self._client = client

    def note(self) -> bytes:
        """The newest checkpoint with its cosignatures."""
        return _asked(self._client.log_note)

    def entries(self, start: int, stop: int) -> tuple[bytes, ...]:
        """Entries from ``start`` on."""
        return _asked(lambda: self._client.entries(start, stop))

    def hand_in(self, body: Json, signatures: Mapping[str, bytes]) -> None:
        """Have a screening logged."""
        proof: dict[str, Json] = {"signatures": signature_list(signatures)}
        _asked(lambda: self._client.enact(TAG, body, proof=proof))


def _asked(ask: Callable[[], T]) -> T:
    try:
        return ask()
    except CallRefused as error:
        raise OperationalError(str(error)) from error
