"""The record of a cold ceremony: what came of it, what was checked, and who says that they were there.

It decides nothing and no limit knows of it. It makes it awkward to hold a ceremony that nobody remembers:
auditors list the cold payments that no record names.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from policy.approval import Assertion, parse_assertion
from policy.encoding import Json, document_hash
from policy.entry_fields import Signatures, raw_body, read_signatures
from policy.errors import MalformedError
from policy.fields import Fields
from policy.ids import ID_BYTES

CONDUCTOR, CUSTODIAN, WITNESS = ROLES = ("conductor", "custodian", "witness")
"""Who leads it, who operates a machine, who only looks on."""
SIGNED, MADE, FAILED = OUTCOMES = ("signed", "made", "failed")
CHECKS_MAX: Final = 64
CHECK_CHARACTERS_MAX: Final = 200
PEOPLE_MAX: Final = 32
NODES_MAX: Final = 9


@dataclass(frozen=True, slots=True)
class CeremonyEntry:
    """``job`` is empty unless it was held to sign one; ``witnesses`` are the roles of people, by name.

    Each signs by a key or, an operator, by a passkey: ``assertions``.
    """

    body: Json
    origin: str
    ceremony: bytes
    key: str
    job: bytes
    nodes: tuple[str, ...]
    began_ms: int
    ended_ms: int
    outcome: str
    checklist: tuple[str, ...]
    witnesses: dict[str, str]
    signatures: Signatures
    assertions: Mapping[str, Assertion]

    @property
    def taken_as(self) -> bytes:
        """What stands for this ceremony among what is taken in once."""
        return document_hash("ceremony-record", {"ceremony": self.ceremony.hex()})


def read_ceremony(fields: Fields) -> CeremonyEntry:
    """Read a record. Raises ``MalformedError``."""
    body, inner = raw_body(fields)
    witnesses = inner.objects("witnesses", _read_witness, count_max=PEOPLE_MAX)
    entry = CeremonyEntry(
        body=body,
        origin=inner.origin("origin"),
        ceremony=inner.hex("ceremony", length=ID_BYTES),
        key=inner.name("key"),
        job=inner.hex("job", length=ID_BYTES) if inner.has("job") else b"",
        nodes=inner.names("nodes", count_min=2, count_max=NODES_MAX),
        began_ms=inner.integer("began_ms"),
        ended_ms=inner.integer("ended_ms"),
        outcome=inner.choice("outcome", *OUTCOMES),
        checklist=inner.texts("checklist", length_max=CHECK_CHARACTERS_MAX, count_max=CHECKS_MAX),
        witnesses=dict(witnesses),
        signatures=read_signatures(fields),
        assertions=_read_assertions(fields),
    )
    inner.done()
    if twice := sorted(entry.signatures.keys() & entry.assertions):
        raise MalformedError(f"{twice[0]} signs by key and by passkey: one of them will do")
    if len(entry.witnesses) != len(witnesses):
        raise MalformedError("witnesses: one person is there twice: each has one role")
    if (entry.outcome == SIGNED) != bool(entry.job) and entry.outcome != FAILED:
        raise MalformedError("a ceremony that signed names its job, and one that made a key has none")
    return entry


def ceremony_digest(body: Json) -> bytes:
    """The 32 bytes an operator's passkey signs as its challenge to say that they were there."""
    return document_hash("ceremony", body)


def _read_assertions(fields: Fields) -> dict[str, Assertion]:
    if not fields.has("assertions"):
        return {}
    found = fields.objects("assertions", _read_assertion, count_max=PEOPLE_MAX)
    if not found or len(dict(found)) != len(found):
        raise MalformedError("assertions: at least one, and one a person")
    return dict(found)


def _read_assertion(fields: Fields) -> tuple[str, Assertion]:
    return fields.name("name"), parse_assertion(fields.raw("assertion"))


def _read_witness(fields: Fields) -> tuple[str, str]:
    return fields.name("name"), fields.choice("role", *ROLES)
