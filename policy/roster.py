"""Who exists: cosigners, administrators, initiators, operators, observers, and their public keys.

A roster is part of the log: it starts in the genesis entry and changes only by entries signed by the
administrators' quorum (and, where the cosigners change, by w of the old and w of the new ones).
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TypeVar

from policy.approval import Credential
from policy.eddsa import KEY_BYTES, is_signature
from policy.encoding import Json, statement
from policy.errors import InvalidSignatureError, MalformedError
from policy.fields import Fields

COLD_MAX = 32
COSIGNERS_MAX = 32
PEOPLE_MAX = 1024
COORDINATOR = "coordinator"


@dataclass(frozen=True, slots=True)
class Cosigner:
    """A node (holds shares and cosigns) or a witness (cosigns only)."""

    name: str
    key: bytes
    role: str


@dataclass(frozen=True, slots=True)
class Initiator:
    """A backend or desk that may ask; ``people`` are the operators who can use its key.

    ``groups`` are the initiators' own, not those of operators.
    """

    name: str
    key: bytes
    people: frozenset[str]
    groups: frozenset[str]


@dataclass(frozen=True, slots=True)
class Operator:
    """A person who approves with a passkey; ``key`` signs their calls for reading, and a no."""

    name: str
    key: bytes
    groups: frozenset[str]
    credential: Credential


Named = TypeVar("Named", Cosigner, Initiator, Operator)


@dataclass(frozen=True, slots=True)
class Roster:
    """All identities in force at one point of the log.

    ``cold`` are the nodes without a network, name to Ed25519 key: they hold shares, cosign nothing and count
    neither in c nor in w.
    """

    cosigners: Mapping[str, Cosigner]
    cold: Mapping[str, bytes]
    w: int
    f: int
    log_key: bytes
    administrators: Mapping[str, bytes]
    administrators_quorum: int
    initiators: Mapping[str, Initiator]
    operators: Mapping[str, Operator]
    observers: Mapping[str, bytes]
    policy_delay_ms: int

    @property
    def c(self) -> int:
        """How many cosigners there are."""
        return len(self.cosigners)

    @property
    def leave_count(self) -> int:
        """How many statements a cosigner needs before it leaves a branch: more than c - w + f."""
        return self.c - self.w + self.f + 1

    def cosigner_keys(self) -> dict[str, bytes]:
        """Name to Ed25519 key of every cosigner."""
        return {cosigner.name: cosigner.key for cosigner in self.cosigners.values()}

    def share_keys(self) -> dict[str, bytes]:
        """Name to Ed25519 key of everybody whose word on shares and jobs counts: cosigners and cold nodes."""
        return {**self.cosigner_keys(), **self.cold}

    def key_owners(self) -> dict[tuple[str, bytes], str]:
        """Whose each key is. A node may observe with the key it has, so observers stand apart."""
        owners = {("identity", key): name for name, key in self.share_keys().items()}
        owners |= {("identity", self.log_key): COORDINATOR}
        owners |= {("identity", key): name for name, key in self.administrators.items()}
        owners |= {("identity", one.key): one.name for one in self.initiators.values()}
        owners |= {("identity", one.key): one.name for one in self.operators.values()}
        owners |= {("passkey", one.credential.public_key): one.name for one in self.operators.values()}
        return owners | {("observer", key): name for name, key in self.observers.items()}

    def key_of(self, caller: str) -> bytes | None:
        """The key by which ``caller`` signs its calls, whatever it is; None for a stranger."""
        if caller in self.initiators:
            return self.initiators[caller].key
        if caller in self.operators:
            return self.operators[caller].key
        return self.administrators.get(caller, self.observers.get(caller))


def parse_roster(body: Json) -> Roster:
    """Read a roster document. Raises ``MalformedError`` naming the field, or the bound that fails."""
    fields = Fields(body, "roster")
    administrators = fields.nested("administrators")
    roster = Roster(
        cosigners=_table(fields.objects("cosigners", _read_cosigner, count_max=COSIGNERS_MAX), "cosigner"),
        cold=_keys(
            fields.objects("cold", _read_key, count_max=COLD_MAX) if fields.has("cold") else (), "cold node"
        ),
        w=fields.integer("w", low=1, high=COSIGNERS_MAX),
        f=fields.integer("f", high=COSIGNERS_MAX),
        log_key=fields.hex("log_key", length=KEY_BYTES),
        administrators=_keys(
            administrators.objects("members", _read_key, count_max=PEOPLE_MAX), "administrator"
        ),
        administrators_quorum=administrators.integer("quorum", low=1, high=PEOPLE_MAX),
        initiators=_table(fields.objects("initiators", _read_initiator, count_max=PEOPLE_MAX), "initiator"),
        operators=_table(fields.objects("operators", _read_operator, count_max=PEOPLE_MAX), "operator"),
        observers=_keys(fields.objects("observers", _read_key, count_max=PEOPLE_MAX), "observer"),
        policy_delay_ms=fields.integer("policy_delay_ms"),
    )
    administrators.done()
    fields.done()
    _check(roster)
    return roster


def bound(roster: Roster) -> str:
    """What the configured cosigner numbers give, in one sentence for a person."""
    c, w, f = roster.c, roster.w, roster.f
    spare = c - w
    return (
        f"{w} of {c} cosigners: limits are exact while at most {f} of them are corrupt; "
        f"signing goes on while at most {spare} of them are down"
    )


def verify_statement(tag: str, body: Json, *, key: bytes, signature: bytes, signer: str) -> None:
    """Check an Ed25519 signature over ``statement(tag, body)``. Raises ``InvalidSignatureError``."""
    if not is_signature(signature, statement(tag, body), key=key):
        raise InvalidSignatureError(f"the {tag} statement is not signed by {signer}")


def verified_signers(
    tag: str, body: Json, *, signatures: Mapping[str, bytes], keys: Mapping[str, bytes]
) -> frozenset[str]:
    """The names whose signatures over the statement verify.

    Raises ``InvalidSignatureError`` for a stranger's or a wrong signature: a document that carries
    one is refused whole rather than counted without it.
    """
    for name, signature in signatures.items():
        key = keys.get(name)
        if key is None:
            raise InvalidSignatureError(f"the {tag} statement is signed by {name}, whom the roster lacks")
        verify_statement(tag, body, key=key, signature=signature, signer=name)
    return frozenset(signatures)


def _check(roster: Roster) -> None:
    c, w, f = roster.c, roster.w, roster.f
    if w > c:
        raise MalformedError(f"roster: w = {w} of c = {c} cosigners can never be reached")
    if 2 * w - c <= f:
        raise MalformedError(
            f"roster: with c = {c}, w = {w}, f = {f} two quorums may share no honest cosigner; "
            f"2w - c must be above f"
        )
    quorum, members = roster.administrators_quorum, len(set(roster.administrators.values()))
    if quorum > members:
        raise MalformedError(f"roster: a quorum of {quorum} among {members} administrators is unreachable")
    keys = [*roster.cold.values(), *(cosigner.key for cosigner in roster.cosigners.values())]
    keys += [roster.log_key, *roster.administrators.values()]
    keys += [initiator.key for initiator in roster.initiators.values()]
    keys += [operator.key for operator in roster.operators.values()]
    observers = [*roster.observers.values()]  # a node may observe too, but nobody is two observers
    if len(set(keys)) != len(keys) or len(set(observers)) != len(observers):
        raise MalformedError("roster: one key stands in two places; every role needs a key of its own")
    names = [*roster.initiators, *roster.operators, *roster.administrators, *roster.cosigners, *roster.cold]
    if len(set(names)) != len(names) or COORDINATOR in names:
        raise MalformedError("roster: every identity needs a name of its own, and none is 'coordinator'")
    credentials = [operator.credential.public_key for operator in roster.operators.values()]
    if len(set(credentials)) != len(credentials):
        raise MalformedError("roster: two operators have the same passkey")
    for initiator in roster.initiators.values():
        unknown = sorted(initiator.people - set(roster.operators))
        if unknown:
            raise MalformedError(f"roster: initiator {initiator.name} names unknown operator {unknown[0]}")


def _table(items: Iterable[Named], kind: str) -> dict[str, Named]:
    table: dict[str, Named] = {}
    for item in items:
        if item.name in table:
            raise MalformedError(f"roster: {kind} {item.name} stands there twice")
        table[item.name] = item
    return table


def _keys(items: Iterable[tuple[str, bytes]], kind: str) -> dict[str, bytes]:
    keys: dict[str, bytes] = {}
    for name, key in items:
        if name in keys:
            raise MalformedError(f"roster: {kind} {name} stands there twice")
        keys[name] = key
    return keys


def _read_cosigner(fields: Fields) -> Cosigner:
    return Cosigner(
        name=fields.name("name"),
        key=fields.hex("key", length=KEY_BYTES),
        role=fields.choice("role", "node", "witness"),
    )


def _read_key(fields: Fields) -> tuple[str, bytes]:
    return fields.name("name"), fields.hex("key", length=KEY_BYTES)


def _read_initiator(fields: Fields) -> Initiator:
    return Initiator(
        name=fields.name("name"),
        key=fields.hex("key", length=KEY_BYTES),
        people=frozenset(fields.names("people", count_max=PEOPLE_MAX)),
        groups=frozenset(fields.names("groups", count_max=64) if fields.has("groups") else ()),
    )


def _read_operator(fields: Fields) -> Operator:
    return Operator(
        name=fields.name("name"),
        key=fields.hex("key", length=KEY_BYTES),
        groups=frozenset(fields.names("groups", count_max=64)),
        credential=_read_credential(fields.nested("credential")),
    )


def _read_credential(fields: Fields) -> Credential:
    credential = Credential(
        id=fields.hex("id", length_max=1023),
        public_key=fields.hex("public_key", length=65),
        rp_id=fields.text("rp_id", length_max=253),
        origins=fields.items("origins", _read_origin, count_max=8),
    )
    fields.done()
    return credential


def _read_origin(value: Json) -> str:
    return Fields({"origin": value}, "origins").text("origin", length_max=300)
