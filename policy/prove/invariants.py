"""The document of a policy's invariants: what must hold of every transaction, whatever the rules are.

It stands beside the policy, not in it, so that who changes the rules does not change in passing what they are
held to. Version 1::

    {"version": 1, "invariants": [{"name": "...", "when": {conditions as in a rule}, "must": {...}}]}

``must`` has one or more of: ``never`` (nothing of the kind is ever allowed); ``approvals_min`` (at least so
many different people said yes; with ``different_groups``, people of so many different groups);
``delay_min_ms`` (it waited at least so long, from the request or from the last approval needed);
``limited_by`` (some limit keeps it to a maximum in any such time); ``keeps_tier`` (it takes the tier of that
name out of none of these bounds, written as in the policy); ``keys_apart`` (no key that signs for one of the
wallets signs for a wallet of another tier). It must hold of what meets the conditions,
and of what cannot be told to.
"""

from dataclasses import dataclass

from policy.document import DELAY_MS_MAX, RULES_MAX, WINDOW_MS_MAX, read_maximum, read_when
from policy.document_checks import check_when, distinct, known
from policy.encoding import Json, document_hash
from policy.errors import MalformedError
from policy.fields import Fields
from policy.model import SCOPES, VALUE, Policy, Tier
from policy.rules import When
from policy.tier_document import check_bounds, read_bounds

APPROVALS_MIN_MAX = 64
UNREACHABLE = "no-rule-is-unreachable"


@dataclass(frozen=True, slots=True)
class Bound:
    """At most ``maximum`` in any ``window_ms``, counted separately by no more than the scopes of ``per``."""

    measure: str
    asset: str | None
    maximum: int
    window_ms: int
    per: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Demand:
    """What an invariant says of all that is allowed under its conditions."""

    never: bool
    approvals_min: int
    different_groups: bool
    delay_min_ms: int
    limited_by: Bound | None
    keeps_tier: Tier | None = None
    keys_apart: bool = False


@dataclass(frozen=True, slots=True)
class Invariant:
    """What must be of every transaction that meets the conditions, or cannot be told to."""

    name: str
    when: When
    must: Demand


def parse_invariants(body: Json, policy: Policy) -> tuple[Invariant, ...]:
    """Read the document for ``policy``. Raises ``MalformedError`` with the path of the first mistake."""
    fields = Fields(body, "")
    fields.integer("version", low=1, high=1)
    found = fields.objects("invariants", _read_invariant, count_max=RULES_MAX)
    fields.done()
    distinct((f"invariants[{index}].name", one.name) for index, one in enumerate(found))
    for index, one in enumerate(found):
        _check(policy, f"invariants[{index}]", one)
    return found


def invariants_hash(body: Json) -> bytes:
    """The 32-byte hash by which people name these exact invariants."""
    return document_hash("invariants", body)


def _read_invariant(fields: Fields) -> Invariant:
    path, name = fields.path("name"), fields.name("name")
    if name == UNREACHABLE:
        raise MalformedError(f"{path}: {name!r} is always checked, choose another name")
    return Invariant(name, read_when(fields), _read_demand(fields.nested("must"), fields.path("must")))


def _read_demand(fields: Fields, path: str) -> Demand:
    approvals = fields.has("approvals_min")
    demand = Demand(
        never=fields.has("never") and fields.boolean("never"),
        approvals_min=fields.integer("approvals_min", low=1, high=APPROVALS_MIN_MAX) if approvals else 0,
        different_groups=fields.has("different_groups") and fields.boolean("different_groups"),
        delay_min_ms=fields.integer("delay_min_ms", low=1, high=DELAY_MS_MAX)
        if fields.has("delay_min_ms")
        else 0,
        limited_by=_read_bound(fields.nested("limited_by")) if fields.has("limited_by") else None,
        keeps_tier=_read_kept(fields.nested("keeps_tier")) if fields.has("keeps_tier") else None,
        keys_apart=fields.has("keys_apart") and fields.boolean("keys_apart"),
    )
    fields.done()
    if demand == Demand(False, 0, demand.different_groups, 0, None):
        raise MalformedError(
            f"{path}: demands nothing: give 'never', 'approvals_min', 'delay_min_ms', 'limited_by', "
            "'keeps_tier' or 'keys_apart'"
        )
    if demand.different_groups and not approvals:
        raise MalformedError(f"{path}: 'different_groups' of how many? give 'approvals_min' too")
    if demand.never and demand != Demand(True, 0, False, 0, None):
        raise MalformedError(f"{path}: what is never allowed needs no other demand")
    return demand


def _read_kept(fields: Fields) -> Tier:
    tier = read_bounds(fields, fields.name("name"))
    fields.done()
    return tier


def _read_bound(fields: Fields) -> Bound:
    path = fields.path("per")
    asset = fields.name("asset") if fields.has("asset") else None
    measure, maximum = read_maximum(fields, asset)
    window_ms = fields.integer("window_ms", low=1, high=WINDOW_MS_MAX)
    per = fields.names("per", count_max=len(SCOPES))
    known(path, per, defined=SCOPES, kind="scope")
    fields.done()
    return Bound(measure, asset, maximum, window_ms, per)


def _check(policy: Policy, path: str, invariant: Invariant) -> None:
    check_when(policy, f"{path}.when", when=invariant.when)
    kept = invariant.must.keeps_tier
    if kept is not None:
        known(f"{path}.must.keeps_tier.name", kept.name, defined=[t.name for t in policy.tiers], kind="tier")
        check_bounds(policy, f"{path}.must.keeps_tier", tier=kept)
    bound = invariant.must.limited_by
    if bound is None:
        return
    known(f"{path}.must.limited_by.asset", bound.asset, defined=policy.assets, kind="asset")
    if bound.measure == VALUE and policy.prices is None:
        raise MalformedError(f"{path}.must.limited_by: a value needs its unit, and the policy has no prices")
