"""``admin show``, ``sign`` and ``merge``: on each administrator's own machine, without the coordinator."""

import sys
from argparse import Namespace
from pathlib import Path

from cli.admin.backtests import Backtests, attached_backtest, checked_backtest
from cli.admin.change_file import DOCUMENTS, Change, parse_change, read_change
from cli.admin.drafts import described
from cli.admin.sentences import sentences
from cli.connection import caller
from cli.files import read_bytes, read_document, same_fingerprint
from cli.identities import Identity
from cli.results import REFUSED, Misuse, Result, Table, progress, show_table
from policy.encoding import statement
from policy.errors import MalformedError, OperationalError
from policy.fields import Fields


def show(arguments: Namespace) -> Result:
    """``admin show``: what signing a change would do."""
    path = Path(arguments.change)
    change = read_change(path)
    document_hash = (
        ("hash of the new " + change.kind, f"  {change.document_hash}") if change.kind in DOCUMENTS else ()
    )
    backtests = checked_backtest(change, arguments, has_log=bool(arguments.log))
    return Result(
        described(change, path, backtests=backtests),
        (
            *sentences(change),
            *(backtests.lines if backtests else ()),
            *document_hash,
            "fingerprint, to be compared by voice",
            f"  {change.fingerprint}",
        ),
    )


def sign(arguments: Namespace) -> Result:
    """``admin sign``: sign a change as an administrator, after reading what it would do."""
    path, identity = Path(arguments.change), caller(arguments)
    change = read_change(path)
    if identity.card.kind != "administrator":
        raise Misuse(f"{identity.card.name} is no administrator: give the folder of one to --as")
    if change.kind == "version":
        raise Misuse("a version is signed by cosigners (quorumkeep-node accept ready), not by administrators")
    backtests = checked_backtest(change, arguments, has_log=bool(arguments.log) or arguments.ask)
    if not _agreed(change, backtests, arguments.fingerprint):
        return Result({"signed": False, "file": str(path)}, ("Not signed.",), REFUSED)
    signed = sign_as(change, identity)
    signed.write(path)
    return Result(
        {"signed": True, **described(signed, path, backtests=backtests)},
        (f"{identity.card.name} has signed {path}; signed by {', '.join(sorted(signed.signatures))}.",),
    )


def merge(arguments: Namespace) -> Result:
    """``admin merge``: bring signatures of others, on copies or as cosigners' acceptances, into one file."""
    path = Path(arguments.change)
    change = read_change(path)
    for name in arguments.files:
        change = change.signed(_signatures(Path(name), change))
    change.write(path)
    return Result(
        described(change, path, backtests=attached_backtest(change)),
        (f"{path} is signed by {', '.join(sorted(change.signatures)) or 'nobody'}.",),
    )


def sign_as(change: Change, identity: Identity) -> Change:
    """The change with an administrator's signature more."""
    return change.signed({identity.card.name: identity.key.sign(statement(change.kind, change.body))})


def _signatures(path: Path, change: Change) -> dict[str, bytes]:
    """What a file adds to ``change``. Raises ``OperationalError`` when it is of another one."""
    document = read_document(path, "the signatures")
    try:
        if "body" in document:
            other = parse_change(read_bytes(path, "the change"))
            name, fingerprint, found = str(path), other.fingerprint, dict(other.signatures)
        else:
            fields = Fields(document, "acceptance")
            fields.raw("accepts")
            name, fingerprint = fields.name("name"), fields.hex("fingerprint", length=32).hex()
            found = {name: fields.hex("signature", length=64)}
            fields.done()
    except MalformedError as error:
        raise OperationalError(f"{path} is neither a change nor an acceptance: {error}") from error
    if fingerprint != change.fingerprint:
        raise OperationalError(
            f"{path} is of the change {fingerprint}, this is {change.fingerprint}: sign the same file"
        )
    return found


def _agreed(change: Change, backtests: Backtests | None, fingerprint: str) -> bool:
    for part in (*sentences(change), *(backtests.lines if backtests else ())):
        if isinstance(part, Table):
            show_table(part, sys.stderr)
        else:
            progress(part)
    progress(f"fingerprint {change.fingerprint}")
    if fingerprint:
        same_fingerprint(fingerprint, change.fingerprint, of="the change", then="do not sign it")
        return True
    if not sys.stdin.isatty():
        raise Misuse("there is nobody to ask: give --fingerprint, as the others said it to you")
    print(
        "Is this the fingerprint that the others have? Type yes to sign: ",
        end="",
        file=sys.stderr,
        flush=True,
    )
    return sys.stdin.readline().strip() == "yes"
