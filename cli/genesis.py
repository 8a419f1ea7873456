"""The first entry of the log: drawn up from the draft, signed by administrators, known by its fingerprint.

Once the quorum has signed, ``genesis.json`` is the entry, ``client.json`` is what backends and operators
need, ``trust.json`` what an auditor needs, and ``coordinator/config.toml`` runs the coordinator. The
fingerprint is what the people of every node compare before they join.
"""

import time
from argparse import Namespace
from pathlib import Path
from typing import Any

from cli.connection import client_document
from cli.deployment import coordinator_config, load_draft, roster_of
from cli.files import load_key, read_bytes, read_document, write_bytes, write_document
from cli.places import UNSEEN, shared_places
from cli.policies.reading import read_policy
from cli.results import Document, Misuse, Result
from policy.coherence import check_coherent
from policy.encoding import Json, document_hash, statement
from policy.entries import ENTRY_BYTES_MAX, make_entry, signature_list
from policy.errors import MalformedError, OperationalError
from policy.governance import RULES_SUPPORTED
from policy.ledger import fold, initial
from policy.log.merkle import leaf_hash
from policy.model import Policy
from policy.roster import COORDINATOR, Roster, bound, parse_roster

DRAFT, GENESIS, CLIENT, TRUST = "genesis.draft.json", "genesis.json", "client.json", "trust.json"


def draft(arguments: Namespace) -> Result:
    """``genesis draft``: make what the administrators are to sign, after every check there is."""
    from cli.policies.invariants import proved

    folder = Path(arguments.dir)
    if (folder / GENESIS).exists():
        raise OperationalError(f"{folder / GENESIS} is signed already: this deployment has begun")
    deployment = load_draft(folder)
    roster_document = roster_of(
        deployment,
        w=arguments.w,
        f=arguments.f,
        quorum=arguments.quorum,
        policy_delay_ms=arguments.policy_delay_ms,
    )
    read = read_policy(Path(arguments.policy))
    proved(Path(arguments.policy), "", policy=read.policy)
    roster = _check(roster_document, read.policy, arguments.policy)
    body: dict[str, Json] = {
        "origin": deployment["origin"],
        "rules": RULES_SUPPORTED,
        "roster": roster_document,
        "policy": read.body,
    }
    write_document(folder / DRAFT, {"time_ms": time.time_ns() // 1_000_000, "body": body, "signatures": {}})
    digest = document_hash("genesis", body).hex()
    addresses = {node["name"]: node["address"] for node in deployment["nodes"]}
    warnings = shared_places(addresses, policy=read.policy, roster=roster)
    found = {"draft": str(folder / DRAFT), "hash": digest, "cosigners": bound(roster), "warnings": warnings}
    return Result(
        {**found, **_numbers(roster)},
        (
            f"{bound(roster)}.",
            *(f"WARNING: {warning}." for warning in warnings),
            UNSEEN,
            f"{arguments.quorum} of {len(roster.administrators)} administrators have to sign",
            f"{folder / DRAFT}, which has the hash {digest}.",
        ),
    )


def sign(arguments: Namespace) -> Result:
    """``genesis sign``: an administrator's signature; with the quorum's last one the log can begin."""
    folder = Path(arguments.dir)
    document = _load(folder)
    body = document["body"]
    roster = parse_roster(body["roster"])
    key = load_key(Path(arguments.key))
    public_key = key.public_key().public_bytes_raw()
    name = next((one for one, known in roster.administrators.items() if known == public_key), None)
    if name is None:
        raise OperationalError(f"{arguments.key} is no administrator's key in this draft: enrol it first")
    document["signatures"][name] = key.sign(statement("genesis", body)).hex()
    write_document(folder / DRAFT, document)
    missing = roster.administrators_quorum - len(document["signatures"])
    if missing > 0:
        return Result(
            {"signed_by": sorted(document["signatures"]), "missing": missing},
            (f"{name} has signed; {missing} more of the administrators have to.",),
        )
    fingerprint = _complete(folder, document)
    return Result(
        {"signed_by": sorted(document["signatures"]), "missing": 0, "fingerprint": fingerprint},
        (
            f"{name} has signed, and the quorum is complete: {folder / GENESIS} has the fingerprint",
            f"  {fingerprint}",
            "Every node joins with it; clients get client.json; the coordinator can be run.",
        ),
    )


def fingerprint(arguments: Namespace) -> Result:
    """``genesis fingerprint``: what the people of every node compare."""
    path = Path(arguments.dir) / GENESIS
    if not path.exists():
        raise OperationalError(f"there is no {path} yet: the administrators' quorum has to sign the draft")
    found = leaf_hash(read_bytes(path, "the genesis entry")).hex()
    return Result({"genesis": str(path), "fingerprint": found}, (found,))


def _check(roster_document: dict[str, Json], policy: Policy, path: str) -> Roster:
    try:
        roster = parse_roster(roster_document)
    except MalformedError as error:
        raise OperationalError(f"{error}: enrol who is missing, or correct --w, --f and --quorum") from error
    try:
        check_coherent(roster, policy)
    except MalformedError as error:
        raise OperationalError(f"{path}: {error}; correct the policy, or enrol who is missing") from error
    return roster


def _load(folder: Path) -> Document:
    if not (folder / DRAFT).exists():
        raise Misuse(f"{folder} has no {DRAFT}: run quorumkeep genesis draft --dir {folder} first")
    return read_document(folder / DRAFT, "the draft")


def _complete(folder: Path, document: dict[str, Any]) -> str:
    """Write what the deployment runs by; the fingerprint of the genesis entry."""
    body, signatures = document["body"], document["signatures"]
    proof = signature_list({name: bytes.fromhex(signature) for name, signature in signatures.items()})
    entry = make_entry("genesis", document["time_ms"], body=body, signatures=proof)
    if len(entry) > ENTRY_BYTES_MAX:
        raise OperationalError(
            f"the genesis entry has {len(entry)} bytes, {ENTRY_BYTES_MAX} fit: shorten a list"
        )
    _, outcome = fold(initial(), entry)
    if not outcome.accepted:
        raise OperationalError(f"no node would take this genesis entry: {outcome.reason}; draw it up anew")
    deployment = load_draft(folder)
    certificate = read_bytes(folder / COORDINATOR / "identity.pem", "the coordinator's certificate")
    write_bytes(folder / COORDINATOR / "config.toml", coordinator_config(deployment).encode())
    write_document(folder / CLIENT, client_document(deployment, certificate, policy=body["policy"]))
    write_document(folder / TRUST, trust_document(body, entry))
    write_bytes(folder / GENESIS, entry)
    return leaf_hash(entry).hex()


def trust_document(body: dict[str, Any], entry: bytes) -> dict[str, Json]:
    """What an auditor is given to know whose log it is: ``audit verify --trust``."""
    roster = body["roster"]
    return {
        "origin": body["origin"],
        "log_key": roster["log_key"],
        "genesis": leaf_hash(entry).hex(),
        "cosigners": [{"name": one["name"], "key": one["key"]} for one in roster["cosigners"]],
        "w": roster["w"],
    }


def _numbers(roster: Roster) -> dict[str, Any]:
    return {"c": roster.c, "w": roster.w, "f": roster.f, "quorum": roster.administrators_quorum}
