"""The JSON Schema (draft 2020-12) of a policy: of the form in YAML, and of the canonical one.

It is made from the bounds that ``policy.document`` reads by. A schema knows no references: it takes some
documents that the parser refuses, and never refuses one that the parser takes.
"""

from collections.abc import Iterable
from typing import Any, TypeAlias

from cli.policies.units import AMOUNT, APPROVAL, DURATION, SHARE, SPAN
from policy import document as d
from policy.decode.abi_values import IDENTIFIER
from policy.decode.eip712 import MEMBERS_MAX, TYPES_MAX
from policy.decode.typed_data import DOMAIN_TEXT_MAX
from policy.encoding import INTEGER_MAX
from policy.fields import AMOUNT_DIGITS_MAX, NAME
from policy.ids import CHAIN
from policy.listing import LABEL_MAX
from policy.model import ROLES, SCOPES, WHOLE_BP
from policy.rules import DAYS, EXPOSURES, KINDS
from policy.suites import SUITES
from policy.tier_document import HOLDINGS_AGE_MS_MAX, LEVEL_ASSETS_MAX, LEVELS, TIERS_MAX

Schema: TypeAlias = dict[str, Any]
DRAFT = "https://json-schema.org/draft/2020-12/schema"
SUITE_NAMES = sorted(SUITES)
NAME_PATTERN = f"^{NAME.pattern}$"
ADDRESS = r"^(0x[0-9a-fA-F]{40}|[1-9A-HJ-NP-Za-km-z]{32,44}|(bc|tb|bcrt)1[02-9ac-hj-np-z]{6,87})$"
DECIMAL = r"^(0|[1-9][0-9]*)$"
METHOD_NAME = rf"^{NAME.pattern}\.{NAME.pattern}$"
TIME = r"^(([01][0-9]|2[0-3]):[0-5][0-9]|24:00)$"
NAME_LISTS = {
    "initiators": "who asks: names of initiators in the roster",
    "initiator_groups": "the initiator is in one of these groups of the roster",
    "tiers": "the tier of the paying wallet",
    "wallets": "the paying wallet",
    "assets": "what is paid",
    "chains": "the chain it is paid on",
    "destinations": "the destination is on one of these lists",
    "not_destinations": "the destination is on none of these lists",
    "destination_tiers": "the destination is an own wallet of one of these tiers",
    "screenings": "what the screening provider found",
    "contracts": "the contract that is called",
    "typed_data": "what is signed: names of typed data of this policy",
}


def policy_schema(*, canonical: bool) -> Schema:
    """The schema of a policy document; in the form of people, unless ``canonical``."""
    form = _Form(canonical)
    fields = {
        "version": {"const": 1, "description": "the version of the language"},
        "name": _name("what the policy is called"),
        "chains": _table(form.chain(), d.CHAINS_MAX, keys=_anchored(CHAIN.pattern)),
        "assets": _table(form.asset(), d.ASSETS_MAX),
        "keys": _table(form.key(), d.KEYS_MAX),
        "wallets": _table(form.wallet(), d.WALLETS_MAX),
        "lists": _table(form.addresses(), d.LISTS_MAX),
        "contracts": _table(_contract(), d.CONTRACTS_MAX),
        "typed_data": _table(_typed_data(), d.TYPED_DATA_MAX),
        "prices": form.prices(),
        "holdings": form.holdings(),
        "tiers": _list(form.tier(), TIERS_MAX) | {"minItems": 1},
        "forbids": _list(form.part("what no rule and no approval can allow"), d.RULES_MAX),
        "rules": _list(
            form.part("the first rule whose conditions hold decides", then=form.then()), d.RULES_MAX
        ),
        "limits": _list(form.limit(), d.RULES_MAX),
        "cancel": _object({"fee_ceiling": form.amount("the most a cancellation may cost")}),
    }
    what = "in canonical JSON, as nodes read it" if canonical else "as people write it, in YAML"
    return {
        "$schema": DRAFT,
        "$id": f"urn:quorumkeep:policy:{'canonical' if canonical else 'yaml'}:1",
        "title": f"A Quorumkeep policy, {what}",
        **_object(fields, optional=("contracts", "typed_data", "prices", "holdings", "tiers")),
    }


class _Form:
    """What the two forms have different: amounts, lengths of time, hours, approvals."""

    def __init__(self, canonical: bool) -> None:
        self._canonical = canonical

    def amount(self, what: str) -> Schema:
        if self._canonical:
            described = f"{what}, in base units"
            return _pattern(DECIMAL, described) | {"maxLength": AMOUNT_DIGITS_MAX}
        return _pattern(_anchored(AMOUNT), f"{what}, with its unit, as in '1.5 eth'")

    def duration(self, name: str, *, high: int, what: str) -> Schema:
        if self._canonical:
            return {f"{name}_ms": _integer(1, high) | {"description": f"{what}, in milliseconds"}}
        return {name: _pattern(_anchored(DURATION), f"{what}, as in '24 h', '15 min' or '7 d'")}

    def chain(self) -> Schema:
        ceiling = self.amount("the most one transaction may cost")
        return _object({"native": _name("the asset fees are paid in"), "fee_ceiling": ceiling})

    def asset(self) -> Schema:
        fields = {
            "kind": {"enum": ["native", *d.TOKENS.values()]},
            "chain": _pattern(_anchored(CHAIN.pattern), "a chain of this policy"),
            "contract": _pattern(ADDRESS, "the token's contract, on Solana its mint, in quotes"),
            "decimals": _integer(0, 77),
            "deposit_min": self.amount("a payment from outside of less is no deposit of its own"),
        }
        native = {"if": _has(kind="native"), "then": {"properties": {"contract": False}}}
        return (
            _object(fields, optional=("contract", "deposit_min"))
            | native
            | {"else": {"required": ["contract"]}}
        )

    def key(self) -> Schema:
        fields = {
            "suite": {"enum": SUITE_NAMES},
            "imported": {"type": "boolean", "description": "it existed before as a whole"},
            "min_signers": _integer(2, d.PARTICIPANTS_MAX),
            "participants": _names("the nodes that hold shares", low=2, high=d.PARTICIPANTS_MAX),
        }
        return _object(fields, optional=("imported",))

    def wallet(self) -> Schema:
        path = _pattern(r"^m(/[0-9]+)*$", "an unhardened path such as 'm/0/0'")
        return _object(
            {
                "tier": _name("how fast it can move money and how much it may hold"),
                "key": _name("a key of this policy"),
                "chain": _pattern(_anchored(CHAIN.pattern), "a chain of this policy"),
                "paths": _distinct(path, 1, d.PATHS_MAX),
            }
        )

    def prices(self) -> Schema:
        age = self.duration("max_age", high=d.PRICE_AGE_MS_MAX, what="how old a price may be")
        return _object({"unit": _name("what values are in"), "decimals": _integer(0, 18), **age})

    def holdings(self) -> Schema:
        what = "how old a statement of what a wallet holds may be"
        return _object(self.duration("max_age", high=HOLDINGS_AGE_MS_MAX, what=what))

    def tier(self) -> Schema:
        """From the hottest to the coldest."""
        levels = {
            name: self.level(f"the {name.replace('_', ' of the ')} of what it holds") for name in LEVELS
        }
        shares = {**self.share("share_min", "at least"), **self.share("share_max", "at most")}
        fields = {"name": _name("a tier of wallets"), "role": {"enum": list(ROLES)}, **levels, **shares}
        return _object(fields, optional=(*levels, *shares))

    def level(self, what: str) -> Schema:
        """A value, amounts of assets, or both."""
        amount = self.amount(what)
        if not self._canonical:
            return {"oneOf": [amount, _list(amount, LEVEL_ASSETS_MAX + 1) | {"minItems": 1}]}
        amounts = _table(amount, LEVEL_ASSETS_MAX)
        fields = {"value": amount, "amounts": amounts}
        return _object(fields, optional=fields) | {"anyOf": [{"required": [name]} for name in fields]}

    def share(self, name: str, word: str) -> Schema:
        what = f"{word} this share of what all holdings are worth"
        if self._canonical:
            return {f"{name}_bp": _integer(0, WHOLE_BP) | {"description": f"{what}, in basis points"}}
        return {name: _pattern(_anchored(SHARE), f"{what}, as in '95 %'")}

    def part(self, what: str, **more: Schema) -> Schema:
        return _object({"name": _name(what), "when": self.when(), **more})

    def when(self) -> Schema:
        fields: Schema = {name: _names(what) for name, what in NAME_LISTS.items()}
        chain = _pattern(_anchored(CHAIN.pattern), "")
        fields["chains"] = _distinct(chain, 1, d.NAMES_MAX) | {"description": NAME_LISTS["chains"]}
        fields["kinds"] = _distinct({"enum": list(KINDS)}, 1, d.NAMES_MAX)
        fields["exposure"] = _distinct({"enum": list(EXPOSURES)}, 1, d.NAMES_MAX)
        fields["first_use"] = {"type": "boolean", "description": "the destination was never paid before"}
        for end, word in (("min", "at least"), ("max", "at most")):
            fields[f"amount_{end}"] = self.amount(f"the amount is {word} this")
            fields[f"total_{end}"] = self.amount(f"the amount and the fee together are {word} this")
            fields[f"value_{end}"] = self.amount(f"what amount and fee are worth is {word} this")
            fields[f"risk_{end}"] = _integer(0, d.RISK_MAX)
        fields["methods"] = _distinct(_pattern(METHOD_NAME, "as in vault.deposit"), 1, d.NAMES_MAX)
        fields["arguments"] = _list(self.argument(), d.ARGUMENTS_MAX)
        fields["hours"] = _list(self.span(), d.SPANS_MAX) | {"minItems": 1}
        one_asset = {"required": ["assets"], "properties": {"assets": {"maxItems": 1}}}
        names = ("amount_min", "amount_max", "total_min", "total_max")
        return _object(fields, optional=fields) | {"dependentSchemas": dict.fromkeys(names, one_asset)}

    def argument(self) -> Schema:
        """One argument of the called method: bounds, or lists that it is on."""
        bound: Schema = _pattern(DECIMAL, "a whole number")
        if not self._canonical:
            bound = {"oneOf": [bound, _integer(0, 2**256 - 1)]}
        bounds = {"min": bound, "max": bound}
        name = {"argument": {"type": "string", "minLength": 1, "maxLength": 64}}
        within = _object({**name, **bounds}, optional=bounds) | {
            "anyOf": [{"required": ["min"]}, {"required": ["max"]}]
        }
        return {"oneOf": [within, _object({**name, "destinations": _names("lists that it is on")})]}

    def addresses(self) -> Schema:
        """A list, or one that changes one address at a time."""
        cool_down = self.duration("cool_down", high=d.DELAY_MS_MAX, what="before an added address counts")
        book = {"addresses": _addresses(), "quorum": _integer(1, d.BOOK_QUORUM_MAX), **cool_down}
        return {"oneOf": [_addresses(), _object(book)]}

    def span(self) -> Schema:
        if not self._canonical:
            return _pattern(_anchored(SPAN), "days and hours, as in 'mon-fri 09:00-17:00 UTC'")
        days = _distinct({"enum": list(DAYS)}, 1, len(DAYS))
        return _object({"days": days, "from": _pattern(TIME, "UTC"), "to": _pattern(TIME, "UTC")})

    def then(self) -> Schema:
        delay = self.duration("delay", high=d.DELAY_MS_MAX, what="how long one person can still reject it")
        approvals = _list(self.approval(), d.APPROVALS_MAX) | {"minItems": 1}
        way = _object({"approvals": approvals}) if self._canonical else approvals
        any_of = _list(way, d.ALTERNATIVES_MAX) | {"minItems": 2}
        approve = {"outcome": {"const": "approve"}}
        forms: list[Schema] = [
            _object({"outcome": {"const": "allow"}, **delay}, optional=delay),
            _object({"outcome": {"const": "deny"}}),
            _object({**approve, "approvals": approvals, **delay}, optional=delay),
            _object({**approve, "any_of": any_of, **delay}, optional=delay),
        ]
        return {"oneOf": forms if self._canonical else [{"enum": ["allow", "deny"]}, *forms]}

    def approval(self) -> Schema:
        if not self._canonical:
            return _pattern(_anchored(APPROVAL), "different people of a group, as in '2 of treasury'")
        return _object({"group": _name("a group of operators"), "count": _integer(1, d.APPROVERS_MAX)})

    def limit(self) -> Schema:
        measures = {
            "asset": _name("what is counted"),
            "amount_max": self.amount("at most so much of the asset in the window"),
            "count_max": _integer(1, d.COUNT_MAX),
            "value_max": self.amount("at most so much value in the window"),
        }
        scopes = {
            name: _names("to what it applies; to all if left out")
            for name in ("wallets", "tiers", "initiators", "assets")
        }
        fields = {
            "name": _name("what it is called"),
            **self.duration("window", high=d.WINDOW_MS_MAX, what="in any time of this length"),
            "per": _distinct({"enum": list(SCOPES)}, 0, len(SCOPES)),
            **measures,
            **scopes,
        }
        one_of = [
            {"required": ["asset", "amount_max"]},
            {"required": ["count_max"]},
            {"required": ["value_max"]},
        ]
        return _object(fields, optional=(*measures, *scopes)) | {
            "oneOf": one_of,
            "dependentRequired": {"asset": ["amount_max"], "amount_max": ["asset"]},
        }


def _object(fields: Schema, *, optional: Iterable[str] = ()) -> Schema:
    left_out = set(optional)
    required = [name for name in fields if name not in left_out]
    return {"type": "object", "properties": fields, "required": required, "additionalProperties": False}


def _table(entry: Schema, high: int, *, keys: str = NAME_PATTERN) -> Schema:
    return {
        "type": "object",
        "propertyNames": {"pattern": keys},
        "additionalProperties": entry,
        "maxProperties": high,
    }


def _list(item: Schema, high: int) -> Schema:
    return {"type": "array", "items": item, "maxItems": high}


def _distinct(item: Schema, low: int, high: int) -> Schema:
    return _list(item, high) | {"minItems": low, "uniqueItems": True}


def _names(what: str, *, low: int = 1, high: int = d.NAMES_MAX) -> Schema:
    return _distinct(_name(""), low, high) | {"description": what}


def _contract() -> Schema:
    method = {"type": "string", "description": "as in 'deposit(uint256 amount,address to)'"}
    return _object(
        {
            "chain": _pattern(_anchored(CHAIN.pattern), "a chain of this policy"),
            "address": _pattern(ADDRESS, "in quotes"),
            "methods": _table(method, d.METHODS_MAX),
        }
    )


def _typed_data() -> Schema:
    """One kind of EIP-712 typed data."""
    text = {"type": "string", "minLength": 1, "maxLength": DOMAIN_TEXT_MAX}
    domain = {"name": text, "version": text, "salt": _pattern("^[0-9a-f]{64}$", "32 bytes in hex")}
    identifier = _pattern(f"^{IDENTIFIER.pattern}$", "")
    member = _object({"name": identifier, "type": {"type": "string", "description": "as in uint256"}})
    members = _list(member, MEMBERS_MAX) | {"minItems": 1}
    return _object(
        {
            "chain": _pattern(_anchored(CHAIN.pattern), "an EVM chain of this policy"),
            "contract": _pattern(ADDRESS, "the verifying contract, in quotes"),
            "domain": _object(domain, optional=domain),
            "primary_type": identifier | {"description": "the struct that is signed"},
            "types": _table(members, TYPES_MAX - 1, keys=f"^{IDENTIFIER.pattern}$"),
        }
    )


def _addresses() -> Schema:
    address = _pattern(ADDRESS, "in quotes")
    label = {"type": "string", "minLength": 1, "maxLength": LABEL_MAX}
    return _list({"oneOf": [address, _object({"address": address, "label": label})]}, d.ADDRESSES_MAX)


def _name(what: str) -> Schema:
    return _pattern(NAME_PATTERN, what)


def _pattern(pattern: str, what: str) -> Schema:
    return {"type": "string", "pattern": pattern} | ({"description": what} if what else {})


def _integer(low: int, high: int = INTEGER_MAX) -> Schema:
    return {"type": "integer", "minimum": low, "maximum": high}


def _has(**values: str) -> Schema:
    return {"properties": {name: {"const": value} for name, value in values.items()}}


def _anchored(pattern: str) -> str:
    """A pattern for the whole text, in the words of ECMA-262: it has no named groups of Python's kind."""
    plain = pattern
    while "(?P<" in plain:
        before, _, after = plain.partition("(?P<")
        plain = f"{before}({after.partition('>')[2]}"
    return f"^(?:{plain})$"
