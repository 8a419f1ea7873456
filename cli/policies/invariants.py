"""Files of invariants: YAML as people write it, or canonical JSON, beside the policy that they are about."""

from dataclasses import dataclass
from pathlib import Path

from cli.files import read_bytes, read_document
from cli.policies.authoring import convert_invariants
from cli.policies.faults import FaultyError
from cli.policies.reading import YAML_ENDINGS
from cli.policies.transactions import transaction_text
from cli.policies.yaml_reader import read_yaml
from policy.encoding import Json
from policy.errors import MalformedError, OperationalError
from policy.model import Policy
from policy.prove.invariants import Invariant, invariants_hash, parse_invariants
from policy.prove.proofs import Answer, Finding, prove


@dataclass(frozen=True, slots=True)
class Proofs:
    """What came of the invariants of one file, which is named by its hash."""

    hash: str
    findings: tuple[Finding, ...]

    @property
    def hold(self) -> bool:
        """Whether each is proved."""
        return all(finding.answer is Answer.PROVED for finding in self.findings)

    def said(self) -> str:
        """That they hold, in one line."""
        return f"All {len(self.findings)} invariants are proved; their file has the hash {self.hash}."


def proofs_of(path: Path, policy: Policy) -> Proofs:
    """What comes of the invariants in a file. Raises ``OperationalError`` for one that is none."""
    found, body = read_invariants(path, policy)
    return Proofs(invariants_hash(body).hex(), prove(policy, found))


def proved(path: Path, named: str, *, policy: Policy) -> Proofs | None:
    """The proofs of the invariants in the file ``named``, or else beside the policy; None without either.

    Raises ``OperationalError`` when one does not hold: such a policy is not to be published.
    """
    where = Path(named) if named else beside(path)
    if where is None:
        return None
    proofs = proofs_of(where, policy)
    for one in proofs.findings:
        if one.answer is not Answer.PROVED:
            found = f"; {transaction_text(one.transaction, policy)}" if one.transaction else ""
            raise OperationalError(
                f"invariant {one.invariant} of {where} is {one.answer.name.lower()}: {one.reason}{found}; "
                "change the policy: one that breaks an invariant is not published"
            )
    return proofs


def read_invariants(path: Path, policy: Policy) -> tuple[tuple[Invariant, ...], Json]:
    """The invariants in a file, and their canonical document. Raises ``OperationalError``."""
    body: Json = _body(path, policy)
    try:
        return parse_invariants(body, policy), body
    except MalformedError as error:
        raise OperationalError(f"{path}: {error}; correct it") from error


def beside(path: Path) -> Path | None:
    """The file of invariants beside a policy: ``treasury.invariants.yaml`` beside ``treasury.yaml``."""
    names = (path.with_name(f"{path.stem}.invariants{ending}") for ending in (*YAML_ENDINGS, ".json"))
    return next((name for name in names if name.is_file()), None)


def _body(path: Path, policy: Policy) -> Json:
    if path.suffix not in YAML_ENDINGS:
        return read_document(path, "the invariants")
    try:
        written = convert_invariants(read_yaml(read_bytes(path, "the invariants").decode()), policy)
    except UnicodeDecodeError as error:
        raise OperationalError(f"{path} is not UTF-8 text; correct it") from error
    except FaultyError as error:
        raise OperationalError(f"{error.faults[0].at(path)}; correct it") from error
    if written.faults:
        raise OperationalError(f"{min(written.faults).at(path)}; correct it")
    return written.body
