"""The policy document, version 1: what an organisation lets its wallets do, read from its canonical form.

A document is read in two passes: every field by itself, here, then every reference between its parts, in
``policy.document_checks``. It is refused whole, with the path of the first mistake. What is written here is
closed: an unknown field, a name that is defined nowhere, a rule that counts nothing, are errors and never
ignored. Names of initiators and groups are the roster's; whoever puts a policy in force compares
``initiators_named`` and ``groups_named`` with the roster in force there.
"""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from policy.bip32 import parse_address, parse_path
from policy.decode.abi import Method, parse_method
from policy.decode.typed_data import Declaration, read_declaration
from policy.document_checks import check_references, distinct, known
from policy.encoding import Json, document_hash
from policy.errors import MalformedError
from policy.fields import NAME, Fields
from policy.ids import CHAIN, EVM, SOLANA, family
from policy.listing import LABEL_MAX
from policy.model import (
    AMOUNT,
    COUNT,
    SCOPES,
    VALUE,
    Allow,
    Approve,
    Asset,
    Book,
    Chain,
    Contract,
    Deny,
    Forbid,
    Key,
    Limit,
    Policy,
    Prices,
    Requirement,
    Rule,
    Then,
    Wallet,
)
from policy.rules import (
    DAYS,
    EXPOSURES,
    KINDS,
    PAYMENTS,
    Among,
    ArgumentListed,
    ArgumentWithin,
    AtLeast,
    AtMost,
    Condition,
    During,
    FirstUse,
    InGroup,
    Listed,
    Span,
    When,
)
from policy.suites import SUITES
from policy.tier_document import read_holdings, read_tiers

CHAINS_MAX, ASSETS_MAX, KEYS_MAX, WALLETS_MAX, LISTS_MAX = 64, 256, 64, 1024, 64
PATHS_MAX, PARTICIPANTS_MAX, ADDRESSES_MAX = 4096, 9, 10_000
RULES_MAX, NAMES_MAX, APPROVALS_MAX, APPROVERS_MAX, ALTERNATIVES_MAX = 512, 256, 8, 16, 8
DAY_MS = 24 * 3600 * 1000
WINDOW_MS_MAX, DELAY_MS_MAX, PRICE_AGE_MS_MAX = 366 * DAY_MS, 30 * DAY_MS, 7 * DAY_MS
CONTRACTS_MAX, METHODS_MAX, ARGUMENTS_MAX, TYPED_DATA_MAX = 64, 64, 16, 64
DEPOSIT_MIN_PLACES = 5
SPANS_MAX, COUNT_MAX, RISK_MAX, BOOK_QUORUM_MAX = 16, 10**9, 100, 1024
TOKENS = {EVM: "erc20", SOLANA: "spl"}
"""What kind of asset a token is on each family of chains that has some."""
_PATH = re.compile(r"m(?:/[0-9]+)*")
_DOTTED = re.compile(NAME.pattern + r"\." + NAME.pattern)
_TIME = re.compile(r"(?:[01][0-9]|2[0-3]):[0-5][0-9]|24:00")

_NAMED = {
    "initiators": "initiator",
    "kinds": "kind",
    "chains": "chain",
    "tiers": "tier",
    "wallets": "wallet",
    "assets": "asset",
    "destination_tiers": "destination_tier",
    "contracts": "contract",
    "typed_data": "typed_data",
    "screenings": "screening",
    "exposure": "exposure",
}
_ADDRESSED = {"assets": "contract", "contracts": "address", "typed_data": "contract"}
ASKED = ("contracts", "methods", "typed_data")
_BOUNDED = {"amount": "amount", "total": "total", "value": "value"}


def parse_policy(body: Json) -> Policy:
    """Read a policy document in its canonical form.

    Raises ``MalformedError`` with the path of the first mistake, as in
    ``rules[2].when.assets[0]: unknown asset 'etc'``.
    """
    fields = Fields(body, "")
    fields.integer("version", low=1, high=1)
    cancel = fields.nested("cancel")
    lists, labels, books = _read_lists(fields)
    policy = Policy(
        name=fields.name("name"),
        chains=fields.table("chains", _read_chain, count_max=CHAINS_MAX, keys=CHAIN),
        assets=fields.table("assets", _read_asset, count_max=ASSETS_MAX),
        keys=fields.table("keys", _read_key, count_max=KEYS_MAX),
        wallets=fields.table("wallets", _read_wallet, count_max=WALLETS_MAX),
        lists=lists,
        labels=labels,
        books=books,
        contracts=_read_contracts(fields),
        typed_data=_read_typed_data(fields),
        prices=_read_prices(fields.nested("prices")) if fields.has("prices") else None,
        forbids=fields.objects("forbids", _read_forbid, count_max=RULES_MAX),
        rules=fields.objects("rules", _read_rule, count_max=RULES_MAX),
        limits=fields.objects("limits", _read_limit, count_max=RULES_MAX),
        cancel_fee_ceiling=cancel.amount("fee_ceiling"),
        tiers=read_tiers(fields),
        holdings_max_age_ms=read_holdings(fields),
    )
    cancel.done()
    fields.done()
    check_references(policy)
    return policy


def policy_hash(body: Json) -> bytes:
    """The 32-byte hash by which approvals and jobs name this exact document."""
    return document_hash("policy", body)


def normalise_document(body: Json) -> Json:
    """Lower-case the EVM addresses of a policy written by people, at an outer door only.

    A mixed-case one must carry a correct EIP-55 checksum; raises ``MalformedError`` with its
    path. Anything else that is wrong is left as it is, for ``parse_policy`` to refuse.
    """
    if not isinstance(body, dict):
        return body
    normal = dict(body)
    lists = normal.get("lists")
    for part, field in _ADDRESSED.items():
        table = normal.get(part)
        if isinstance(table, dict):
            normal[part] = {name: _normal_part(f"{part}.{name}.{field}", one) for name, one in table.items()}
    if isinstance(lists, dict):
        normal["lists"] = {name: _normal_list(f"lists.{name}", items) for name, items in lists.items()}
    return normal


def _normal_part(path: str, part: Json) -> Json:
    field = path.rpartition(".")[2]
    if not isinstance(part, dict) or field not in part:
        return part
    return {**part, field: _normal_address(path, part[field])}


def _normal_list(path: str, items: Json) -> Json:
    if isinstance(items, dict) and "addresses" in items:
        return {**items, "addresses": _normal_list(f"{path}.addresses", items["addresses"])}
    if not isinstance(items, list):
        return items
    return [_normal_entry(f"{path}[{index}]", item) for index, item in enumerate(items)]


def _normal_entry(path: str, item: Json) -> Json:
    if isinstance(item, dict) and "address" in item:
        return {**item, "address": _normal_address(f"{path}.address", item["address"])}
    return _normal_address(path, item)


def _normal_address(path: str, text: Json) -> Json:
    if not isinstance(text, str) or not text.startswith("0x"):
        return text
    with _at(path):
        return parse_address(text)


@contextmanager
def _at(path: str) -> Iterator[None]:
    """Put ``path`` before the message of an error raised inside."""
    try:
        yield
    except MalformedError as error:
        raise MalformedError(f"{path}: {error}") from error


def _read_chain(chain: str, fields: Fields) -> Chain:
    family(chain)
    return Chain(fields.name("native"), fields.amount("fee_ceiling"))


def _read_asset(name: str, fields: Fields) -> Asset:
    chain = fields.chain("chain")
    token = TOKENS.get(family(chain))
    kind = fields.choice("kind", "native", *([token] if token else []))
    decimals = fields.integer("decimals", high=77)
    least = fields.amount("deposit_min") if fields.has("deposit_min") else deposit_min_default(decimals)
    return Asset(
        name=name,
        chain=chain,
        contract=fields.address("contract", chain=chain) if kind == token else None,
        decimals=decimals,
        deposit_min=least,
    )


def deposit_min_default(decimals: int) -> int:
    """The least deposit where a policy does not say it: a hundred-thousandth of one whole unit."""
    return int(10 ** max(0, decimals - DEPOSIT_MIN_PLACES))


def _read_key(name: str, fields: Fields) -> Key:
    participants = fields.names("participants", count_min=2, count_max=PARTICIPANTS_MAX)
    return Key(
        name=name,
        suite=fields.choice("suite", *SUITES),
        imported=fields.boolean("imported") if fields.has("imported") else False,
        min_signers=fields.integer("min_signers", low=2, high=len(participants)),
        participants=participants,
    )


def _read_wallet(name: str, fields: Fields) -> Wallet:
    where = fields.path("paths")
    paths = fields.words("paths", _PATH, expected="an unhardened path such as 'm/0/0'", count_max=PATHS_MAX)
    for index, path in enumerate(paths):
        with _at(f"{where}[{index}]"):
            parse_path(path)
    return Wallet(name, fields.name("tier"), fields.name("key"), fields.chain("chain"), paths)


def _read_lists(fields: Fields) -> tuple[dict[str, frozenset[str]], dict[str, str], dict[str, Book]]:
    """The lists, what their addresses are called, and how lists change one address at a time.

    An item is an address, or one with a label; a list that is an object has a quorum of its own.
    """
    entries = fields.mapping("lists", count_max=LISTS_MAX)
    lists: dict[str, frozenset[str]] = {}
    labels: dict[str, str] = {}
    books: dict[str, Book] = {}
    for name in sorted(entries):
        plain: list[Json] = []
        items, place = entries[name], name
        if isinstance(items, dict):
            place = f"{name}.addresses"
            items, books[name] = _read_book(Fields(items, f"lists.{name}"))
        for index, item in enumerate(items if isinstance(items, list) else ()):
            if isinstance(item, dict):
                one = Fields(item, f"lists.{place}[{index}]")
                address, label = one.raw("address"), one.text("label", length_max=LABEL_MAX)
                one.done()
                plain.append(address)
                labels[f"{name} {address}"] = label
            else:
                plain.append(item)
        whole = Fields({place: plain if isinstance(items, list) else items}, "lists")
        lists[name] = frozenset(whole.addresses(place, count_max=ADDRESSES_MAX))
    return lists, labels, books


def _read_book(fields: Fields) -> tuple[Json, Book]:
    addresses = fields.raw("addresses")
    quorum = fields.integer("quorum", low=1, high=BOOK_QUORUM_MAX)
    book = Book(quorum, fields.integer("cool_down_ms", low=1, high=DELAY_MS_MAX))
    fields.done()
    return addresses, book


def _read_contracts(fields: Fields) -> dict[str, Contract]:
    if not fields.has("contracts"):
        return {}
    return fields.table("contracts", _read_contract, count_max=CONTRACTS_MAX)


def _read_typed_data(fields: Fields) -> dict[str, Declaration]:
    if not fields.has("typed_data"):
        return {}
    return fields.table("typed_data", read_declaration, count_max=TYPED_DATA_MAX)


def _read_contract(name: str, fields: Fields) -> Contract:
    chain = fields.chain("chain")
    address, path = fields.address("address", chain=chain), fields.path("methods")
    methods = fields.mapping("methods", count_max=METHODS_MAX)
    read: dict[str, Method] = {}
    for method in sorted(methods):
        with _at(f"{path}.{method}"):
            text = methods[method]
            read[method] = parse_method(text if isinstance(text, str) else "")
    return Contract(name, chain, address, read)


def _read_prices(fields: Fields) -> Prices:
    prices = Prices(
        unit=fields.name("unit"),
        decimals=fields.integer("decimals", high=18),
        max_age_ms=fields.integer("max_age_ms", low=1, high=PRICE_AGE_MS_MAX),
    )
    fields.done()
    return prices


def _read_forbid(fields: Fields) -> Forbid:
    return Forbid(fields.name("name"), read_when(fields))


def _read_rule(fields: Fields) -> Rule:
    name, then = fields.name("name"), _read_then(fields.nested("then"))
    return Rule(name, read_when(fields, payments_only=not isinstance(then, Deny)), then)


def read_when(outer: Fields, *, payments_only: bool = False) -> When:
    """The conditions of a part; ``payments_only`` for one that may consent.

    What says nothing of kinds, contracts, methods or typed data is about payments: a rule that allows them is
    not to allow a call or a signature that its author did not think of.
    """
    fields = outer.nested("when")
    conditions: list[Condition] = []
    if payments_only and not any(fields.has(name) for name in ("kinds", *ASKED)):
        conditions.append(Among("kinds", "kind", PAYMENTS))
    for name, fact in _NAMED.items():
        if fields.has(name):
            path, names = fields.path(name), _names(fields, name)
            if name == "kinds":
                known(path, names, defined=KINDS, kind="kind")
            if name == "exposure":
                known(path, names, defined=EXPOSURES, kind="exposure")
            conditions.append(Among(name, fact, names))
    if fields.has("methods"):
        methods = fields.words(
            "methods", _DOTTED, expected="a method such as 'vault.deposit'", count_max=NAMES_MAX
        )
        conditions.append(Among("methods", "method", methods))
    if fields.has("initiator_groups"):
        conditions.append(InGroup("initiator_groups", _names(fields, "initiator_groups")))
    for name, wanted in (("destinations", True), ("not_destinations", False)):
        if fields.has(name):
            conditions.append(Listed(name, _names(fields, name), wanted))
    if fields.has("first_use"):
        conditions.append(FirstUse("first_use", fields.boolean("first_use")))
    for name, fact in _BOUNDED.items():
        conditions += _read_bounds(name, fact, fields.amount, fields.has)
    conditions += _read_bounds("risk", "risk", lambda name: fields.integer(name, high=RISK_MAX), fields.has)
    if fields.has("arguments"):
        conditions += fields.objects("arguments", _read_argument, count_max=ARGUMENTS_MAX)
    if fields.has("hours"):
        path, spans = fields.path("hours"), fields.objects("hours", _read_span, count_max=SPANS_MAX)
        if not spans:
            raise MalformedError(f"{path}: no hours at all are never; name a span, or leave it out")
        conditions.append(During("hours", spans))
    fields.done()
    return When(tuple(conditions))


def _read_argument(fields: Fields) -> Condition:
    argument = fields.text("argument", length_max=64)
    if fields.has("destinations"):
        return ArgumentListed("arguments", argument, _names(fields, "destinations"))
    path = fields.path("min")
    low = fields.amount("min") if fields.has("min") else None
    high = fields.amount("max") if fields.has("max") else None
    if low is None and high is None:
        raise MalformedError(f"{path}: say what the argument may be: 'min', 'max' or 'destinations'")
    return ArgumentWithin("arguments", argument, low, high)


def _read_bounds(
    name: str, fact: str, read: Callable[[str], int], has: Callable[[str], bool]
) -> Iterator[Condition]:
    if has(f"{name}_min"):
        yield AtLeast(f"{name}_min", fact, read(f"{name}_min"))
    if has(f"{name}_max"):
        yield AtMost(f"{name}_max", fact, read(f"{name}_max"))


def _read_span(fields: Fields) -> Span:
    path = fields.path("days")
    days = fields.names("days", count_min=1, count_max=len(DAYS))
    known(path, days, defined=DAYS, kind="day")
    where = fields.path("to")
    start, end = _read_minute(fields, "from"), _read_minute(fields, "to")
    if start >= end:
        raise MalformedError(f"{where}: a span ends after it starts, at 24:00 at the latest; write two spans")
    return Span(frozenset(DAYS.index(day) for day in days), start, end)


def _read_minute(fields: Fields, name: str) -> int:
    path = fields.path(name)
    text = fields.text(name, length_max=5)
    if not _TIME.fullmatch(text):
        raise MalformedError(f"{path}: {text!r} is no time of day such as '09:30', in UTC")
    return int(text[:2]) * 60 + int(text[3:])


def _read_then(fields: Fields) -> Then:
    then: Then
    match fields.choice("outcome", "allow", "deny", "approve"):
        case "allow":
            then = Allow(_read_delay(fields))
        case "deny":
            then = Deny()
        case _:
            then = Approve(_read_alternatives(fields), _read_delay(fields))
    fields.done()
    return then


def _read_delay(fields: Fields) -> int:
    return fields.integer("delay_ms", low=1, high=DELAY_MS_MAX) if fields.has("delay_ms") else 0


def _read_alternatives(fields: Fields) -> tuple[tuple[Requirement, ...], ...]:
    """``approvals``: all of them; ``any_of``: a list of such lists, of which one is enough."""
    if not fields.has("any_of"):
        return (_read_approvals(fields),)
    path = fields.path("any_of")
    alternatives = fields.objects("any_of", _read_approvals, count_max=ALTERNATIVES_MAX)
    if len(alternatives) < 2:
        raise MalformedError(f"{path}: one way alone is no choice: write it as 'approvals'")
    return alternatives


def _read_approvals(fields: Fields) -> tuple[Requirement, ...]:
    path = fields.path("approvals")
    approvals = fields.objects("approvals", _read_requirement, count_max=APPROVALS_MAX)
    if not approvals:
        raise MalformedError(f"{path}: an approval by nobody is no approval; name a group and a count")
    distinct((f"{path}[{i}]", item.group) for i, item in enumerate(approvals))
    return approvals


def _read_requirement(fields: Fields) -> Requirement:
    return Requirement(fields.name("group"), fields.integer("count", low=1, high=APPROVERS_MAX))


def _read_limit(fields: Fields) -> Limit:
    path = fields.path("per")
    per = fields.names("per", count_max=len(SCOPES))
    known(path, per, defined=SCOPES, kind="scope")
    name = fields.name("name")
    asset = fields.name("asset") if fields.has("asset") else None
    measure, maximum = read_maximum(fields, asset)
    return Limit(
        name=name,
        measure=measure,
        asset=asset,
        window_ms=fields.integer("window_ms", low=1, high=WINDOW_MS_MAX),
        maximum=maximum,
        per=tuple(scope for scope in SCOPES if scope in per),
        wallets=_optional_names(fields, "wallets"),
        tiers=_optional_names(fields, "tiers"),
        initiators=_optional_names(fields, "initiators"),
        assets=_optional_names(fields, "assets"),
    )


def read_maximum(fields: Fields, asset: str | None) -> tuple[str, int]:
    """Exactly one of ``amount_max`` (with its ``asset``), ``count_max`` and ``value_max``."""
    path = fields.path("amount_max")
    if asset is not None:
        return AMOUNT, fields.amount("amount_max", low=1)
    if fields.has("count_max"):
        return COUNT, fields.integer("count_max", low=1, high=COUNT_MAX)
    if fields.has("value_max"):
        return VALUE, fields.amount("value_max", low=1)
    raise MalformedError(
        f"{path}: a limit is an 'amount_max' of an 'asset', a 'count_max' of payments or a 'value_max'"
    )


def _names(fields: Fields, name: str) -> tuple[str, ...]:
    """Names to be among; an empty list would match nothing and is refused."""
    if name == "chains":
        return fields.words(name, CHAIN, expected="a chain such as 'evm:1'", count_max=NAMES_MAX)
    return fields.names(name, count_min=1, count_max=NAMES_MAX)


def _optional_names(fields: Fields, name: str) -> tuple[str, ...] | None:
    return _names(fields, name) if fields.has(name) else None
