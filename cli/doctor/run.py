"""``doctor``: gather what can be seen from here, and say what is wrong with it."""

import time
import tomllib
from argparse import Namespace
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cli.connection import caller, load_connection, whole_status
from cli.doctor.backups import examine_backups, read_backups
from cli.doctor.findings import BROKEN, NOTE, Finding, gravest_first
from cli.doctor.folder import Known, examine_folder, read_folder
from cli.doctor.standing import down, examine_client, examine_losses, examine_standing, in_quarantine
from cli.files import read_bytes
from cli.places import UNSEEN, shared_hosts
from cli.policies.invariants import proofs_of
from cli.policies.lint import lint, lint_groups
from cli.results import DONE, REFUSED, Misuse, Result
from policy.concentration import concentration
from policy.document import parse_policy
from policy.encoding import Json
from policy.errors import MalformedError, OperationalError, QuorumkeepError
from policy.fields import NAME
from policy.model import Policy
from policy.prove.proofs import Answer
from policy.roster import Roster, parse_roster
from signer_nodes.api.errors import in_words


@dataclass(slots=True)
class Seen:
    """What there is to examine; ``left_out`` says which checks nothing was given for."""

    roster: Roster | None = None
    policy: Policy | None = None
    addresses: dict[str, str] = field(default_factory=dict)
    status: Mapping[str, Any] | None = None
    findings: list[Finding] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)


def doctor(arguments: Namespace) -> Result:
    """Everything that is found, the gravest first."""
    if not arguments.dir and not arguments.identity:
        raise Misuse("say what to look at: --dir FOLDER, --as FOLDER of an administrator, or both")
    now_ms = time.time_ns() // 1_000_000
    seen = Seen()
    if arguments.dir:
        _look_at_folder(seen, Path(arguments.dir), now_ms=now_ms)
    else:
        seen.left_out.append("files, permissions, certificates, hosts and room on the disk: give --dir")
    if arguments.identity:
        _ask(seen, arguments, now_ms=now_ms)
    else:
        seen.left_out.append("what is up, clocks, keys and presignatures: give --as")
    _look_at_people(seen, Path(arguments.people) if arguments.people else None)
    _look_at_policy(seen, arguments.invariants)
    _look_at_backups(seen, [Path(one) for one in arguments.backup], now_ms=now_ms)
    return _result(seen, strict=arguments.strict)


def _look_at_folder(seen: Seen, folder: Path, *, now_ms: int) -> None:
    if not folder.is_dir():
        raise Misuse(f"there is no folder {folder}: give the one of quorumkeep init")
    known, findings = read_folder(folder)
    seen.findings += [*findings, *examine_folder(folder, known, now_ms=now_ms)]
    seen.roster, seen.policy, seen.addresses = known.roster, _policy(known, seen), known.addresses


def _policy(known: Known, seen: Seen) -> Policy | None:
    try:
        return parse_policy(known.policy) if known.policy is not None else None
    except MalformedError as error:
        seen.findings.append(Finding("file-broken", "client.json", f"its policy cannot be read: {error}"))
        return None


def _ask(seen: Seen, arguments: Namespace, *, now_ms: int) -> None:
    """The coordinator's word: what is in force, and how everybody is."""
    identity, connection = caller(arguments), load_connection(arguments)
    try:
        with connection.open(identity) as client:
            status: Mapping[str, Any] = whole_status(client)
            roster: Json = client.document(bytes.fromhex(status["roster"]))[1]
            policy: Json = client.document(bytes.fromhex(status["policy"]))[1]
    except (QuorumkeepError, OSError) as error:
        seen.findings.append(
            Finding("coordinator-unreachable", "coordinator", f"{connection.address}: {in_words(str(error))}")
        )
        return
    seen.status, seen.roster, seen.policy = status, parse_roster(roster), parse_policy(policy)
    seen.findings += examine_client(status, connection.policy_hash)
    seen.findings += examine_standing(status, seen.roster, policy=seen.policy, now_ms=now_ms)


def _look_at_people(seen: Seen, people: Path | None) -> None:
    if seen.roster is None or seen.policy is None:
        seen.left_out.append("losses and people: there is no roster and policy to look at")
        return
    gone = down(seen.status, seen.roster) if seen.status else frozenset()
    keys: dict[str, Any] = dict(seen.policy.keys)
    unsigning = in_quarantine(seen.status) if seen.status else frozenset()
    seen.findings += examine_losses(seen.roster, keys, gone=gone, unsigning=unsigning)
    persons = _persons(people) if people else {}
    if not people:
        seen.left_out.append("whether several names are one person: give --people")
    found = concentration(seen.roster, seen.policy, persons=persons)
    seen.findings += [Finding(one.code, one.who, one.said) for one in found]
    hosts = shared_hosts(seen.addresses, policy=seen.policy, roster=seen.roster)
    seen.findings += [Finding(*one) for one in hosts]


def _persons(path: Path) -> dict[str, frozenset[str]]:
    """``[people]``, each a list of names of the roster."""
    try:
        table = tomllib.loads(read_bytes(path, "the people").decode())["people"]
        found = {str(person): frozenset(names) for person, names in table.items()}
        listed = [name for names in found.values() for name in names]
        if len(set(listed)) != len(listed) or not all(NAME.fullmatch(name) for name in listed):
            raise ValueError("a name stands twice, or is none")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise OperationalError(
            f'{path}: {error}; write [people], and a line such as anna = ["anna", "node-a"] for each person'
        ) from error
    return found


def _look_at_policy(seen: Seen, invariants: str) -> None:
    if seen.policy is None or seen.roster is None:
        return
    for remark in [*lint(seen.policy), *lint_groups(seen.policy, seen.roster)]:
        code = "policy-fault" if remark.error else "policy-remark"
        seen.findings.append(Finding(code, remark.path, remark.message))
    if not invariants:
        seen.left_out.append("what the policy can never allow: give --invariants")
        return
    for one in proofs_of(Path(invariants), seen.policy).findings:
        if one.answer is not Answer.PROVED:
            said = f"{one.invariant} is {one.answer.name.lower()}: {one.reason}"
            seen.findings.append(Finding("invariant-broken", str(one.invariant), said))


def _look_at_backups(seen: Seen, paths: list[Path], *, now_ms: int) -> None:
    if not paths:
        seen.left_out.append("backups of shares: give --backup")
        return
    backups, findings = read_backups(paths)
    epochs = {key["key"]: key["epoch"] for key in seen.status["keys"]} if seen.status else {}
    seen.findings += [*findings, *examine_backups(backups, epochs, now_ms=now_ms)]


def _result(seen: Seen, *, strict: bool) -> Result:
    findings = gravest_first(seen.findings)
    bad = [one for one in findings if one.gravity is BROKEN or (strict and one.gravity is not NOTE)]
    document = {
        "ok": not bad,
        "findings": [one.to_json() for one in findings],
        "left_out": seen.left_out,
    }
    return Result(document, tuple(_lines(findings, seen)), REFUSED if bad else DONE)


def _lines(findings: list[Finding], seen: Seen) -> Iterator[str]:
    for one in findings:
        yield f"{one.gravity.value.upper():6} {one.said}."
        yield f"       {one.to_do}  [{one.code}]"
    yield from (f"not looked at: {one}" for one in seen.left_out)
    yield UNSEEN
    yield "nothing is broken" if not any(one.gravity is BROKEN for one in findings) else "something is broken"
