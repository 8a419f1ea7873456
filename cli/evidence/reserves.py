"""``evidence reserves``: that the keys of addresses are there, and what these hold, against what is owed."""

import hashlib
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path

from cli.audit import as_json, as_text
from cli.files import read_document, write_bytes, write_document
from cli.policies.replaying import checked, folder_of
from cli.results import DONE, REFUSED, Document, Misuse, Result, Table
from policy.audit import CHECKPOINT_PATH, PINNED, AuditReport
from policy.coverage import COVERED, NOT_TOLD, AssetShown, TierShown, by_asset, by_tier
from policy.encoding import Json
from policy.errors import MalformedError, OperationalError
from policy.ids import EVM, family
from policy.liabilities import Published, read_published
from policy.log.merkle import prove_consistency
from policy.log.tiles import Read, tile_hash_reader
from policy.proven import proven_entries
from policy.reserves import (
    CHALLENGE_LENGTH_MAX,
    NAME,
    NOTHING_OWED,
    Asked,
    Held,
    Reserves,
    Statement,
    WalletShown,
    declaration,
)
from policy.state import State

FORMAT = "quorumkeep/reserves/1"


def ask(arguments: Namespace) -> Result:
    """``evidence reserves ask``: for each account the statement to be signed; refused without a sound log."""
    published = _owed(arguments)
    read, found = folder_of(arguments.log), Reserves(_challenge(arguments))
    report = _sound(read, arguments, found)
    if not report.ok or found.state is None:
        return Result({"log": as_json(report)}, ("nothing is asked for", as_text(report)), REFUSED)
    state = found.state
    asked = Asked(arguments.challenge, state.origin, report.size, report.root, _root(published))
    _check_declared(state)
    files: dict[str, Json] = {}
    lines = []
    for shown in found.wallets(read, size=report.size):
        if not shown.accounts:
            lines.append(f"{shown.wallet.name}: {shown.why}")
        for number, (account, _) in enumerate(shown.accounts):
            path = Path(arguments.out) / f"{shown.wallet.name}-{number}.json"
            document = asked.document(shown.wallet.chain, account)
            write_bytes(path, document)
            files[account] = str(path)
            key = f"reserves-{hashlib.sha256(document).hexdigest()[:32]}"
            lines.append(
                f"quorumkeep request sign-typed-data {path} --wallet {shown.wallet.name} "
                f"--idempotency-key {key} --as BACKEND"
            )
    return Result({"files": files, "size": report.size, "root": report.root.hex()}, lines)


def prove(arguments: Namespace) -> Result:
    """``evidence reserves prove``: what was signed and stated, in one file; refused if less than is owed."""
    published = _owed(arguments)
    read, found = folder_of(arguments.log), Reserves(_challenge(arguments), _root(published))
    report = _sound(read, arguments, found)
    if not report.ok or found.state is None:
        return Result({"log": as_json(report)}, ("it shows nothing", as_text(report)), REFUSED)
    wallets, held = found.wallets(read, size=report.size), found.held()
    assets, tiers = by_asset(wallets, held, published=published), by_tier(found.state, held)
    document: Document = {
        "challenge": arguments.challenge,
        "time_ms": found.state.time_ms,
        **({"liabilities": published.to_json()} if published else {}),
        "wallets": [_wallet(one) for one in wallets],
        "held": [_held(found, one) for one in held],
        "assets": [one.to_json() for one in assets],
        "tiers": [one.to_json() for one in tiers],
    }
    if arguments.out:
        write_document(Path(arguments.out), _file(document, found, read, wallets=wallets, size=report.size))
    short = [one.asset for one in assets if one.says not in (COVERED, NOT_TOLD)]
    text: list[str | Table] = [_wallets_table(wallets), _assets_table(assets), _tiers_table(tiers)]
    if report.trust != PINNED:
        text.append("The keys are the folder's own: give --trust to know whose log it is.")
    if arguments.out:
        text.append(f"Whoever gets {arguments.out} checks it with docs/verify_reserves.py.")
    files = {"file": arguments.out or None, "log": as_json(report)}
    return Result({"ok": not short, **document, **files}, text, REFUSED if short else DONE)


def _sound(read: Read, arguments: Namespace, found: Reserves) -> AuditReport:
    return checked(read, arguments, watch=found)


def _challenge(arguments: Namespace) -> str:
    text = str(arguments.challenge)
    if not 1 <= len(text) <= CHALLENGE_LENGTH_MAX or not text.isprintable():
        raise Misuse(
            f"--challenge is 1 to {CHALLENGE_LENGTH_MAX} characters, as the auditor gave them to you"
        )
    return text


def _owed(arguments: Namespace) -> Published | None:
    if not arguments.liabilities:
        return None
    try:
        return read_published(read_document(Path(arguments.liabilities), "what was published"))
    except MalformedError as error:
        raise OperationalError(f"{arguments.liabilities}: {error}") from error


def _root(published: Published | None) -> bytes:
    return published.root if published else NOTHING_OWED


def _check_declared(state: State) -> None:
    """Refuse to ask for what every node would deny."""
    declared = {(one.domain_separator, one.encoded_type) for one in state.policy.typed_data.values()}
    chains = sorted({one.chain for one in state.policy.wallets.values() if family(one.chain) == EVM})
    for chain in chains:
        wanted = declaration(chain)
        if (wanted.domain_separator, wanted.encoded_type) not in declared:
            raise OperationalError(
                f"the policy does not declare {NAME} on {chain}: docs/evidence.md shows what it needs"
            )


def _file(
    document: Document, found: Reserves, read: Read, *, wallets: list[WalletShown], size: int
) -> Document:
    return {
        "format": FORMAT,
        **document,
        "policy_at": found.policy_at,
        "heads": _heads(read, wallets, size=size),
        "checkpoint": (read(CHECKPOINT_PATH) or b"").decode(),
        "entries": list(proven_entries(read, found.cited(wallets), size=size)),
    }


def _heads(read: Read, wallets: list[WalletShown], *, size: int) -> list[Json]:
    """The heads that statements name, each with the proof that the log went on from it."""
    named = {
        (one.asked.size, one.asked.root) for shown in wallets for _, one in shown.accounts if one is not None
    }
    nodes, found = tile_hash_reader(read, size), list[Json]()
    for old, root in sorted(named):
        proof: list[Json] = [digest.hex() for digest in prove_consistency(nodes, old, new_size=size)]
        found.append({"size": old, "root": root.hex(), "proof": proof})
    return found


def _wallet(shown: WalletShown) -> Json:
    wallet = shown.wallet
    return {
        "wallet": wallet.name,
        "chain": wallet.chain,
        "tier": wallet.tier,
        "proven": not shown.why,
        "why": shown.why,
        "accounts": [_account(account, one) for account, one in shown.accounts],
    }


def _account(account: str, one: Statement | None) -> Json:
    if one is None:
        return {"account": account}
    return {
        "account": account,
        "document": one.document.hex(),
        "signature": one.signature.hex(),
        "entries": list(one.entries),
    }


def _held(found: Reserves, one: Held) -> Json:
    if one.index is None or one.least is None:
        return {"wallet": one.wallet, "asset": one.asset}
    return {
        "wallet": one.wallet,
        "asset": one.asset,
        "entry": one.index,
        "roster_at": found.roster_of(one),
        "stated": str(one.stated),
        "least": str(one.least),
    }


def _wallets_table(wallets: Sequence[WalletShown]) -> Table:
    rows = tuple(
        (one.wallet.name, one.wallet.chain, "proven" if not one.why else "NOT PROVEN", one.why)
        for one in wallets
    )
    return Table(("wallet", "chain", "keys", "why"), rows)


def _assets_table(assets: Sequence[AssetShown]) -> Table:
    rows = tuple(
        (
            *(one.asset, str(one.proven), str(one.stated_only), "-" if one.owed is None else str(one.owed)),
            one.says + (f"; nothing new is stated of {', '.join(one.unknown)}" if one.unknown else ""),
        )
        for one in assets
    )
    return Table(("asset", "proven, at least", "stated only", "owed", "base units"), rows)


def _tiers_table(tiers: Sequence[TierShown]) -> Table:
    rows = tuple(
        (one.tier, *("not known" if part is None else str(part) for part in (one.value, one.share_bp)))
        for one in tiers
    )
    return Table(("tier", "value, at least", "of 10000"), rows)
