"""A reading: what one node finds in a request's unsigned bytes, and what it would say of them now.

People compare those of all nodes before they approve. It is signed and stands outside the log: it admits
nothing, releases nothing, and binds its node to nothing.
"""

from hashlib import sha256
from typing import Final

from policy import ledger
from policy.decode.decoded import Call, Cancel, Decoded, Transfer, Typed, Undecodable
from policy.encoding import Json
from policy.entries import parse_reserve
from policy.reservations import decoded
from policy.state import State
from policy.values import replace

TAG: Final = "reading"
REASON_CHARACTERS_MAX: Final = 1000


def reading(state: State, body: Json, *, node: str, root: bytes, time_ms: int) -> dict[str, Json]:
    """What ``node`` states of a reservation, were it the next entry of its log, whose root is ``root``.

    Bans are left out of it: they say who can sign together, nothing of the payment. Raises
    ``MalformedError`` for a body that cannot be read.
    """
    entry, asked = parse_reserve(body), replace(state, bans=frozenset())
    time_ms = max(time_ms, state.time_ms)
    verdict = ledger.weigh(asked, "reserve", body=body, time_ms=time_ms).verdict
    return {
        "origin": state.origin,
        "node": node,
        "request": entry.request.hex(),
        "tx": sha256(entry.tx).hexdigest(),
        "decoded": decoded_document(state, decoded(asked, entry)),
        "verdict": {**verdict.to_json(), "reason": verdict.reason[:REASON_CHARACTERS_MAX]},
        "policy": state.policy_hash.hex(),
        "log": {"size": state.size, "root": root.hex()},
        "time_ms": time_ms,
    }


def decoded_document(state: State, found: Decoded) -> dict[str, Json]:
    """What the bytes do, in the words of a request's intent; large parts by their SHA-256."""
    match found:
        case Transfer():
            asset = state.policy.asset_at(found.anchor.chain, found.contract)
            contract: dict[str, Json] = {"contract": found.contract} if found.contract else {}
            said: dict[str, Json] = {
                "asset": asset.name if asset else "",
                **contract,
                "destination": found.recipient,
                "amount": str(found.amount),
            }
        case Call():
            said = {
                "destination": found.contract,
                "amount": str(found.value),
                "calldata_sha256": sha256(found.data).hexdigest(),
            }
        case Typed():
            said = {"typed_data_sha256": sha256(found.document).hexdigest()}
        case Cancel():
            said = {}
        case Undecodable():
            return {"unreadable": found.reason[:REASON_CHARACTERS_MAX]}
    slot: Json = {
        "chain": found.anchor.chain,
        "account": found.anchor.account,
        "nonce": str(found.anchor.nonce),
    }
    return {**said, "fee_max": str(found.fee_max), "slot": slot}
