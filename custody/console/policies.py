"""What a change of the policy changes, in sentences: what is not said any more, and what is said instead."""

import re
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import Final

from custody.console.log_index import Entry
from policy.document import parse_policy
from policy.encoding import Json, document_hash
from policy.model import Policy
from policy.words.language import Language
from policy.words.sentences import Section, sections

NUMBER: Final = re.compile(r"[0-9]+\. ")
KINDS: Final = ("genesis", "policy")


@dataclass(frozen=True, slots=True)
class Difference:
    """One part of a policy that reads otherwise."""

    heading: str
    gone: tuple[str, ...]
    new: tuple[str, ...]


def policy_of(entry: Entry) -> Json | None:
    """The policy document that an entry brings; None for one that brings none."""
    body = entry.document.get("body") if isinstance(entry.document, dict) else None
    return body.get("policy") if isinstance(body, dict) and entry.kind in KINDS else None


def policy_before(entry: Entry, history: tuple[Entry, ...]) -> Json | None:
    """The document that a policy was drawn up against, by the hash that it names."""
    body = entry.document.get("body") if isinstance(entry.document, dict) else None
    previous = body.get("previous") if isinstance(body, dict) else None
    documents = (policy_of(one) for one in history if one.index < entry.index)
    return next((one for one in documents if one and document_hash("policy", one).hex() == previous), None)


def differences(before: Json | None, after: Json, *, language: Language) -> tuple[Difference, ...]:
    """Part by part; all of it where there was no policy before. Raises ``MalformedError``."""
    old = _parts(parse_policy(before), language) if before is not None else {}
    new = _parts(parse_policy(after), language)
    found = (_difference(old.get(key), new.get(key)) for key in dict.fromkeys((*new, *old)))
    return tuple(one for one in found if one.gone or one.new)


def _parts(policy: Policy, language: Language) -> dict[str, Section]:
    return {part.key: part for part in sections(policy, language)}


def _difference(old: Section | None, new: Section | None) -> Difference:
    """A sentence that moves is gone from one place and new in another: the order of rules decides."""
    before, after = _texts(old), _texts(new)
    gone: list[str] = []
    come: list[str] = []
    for what, start, stop, first, last in SequenceMatcher(None, before, after, autojunk=False).get_opcodes():
        if what != "equal":
            gone += before[start:stop]
            come += after[first:last]
    heading = new.heading if new else old.heading if old else ""
    return Difference(heading, tuple(gone), tuple(come))


def _texts(part: Section | None) -> list[str]:
    return [NUMBER.sub("", one.text, count=1) for one in part.sentences] if part else []
