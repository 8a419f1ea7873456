"""``admin draft``: drawing a change up against what is in force, in a file that administrators sign."""

import json
import secrets
from argparse import Namespace
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cli.admin.backtests import Backtests, attached_backtest, backtested
from cli.admin.change_file import Change, make_change, reason_of
from cli.admin.rosters import changed_roster
from cli.admin.sentences import sentences
from cli.connection import caller, load_connection, whole_status
from cli.policies.reading import read_policy
from cli.results import Misuse, Result
from policy.coherence import check_coherent
from policy.document import parse_policy
from policy.encoding import Json, document_hash
from policy.errors import CallerError, MalformedError, OperationalError
from policy.roster import parse_roster

if TYPE_CHECKING:
    from custody.client import CustodyClient

PREFIX_MIN = 8
NEXT = {
    "veto": "Next: quorumkeep admin sign, then quorumkeep admin submit.",
    "freeze": "Next: quorumkeep admin sign, then quorumkeep admin submit.",
    "version": "Next: every cosigner with the new program accepts it (quorumkeep-node accept ready); then "
    "quorumkeep admin merge and quorumkeep admin submit.",
}
NEXT_QUORUM = (
    "Next: the administrators compare the fingerprint by voice and sign (quorumkeep admin sign); one of them "
    "submits (quorumkeep admin submit)."
)


def policy(arguments: Namespace) -> Result:
    """``admin draft policy``: a new policy, with its proofs and its backtest; refused when a proof fails."""
    from cli.policies.invariants import proved

    with asking(arguments) as (client, origin):
        status = whole_status(client)
        old, roster = in_force(client, status, kind="policy"), in_force(client, status, kind="roster")
    new, where = read_policy(Path(arguments.document)), Path(arguments.document)
    change = changed(origin, kind="policy", old=old, new=new.body, other=roster)
    proofs = proved(where, arguments.invariants, policy=new.policy)
    if not arguments.no_backtest:
        change = change.with_backtest(backtested(arguments, new.policy, policy_hash=change.document_hash))
    said = proofs.said() if proofs else f"No invariants were proved: there are none beside {where}."
    result = drafted(arguments, change, said)
    return replace(result, document={**result.document, "invariants": proofs.hash if proofs else ""})


def roster(arguments: Namespace) -> Result:
    """``admin draft roster``: a new roster in place of the one in force."""
    with asking(arguments) as (client, origin):
        status = whole_status(client)
        old, other = in_force(client, status, kind="roster"), in_force(client, status, kind="policy")
    new = changed_roster(arguments, old)
    return drafted(arguments, changed(origin, kind="roster", old=old, new=new, other=other))


def veto(arguments: Namespace) -> Result:
    """``admin draft veto``: stop a pending change."""
    with asking(arguments) as (client, origin):
        return drafted(arguments, veto_of(client, origin, arguments=arguments))


def freeze(arguments: Namespace) -> Result:
    """``admin draft freeze``: stop all signing."""
    return drafted(arguments, freeze_of(load_connection(arguments).origin, arguments.reason))


def unfreeze(arguments: Namespace) -> Result:
    """``admin draft unfreeze``: end the freeze that is in force."""
    with asking(arguments) as (client, origin):
        status = whole_status(client)
    if not status["frozen"]:
        raise OperationalError("signing is not frozen: there is nothing to end; look at quorumkeep status")
    return drafted(arguments, _order("unfreeze", origin, str(status["freeze"]), arguments.reason))


def version(arguments: Namespace) -> Result:
    """``admin draft version``: the next version of the rules."""
    with asking(arguments) as (client, origin):
        rules = whole_status(client)["rules"]
    body: Json = {"origin": origin, "rules": arguments.rules or int(str(rules)) + 1}
    return drafted(arguments, make_change("version", body))


def fork(arguments: Namespace) -> Result:
    """``admin draft fork``: collect burns, and draw up what lets a cosigner leave its branch."""
    with asking(arguments) as (client, origin):
        found: Mapping[str, Any] = client.draft_fork(arguments.cosigner)
    change = make_change("fork", found["body"], burns=found["burns"])
    if found["body"]["origin"] != origin:
        raise OperationalError("the coordinator draws up a fork of another log: do not sign, tell the others")
    where = (
        f"{arguments.cosigner} is on another branch from entry {found['from']} to {found['to']}, "
        f"with its last quorum head at {found['quorum']}."
    )
    return drafted(arguments, change, where)


@contextmanager
def asking(arguments: Namespace) -> "Iterator[tuple[CustodyClient, str]]":
    """A connection as the administrator of ``--as``: the client, and the origin of the log."""
    connection, identity = load_connection(arguments), caller(arguments)
    if identity.card.kind != "administrator":
        raise Misuse(f"{identity.card.name} is no administrator: give the folder of one to --as")
    with connection.open(identity) as client:
        yield client, connection.origin


def in_force(client: "CustodyClient", status: Mapping[str, Json], *, kind: str) -> Json:
    """The policy or roster in force, by the hash that the coordinator says. Raises ``OperationalError``."""
    found, document = client.document(bytes.fromhex(str(status[kind])))
    if found != kind:
        raise OperationalError(f"the coordinator shows a {found} for the {kind}: do not trust it")
    return document


def veto_of(client: "CustodyClient", origin: str, *, arguments: Namespace) -> Change:
    """The veto of the pending change that ``--hash`` or its beginning names."""
    return _order("veto", origin, pending_hash(whole_status(client), arguments.hash), arguments.reason)


def freeze_of(origin: str, reason: str) -> Change:
    """A freeze with an id of its own."""
    return _order("freeze", origin, secrets.token_hex(32), reason)


def pending_hash(status: Mapping[str, Any], beginning: str) -> str:
    """The hash of the one pending change that begins so. Raises ``Misuse`` or ``OperationalError``."""
    wanted = beginning.lower()
    if len(wanted) < PREFIX_MIN or set(wanted) - set("0123456789abcdef"):
        raise Misuse(f"{beginning[:80]!r} is no hash: give at least its first {PREFIX_MIN} hex digits")
    found = [str(one["hash"]) for one in status["pending"] if str(one["hash"]).startswith(wanted)]
    if len(found) != 1:
        listed = ", ".join(str(one["hash"]) for one in status["pending"]) or "none"
        raise OperationalError(f"{len(found)} pending changes begin with {wanted}; pending are: {listed}")
    return found[0]


def _order(kind: str, origin: str, target: str, reason: str) -> Change:
    return make_change(kind, {"origin": origin, "target": target, "reason": reason_of(reason)})


def changed(origin: str, *, kind: str, old: Json, new: Json, other: Json) -> Change:
    """Draw up a policy or roster after every check there is; ``other`` is what it has to fit."""
    body: Json = {"origin": origin, kind: new, "previous": document_hash(kind, old).hex()}
    try:
        if new == old:
            raise OperationalError(f"this is the {kind} in force: nothing would change")
        change = make_change(kind, body, replaces=old)
        policies, rosters = (new, other) if kind == "policy" else (other, new)
        check_coherent(parse_roster(rosters), parse_policy(policies))
    except (MalformedError, CallerError) as error:
        raise OperationalError(f"no node would take this {kind}: {error}; correct it") from error
    return change


def drafted(arguments: Namespace, change: Change, *more: str) -> Result:
    path = Path(arguments.out)
    if path.exists():
        raise OperationalError(f"{path} exists already: name another file, nothing is overwritten")
    change.write(path)
    found = attached_backtest(change)
    return Result(
        described(change, path, backtests=found),
        (
            *sentences(change),
            *(found.lines if found else ()),
            *more,
            f"{path} has the fingerprint",
            f"  {change.fingerprint}",
            NEXT.get(change.kind, NEXT_QUORUM),
        ),
    )


def described(change: Change, path: Path, *, backtests: Backtests | None) -> dict[str, Any]:
    """A change as ``--json`` prints it."""
    return {
        "file": str(path),
        "kind": change.kind,
        "fingerprint": change.fingerprint,
        "hash": change.document_hash,
        "body": change.body,
        "signed_by": sorted(change.signatures),
        "sentences": list(sentences(change)),
        **({"backtest": backtests.to_json()} if backtests else {}),
    }


def pretty(document: Json) -> bytes:
    """A document for a person to edit; reading it again gives the same."""
    return json.dumps(document, indent=2, ensure_ascii=False).encode() + b"\n"
