"""YAML without its surprises: what two readers could take for two things is refused, with its place.

Only what people write policies with is left: mappings, lists, text, whole numbers, true and false. Tags,
anchors, aliases, merge keys, several documents, block and folded text, tabs, duplicate keys and every
unquoted word or number that YAML 1.1 and 1.2 read differently are refused, never guessed at.
"""

import re
import unicodedata
from dataclasses import dataclass
from typing import TypeAlias

import yaml
from yaml import events as e

from cli.policies.faults import START, Fault, FaultyError, Place

DEPTH_MAX = 16
FAULTS_MAX = 50
_INTEGER = re.compile(r"0|[1-9][0-9]{0,15}")
_HEX = re.compile(r"[-+]?0[xX][0-9a-fA-F_]+")
_DATE = re.compile(r"[0-9]{4}-[0-9]{1,2}-[0-9]{1,2}.*")
_BASE_60 = re.compile(r"[-+]?[0-9][0-9_]*(?::[0-9_]+)+(?:\.[0-9_]*)?")
_NUMBER = re.compile(
    r"[-+]?(?:0[obOB][0-9_]+|[0-9][0-9_,']*(?:\.[0-9_]*)?(?:[eE][-+]?[0-9]+)?|\.[0-9_]+(?:[eE][-+]?[0-9]+)?)"
    r"|[-+]?\.(?:inf|nan)",
    re.IGNORECASE,
)
_NOTHING = frozenset({"", "~", "null"})
_MAYBE_BOOLEAN = frozenset({"y", "n", "yes", "no", "on", "off", "true", "false"})
_SPECIAL = frozenset({"<<", "="})


@dataclass(frozen=True, slots=True)
class Node:
    """A value and where it stands; ``name`` is where its field's name stands, if it is a field's."""

    value: "Value"
    place: Place
    name: Place


Value: TypeAlias = "str | int | bool | list[Node] | dict[str, Node]"


def read_yaml(text: str) -> Node:
    """The one document of a text. Raises ``FaultyError`` with every mistake up to a broken syntax."""
    text = text.replace("\r\n", "\n")
    faults = [*_bad_characters(text)][:FAULTS_MAX]
    if faults:
        raise FaultyError(faults)
    return _built(text, strict=True)


def read_places(text: str) -> Node:
    """The shape of a JSON text, for the places of its values alone. Raises ``FaultyError``."""
    return _built(text.replace("\t", " "), strict=False)


def _built(text: str, *, strict: bool) -> Node:
    builder = _Builder(text, strict=strict)
    try:
        root = builder.document()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = Place(mark.line + 1, mark.column + 1) if mark else START
        problem = " ".join(filter(None, (error.context, error.problem)))
        raise FaultyError([*builder.faults, Fault(place, f"this is not YAML: {problem}")]) from error
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise FaultyError([*builder.faults, Fault(START, f"this is not YAML: {error}")]) from error
    if builder.faults:
        raise FaultyError(builder.faults)
    return root


def _bad_characters(text: str) -> "list[Fault]":
    faults = []
    for number, line in enumerate(text.split("\n"), 1):
        if line.isascii() and line.isprintable():
            continue
        for column, character in enumerate(line, 1):
            if character == "\t":
                faults.append(Fault(Place(number, column), "a tab: YAML's readers differ on it, use spaces"))
            elif character != " " and unicodedata.category(character)[0] in "CZ":
                message = (
                    f"the character U+{ord(character):04X} cannot be seen, or ends a line for some readers"
                )
                faults.append(Fault(Place(number, column), f"{message}: take it out"))
    return faults


class _Builder:
    """Events to nodes; mistakes are collected, and a wrong value stands as an empty text meanwhile."""

    def __init__(self, text: str, *, strict: bool) -> None:
        self.faults: list[Fault] = []
        self._strict = strict
        self._events = yaml.parse(text, Loader=yaml.SafeLoader)

    def document(self) -> Node:
        next(self._events)  # the stream's start
        start = next(self._events)
        if isinstance(start, e.StreamEndEvent):
            raise FaultyError([Fault(START, "the file is empty: expected a policy")])
        if isinstance(start, e.DocumentStartEvent) and (start.version or start.tags):
            self._fault(start, "a directive (%): leave it out")
        root = self._node(next(self._events), depth=0)
        next(self._events)  # the document's end
        more = next(self._events)
        if not isinstance(more, e.StreamEndEvent):
            self._fault(more, "another document begins here: a file is one policy")
        return root

    def _fault(self, event: e.Event, message: str) -> None:
        if len(self.faults) < FAULTS_MAX:
            self.faults.append(Fault(_place(event), message))

    def _node(self, event: e.Event, *, depth: int, name: Place | None = None) -> Node:
        place = _place(event)
        if depth > DEPTH_MAX:
            raise FaultyError(
                [*self.faults, Fault(place, f"nested more than {DEPTH_MAX} deep: no policy is")]
            )
        value: Value = ""
        if isinstance(event, e.AliasEvent):
            self._fault(event, f"an alias (*{event.anchor}): write the value out")
        elif isinstance(event, e.NodeEvent) and event.anchor:
            self._fault(event, f"an anchor (&{event.anchor}): write the value out where it is needed")
        if getattr(event, "tag", None) is not None:
            self._fault(event, f"a tag ({getattr(event, 'tag', '')}): write the value alone")
        if isinstance(event, e.ScalarEvent):
            value = self._scalar(event) if self._strict else str(event.value)
        elif isinstance(event, e.SequenceStartEvent):
            value = self._sequence(depth)
        elif isinstance(event, e.MappingStartEvent):
            value = self._mapping(depth)
        return Node(value, place, name or place)

    def _sequence(self, depth: int) -> "list[Node]":
        items = []
        while not isinstance(event := next(self._events), e.SequenceEndEvent):
            items.append(self._node(event, depth=depth + 1))
        return items

    def _mapping(self, depth: int) -> "dict[str, Node]":
        fields: dict[str, Node] = {}
        while not isinstance(event := next(self._events), e.MappingEndEvent):
            key = self._node(event, depth=depth + 1)
            value = self._node(next(self._events), depth=depth + 1, name=key.place)
            if not isinstance(key.value, str):
                self._fault(event, "the name of a field is text: put it in quotes if it is meant")
            elif key.value in fields:
                first = fields[key.value].name
                self._fault(event, f"{key.value!r} is there twice, first in line {first.line}")
            else:
                fields[key.value] = value
        return fields

    def _scalar(self, event: e.ScalarEvent) -> str | int | bool:
        text = str(event.value)
        if event.style in ("|", ">"):
            self._fault(event, "text over several lines: write it on one line")
        elif text and _place(event).line != _end(event).line:
            self._fault(event, "this text goes on in the next line: write it on one, or is a ':' missing?")
        if event.style is not None:
            return text
        if text in ("true", "false"):
            return text == "true"
        if _INTEGER.fullmatch(text):
            return int(text)
        if reason := _surprise(text):
            self._fault(event, reason)
        return text


def _surprise(text: str) -> str:
    """Why an unquoted word is refused; empty for one that is text to every reader."""
    if text.lower() in _NOTHING:
        return "nothing is here: give a value, or leave the field out"
    if text.lower() in _MAYBE_BOOLEAN:
        return f"{text} is text to some readers, true or false to others: write true or false, or quote it"
    if text in _SPECIAL:
        return f"a merge key ({text}): write the fields out"
    if _HEX.fullmatch(text):
        return f"{text[:12]}... is a number to YAML: put an address in quotes"
    if _DATE.fullmatch(text):
        return f"{text} is a date to some readers: put it in quotes"
    if _BASE_60.fullmatch(text):
        return f"{text} is a number to the base 60 to some readers: put it in quotes"
    if _NUMBER.fullmatch(text):
        return (
            f"{text} is no number here: write whole ones, without sign, leading 0, point, '_' or exponent; "
            "an amount has its unit, as in '1.5 eth'"
        )
    return ""


def _place(event: e.Event) -> Place:
    mark = event.start_mark
    return Place(mark.line + 1, mark.column + 1) if mark else START


def _end(event: e.Event) -> Place:
    mark = event.end_mark
    return Place(mark.line + 1, mark.column + 1) if mark else START
