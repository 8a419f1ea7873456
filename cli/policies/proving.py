"""``policy prove`` and ``policy diff``: what a policy can never allow, and what a new one newly does."""

from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path

from cli.policies.invariants import Proofs, beside, read_invariants
from cli.policies.reading import read_policy
from cli.policies.transactions import transaction_text
from cli.results import DONE, REFUSED, Document, Misuse, Result
from policy.document import policy_hash
from policy.errors import OperationalError
from policy.model import Policy
from policy.prove.differences import PAIRS_MAX, Comparison, Difference, compare
from policy.prove.invariants import Invariant, invariants_hash
from policy.prove.mutants import Score, score
from policy.prove.proofs import Answer, Finding, prove
from policy.prove.transactions import Undecided


def prove_(arguments: Namespace) -> Result:
    """``policy prove``: refused when an invariant does not hold, or cannot be decided."""
    path = Path(arguments.file)
    read = read_policy(path)
    where = Path(arguments.invariants) if arguments.invariants else beside(path)
    if where is None:
        raise Misuse(f"there are no invariants beside {path}: name their file, --invariants FILE")
    invariants, body = read_invariants(where, read.policy)
    proofs = Proofs(invariants_hash(body).hex(), prove(read.policy, invariants))
    document: Document = {
        "ok": proofs.hold,
        "policy": policy_hash(read.body).hex(),
        "invariants": proofs.hash,
        "findings": [one.to_json(read.policy) for one in proofs.findings],
    }
    lines = [f"invariants {where}, hash {proofs.hash}"]
    for finding in proofs.findings:
        lines += finding_lines(finding, read.policy)
    if arguments.mutants:
        found = _scored(read.policy, invariants)
        document["mutants"] = {
            "counted": found.counted,
            "caught": found.caught,
            "harmless": found.harmless,
            "survivors": list(found.survivors),
        }
        lines += _score_lines(found)
    return Result(document, tuple(lines), DONE if proofs.hold else REFUSED)


def diff(arguments: Namespace) -> Result:
    """``policy diff``: exit code 0 when both mean the same, 1 when they do not."""
    old, new = read_policy(Path(arguments.old)), read_policy(Path(arguments.new))
    try:
        found = compare(old.policy, new.policy)
    except Undecided as error:
        raise OperationalError(f"cannot tell whether they mean the same: {error}") from error
    document: Document = {
        "same": found.same,
        "old": policy_hash(old.body).hex(),
        "new": policy_hash(new.body).hex(),
        "redefined": list(found.redefined),
        "differences": [one.to_json(new.policy) for one in found.differences],
        "more": [change.name.lower() for change in found.more],
    }
    return Result(document, tuple(_diff_lines(found, new.policy)), DONE if found.same else REFUSED)


def finding_lines(finding: Finding, policy: Policy) -> list[str]:
    """A finding in words; the transaction that breaks it stands below."""
    lines = [f"{finding.answer.name.lower()}: {finding.invariant}"]
    if finding.answer is Answer.PROVED:
        return [f"{lines[0]} ({finding.reason})"]
    lines.append(f"  {finding.reason}")
    if finding.transaction is not None:
        lines.append(f"  {transaction_text(finding.transaction, policy)}")
    return lines


def _scored(policy: Policy, invariants: Sequence[Invariant]) -> Score:
    try:
        return score(policy, invariants)
    except Undecided as error:
        raise OperationalError(f"no score: {error}") from error


def _score_lines(found: Score) -> list[str]:
    share = f" ({100 * found.caught // found.counted} %)" if found.counted else ""
    return [
        f"mutants: {found.caught} of {found.counted} that allow more are caught{share}; "
        f"{found.harmless} others mean the same or are only stricter",
        *(f"  not caught: {slip}" for slip in found.survivors),
    ]


def _diff_lines(found: Comparison, policy: Policy) -> list[str]:
    if found.same:
        return ["both mean the same"]
    lines = [f"redefined: {one}" for one in found.redefined]
    for one in found.differences:
        lines += _difference_lines(one, policy)
    return [*lines, *(f"{change.value}: more than {PAIRS_MAX} pairs of rules" for change in found.more)]


def _difference_lines(one: Difference, policy: Policy) -> list[str]:
    return [
        f"{one.change.value}: {one.old.rule} -> {one.new.rule}",
        f"  {transaction_text(one.transaction, policy)}",
        f"  old: {one.old.outcome.name.lower()}, {one.old.reason}",
        f"  new: {one.new.outcome.name.lower()}, {one.new.reason}",
    ]
