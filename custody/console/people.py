"""Who may look: operators by the passkeys of the roster, auditors by cards of the configuration."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from custody.auditors import AUDITOR, Auditor
from policy.approval import Credential
from policy.state import State

OPERATOR: Final = "operator"


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody who may log in, and the passkey they do it with."""

    name: str
    role: str
    credential: Credential


class People:
    """Finds who has a passkey, by the roster in force."""

    def __init__(self, auditors: Iterable[Auditor] = ()) -> None:
        self._auditors: Mapping[bytes, Person] = {
            one.credential.id: Person(one.name, AUDITOR, one.credential)
            for one in auditors
            if one.credential is not None
        }

    def with_passkey(self, credential_id: bytes, state: State) -> Person | None:
        """The person whose passkey this is; an operator before an auditor."""
        for one in state.roster.operators.values():
            if one.credential.id == credential_id:
                return Person(one.name, OPERATOR, one.credential)
        return self._auditors.get(credential_id)
