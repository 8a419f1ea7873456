"""What a backend checks of a deposit that it is told of: the observers' signatures, nobody's word."""

from collections.abc import Mapping

from policy.encoding import Json
from policy.entry_fields import read_signatures
from policy.errors import InvalidSignatureError, MalformedError
from policy.fields import Fields
from policy.roster import verified_signers

TAG = "deposit"
SAME = ("chain", "tx", "index", "wallet", "address", "asset", "amount", "block")


def verify_deposit(
    deposit: Mapping[str, Json], *, origin: str, observers: Mapping[str, bytes], needed: int
) -> frozenset[str]:
    """Who has signed the deposit, at least ``needed`` (f + 1) of these observers.

    Raises ``InvalidSignatureError`` or ``MalformedError``. Who calls knows the observers' 32-byte keys by
    another way than from the coordinator, who can still keep back that it is gone.
    """
    fields = Fields(deposit.get("statement", ""), "statement")
    body, signatures = fields.raw("body"), read_signatures(fields)
    fields.done()
    fact = "gone" if deposit.get("gone") else "confirmed"
    if (
        not isinstance(body, dict)
        or (body.get("origin"), body.get("fact")) != (origin, fact)
        or any(name not in body or body[name] != deposit.get(name) for name in SAME)
    ):
        raise MalformedError("the observers have signed something else than the deposit says")
    known = {name: signature for name, signature in signatures.items() if name in observers}
    signers = verified_signers(TAG, body, signatures=known, keys=observers)
    if len(signers) < needed:
        raise InvalidSignatureError(f"{len(signers)} of these observers have signed it, {needed} must")
    return signers
