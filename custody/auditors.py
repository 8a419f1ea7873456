"""Auditors: whom the coordinator's configuration names, by cards.

An auditor signs nothing that counts, so the roster need not know them; who may read is for the coordinator.
A card has a passkey for the console, a key for calls through both doors, or both.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from policy.approval import CREDENTIAL_ID_BYTES_MAX, PUBLIC_KEY_BYTES, Credential
from policy.encoding import Json, parse_canonical
from policy.errors import MalformedError, OperationalError
from policy.fields import Fields

AUDITOR: Final = "auditor"
CARD_BYTES_MAX: Final = 8192
KEY_BYTES: Final = 32
_ORIGINS_MAX, _RP_ID_MAX, _ORIGIN_MAX = 8, 253, 300


@dataclass(frozen=True, slots=True)
class Auditor:
    """Somebody who reads everything: with a passkey in the console, with an Ed25519 key by calls."""

    name: str
    credential: Credential | None
    key: bytes | None


def read_auditors(cards: Iterable[Path]) -> tuple[Auditor, ...]:
    """The auditors whose cards these files are. Raises ``OperationalError``."""
    found: dict[str, Auditor] = {}
    for path in cards:
        try:
            auditor = parse_auditor_card(path.read_bytes()[: CARD_BYTES_MAX + 1])
        except (OSError, MalformedError) as error:
            raise OperationalError(
                f"{path} is no auditor's card: {error}; make it on /enrol or by identity create auditor"
            ) from error
        if auditor.name in found:
            raise OperationalError(f"{path} is a second card of {auditor.name}: name one of them alone")
        found[auditor.name] = auditor
    return tuple(found.values())


def parse_auditor_card(data: bytes) -> Auditor:
    """Read a card, as the page ``enrol`` or the command line makes it. Raises ``MalformedError``."""
    fields = Fields(parse_canonical(data, bytes_max=CARD_BYTES_MAX), "card")
    fields.choice("kind", AUDITOR)
    auditor = Auditor(
        fields.name("name"),
        _credential(fields.nested("credential")) if fields.has("credential") else None,
        fields.hex("key", length=KEY_BYTES) if fields.has("key") else None,
    )
    fields.done()
    if auditor.credential is None and auditor.key is None:
        raise MalformedError("card: it has neither a passkey nor a key: make it anew")
    return auditor


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
