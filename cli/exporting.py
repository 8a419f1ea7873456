"""``audit export``: all that a log has of one request, with proofs, in one file."""

from argparse import Namespace
from pathlib import Path

from cli.audit import as_json, as_text
from cli.files import write_document
from cli.policies.replaying import checked, log_files
from cli.requests import read_request_id
from cli.results import REFUSED, Result
from policy.audit import CHECKPOINT_PATH
from policy.errors import InvariantError
from policy.withdrawal import Withdrawal


def export(arguments: Namespace) -> Result:
    """``audit export``: refused when the log does not hold, or has no such request."""
    request = read_request_id(arguments.request)
    read, found = log_files(arguments), Withdrawal(request)
    report = checked(read, arguments, watch=found)
    document = {"request": request.hex(), "file": arguments.out, "log": as_json(report)}
    if not report.ok:
        return Result({**document, "file": None}, ("nothing was written", as_text(report)), REFUSED)
    if not found.admitted:
        said = f"the log's {report.size} entries took in no request {request.hex()}: nothing was written"
        return Result({**document, "file": None}, (said,), REFUSED)
    note = read(CHECKPOINT_PATH)
    if note is None:
        raise InvariantError("the checkpoint is gone since the log was checked")
    write_document(Path(arguments.out), found.to_json(read, note=note, size=report.size))
    signed = "signed" if found.signed else "not signed"
    return Result(
        {**document, "signed": found.signed},
        (
            f"{arguments.out} has request {request.hex()}, {signed}, as of {report.size} entries.",
            f"Whoever gets it checks it with docs/verify_withdrawal.py {arguments.out} trust.json",
        ),
    )
