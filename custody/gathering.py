"""What observers have signed and too few of them yet: kept until f + 1 have signed the same.

Only in memory, as observers say it again until it is in the log. Each has room of its own, so that one who
says much crowds out nobody; what one alone says causes nothing.
"""

from collections import OrderedDict
from collections.abc import Mapping
from typing import Final

from policy.encoding import Json, document_hash
from policy.roster import Roster, verified_signers

EACH_MAX: Final = 4096


class Gathering:
    """Signatures, with the keys that they were verified by, by observer and statement."""

    def __init__(self) -> None:
        self._signed: dict[str, OrderedDict[bytes, tuple[bytes, bytes]]] = {}

    def add(
        self, kind: str, body: Json, *, signatures: Mapping[str, bytes], roster: Roster
    ) -> dict[str, bytes]:
        """All signatures of the roster's observers under a statement, with these.

        Raises ``InvalidSignatureError`` for one that is bad.
        """
        statement, keys = document_hash(kind, body), roster.observers
        for name in verified_signers(kind, body, signatures=signatures, keys=keys):
            mine = self._signed.setdefault(name, OrderedDict())
            mine[statement] = keys[name], signatures[name]
            mine.move_to_end(statement)
            if len(mine) > EACH_MAX:
                mine.popitem(last=False)
        self._signed = {name: mine for name, mine in self._signed.items() if name in keys}
        found = {name: mine[statement] for name, mine in self._signed.items() if statement in mine}
        return {name: signature for name, (key, signature) in found.items() if key == keys[name]}

    def drop(self, kind: str, body: Json) -> None:
        """Forget a statement that is in the log."""
        statement = document_hash(kind, body)
        for mine in self._signed.values():
            mine.pop(statement, None)
