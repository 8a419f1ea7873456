"""Why an entry's verdict came out as it did, as far as the policy in force can say."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from custody.console.log_index import Entry
from policy.model import TIER_VERDICTS, Policy
from policy.state import State
from policy.words.language import ENGLISH, Language
from policy.words.sentences import forbid_text, limit_text, rule_text

CHANGING: Final = frozenset({"genesis", "policy", "address"})
BUILT_IN: Final = frozenset(
    {
        *("no-rule-matches", "fee-ceiling", "error", "initiator-unknown", "origin-foreign", "frozen"),
        *("request-expired", "request-rejected", "request-closed", "request-cancelled", "request-unknown"),
        *("request-known", "idempotency-key-taken", "intent-mismatch", "undecodable", "source-foreign"),
        *("anchor-taken", "anchor-changed", "cancel", "cancel-too-early", "cancel-impossible"),
        *("cancel-without-anchor", "key-unknown", "path-invalid", "signers-invalid", "signers-banned"),
        *("presignatures-invalid", "presignature-used", "message-fixed"),
    }
)
"""What every policy has and what the log itself refuses; each has a text of its own."""


@dataclass(frozen=True, slots=True)
class Explained:
    """``text`` names what decided, ``sentence`` is what the policy says of it, if it is part of the policy.

    ``changed`` says that the policy may have been another one then.
    """

    outcome: str
    rule: str
    text: str
    sentence: str
    changed: bool


def explained(
    entry: Entry, state: State, *, history: Sequence[Entry], language: Language = ENGLISH
) -> Explained | None:
    """What an entry with a verdict was judged by; None for one without."""
    verdict = entry.document.get("verdict") if isinstance(entry.document, dict) else None
    if not isinstance(verdict, dict):
        return None
    outcome, rule = str(verdict.get("outcome")), str(verdict.get("rule"))
    text, sentence = what_decided(state.policy, rule, language=language)
    delay_ms = state.roster.policy_delay_ms  # a change of before may have taken effect later
    changed = any(
        one.kind in CHANGING and one.index and one.time_ms + delay_ms >= entry.time_ms for one in history
    )
    return Explained(outcome, rule, text, sentence, changed)


def what_decided(policy: Policy, rule: str, *, language: Language) -> tuple[str, str]:
    """The name of a text, and the policy's own sentence."""
    for forbid in policy.forbids:
        if forbid.name == rule:
            return "why.forbid", forbid_text(policy, forbid, language=language)
    found = policy.rule_named(rule)
    if found is not None:
        return "why.rule", rule_text(policy, found, language=language)
    for limit in policy.limits:
        if limit.name == rule:
            return "why.limit", limit_text(policy, limit, language=language)
    if rule in TIER_VERDICTS:
        return "why.tier", ""
    return (f"why.{rule}" if rule in BUILT_IN else "why.other"), ""
