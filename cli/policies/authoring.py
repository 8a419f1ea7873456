"""From a policy as people write it in YAML to its canonical form, the only one that nodes ever read.

The two forms have the same shape and names. Different in YAML: amounts have their unit (``1.5 eth``), lengths
of time have theirs and no ``_ms`` in their name (``window: 24 h``), hours and approvals are one text each
(``mon-fri 09:00-17:00 UTC``, ``2 of treasury``), and an outcome alone is one word (``then: allow``).
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial

from cli.policies.faults import START, Fault, Place
from cli.policies.units import (
    amount_unit,
    approval_document,
    base_units,
    duration_ms,
    share_bp,
    span_document,
)
from cli.policies.yaml_reader import Node, Value
from policy.document import DELAY_MS_MAX, PRICE_AGE_MS_MAX, WINDOW_MS_MAX
from policy.encoding import Json
from policy.model import Policy
from policy.tier_document import LEVELS

DECIMALS_MAX = 77
AMOUNTS = ("amount_min", "amount_max", "total_min", "total_max")
VALUES = ("value_min", "value_max")
DURATIONS = {
    "window": WINDOW_MS_MAX,
    "delay": DELAY_MS_MAX,
    "max_age": PRICE_AGE_MS_MAX,
    "cool_down": DELAY_MS_MAX,
}
OUTCOMES = ("allow", "deny")
SHARES = {"share_min": "share_min_bp", "share_max": "share_max_bp"}


@dataclass(frozen=True, slots=True)
class Written:
    """A document in canonical form, where its parts stand in the file, and what could not be converted.

    ``places`` are by path, as ``rules[2].when``; ``names`` where the names of fields stand. ``broken`` are
    the paths of what a fault was found in, and left out.
    """

    body: Json = ""
    places: dict[str, Place] = field(default_factory=dict)
    names: dict[str, Place] = field(default_factory=dict)
    faults: list[Fault] = field(default_factory=list)
    broken: set[str] = field(default_factory=set)


def as_written(root: Node) -> Written:
    """A document that is in canonical form already, with the places of its parts."""
    written = Written()
    return Written(_Converter(root, written).copy(root, ""), written.places, written.names)


def convert(root: Node) -> Written:
    """A document in the form of people. Faults are collected, the rest is converted all the same."""
    written = Written()
    body = _Converter(root, written).document()
    return Written(body, written.places, written.names, written.faults, written.broken)


def convert_invariants(root: Node, policy: Policy) -> Written:
    """Invariants in the form of people, in the units of the assets and prices of ``policy``."""
    written = Written()
    body = _Converter(_units(policy), written).invariants(root)
    return Written(body, written.places, written.names, written.faults, written.broken)


class _FollowsError(ValueError):
    """What cannot be read because of a fault elsewhere, which is reported there."""


class _Converter:
    """One pass over the document; what has a unit is converted where its name says so."""

    def __init__(self, root: Node, written: Written) -> None:
        self._root = root
        self._out = written
        self._assets = dict(_decimals(_fields(root, "assets")))
        self._declared = _fields(root, "assets").keys()
        self._chains = _fields(root, "chains")
        self._prices = _fields(root, "prices")

    def document(self) -> Json:
        if not isinstance(self._root.value, dict):
            return self.copy(self._root, "")
        return self._object(
            self._root,
            "",
            {
                "chains": lambda node, path: self._table(node, path, self._chain),
                "assets": lambda node, path: self._table(node, path, self._asset),
                "cancel": lambda node, path: self._object(node, path, {"fee_ceiling": self._cancel_fee}),
                "lists": lambda node, path: self._table(node, path, self._addresses),
                "prices": lambda node, path: self._object(node, path, {}),
                "holdings": lambda node, path: self._object(node, path, {}),
                "tiers": lambda node, path: self._list(node, path, self._tier),
                "forbids": lambda node, path: self._list(node, path, self._rule),
                "rules": lambda node, path: self._list(node, path, self._rule),
                "limits": lambda node, path: self._list(node, path, self._limit),
            },
            durations=(),
        )

    def invariants(self, root: Node) -> Json:
        """A document of invariants; the root of the converter is where units are told."""
        readers = {"invariants": lambda node, path: self._list(node, path, self._invariant)}
        return self._object(root, "", readers, durations=())

    def copy(self, node: Node, path: str) -> Json:
        """A value as it is; where it and its parts stand is noted."""
        self._note(node, path)
        match node.value:
            case dict() as fields:
                return {name: self.copy(inner, _inside(path, name)) for name, inner in fields.items()}
            case list() as items:
                return [self.copy(inner, f"{path}[{index}]") for index, inner in enumerate(items)]
            case value:
                return value

    def _note(self, node: Node, path: str) -> None:
        self._out.places[path] = node.place
        self._out.names[path] = node.name

    def _fault(self, node: Node, path: str, message: str) -> None:
        self._out.faults.append(Fault(node.place, f"{path}: {message}"))
        self._out.broken.add(path)

    def _object(
        self,
        node: Node,
        path: str,
        readers: "Mapping[str, Callable[[Node, str], Json]]",
        *,
        durations: Iterable[str] = DURATIONS,
    ) -> Json:
        """An object whose fields have readers of their own; a length of time is known by its name."""
        if not isinstance(node.value, dict):
            return self.copy(node, path)
        self._note(node, path)
        found: dict[str, Json] = {}
        for name, inner in node.value.items():
            where = _inside(path, name)
            if name in durations:
                canonical = f"{name}_ms"
                self._note(inner, _inside(path, canonical))
                found[canonical] = self._read(inner, where, partial(_duration, name))
            elif name.endswith("_ms") and name.removesuffix("_ms") in durations:
                self._fault(inner, where, f"write {name.removesuffix('_ms')!r} with a unit, as in '24 h'")
            else:
                found[name] = readers.get(name, self.copy)(inner, where)
        return found

    def _table(self, node: Node, path: str, read: "Callable[[Node, str], Json]") -> Json:
        if not isinstance(node.value, dict):
            return self.copy(node, path)
        self._note(node, path)
        return {name: read(inner, _inside(path, name)) for name, inner in node.value.items()}

    def _list(self, node: Node, path: str, read: "Callable[[Node, str], Json]") -> Json:
        if not isinstance(node.value, list):
            return self.copy(node, path)
        self._note(node, path)
        return [read(inner, f"{path}[{index}]") for index, inner in enumerate(node.value)]

    def _read(self, node: Node, path: str, read: "Callable[[object], Json]") -> Json:
        """One value by ``read``, whose ``ValueError`` is a fault here."""
        self._note(node, path)
        try:
            if isinstance(node.value, dict | list):
                raise ValueError("expected one text here")
            return read(node.value)
        except _FollowsError:
            self._out.broken.add(path)
            return ""
        except ValueError as error:
            self._fault(node, path, str(error))
            return ""

    def _chain(self, node: Node, path: str) -> Json:
        native = _text(node, "native")
        return self._object(
            node, path, {"fee_ceiling": lambda inner, where: self._amount(inner, where, {native} - {""})}
        )

    def _asset(self, node: Node, path: str) -> Json:
        name = path.partition(".")[2]
        whole = name in self._assets  # else its decimals are wrong, and the asset's own fault says so
        least = {"deposit_min": lambda inner, where: self._amount(inner, where, {name}) if whole else "1"}
        return self._object(node, path, least, durations=())

    def _cancel_fee(self, node: Node, path: str) -> Json:
        return self._amount(node, path, {_text(chain, "native") for chain in self._chains.values()} - {""})

    def _addresses(self, node: Node, path: str) -> Json:
        if isinstance(node.value, dict):
            return self._object(node, path, {}, durations=("cool_down",))
        return self.copy(node, path)

    def _rule(self, node: Node, path: str) -> Json:
        return self._object(node, path, {"when": self._when, "then": self._then}, durations=())

    def _when(self, node: Node, path: str) -> Json:
        assets = node.value.get("assets") if isinstance(node.value, dict) else None
        one = assets.value if assets and isinstance(assets.value, list) and len(assets.value) == 1 else []
        units = {str(item.value) for item in one}
        amounts = {name: lambda inner, where: self._amount(inner, where, units) for name in AMOUNTS}
        values = dict.fromkeys(VALUES, self._value)
        readers = {**amounts, **values, "hours": self._hours, "arguments": self._arguments}
        return self._object(node, path, readers, durations=())

    def _arguments(self, node: Node, path: str) -> Json:
        """Bounds of arguments have no unit: only the contract knows what they count."""
        bounds = {
            name: lambda inner, where: self._read(inner, where, _whole_number) for name in ("min", "max")
        }
        return self._list(node, path, lambda inner, where: self._object(inner, where, bounds, durations=()))

    def _hours(self, node: Node, path: str) -> Json:
        return self._list(node, path, lambda inner, where: self._read(inner, where, span_document))

    def _then(self, node: Node, path: str) -> Json:
        if isinstance(node.value, dict):
            readers = {"approvals": self._approvals, "any_of": self._any_of}
            return self._object(node, path, readers, durations=("delay",))
        self._note(node, path)
        if node.value in OUTCOMES:
            return {"outcome": node.value}
        self._fault(
            node, path, "expected 'allow', 'deny' or '{outcome: approve, approvals: [2 of treasury]}'"
        )
        return ""

    def _approvals(self, node: Node, path: str) -> Json:
        return self._list(node, path, lambda inner, where: self._read(inner, where, approval_document))

    def _any_of(self, node: Node, path: str) -> Json:
        return self._list(node, path, lambda inner, where: {"approvals": self._approvals(inner, where)})

    def _limit(self, node: Node, path: str) -> Json:
        unit = _text(node, "asset")
        readers = {
            "amount_max": lambda inner, where: self._amount(inner, where, {unit} - {""}),
            "value_max": self._value,
        }
        found = self._object(node, path, readers, durations=("window",))
        if isinstance(node.value, dict) and not node.value.keys() & {"window", "window_ms"}:
            self._fault(node, path, "field 'window' is missing: in what time, as in 'window: 24 h'?")
        return found

    def _tier(self, node: Node, path: str) -> Json:
        levels = dict.fromkeys(LEVELS, self._level)
        found = self._object(node, path, {**levels, **dict.fromkeys(SHARES, self._share)}, durations=())
        if isinstance(found, dict):
            for share, canonical in SHARES.items():
                if canonical in found:
                    self._fault(node, path, f"write {share!r} with its unit, as in '5 %'")
                elif share in found:
                    found[canonical] = found.pop(share)
                    self._out.places[f"{path}.{canonical}"] = self._out.places[f"{path}.{share}"]
        return found

    def _share(self, node: Node, path: str) -> Json:
        return self._read(node, path, share_bp)

    def _level(self, node: Node, path: str) -> Json:
        """So much, as in ``500000 usd``, or a list of that in different units."""
        items = node.value if isinstance(node.value, list) else [node]
        self._note(node, path)
        value, amounts = self._prices.get("unit"), dict[str, Json]()
        found: dict[str, Json] = {}
        for index, item in enumerate(items):
            where = f"{path}[{index}]" if isinstance(node.value, list) else path
            unit = str(item.value).rpartition(" ")[2]
            is_value = value is not None and unit == value.value
            if unit in amounts or (is_value and ("value" in found or unit in self._declared)):
                self._fault(item, where, f"{unit} is there twice, or an asset and the unit of values both")
            elif is_value:
                found["value"] = self._value(item, where)
            else:
                amounts[unit] = self._amount(item, where, set())
        return found | ({"amounts": amounts} if amounts else {})

    def _invariant(self, node: Node, path: str) -> Json:
        return self._object(node, path, {"when": self._when, "must": self._demand}, durations=())

    def _demand(self, node: Node, path: str) -> Json:
        def delay(inner: Node, where: str) -> Json:
            return self._read(inner, where, partial(_duration, "delay"))

        readers = {"limited_by": self._limit, "keeps_tier": self._tier, "delay_min": delay}
        found = self._object(node, path, readers, durations=())
        if isinstance(found, dict) and "delay_min" in found:
            found["delay_min_ms"] = found.pop("delay_min")
        return found

    def _amount(self, node: Node, path: str, units: set[str]) -> Json:
        """An amount in one of these assets; in any, if there is none of them to tell."""

        def read(text: object) -> Json:
            unit = amount_unit(text if isinstance(text, str) else str(text))
            expected = " or ".join(sorted(units or self._declared))
            if unit not in (units or self._declared):
                raise ValueError(f"{text!r} is in {unit}: expected an amount in {expected or 'an asset'}")
            if unit in self._declared and unit not in self._assets:
                raise _FollowsError(f"the decimals of {unit} are wrong themselves")
            if unit not in self._assets:
                raise ValueError(f"unknown asset {unit!r}, so {text!r} is no amount")
            return str(base_units(str(text), decimals=self._assets[unit]))

        return self._read(node, path, read)

    def _value(self, node: Node, path: str) -> Json:
        unit, decimals = self._prices.get("unit"), self._prices.get("decimals")

        def read(text: object) -> Json:
            found = amount_unit(text if isinstance(text, str) else str(text))
            if unit is None or decimals is None or not _is_decimals(decimals.value):
                raise ValueError(f"{text!r} needs 'prices' with a unit and its decimals, in this document")
            if found != unit.value:
                raise ValueError(f"{text!r} is in {found}: values are in {unit.value}")
            return str(base_units(str(text), decimals=int(str(decimals.value))))

        return self._read(node, path, read)


def _units(policy: Policy) -> Node:
    """What a document says of the units of amounts and values."""
    assets = {one.name: _node(_leaves({"decimals": one.decimals})) for one in policy.assets.values()}
    root = {"assets": _node(assets)}
    if policy.prices:
        root["prices"] = _node(_leaves({"unit": policy.prices.unit, "decimals": policy.prices.decimals}))
    return _node(root)


def _leaves(fields: Mapping[str, str | int]) -> dict[str, Node]:
    return {name: _node(value) for name, value in fields.items()}


def _node(value: Value) -> Node:
    return Node(value, START, START)


def _whole_number(value: object) -> Json:
    text = str(value)
    if isinstance(value, bool) or not text.isdecimal() or not text.isascii():
        raise ValueError(f"expected a whole number from 0, not {text[:80]!r}")
    return str(int(text[:80]))


def _duration(name: str, text: object) -> Json:
    return duration_ms(text, high=DURATIONS[name])


def _fields(node: Node, name: str) -> dict[str, Node]:
    """The fields of an object inside an object; none where there is no such."""
    inner = node.value.get(name) if isinstance(node.value, dict) else None
    return inner.value if inner is not None and isinstance(inner.value, dict) else {}


def _text(node: Node, name: str) -> str:
    inner = node.value.get(name) if isinstance(node.value, dict) else None
    return inner.value if inner is not None and isinstance(inner.value, str) else ""


def _decimals(assets: Mapping[str, Node]) -> Iterator[tuple[str, int]]:
    for name, asset in assets.items():
        decimals = asset.value.get("decimals") if isinstance(asset.value, dict) else None
        if decimals is not None and _is_decimals(decimals.value):
            yield name, int(str(decimals.value))


def _is_decimals(value: object) -> bool:
    return type(value) is int and 0 <= value <= DECIMALS_MAX


def _inside(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name
