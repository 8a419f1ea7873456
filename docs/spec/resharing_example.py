"""A resharing of the key of the Schnorr example, and a backup's public part, from fixed seeds."""

from collections.abc import Callable, Mapping

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from frost_example import shares

from policy.encoding import Json
from signer_nodes.backup import Public
from signer_nodes.mpc.redeal import OldCommittee
from signer_nodes.mpc.reshare import ReshareParameters, ReshareResult, start_reshare
from signer_nodes.mpc.rounds import Rounds
from signer_nodes.officers import Officer

DEALERS = ("node-a", "node-c")
NEW = ("node-a", "node-c", "node-d")
OFFICERS = ("olga", "peter", "quinn")
Seed = Callable[[str], bytes]


def resharing(seed: Seed) -> Json:
    """node-d takes the place of node-b, whose machine is lost: what everybody sees of the run."""
    old = {share.participants[share.index - 1]: share for share in shares(seed).values()}
    record = OldCommittee.of(old["node-a"])
    parties = tuple(sorted({*DEALERS, *NEW}))
    runs = {}
    for number, name in enumerate(parties, start=1):
        parameters = ReshareParameters(
            session=seed("resharing"),
            suite=old["node-a"].suite,
            key_id="cold",
            epoch=1,
            old=record,
            dealers=DEALERS,
            min_signers=2,
            participants=NEW,
            name=name,
        )
        share = old[name] if name in DEALERS else None
        runs[number] = start_reshare(parameters, share, randomness=seed(f"resharing of {name}"))
    results, sent = _run(runs, parties)
    return {
        "suite": old["node-a"].suite,
        "group_key": record.group_key.hex(),
        "dealers": list(DEALERS),
        "before": {"epoch": 0, "participants": list(record.participants), "public_shares": _hex(record)},
        "after": {"epoch": 1, "participants": list(NEW), "public_shares": _hex(results[1])},
        "transcript": results[1].transcript.hex(),
        "bytes_sent_by_round": sent,
    }


def backup_public(seed: Seed) -> Json:
    """What a backup of node-a's share says in the clear."""
    share = shares(seed)[1]
    keys = {name: X25519PrivateKey.from_private_bytes(seed(name)).public_key() for name in OFFICERS}
    return Public(
        suite=share.suite,
        key_id=share.key_id,
        epoch=share.epoch,
        index=share.index,
        min_signers=share.min_signers,
        participants=share.participants,
        public_shares=share.public_shares,
        group_key=share.group_key,
        chain_code=share.chain_code,
        officers=tuple(Officer(name, key.public_bytes_raw()) for name, key in keys.items()),
        quorum=2,
    ).body()


def _run(runs: Mapping[int, Rounds], names: tuple[str, ...]) -> tuple[dict[int, ReshareResult], Json]:
    """Deliver every message, and count what each party sends to all its peers in each round."""
    results: dict[int, ReshareResult] = {}
    waiting = [(me, message) for me, run in runs.items() for message in run.start().outgoing]
    sent = {name: [0, 0, 0] for name in names}
    while waiting:
        sender, (to, payload) = waiting.pop(0)
        sent[names[sender - 1]][payload[0] - 1] += len(payload) - 1
        progress = runs[to].receive(sender, payload)
        waiting += [(to, message) for message in progress.outgoing]
        if isinstance(progress.result, ReshareResult):
            results[to] = progress.result
    return results, {name: [*counts] for name, counts in sent.items()}


def _hex(record: OldCommittee | ReshareResult) -> list[Json]:
    return [point.hex() for point in record.public_shares]
