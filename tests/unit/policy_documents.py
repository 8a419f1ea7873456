"""Policies of every shape, for properties: valid by construction, in both forms."""

import copy
import json
from collections.abc import Iterator
from typing import Any, TypeAlias

import yaml
from hypothesis import Phase
from hypothesis import strategies as st

from policy.rules import DAYS, KINDS
from policy.words.units import amount_text

Document: TypeAlias = dict[str, Any]
PHASES = (Phase.explicit, Phase.reuse, Phase.generate)
"""Without shrinking: making a whole policy smaller takes minutes."""
TOKEN, CUSTOMER = "0x" + "cd" * 20, "0x" + "ab" * 20
MINT = "EPjFWdd5AufqSSqeM2qN1xzybapC8G4wEGGkZwyTDt1v"
SOL_CUSTOMER = "9WzDXwBbmkg8ZTbNMqUxvQRAyrZzDsGYdLVL9zYtAWWM"
ADDRESSES = (CUSTOMER, "0x" + "11" * 20, "bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t4", SOL_CUSTOMER)
WALLETS, TIERS, LISTS = ("hot", "vault", "btc-hot", "sol-hot"), ("hot", "cold"), ("customers", "exchanges")
SIX_PLACES = {"decimals": 6, "deposit_min": "100"}
BOUNDS = ("amount", "total", "value", "risk")
MILLISECONDS = (1, 1500, 60_000, 90 * 60_000, 3_600_000, 86_400_000, 7 * 86_400_000)
NAMES: dict[str, tuple[str, ...]] = {
    "initiators": ("shop", "desk"),
    "initiator_groups": ("backoffice", "robots"),
    "kinds": KINDS,
    "chains": ("evm:1", "bitcoin:mainnet"),
    "tiers": TIERS,
    "wallets": WALLETS,
    "assets": ("eth", "usdc", "btc", "spl"),
    "destinations": LISTS,
    "not_destinations": LISTS,
    "destination_tiers": TIERS,
    "screenings": ("clear", "flagged"),
    "typed_data": ("permit",),
}


def some(names: tuple[str, ...]) -> st.SearchStrategy[list[str]]:
    return st.lists(st.sampled_from(names), min_size=1, max_size=len(names), unique=True)


@st.composite
def whens(draw: st.DrawFn) -> Document:
    """The conditions of a rule."""
    when: Document = {
        name: draw(some(NAMES[name])) for name in sorted(draw(st.sets(st.sampled_from(sorted(NAMES)))))
    }
    if draw(st.booleans()):
        when["first_use"] = draw(st.booleans())
    for name in sorted(draw(st.sets(st.sampled_from(BOUNDS)))):
        low, high = sorted((draw(st.integers(0, 100)), draw(st.integers(0, 100))))
        if name in ("amount", "total"):
            when["assets"] = (
                ["eth"]
                if "total_max" in when or name == "total"
                else [draw(st.sampled_from(NAMES["assets"]))]
            )
        for end, bound in (("min", low), ("max", high)):
            if draw(st.booleans()):
                scaled = bound * 10 ** draw(st.sampled_from((0, 5, 18)))
                when[f"{name}_{end}"] = bound if name == "risk" else str(scaled if end == "max" else bound)
    if draw(st.booleans()):
        when["hours"] = draw(st.lists(spans(), min_size=1, max_size=2))
    if any(name.startswith("total_") for name in when):
        when["assets"] = ["eth"]
    return when


@st.composite
def spans(draw: st.DrawFn) -> Document:
    start, end = sorted(draw(st.lists(st.integers(0, 24 * 60), min_size=2, max_size=2, unique=True)))
    days = draw(some(DAYS))
    return {"days": sorted(days, key=DAYS.index), "from": clock(start), "to": clock(end)}


def clock(minute: int) -> str:
    return f"{minute // 60:02}:{minute % 60:02}"


@st.composite
def thens(draw: st.DrawFn) -> Document:
    outcome = draw(st.sampled_from(("allow", "deny", "approve")))
    then: Document = {"outcome": outcome}
    if outcome == "approve":
        ways = draw(st.lists(approvals(), min_size=1, max_size=3))
        then |= {"approvals": ways[0]} if len(ways) == 1 else {"any_of": [{"approvals": way} for way in ways]}
    if outcome != "deny" and draw(st.booleans()):
        then["delay_ms"] = draw(st.sampled_from(MILLISECONDS))
    return then


def approvals() -> st.SearchStrategy[list[Document]]:
    groups = some(("treasury", "board"))
    return st.builds(
        lambda names, count: [{"group": name, "count": count} for name in names], groups, st.integers(1, 3)
    )


@st.composite
def limits(draw: st.DrawFn) -> Document:
    limit: Document = {"window_ms": draw(st.sampled_from(MILLISECONDS))}
    limit["per"] = draw(
        st.lists(st.sampled_from(("wallet", "tier", "initiator", "asset", "destination")), unique=True)
    )
    measure = draw(st.sampled_from(("amount", "count", "value")))
    if measure == "amount":
        asset = draw(st.sampled_from(("eth", "usdc")))
        limit |= {"asset": asset, "amount_max": str(draw(st.integers(1, 10**20)))}
    elif measure == "count":
        limit["count_max"] = draw(st.integers(1, 100))
    else:
        limit["value_max"] = str(draw(st.integers(1, 10**12)))
    scopes = ("tiers", "initiators") + (() if measure == "amount" else ("assets", "wallets"))
    for scope in sorted(draw(st.sets(st.sampled_from(scopes)))):
        limit[scope] = draw(some(NAMES[scope]))
    return limit


@st.composite
def documents(draw: st.DrawFn) -> Document:
    """A policy in canonical form that ``parse_policy`` takes."""
    parts = {
        name: draw(st.lists(part, max_size=4)) for name, part in (("forbids", whens()), ("rules", whens()))
    }
    document = base_document()
    document["name"] = draw(st.sampled_from(("treasury", "other")))
    document["lists"] = {
        name: [draw(labelled(address)) for address in draw(st.lists(st.sampled_from(ADDRESSES), unique=True))]
        for name in LISTS
    }
    document["keys"]["main"]["imported"] = draw(st.booleans())
    document["prices"]["max_age_ms"] = draw(st.sampled_from(MILLISECONDS))
    document["forbids"] = [{"name": f"f{i}", "when": when} for i, when in enumerate(parts["forbids"])]
    document["rules"] = [
        {"name": f"r{i}", "when": when, "then": draw(thens())} for i, when in enumerate(parts["rules"])
    ]
    document["limits"] = [
        {"name": f"l{i}", **limit} for i, limit in enumerate(draw(st.lists(limits(), max_size=3)))
    ]
    document["cancel"] = {"fee_ceiling": str(draw(st.integers(0, 10**17)))}
    return document


@st.composite
def labelled(draw: st.DrawFn, address: str) -> Any:
    labels = st.text(alphabet="Ab ,.:'\"#-{}[]&*!|>%@", min_size=1, max_size=12)
    return draw(st.one_of(st.just(address), labels.map(lambda label: {"address": address, "label": label})))


def base_document() -> Document:
    """Chains, assets, keys, wallets and lists for rules to speak of; no rules."""
    nodes = ["node-a", "node-b", "node-c"]
    return {
        "version": 1,
        "name": "treasury",
        "chains": {
            "evm:1": {"native": "eth", "fee_ceiling": "50000000000000000"},
            "bitcoin:mainnet": {"native": "btc", "fee_ceiling": "50000"},
            "solana:mainnet": {"native": "sol", "fee_ceiling": "5000000"},
        },
        "assets": {
            "eth": {"kind": "native", "chain": "evm:1", "decimals": 18, "deposit_min": "50000000000000"},
            "btc": {"kind": "native", "chain": "bitcoin:mainnet", "decimals": 8},
            "usdc": {"kind": "erc20", "chain": "evm:1", "contract": TOKEN, **SIX_PLACES},
            "sol": {"kind": "native", "chain": "solana:mainnet", "decimals": 9},
            "spl": {"kind": "spl", "chain": "solana:mainnet", "contract": MINT, **SIX_PLACES},
        },
        "keys": {
            "main": {"suite": "dkls23-secp256k1", "min_signers": 2, "participants": nodes},
            "edwards": {"suite": "frost-ed25519-sha512", "min_signers": 2, "participants": nodes},
            "coins": {"suite": "frost-secp256k1-taproot", "min_signers": 2, "participants": nodes},
        },
        "wallets": {
            "hot": {"tier": "hot", "key": "main", "chain": "evm:1", "paths": ["m/0/0", "m/0/1"]},
            "vault": {"tier": "cold", "key": "main", "chain": "evm:1", "paths": ["m/1/0"]},
            "sol-hot": {"tier": "hot", "key": "edwards", "chain": "solana:mainnet", "paths": ["m"]},
            "btc-hot": {"tier": "hot", "key": "coins", "chain": "bitcoin:mainnet", "paths": ["m/0/0"]},
        },
        "lists": {"customers": [CUSTOMER], "exchanges": []},
        "contracts": {
            "vault": {
                "chain": "evm:1",
                "address": "0x" + "ee" * 20,
                "methods": {
                    "deposit": "deposit(uint256 amount,address receiver)",
                    "withdraw": "withdraw(uint256 amount)",
                },
            }
        },
        "typed_data": {
            "permit": {
                "chain": "evm:1",
                "contract": TOKEN,
                "domain": {"name": "USD Coin", "version": "2", "salt": "0a" * 32},
                "primary_type": "Permit",
                "types": {
                    "Permit": [{"name": "spender", "type": "address"}, {"name": "value", "type": "uint256"}]
                },
            }
        },
        "prices": {"unit": "usd", "decimals": 2, "max_age_ms": 900_000},
        "forbids": [],
        "rules": [],
        "limits": [],
        "cancel": {"fee_ceiling": "1000"},
    }


def tiered_document() -> Document:
    """``base_document`` with tiers, each with keys of its own."""
    document = base_document()
    document["keys"]["vault"] = document["keys"]["main"]
    document["wallets"]["vault"]["key"] = "vault"
    levels = {
        name: {"value": str(value), "amounts": {"eth": str(value)}}
        for name, value in (("minimum", 1), ("target_min", 2), ("target_max", 3), ("maximum", 4))
    }
    shares = {"share_min_bp": 1, "share_max_bp": 250}
    return document | {
        "holdings": {"max_age_ms": 60_000},
        "tiers": [
            {"name": "hot", "role": "hot", **levels, **shares},
            {"name": "cold", "role": "cold", "share_min_bp": 9500},
        ],
    }


def full_rules() -> list[Document]:
    """Rules for ``full_document``."""
    return [
        {
            "name": "r",
            "when": {
                "assets": ["eth"],
                "amount_max": "1",
                "total_max": "2",
                "value_max": "3",
                "risk_max": 4,
                "screenings": ["clear"],
                "hours": [{"days": ["mon"], "from": "09:00", "to": "17:00"}],
            },
            "then": {
                "outcome": "approve",
                "any_of": [{"approvals": [{"group": g, "count": 1}]} for g in ("a", "b")],
                "delay_ms": 1,
            },
        },
        {"name": "s", "when": {}, "then": {"outcome": "deny"}},
        {
            "name": "c",
            "when": {
                "tiers": ["hot"],
                "contracts": ["vault"],
                "methods": ["vault.deposit"],
                "arguments": [
                    {"argument": "amount", "min": "1", "max": "9"},
                    {"argument": "receiver", "destinations": ["customers"]},
                ],
            },
            "then": {"outcome": "allow"},
        },
        {
            "name": "t",
            "when": {
                "tiers": ["hot"],
                "kinds": ["typed_data"],
                "typed_data": ["permit"],
                "arguments": [{"argument": "value", "max": "9"}],
            },
            "then": {"outcome": "allow"},
        },
    ]


def full_document() -> Document:
    """A policy with every kind of part, condition and outcome in it."""
    label = {"address": ADDRESSES[1], "label": "Example Ltd"}
    return tiered_document() | {
        "lists": {"customers": [CUSTOMER, label], "exchanges": []},
        "forbids": [
            {
                "name": "f",
                "when": {
                    "kinds": ["sweep"],
                    "chains": ["evm:1"],
                    "first_use": True,
                    "initiators": ["shop"],
                    "initiator_groups": ["backoffice"],
                    "tiers": ["hot"],
                    "wallets": ["hot"],
                    "destinations": ["customers"],
                    "not_destinations": ["exchanges"],
                    "destination_tiers": ["cold"],
                    "exposure": ["lowers"],
                    "amount_min": "1",
                    "assets": ["usdc"],
                    "value_min": "2",
                    "risk_min": 3,
                },
            }
        ],
        "rules": full_rules(),
        "limits": [
            {
                "name": "l",
                "asset": "eth",
                "amount_max": "1",
                "window_ms": 1,
                "per": ["wallet"],
                "tiers": ["hot"],
            },
            {"name": "m", "count_max": 1, "window_ms": 1, "per": []},
            {"name": "o", "value_max": "1", "window_ms": 1, "per": [], "assets": ["eth"]},
        ],
    }


def written(document: Document) -> Document:
    """The same policy as people write it: the inverse of the reader, made independently of it."""
    out: Document = json.loads(json.dumps(document))  # nothing of it shared
    for tier in out.get("tiers", ()):
        written_tier(tier, out)
    if "holdings" in out:
        out["holdings"] = {"max_age": duration(out["holdings"]["max_age_ms"])}
    for name, asset in out["assets"].items():
        if "deposit_min" in asset:
            asset["deposit_min"] = amount(asset["deposit_min"], name, out)
    for chain in out["chains"].values():
        chain["fee_ceiling"] = amount(chain["fee_ceiling"], chain["native"], out)
    out["cancel"]["fee_ceiling"] = amount(out["cancel"]["fee_ceiling"], "eth", out)
    if "prices" in out:
        out["prices"]["max_age"] = f"{out['prices'].pop('max_age_ms')} ms"
    for part in (*out["forbids"], *out["rules"]):
        when = part["when"]
        for name in [name for name in when if name.startswith(("amount_", "total_"))]:
            when[name] = amount(when[name], when["assets"][0], out)
        for name in [name for name in when if name.startswith("value_")]:
            when[name] = value(when[name], out)
        if "hours" in when:
            when["hours"] = [f"{' '.join(h['days'])} {h['from']}-{h['to']} UTC" for h in when["hours"]]
    for rule in out["rules"]:
        rule["then"] = written_then(rule["then"])
    for limit in out["limits"]:
        limit["window"] = duration(limit.pop("window_ms"))
        if "amount_max" in limit:
            limit["amount_max"] = amount(limit["amount_max"], limit["asset"], out)
        if "value_max" in limit:
            limit["value_max"] = value(limit["value_max"], out)
    return out


def written_tier(tier: Document, out: Document) -> None:
    for name in ("share_min", "share_max"):
        if f"{name}_bp" in tier:
            whole, part = divmod(tier.pop(f"{name}_bp"), 100)
            tier[name] = f"{whole}.{part:02} %"
    for name in ("minimum", "target_min", "target_max", "maximum"):
        if name in tier:
            level = tier[name]
            found = [value(level["value"], out)] if "value" in level else []
            found += [amount(one, asset, out) for asset, one in level.get("amounts", {}).items()]
            tier[name] = found[0] if len(found) == 1 else found


def written_then(then: Document) -> Any:
    out = dict(then)
    if "delay_ms" in out:
        out["delay"] = duration(out.pop("delay_ms"))
    if "approvals" in out:
        out["approvals"] = [f"{one['count']} of {one['group']}" for one in out["approvals"]]
    if "any_of" in out:
        out["any_of"] = [
            [f"{one['count']} of {one['group']}" for one in way["approvals"]] for way in out["any_of"]
        ]
    return out["outcome"] if len(out) == 1 else out


def duration(milliseconds: int) -> str:
    for unit, size in (("d", 86_400_000), ("h", 3_600_000), ("min", 60_000), ("s", 1000)):
        if milliseconds % size == 0:
            return f"{milliseconds // size} {unit}"
    return f"{milliseconds} ms"


def amount(base: str, asset: str, document: Document) -> str:
    return amount_text(int(base), asset=asset, decimals=document["assets"][asset]["decimals"])


def value(base: str, document: Document) -> str:
    return amount_text(int(base), asset=document["prices"]["unit"], decimals=document["prices"]["decimals"])


class Plain(yaml.SafeDumper):
    """A writer without anchors and aliases."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def as_yaml(document: Document) -> str:
    """The text of a document that is ``written`` already."""
    return yaml.dump(document, Dumper=Plain, sort_keys=False, width=10_000, allow_unicode=True)


def places_of(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The path of every value inside a document."""
    for key in value if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ():
        yield (*path, key)
        yield from places_of(value[key], (*path, key))


JUNK: tuple[Any, ...] = (
    "",
    "x",
    "X y",
    "1",
    "-1",
    "1.5",
    "no",
    "9" * 100,
    0,
    -1,
    10**20,
    True,
    [],
    {},
    ["x"],
    {"x": 1},
    [[]],
    None,
    1.5,
)


@st.composite
def mutants(draw: st.DrawFn, base: st.SearchStrategy[Document]) -> Document:
    """A document with one or two values near what they were, junk, gone, there twice or renamed."""
    document = copy.deepcopy(draw(base))
    for _ in range(draw(st.integers(1, 2))):
        paths = [*places_of(document)]
        if not paths:
            break
        *outer, last = draw(st.sampled_from(paths))
        inner: Any = document
        for step in outer:
            inner = inner[step]
        match draw(st.sampled_from(("near", "near", "near", "junk", "drop", "double", "rename"))):
            case "near":
                inner[last] = draw(st.sampled_from([inner[last], *near(inner[last])]))
            case "drop":
                del inner[last]
            case "double" if isinstance(inner, list):
                inner.append(copy.deepcopy(inner[last]))
            case "rename" if isinstance(inner, dict):
                inner[draw(st.sampled_from(("x", "No", "name", "window_ms", "amount_max")))] = inner.pop(last)
            case _:
                inner[last] = copy.deepcopy(draw(st.sampled_from(JUNK)))  # else one may get into itself
    return document


def near(value: Any) -> list[Any]:
    """Values that could have stood in the place of this one."""
    match value:
        case bool():
            return [not value]
        case int():
            return [value + 1, max(0, value - 1), 2 * value, 7]
        case str() if value.isdigit():
            return [str(int(value) + 1), str(10 * int(value)), "0"]
        case str():
            token = value.replace("eth", "usdc") if "eth" in value else value.replace("usdc", "eth")
            known = (
                "hot",
                "cold",
                "vault",
                "deny",
                "allow",
                "sweep",
                "customers",
                "exchanges",
                "tue",
                "23:00",
            )
            return [token, f"{value}x", f"1{value}", value.upper(), "m/7", CUSTOMER, TOKEN, *known]
        case list():
            return [value[::-1], value[1:], [*value, *value[:1]]]
        case dict():
            return [{k: v for k, v in value.items() if k != name} for name in value]
        case _:
            return [value]
