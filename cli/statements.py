"""What people and observers state: a no to a request, a price, a screening.

A price or screening takes f + 1 observers. The first writes the statement, or many prices at once, to a file
with their signature; each other one gives what they found themselves and signs the same file; anyone hands it
in.
"""

import re
import time
from argparse import Namespace
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeAlias

from cli.connection import Connection, caller, load_connection
from cli.files import read_document, write_document
from cli.identities import Identity
from cli.passkeys import authenticator_of
from cli.requests import intent_text, read_request_id, request_of
from cli.results import DONE, REFUSED, Misuse, Result, progress
from policy import entries as e
from policy.ceremony import PEOPLE_MAX, ceremony_digest
from policy.encoding import INTEGER_MAX, Json, document_hash, statement
from policy.entry_fields import read_signatures
from policy.errors import CallerError, MalformedError, OperationalError
from policy.fields import Fields
from policy.intent import Request

_DECIMAL = re.compile(r"([0-9]{1,60})(?:\.([0-9]{1,18}))?")
KINDS = ("price", "holdings", "screening", "ceremony")
STATEMENTS_MAX = 256
MAKE_IT = "make it with quorumkeep observe price, holdings or screening, or cold record"
Agrees: TypeAlias = Callable[[Mapping[str, Json], Mapping[str, Json]], bool]


def reject(arguments: Namespace) -> Result:
    """``request reject``: sign a no and hand it in."""
    connection, identity = load_connection(arguments), caller(arguments)
    request = read_request_id(arguments.request)
    body: Json = {
        "origin": connection.origin,
        "request": request.hex(),
        "by": identity.card.name,
        "reason": arguments.reason,
    }
    signer = authenticator_of(identity, arguments) if arguments.authenticator else None
    with connection.open(identity) as client:
        progress(_stopped(request_of(client.get(request)), connection))
        if signer is not None:
            proof: dict[str, Json] = {"assertion": signer.assert_(document_hash("reject", body)).body()}
        else:
            proof = {"signatures": [_signature("reject", body, identity)]}
        outcome = client.enact("reject", body, proof=proof)
    document = {"request": request.hex(), "rejected_by": identity.card.name, **outcome}
    return Result(document, (f"{identity.card.name} has rejected request {request.hex()[:16]} for good.",))


def _stopped(request: Request, connection: Connection) -> str:
    """What is about to be stopped; nobody is kept from a no by what their own policy does not know."""
    try:
        return f"Reject for good: {intent_text(request.intent, connection)}, as {request.initiator} asked"
    except Misuse:
        return f"Reject for good: {request.idempotency_key!r} of {request.initiator}"


def price(arguments: Namespace) -> Result:
    """``observe price``: write or sign statements of prices, as many as are given."""
    connection, identity = load_connection(arguments), observer(arguments)
    prices = connection.policy.prices
    if prices is None:
        raise Misuse("the policy has no prices: it says under 'prices' what amounts are worth in")
    bodies: list[dict[str, Json]] = [
        {
            "origin": connection.origin,
            "asset": asset,
            "unit": prices.scale,
            "price": str(_scaled(text, prices.decimals)),
        }
        for asset, text in _pairs(arguments.prices, connection)
    ]
    return signed_file("price", bodies, path=Path(arguments.out), identity=identity)


def screening(arguments: Namespace) -> Result:
    """``observe screening``: write or sign a statement about a request."""
    connection, identity = load_connection(arguments), observer(arguments)
    if not 0 <= arguments.risk <= 100:
        raise Misuse(f"--risk {arguments.risk} is not from 0 to 100")
    body: dict[str, Json] = {
        "origin": connection.origin,
        "request": read_request_id(arguments.request).hex(),
        "result": arguments.result,
        "risk": arguments.risk,
    }
    return signed_file("screening", [body], path=Path(arguments.out), identity=identity)


def submit(arguments: Namespace) -> Result:
    """``observe submit``: hand statements in, each by itself; refused when one of them is."""
    from custody.api.errors import CallRefused

    connection, identity = load_connection(arguments), caller(arguments)
    statements = read_statements(Path(arguments.statement))
    foreign = next((one for one in statements if one.body.get("origin") != connection.origin), None)
    if foreign is not None:
        raise OperationalError(
            f"{arguments.statement} is for {foreign.body.get('origin')}, this is {connection.origin}"
        )
    outcomes: list[dict[str, Any]] = []
    with connection.open(identity) as client:
        for one in statements:
            try:
                outcomes.append(dict(client.enact(one.kind, one.body, proof=one.proof)))
            except CallRefused as error:
                outcomes.append({"refused": error.reason})
    found = list(zip(statements, outcomes, strict=True))
    documents = [
        {"statement": one.kind, "about": one.about, "signers": one.signers, **out} for one, out in found
    ]
    lines = tuple(f"{one.kind} of {one.about}: {_become(one, out)}" for one, out in found)
    refused = any("refused" in out for out in outcomes)
    return Result({"statements": documents}, lines, REFUSED if refused else DONE)


@dataclass(frozen=True, slots=True)
class Statement:
    """What people or observers state: by name, their ``signatures`` by key and ``assertions`` by passkey."""

    kind: str
    body: dict[str, Json]
    signatures: dict[str, str]
    assertions: dict[str, Json] = field(default_factory=dict)

    @property
    def about(self) -> str:
        """The asset, the wallet and asset, or the beginning of the request's or ceremony's id."""
        if self.kind == "holdings":
            return f"{self.body['wallet']}.{self.body['asset']}"
        named = (self.body[name] for name in ("asset", "request", "ceremony") if name in self.body)
        return str(next(named, ""))[:63]

    def listed(self) -> list[Json]:
        """The signatures as an entry has them."""
        return [{"name": name, "signature": self.signatures[name]} for name in sorted(self.signatures)]

    @property
    def signers(self) -> list[str]:
        """Who has signed, by name."""
        return sorted({*self.signatures, *self.assertions})

    @property
    def proof(self) -> dict[str, Json]:
        """What stands beside the body in an entry."""
        asserted: list[Json] = [
            {"name": name, "assertion": self.assertions[name]} for name in sorted(self.assertions)
        ]
        return {"signatures": self.listed(), **({"assertions": asserted} if asserted else {})}

    def to_json(self) -> dict[str, Json]:
        """A statement as the file has it."""
        return {"kind": self.kind, "body": self.body, **self.proof}

    def signed(self, identity: Identity) -> "Statement":
        """With one signature more."""
        signature = identity.key.sign(statement(self.kind, self.body)).hex()
        left = {name: one for name, one in self.assertions.items() if name != identity.card.name}
        signatures = {**self.signatures, identity.card.name: signature}
        return replace(self, signatures=signatures, assertions=left)

    def asserted(self, identity: Identity) -> "Statement":
        """With the word of an operator's passkey, in place of their key's, on a ceremony."""
        name, assertion = identity.card.name, identity.authenticator().assert_(ceremony_digest(self.body))
        left = {one: signature for one, signature in self.signatures.items() if one != name}
        return replace(self, signatures=left, assertions={**self.assertions, name: assertion.body()})


def same(said: Mapping[str, Json], found: Mapping[str, Json]) -> bool:
    """Whether two bodies say the same, whenever it was observed."""
    return {**said, "observed_ms": None} == {**found, "observed_ms": None}


def signed_file(
    kind: str, bodies: list[dict[str, Json]], *, path: Path, identity: Identity, agrees: Agrees = same
) -> Result:
    """Write new statements, or sign those of a file that agree with what was found now."""
    if path.exists():
        statements = read_statements(path)
        alike = len(statements) == len(bodies) and all(
            one.kind == kind and agrees(one.body, body) for one, body in zip(statements, bodies, strict=True)
        )
        if not alike:
            raise OperationalError(f"{path} says something else: read it, or name another file")
    else:
        now_ms = time.time_ns() // 1_000_000
        statements = [Statement(kind, {**body, "observed_ms": now_ms}, {}) for body in bodies]
    statements = [one.signed(identity) for one in statements]
    documents = write_statements(path, statements)
    return Result(
        {"file": str(path), "statements": documents},
        (
            f"{path}: {identity.card.name} has stated {len(statements)}; "
            f"{min(len(one.signatures) for one in statements)} observers have signed.",
            "Next: with f + 1 of them, hand it in: quorumkeep observe submit",
        ),
    )


def write_statements(path: Path, statements: Sequence[Statement]) -> list[Json]:
    """Write a file of statements; what is in it."""
    documents: list[Json] = [one.to_json() for one in statements]
    write_document(path, {"statements": documents})
    return documents


def read_statements(path: Path) -> list[Statement]:
    """The statements of a file. Raises ``OperationalError``."""
    document: Json = read_document(path, "the statements")
    try:
        fields = Fields(document, "statements")
        found = fields.objects("statements", _statement, count_max=STATEMENTS_MAX)
        fields.done()
    except MalformedError as error:
        raise OperationalError(f"{path} has no statements: {error}; {MAKE_IT}") from error
    if not found:
        raise OperationalError(f"{path} has no statements: {MAKE_IT}")
    return list(found)


def _statement(fields: Fields) -> Statement:
    """A statement, read as strictly as the log reads its entry at any time."""
    kind, body, signatures = fields.choice("kind", *KINDS), fields.raw("body"), read_signatures(fields)
    if not isinstance(body, dict):
        raise MalformedError("the body of a statement is an object")
    named = fields.objects("assertions", _assertion, count_max=PEOPLE_MAX) if fields.has("assertions") else ()
    one = Statement(kind, body, {name: one.hex() for name, one in signatures.items()}, dict(named))
    try:
        e.parse_entry(e.make_entry(kind, INTEGER_MAX, body=body, **one.proof))
    except CallerError as error:
        raise MalformedError(str(error)) from error
    return one


def _assertion(fields: Fields) -> tuple[str, Json]:
    return fields.name("name"), fields.raw("assertion")


def _become(one: Statement, outcome: dict[str, Any]) -> str:
    if "refused" in outcome:
        return f"refused: {outcome['refused']}"
    return f"in the log, signed by {', '.join(one.signers)}"


def _pairs(texts: list[str], connection: Connection) -> list[tuple[str, str]]:
    """Assets with their prices, from ASSET=PRICE each; ASSET PRICE of one alone."""
    if len(texts) == 2 and not any("=" in text for text in texts):
        texts = ["=".join(texts)]
    found: dict[str, str] = {}
    for text in texts:
        asset, equals, value = text.partition("=")
        if not equals or asset in found:
            raise Misuse(f"{text[:80]!r}: write the price of each asset once, as eth=2512.40")
        connection.asset(asset)
        found[asset] = value
    return list(found.items())


def observer(arguments: Namespace) -> Identity:
    """The observer who states something. Raises ``Misuse``."""
    identity = caller(arguments)
    if identity.card.kind != "observer":
        raise Misuse(f"{identity.card.name} is no observer: give an observer's folder to --as")
    return identity


def _signature(kind: str, body: Json, identity: Identity) -> dict[str, Json]:
    signature = identity.key.sign(statement(kind, body))
    return {"name": identity.card.name, "signature": signature.hex()}


def _scaled(text: str, decimals: int) -> int:
    """A decimal number in units of ``10**-decimals``, exactly. Raises ``Misuse``."""
    match = _DECIMAL.fullmatch(text)
    if not match or len(match[2] or "") > decimals:
        raise Misuse(f"{text[:80]!r} is no price with at most {decimals} places: write it as 2512.40")
    scaled = int(match[1] + (match[2] or "").ljust(decimals, "0"))
    if not scaled:
        raise Misuse("a price is above zero")
    return scaled
