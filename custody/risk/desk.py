"""The coordinator as a scoring observer sees it, over ``custody.client``."""

from collections.abc import Mapping

from custody.client import CustodyClient
from custody.risk.stating import TAG
from policy.encoding import Json
from policy.entries import signature_list


class ClientDesk:
    """Implements ``custody.risk.ports.LogSource`` and ``Door``. Refusals are ``OperationalError``."""

    def __init__(self, client: CustodyClient) -> None:
        self._client = client

    def note(self) -> bytes:
        """The newest checkpoint with its cosignatures."""
        return self._client.log_note()

    def entries(self, start: int, stop: int) -> tuple[bytes, ...]:
        """Entries from ``start`` on."""
        return self._client.entries(start, stop)

    def hand_in(self, body: Json, signatures: Mapping[str, bytes]) -> None:
        """Have a screening logged."""
        self._client.enact(TAG, body, proof={"signatures": signature_list(signatures)})
