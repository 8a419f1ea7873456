"""The arguments of ``audit statement`` and ``evidence``. Imports nothing else of ours."""

from argparse import ArgumentParser

from cli.arguments import Commands, needs_trust, new_command, new_group

FORMATS = ("camt053", "csv")


def add_statement(audit: Commands) -> None:
    """``audit statement``."""
    statement = new_command(
        audit,
        "statement",
        function="cli.evidence.statement:statement",
        what="what a wallet paid and was paid by the log, for those who keep the books",
        example="quorumkeep audit statement treasury/log --wallet hot --from 2026-10-01 --to 2026-10-31 "
        "--format camt053 --out october.xml --trust treasury/trust.json",
    )
    _has_log(statement)
    statement.add_argument("--wallet", required=True, help="whose movements")
    statement.add_argument("--format", required=True, choices=FORMATS, help="ISO 20022 camt.053, or rows")
    statement.add_argument("--out", default="", help="write it here; else it is printed")
    _has_period(statement)
    needs_trust(statement)


def add_evidence(commands: Commands) -> None:
    """``evidence``."""
    evidence = new_group(commands, "evidence", what="what a log has for those who audit against a standard")
    ccss = new_command(
        evidence,
        "ccss",
        function="cli.evidence.ccss:ccss",
        what="the CryptoCurrency Security Standard, control by control: shown by the log, or by people",
        example="quorumkeep evidence ccss treasury/log --level 2 --from 2026-10-01 --to 2026-10-31 "
        "--trust treasury/trust.json",
    )
    _add_liabilities(evidence)
    _add_reserves(evidence)
    _has_log(ccss)
    ccss.add_argument("--level", required=True, type=int, choices=(2,), help="which level is aimed at")
    ccss.add_argument("--out", default="", help="write it here with proofs of every entry that it cites")
    ccss.add_argument("--html", default="", metavar="FILE", help="also write it as a page")
    _has_period(ccss)
    needs_trust(ccss)


def _add_liabilities(evidence: Commands) -> None:
    liabilities = new_group(
        evidence, "liabilities", what="what customers are owed, as one root that each can check"
    )
    root = new_command(
        liabilities,
        "root",
        function="cli.evidence.liabilities:root",
        what="the root over a file of liabilities, to be published",
        example="quorumkeep evidence liabilities root owed.csv --as-of 2026-10-31 --secret owed.secret "
        "--out liabilities.json",
    )
    root.add_argument("--as-of", required=True, metavar="DATE", help="of which day it is")
    root.add_argument("--out", required=True, help="write it here")
    prove = new_command(
        liabilities,
        "prove",
        function="cli.evidence.liabilities:prove",
        what="for customers, the proof that what they are owed is in the total",
        example="quorumkeep evidence liabilities prove owed.csv --published liabilities.json "
        "--secret owed.secret --out proofs",
    )
    prove.add_argument("--published", required=True, metavar="FILE", help="what root wrote")
    prove.add_argument("--customer", default="", help="of this one alone")
    prove.add_argument(
        "--out", required=True, metavar="DIR", help="a file for each, by the SHA-256 of its name"
    )
    for command in (root, prove):
        command.add_argument("file", help="CSV with the columns customer, asset, amount (base units)")
        command.add_argument(
            "--secret", required=True, metavar="FILE", help="what salts come from; made by root"
        )
    verify = new_command(
        liabilities,
        "verify",
        function="cli.evidence.liabilities:verify",
        what="as a customer: whether what you are owed is in the total that was published",
        example="quorumkeep evidence liabilities verify proof.json --published liabilities.json "
        "--customer 'account 17'",
    )
    verify.add_argument("proof", help="what you were handed")
    verify.add_argument("--published", required=True, metavar="FILE", help="as everybody was shown it")
    verify.add_argument("--customer", required=True, help="your own name there, not one that you are told")


def _add_reserves(evidence: Commands) -> None:
    reserves = new_group(
        evidence, "reserves", what="that the keys of addresses are there, against what is owed"
    )
    ask = new_command(
        reserves,
        "ask",
        function="cli.evidence.reserves:ask",
        what="for each account, the statement that its key is to sign through the log",
        example="quorumkeep evidence reserves ask treasury/log --challenge 'auditors 2026-10-31 7f3a' "
        "--liabilities liabilities.json --trust treasury/trust.json --out statements",
    )
    ask.add_argument("--out", required=True, metavar="DIR", help="a file for each account")
    prove = new_command(
        reserves,
        "prove",
        function="cli.evidence.reserves:prove",
        what="what was signed and what observers stated, against what is owed; refused if that is less",
        example="quorumkeep evidence reserves prove treasury/log --challenge 'auditors 2026-10-31 7f3a' "
        "--liabilities liabilities.json --trust treasury/trust.json --out reserves.json",
    )
    prove.add_argument("--out", default="", help="write it here with proofs of every entry that it rests on")
    for command in (ask, prove):
        _has_log(command)
        command.add_argument("--challenge", required=True, help="the auditor's words, new each time")
        command.add_argument("--liabilities", default="", metavar="FILE", help="what liabilities root wrote")
        needs_trust(command)


def _has_log(command: ArgumentParser) -> None:
    command.add_argument("log", help="the folder with checkpoint and tile/")


def _has_period(command: ArgumentParser) -> None:
    command.add_argument(
        "--from", dest="since", required=True, metavar="DATE", help="2026-10-01, from 0:00 UTC"
    )
    command.add_argument("--to", dest="until", required=True, metavar="DATE", help="the last day, all of it")
