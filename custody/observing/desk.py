"""The coordinator as an observer of chains sees it, over ``custody.client``."""

from collections.abc import Mapping

from custody.api.errors import Code
from custody.client import CallRefused, CustodyClient
from custody.observing.stating import Contradicted
from custody.risk.desk import ClientDesk
from policy.encoding import Json
from policy.entries import signature_list
from policy.errors import OperationalError


class ObserverDesk(ClientDesk):
    """Implements ``LogSource`` and ``observing.stating.Door``. A refusal is an ``OperationalError``."""

    def __init__(self, client: CustodyClient) -> None:
        super().__init__(client)
        self._door = client

    def state(self, kind: str, body: Json, *, signatures: Mapping[str, bytes]) -> bool:
        """Hand a statement in; whether it is in the log, or waits for other observers."""
        proof: dict[str, Json] = {"signatures": signature_list(signatures)}
        try:
            return not self._door.enact(kind, body, proof=proof).get("left")
        except CallRefused as error:
            if error.code == Code.STATEMENT_DIFFERS:
                raise Contradicted(str(error)) from error
            raise OperationalError(str(error)) from error
