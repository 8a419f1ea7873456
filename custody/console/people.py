"""Who may look: operators by the passkeys of the roster, auditors by cards of the configuration.

An auditor signs nothing that counts, so the roster need not know them; who may read is for the coordinator.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from policy.approval import CREDENTIAL_ID_BYTES_MAX, PUBLIC_KEY_BYTES, Credential
from policy.encoding import Json, parse_canonical
from policy.fields import Fields
from policy.state import State

CARD_BYTES_MAX: Final = 8192
OPERATOR, AUDITOR = "operator", "auditor"
_ORIGINS_MAX, _RP_ID_MAX, _ORIGIN_MAX = 8, 253, 300


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody who may log in, and the passkey they do it with."""

    name: str
    role: str
    credential: Credential


def parse_auditor_card(data: bytes) -> Person:
    """Read an auditor's card, as the page ``enrol`` makes it. Raises ``MalformedError``."""
    fields = Fields(parse_canonical(data, bytes_max=CARD_BYTES_MAX), "card")
    fields.choice("kind", AUDITOR)
    person = Person(fields.name("name"), AUDITOR, _credential(fields.nested("credential")))
    fields.done()
    return person


class People:
    """Finds who has a passkey, by the roster in force."""

    def __init__(self, auditors: Iterable[Person] = ()) -> None:
        self._auditors: Mapping[bytes, Person] = {one.credential.id: one for one in auditors}

    def with_passkey(self, credential_id: bytes, state: State) -> Person | None:
        """The person whose passkey this is; an operator before an auditor."""
        for one in state.roster.operators.values():
            if one.credential.id == credential_id:
                return Person(one.name, OPERATOR, one.credential)
        return self._auditors.get(credential_id)


def _credential(fields: Fields) -> Credential:
    credential = Credential(
        id=fields.hex("id", length_max=CREDENTIAL_ID_BYTES_MAX),
        public_key=fields.hex("public_key", length=PUBLIC_KEY_BYTES),
        rp_id=fields.text("rp_id", length_max=_RP_ID_MAX),
        origins=fields.items("origins", _origin, count_max=_ORIGINS_MAX),
    )
    fields.done()
    return credential


def _origin(value: Json) -> str:
    return Fields({"origin": value}, "origins").text("origin", length_max=_ORIGIN_MAX)
