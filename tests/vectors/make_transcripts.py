"""Make the transcripts in this folder: every message of a key generation, a presigning and a signature.

Everything follows from seeds, so the files say to the byte what the protocols send; a change of the wire
format shows in them and in nothing else. ``make vectors`` writes them; a test makes them again and compares.
Long messages stand as their length and SHA-256. The seeds are no secrets: nothing of this is ever used.
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

from policy.ecdsa import SigningTask, combine
from policy.encoding import Json, tagged_hash
from policy.suites import DKLS23_SECP256K1
from signer_nodes.mpc.curve import Q, add, base_mul
from signer_nodes.mpc.dkg import KeygenParameters, KeygenResult
from signer_nodes.mpc.ecdsa import partial_signature
from signer_nodes.mpc.keygen import start_keygen
from signer_nodes.mpc.presign import (
    Presignature,
    PresignParameters,
    PresignResult,
    presign_session,
    start_presign,
)
from signer_nodes.mpc.rounds import Rounds
from tests.protocols.lockstep import Outcome, run_all

FOLDER = Path(__file__).parent
WHOLE_BYTES_MAX = 256
BATCH = 4
COMMITTEES = {"transcript_2of3.json": (2, 3, (1, 3)), "transcript_3of5.json": (3, 5, (1, 3, 4))}
SOURCE = "made by tests/vectors/make_transcripts.py, all of it from seeds"


def seed(*words: str) -> bytes:
    """32 bytes that belong to these words."""
    return tagged_hash("quorumkeep/test-vector", *(word.encode() for word in words))


def files() -> dict[str, str]:
    """Every file by name."""
    return {name: _text(_document(*committee)) for name, committee in COMMITTEES.items()}


def main() -> None:
    """Write them."""
    for name, text in files().items():
        (FOLDER / name).write_text(text)


def _document(min_signers: int, n: int, signers: tuple[int, ...]) -> dict[str, Json]:
    name = f"{min_signers} of {n}"
    made, keys = _keygen(name, min_signers, n)
    presigned, presignatures = _presign(name, keys, signers)
    return {
        "source": SOURCE,
        "min_signers": min_signers,
        "keygen": made,
        "presign": presigned,
        "sign": _sign(name, presignatures),
    }


def _keygen(name: str, min_signers: int, n: int) -> tuple[dict[str, Json], dict[int, KeygenResult]]:
    names = tuple(f"node-{i}" for i in range(1, n + 1))
    session, key_id = seed(name, "keygen"), "example"
    seeds = {i: seed(name, "keygen", str(i)) for i in range(1, n + 1)}
    runs = {
        i: start_keygen(KeygenParameters(session, DKLS23_SECP256K1, key_id, min_signers, names, i), seeds[i])
        for i in seeds
    }
    messages, outcome = _run(runs)
    results = {i: r for i, r in sorted(outcome.results.items()) if isinstance(r, KeygenResult)}
    first = results[1]
    return {
        "session": session.hex(),
        "suite": DKLS23_SECP256K1,
        "key_id": key_id,
        "participants": list(names),
        "randomness": {str(i): value.hex() for i, value in seeds.items()},
        "messages": messages,
        "group_key": first.share.group_key.hex(),
        "chain_code": first.share.chain_code.hex(),
        "public_shares": [point.hex() for point in first.share.public_shares],
        "transcript": first.transcript.hex(),
        "stored_shares": {str(i): _bytes(r.share.to_bytes()) for i, r in results.items()},
        "stored_pairs": {
            f"{i}-{pair.peer}": _bytes(pair.to_bytes()) for i, r in results.items() for pair in r.pairs
        },
    }, results


def _presign(
    name: str, keys: Mapping[int, KeygenResult], signers: tuple[int, ...]
) -> tuple[dict[str, Json], dict[int, PresignResult]]:
    share = keys[1].share
    boots = {share.participants[i - 1]: seed(name, "boot", str(i)) for i in signers}
    session = presign_session(
        version=1, key_id=share.key_id, epoch=0, signers=list(boots), batch_id=1, boot_ids=boots
    )
    seeds = {i: seed(name, "presign", str(i)) for i in signers}
    runs = {
        i: start_presign(
            PresignParameters(session, BATCH),
            keys[i].share,
            pairs={pair.peer: pair for pair in keys[i].pairs},
            signers=signers,
            randomness=seeds[i],
        )
        for i in signers
    }
    messages, outcome = _run(runs)
    results = {i: r for i, r in sorted(outcome.results.items()) if isinstance(r, PresignResult)}
    return {
        "boot_ids": {boot_name: boot_id.hex() for boot_name, boot_id in boots.items()},
        "batch_id": 1,
        "session": session.hex(),
        "signers": list(signers),
        "randomness": {str(i): value.hex() for i, value in seeds.items()},
        "messages": messages,
        "presignatures": {
            str(i): [item.to_bytes().hex() for item in result.presignatures] for i, result in results.items()
        },
    }, results


def _sign(name: str, results: Mapping[int, PresignResult]) -> list[Json]:
    """A signature from every presignature of the batch; the first is of the key itself."""
    signed: list[Json] = []
    for b in range(BATCH):
        shares = {i: result.presignatures[b] for i, result in results.items()}
        tweak = int.from_bytes(seed(name, "tweak", str(b)), "big") % Q if b else 0
        signed.append(_signature(shares, _task(name, shares, b=b, tweak=tweak)))
    return signed


def _task(name: str, shares: Mapping[int, Presignature], *, b: int, tweak: int) -> SigningTask:
    group_key = next(iter(shares.values())).group_key
    derived = add([group_key, base_mul(tweak)]) if tweak else group_key
    message, job = seed(name, "message", str(b)), seed(name, "job", str(b))
    return SigningTask(message, tweak, derived, job, b)


def _signature(shares: Mapping[int, Presignature], task: SigningTask) -> dict[str, Json]:
    rhos = {i: share.rho for i, share in shares.items()}
    partials = {i: partial_signature(share, rhos=rhos, task=task) for i, share in shares.items()}
    R = next(iter(shares.values())).R
    signature = combine(partials, R=R, rhos=rhos, task=task)
    return {
        "message_hash": task.message_hash.hex(),
        "tweak": f"{task.tweak:064x}",
        "derived_key": task.derived_key.hex(),
        "job_id": task.job_id.hex(),
        "index": task.index,
        "openings": {str(i): rho.hex() for i, rho in rhos.items()},
        "partials": {str(i): partial.to_bytes().hex() for i, partial in partials.items()},
        "signature": signature.to_bytes().hex(),
        "recovery_id": signature.recovery_id,
    }


def _run(runs: Mapping[int, Rounds]) -> tuple[list[Json], Outcome]:
    """All payloads in order of round, sender and receiver."""
    outcome = run_all(runs)
    if outcome.errors or set(outcome.results) != set(runs):
        raise RuntimeError(f"an honest run failed: {outcome.errors}")
    payloads = sorted(outcome.payloads, key=lambda item: (item[2][0], item[0], item[1]))
    messages: list[Json] = [
        {"round": payload[0], "from": sender, "to": to, "payload": _bytes(payload)}
        for sender, to, payload in payloads
    ]
    return messages, outcome


def _bytes(data: bytes) -> Json:
    if len(data) <= WHOLE_BYTES_MAX:
        return data.hex()
    return {"length": len(data), "sha256": hashlib.sha256(data).hexdigest()}


def _text(document: dict[str, Json]) -> str:
    return json.dumps(document, indent=1) + "\n"


if __name__ == "__main__":
    main()
