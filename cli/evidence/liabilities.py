"""``evidence liabilities``: one root over what customers are owed, and for each the proof to be in it."""

import csv
import hashlib
import io
import secrets
from argparse import Namespace
from collections.abc import Iterator
from pathlib import Path

from cli.evidence.period import read_day
from cli.files import read_bytes, read_document, write_bytes, write_document
from cli.results import REFUSED, Misuse, Result, Table
from policy.encoding import canonical
from policy.errors import CallerError, MalformedError, OperationalError
from policy.fields import Fields
from policy.liabilities import (
    CUSTOMER_BYTES_MAX,
    HASH_BYTES,
    Liability,
    Published,
    check_proof,
    grow,
    proof_of,
    read_published,
)

COLUMNS = ["customer", "asset", "amount"]


def root(arguments: Namespace) -> Result:
    """``evidence liabilities root``: what is published of a file of liabilities."""
    as_of = str(read_day(arguments.as_of, "--as-of"))
    liabilities = read_liabilities(Path(arguments.file))
    secret = _new_secret(Path(arguments.secret))
    published = _published(as_of, liabilities, secret)
    write_document(Path(arguments.out), published.to_json())
    rows = tuple((one.asset, str(one.count), str(one.top.total)) for one in published.assets.values())
    return Result(
        {**published.to_json(), "file": arguments.out},
        (
            f"{arguments.out} has the root {published.root.hex()}",
            Table(("asset", "customers", "base units owed"), rows),
            f"Publish it. Keep {arguments.secret} secret: with it guesses of who is owed what are confirmed.",
        ),
    )


def prove(arguments: Namespace) -> Result:
    """``evidence liabilities prove``: the proof of one customer, or of each."""
    liabilities = read_liabilities(Path(arguments.file))
    published = _read_published(arguments.published)
    secret = _read_secret(Path(arguments.secret))
    trees = grow(liabilities, secret)
    if Published(published.as_of, {name: one.root for name, one in trees.items()}) != published:
        raise OperationalError(
            f"{arguments.published} is not of {arguments.file} under that secret: take those it was made of"
        )
    owed: dict[str, list[Liability]] = {}
    for one in liabilities:
        owed.setdefault(one.customer, []).append(one)
    if arguments.customer and arguments.customer not in owed:
        raise Misuse(
            f"{arguments.file} has no customer {arguments.customer[:80]!r}: write it as it stands there"
        )
    chosen = [arguments.customer] if arguments.customer else list(owed)
    files = {name: str(Path(arguments.out) / _file_name(name)) for name in chosen}
    for name, path in files.items():
        write_bytes(Path(path), canonical(proof_of(name, owed[name], trees=trees, secret=secret)), mode=0o600)
    return Result(
        {"files": files}, (f"{len(files)} proofs in {arguments.out}, each for its customer alone.",)
    )


def verify(arguments: Namespace) -> Result:
    """``evidence liabilities verify``: what a customer is owed by a proof; refused when it proves nothing."""
    published = _read_published(arguments.published)
    try:
        found = check_proof(
            read_document(Path(arguments.proof), "the proof"), published, customer=arguments.customer
        )
    except MalformedError as error:
        return Result({"ok": False, "why": str(error)}, (f"NOT PROVEN: {error}",), REFUSED)
    owed = {one.asset: str(one.amount) for one in found}
    lines = [
        f"{asset}: {amount} base units are in the total that was published" for asset, amount in owed.items()
    ]
    lines.append(
        f"as of {published.as_of}, root {published.root.hex()}; anything that is missing here is not in it"
    )
    return Result({"ok": True, "as_of": published.as_of, "root": published.root.hex(), "owed": owed}, lines)


def read_liabilities(path: Path) -> list[Liability]:
    """The rows of a CSV. Raises ``Misuse`` with the line that is wrong."""
    try:
        text = path.read_bytes().decode()
    except OSError as error:
        raise Misuse(f"cannot read {path}: {error.strerror}; give the file of liabilities") from error
    except UnicodeDecodeError as error:
        raise Misuse(f"{path} is not UTF-8: save it so") from error
    rows = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        if next(rows, None) != COLUMNS:
            raise Misuse(f"{path} does not begin with the columns {','.join(COLUMNS)}")
        return _distinct(path, rows)
    except csv.Error as error:
        raise Misuse(f"{path}, line {rows.line_num}: {error}") from error


def _distinct(path: Path, rows: Iterator[list[str]]) -> list[Liability]:
    found: dict[tuple[str, str], Liability] = {}
    for number, row in enumerate(rows, 2):
        try:
            one = _liability(row)
        except MalformedError as error:
            raise Misuse(f"{path}, line {number}: {error}") from error
        if (one.customer, one.asset) in found:
            raise Misuse(
                f"{path}, line {number}: {one.customer!r} and {one.asset} are there twice: add them up"
            )
        found[one.customer, one.asset] = one
    if not found:
        raise Misuse(f"{path} has no liabilities")
    return list(found.values())


def _liability(row: list[str]) -> Liability:
    if len(row) != len(COLUMNS):
        raise MalformedError(f"write {','.join(COLUMNS)}, got {len(row)} columns")
    fields = Fields({**dict(zip(COLUMNS, row, strict=True))}, "row")
    customer = fields.text("customer", length_max=CUSTOMER_BYTES_MAX)
    if customer != customer.strip() or len(customer.encode()) > CUSTOMER_BYTES_MAX:
        raise MalformedError(f"customer: no spaces around it, at most {CUSTOMER_BYTES_MAX} bytes")
    return Liability(customer, fields.name("asset"), fields.amount("amount"))


def _published(as_of: str, liabilities: list[Liability], secret: bytes) -> Published:
    try:
        return Published(as_of, {name: tree.root for name, tree in grow(liabilities, secret).items()})
    except CallerError as error:
        raise Misuse(str(error)) from error


def _read_published(path: str) -> Published:
    try:
        return read_published(read_document(Path(path), "what was published"))
    except MalformedError as error:
        raise OperationalError(f"{path}: {error}") from error


def _new_secret(path: Path) -> bytes:
    """A secret for this publication alone: under an old one, leaves that did not change could be followed."""
    if path.exists():
        raise Misuse(f"{path} exists: every publication has a secret of its own, name a new file")
    secret = secrets.token_bytes(HASH_BYTES)
    write_bytes(path, secret.hex().encode() + b"\n", mode=0o600)
    return secret


def _read_secret(path: Path) -> bytes:
    data = read_bytes(path, "the secret")
    if path.stat().st_mode & 0o077:
        raise OperationalError(f"others can read {path}: run chmod 600 on it, and make a new publication")
    try:
        secret = bytes.fromhex(data.decode().strip())
    except ValueError:
        secret = b""
    if len(secret) != HASH_BYTES:
        raise OperationalError(f"{path} is no secret of {HASH_BYTES} bytes: give the one that root made")
    return secret


def _file_name(customer: str) -> str:
    return f"{hashlib.sha256(customer.encode()).hexdigest()}.json"
