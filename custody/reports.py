"""What rebalancers say of their work: taken in from whoever it is of, kept, and shown to people.

No authority comes of a report, and nothing of the coordinator's work reads one.
"""

from dataclasses import dataclass

from custody.api.errors import CallRefused, Code
from custody.holdings import REBALANCERS
from custody.parts import Parts
from custody.rebalance_report import REPORT_BYTES_MAX, TAG, RebalanceReport, parse_report
from custody.records import ReportRecord
from policy.encoding import Json, parse_canonical, statement
from policy.errors import InvalidSignatureError, MalformedError
from policy.log.note import verify_ed25519
from policy.state import State

SKEW_MS = 60_000
"""A report of later than this would keep every truer one out."""


@dataclass(frozen=True, slots=True)
class Told:
    """A report, and when it came."""

    report: RebalanceReport
    received_ms: int


async def take_report(parts: Parts, caller: str, *, body: bytes, signature: bytes) -> None:
    """Keep the caller's report if it is the newest. Raises ``CallRefused``."""
    state, now_ms = parts.sequencer.state, parts.now_ms()
    if not _is_rebalancer(state, caller):
        raise CallRefused(
            Code.FORBIDDEN, f"{caller} is no backend of the group {REBALANCERS}: enrol it with that"
        )
    try:
        document = parse_canonical(body, bytes_max=REPORT_BYTES_MAX)
        report = parse_report(document)
        _verify(state, document, report, signature=signature)
    except MalformedError as error:
        raise CallRefused(Code.MALFORMED, str(error)) from error
    except InvalidSignatureError as error:
        raise CallRefused(Code.BAD_SIGNATURE, f"{error}: sign statement('{TAG}', body)") from error
    if report.origin != state.origin:
        raise CallRefused(Code.FOREIGN_ORIGIN, f"the report is for {report.origin}, this is {state.origin}")
    if report.by != caller:
        raise CallRefused(Code.FORBIDDEN, f"the report is by {report.by}, the call by {caller}")
    if report.time_ms > now_ms + SKEW_MS:
        raise CallRefused(Code.CLOCK_SKEW, f"the report is of {report.time_ms}, here it is {now_ms}")
    await parts.database.put_report(ReportRecord(caller, report.time_ms, now_ms, body, signature))


async def told(parts: Parts) -> tuple[Told, ...]:
    """The newest report of each rebalancer of the roster; what does not verify any more is left out."""
    state, found = parts.sequencer.state, []
    for record in await parts.database.reports():
        try:
            document = parse_canonical(record.body, bytes_max=REPORT_BYTES_MAX)
            report = parse_report(document)
            _verify(state, document, report, signature=record.signature)
        except (MalformedError, InvalidSignatureError):  # its key is another now, or the database is not ours
            continue
        found.append(Told(report, record.received_ms))
    return tuple(found)


def _is_rebalancer(state: State, name: str) -> bool:
    initiator = state.roster.initiators.get(name)
    return initiator is not None and REBALANCERS in initiator.groups


def _verify(state: State, document: Json, report: RebalanceReport, *, signature: bytes) -> None:
    """Raises ``InvalidSignatureError`` unless it is signed by the rebalancer that it is by."""
    if not _is_rebalancer(state, report.by):
        raise InvalidSignatureError(f"{report.by} is no rebalancer")
    key = state.roster.initiators[report.by].key
    verify_ed25519(key, signature, message=statement(TAG, document), author=report.by)
