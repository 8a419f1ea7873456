"""What is stored of a cosigner beside its state and frontier: whose it is, its rosters, what was delayed.

The root of it all is kept by the token, so what is stored is trusted as the token is. What it does not cover
stands elsewhere: the last quorum's head, the branches renounced, since when changes are had.
"""

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from policy.delays import Change, Delays
from policy.encoding import Json, canonical
from policy.log.merkle import Frontier
from policy.roster import parse_roster
from policy.state import State
from signer_nodes.witness import Cosigner, Identity, InForce, new_cosigner


class CosignerForm:
    """Implements ``policy.stored.heads.Form`` for the cosigners of one log."""

    def __init__(self, identity: Identity) -> None:
        self._identity: Final = identity

    def nothing(self) -> Cosigner:
        """One that has folded nothing."""
        return new_cosigner(self._identity)

    def document(self, head: Cosigner) -> dict[str, Json]:
        """What pins the log, and what changes with it."""
        return {
            "genesis": head.identity.genesis.hex(),
            "later_log_keys": [key.hex() for key in head.identity.later_log_keys],
            "rosters": [[one.size, canonical(one.document).decode()] for one in head.rosters],
            "delays": [_change(change) for change in head.delays.changes],
        }

    def read(self, found: Mapping[str, Any], state: State, *, frontier: Frontier) -> Cosigner | None:
        """The cosigner, unless it is another log's."""
        if found.get("genesis") != self._identity.genesis.hex():
            return None
        identity = self._identity
        for key in found["later_log_keys"]:
            identity = identity.knowing(bytes.fromhex(key))
        *earlier, (size, _) = found["rosters"]
        newest = InForce(size, state.roster, state.roster_document)  # a fold tells by it whether one is new
        return Cosigner(
            identity=identity,
            state=state,
            frontier=frontier,
            rosters=(*map(_read_roster, earlier), newest),
            delays=Delays(tuple(map(_read_change, found["delays"]))),
        )

    def over(self, head: Cosigner, state: State) -> Cosigner:
        """The same cosigner, its state in other layers."""
        return replace(head, state=state)


def _read_roster(found: Any) -> InForce:
    size, text = found
    document = json.loads(text)
    return InForce(size, parse_roster(document), document)


def _change(change: Change) -> Json:
    """Since when it was had stands elsewhere: that is no fact of the log."""
    fields: dict[str, Json] = {"index": change.index, "delay_ms": change.delay_ms}
    return fields if change.enacted_at is None else {**fields, "enacted_at": change.enacted_at}


def _read_change(found: Mapping[str, int]) -> Change:
    return Change(found["index"], found["delay_ms"], None, found.get("enacted_at"))
