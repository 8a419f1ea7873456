"""Who said yes, to exactly what: the approval document and the WebAuthn assertion over it.

An approval binds the request, what the transaction does, the most it may cost, the conflict slot it
takes, the policy it was given under, its expiry and a one-time id. The hash of that document is the
challenge a passkey signs, so the passkey's signature is a signature over all of it. Source: WebAuthn
Level 3, section 7.2, less what a stateless verifier cannot do (the log refuses a repeated approval
id, which is what the sign counter and the challenge's freshness would be for).
"""

import base64
import hashlib
import json
from dataclasses import dataclass
from typing import NoReturn

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from msgspec import Struct

from policy.addresses import is_slot_account
from policy.encoding import Json, document_hash
from policy.errors import InvalidSignatureError, MalformedError
from policy.fields import Fields
from policy.ids import BITCOIN, EVM, ID_BYTES, SOLANA, family
from policy.intent import Intent, read_intent

AUTHENTICATOR_DATA_BYTES_MIN = 37
AUTHENTICATOR_DATA_BYTES_MAX = 1024
CLIENT_DATA_BYTES_MAX = 2048
SIGNATURE_BYTES_MAX = 72
CREDENTIAL_ID_BYTES_MAX = 1023
PUBLIC_KEY_BYTES = 65
SLOT_ACCOUNT_MAX = 75
DIGEST_SLOT_MIN = 2**255
NONCE_MAX = {EVM: 2**64 - 1, SOLANA: 2**256 - 1, BITCOIN: 0}
COMPARED = ("origin", "request", "intent", "fee_ceiling", "slot", "policy")
_USER_PRESENT, _USER_VERIFIED, _BACKUP_ELIGIBLE, _BACKED_UP = 0x01, 0x04, 0x08, 0x10
_ATTESTED_CREDENTIAL, _EXTENSIONS = 0x40, 0x80


class Slot(Struct, frozen=True, gc=False):
    """What conflicts on chain: at most one transaction with this account and nonce can ever confirm.

    EVM: the account and its transaction's number; for typed data, ``digest_slot``. Solana: the nonce account,
    and its value as a big-endian integer. Bitcoin: the outpoint ``txid:vout`` that the first input spends,
    and 0.
    """

    chain: str
    account: str
    nonce: int

    @property
    def on_chain(self) -> bool:
        """Whether a transaction takes it; the signature of typed data is none."""
        return not self.chain.startswith(f"{EVM}:") or self.nonce <= NONCE_MAX[EVM]

    def to_json(self) -> Json:
        """As documents name it; ``read_slot`` is its inverse."""
        return {"chain": self.chain, "account": self.account, "nonce": str(self.nonce)}


def digest_slot(chain: str, account: str, *, digest: bytes) -> Slot:
    """What the signature of typed data takes: one request for each account and 32-byte EIP-712 digest.

    Its number is the digest with the highest bit set, far above that of any transaction.
    """
    return Slot(chain, account, DIGEST_SLOT_MIN | int.from_bytes(digest, "big"))


def checked_slot(slot: Slot) -> Slot:
    """A slot on a chain, if its account and number can be of one. Raises ``MalformedError``."""
    if not is_slot_account(slot.chain, slot.account):
        raise MalformedError(f"slot: {slot.account!r} is no account of a slot on {slot.chain}")
    nonce_max = NONCE_MAX[family(slot.chain)]
    if slot.nonce > nonce_max and (slot.on_chain or slot.nonce < DIGEST_SLOT_MIN):
        raise MalformedError(f"slot: nonce {slot.nonce} is above {nonce_max}")
    return slot


class Approval(Struct, frozen=True, gc=False):
    """One operator's yes. ``request``, ``policy``, ``calldata_hash`` and ``approval_id`` are 32 bytes."""

    origin: str
    request: bytes
    intent: Intent
    calldata_hash: bytes
    fee_ceiling: int
    slot: Slot
    policy: bytes
    expires_ms: int
    approval_id: bytes
    operator: str

    def body(self) -> dict[str, Json]:
        """The document that is hashed and logged; ``parse_approval`` is its inverse."""
        return {
            "origin": self.origin,
            "request": self.request.hex(),
            "intent": {**self.intent.to_json(), "calldata_hash": self.calldata_hash.hex()},
            "fee_ceiling": str(self.fee_ceiling),
            "slot": self.slot.to_json(),
            "policy": self.policy.hex(),
            "expires_ms": self.expires_ms,
            "approval_id": self.approval_id.hex(),
            "operator": self.operator,
        }


class Assertion(Struct, frozen=True, gc=False):
    """What an authenticator answers: its data, the browser's ``clientDataJSON``, a DER signature."""

    authenticator_data: bytes
    client_data: bytes
    signature: bytes

    def body(self) -> Json:
        """The assertion as it stands in documents; ``parse_assertion`` is its inverse."""
        return {
            "authenticator_data": self.authenticator_data.hex(),
            "client_data": self.client_data.hex(),
            "signature": self.signature.hex(),
        }


@dataclass(frozen=True, slots=True)
class Credential:
    """An operator's passkey as the roster holds it: ``public_key`` is an uncompressed P-256 point.

    Raises ``MalformedError`` when a field is empty, too long, or no point of the curve.
    """

    id: bytes
    public_key: bytes
    rp_id: str
    origins: tuple[str, ...]

    def __post_init__(self) -> None:
        if not 1 <= len(self.id) <= CREDENTIAL_ID_BYTES_MAX:
            raise MalformedError(f"credential id of {len(self.id)} bytes, not 1 to {CREDENTIAL_ID_BYTES_MAX}")
        if not self.rp_id or not self.origins:
            raise MalformedError("credential names no relying party or no origin")
        _public_key(self.public_key)

    def signed(self, message: bytes, signature: bytes) -> bool:
        """Whether ``signature`` is this passkey's ES256 signature (DER) over ``message``."""
        try:
            _public_key(self.public_key).verify(signature, message, ec.ECDSA(hashes.SHA256()))
        except InvalidSignature:
            return False
        return True


def parse_approval(body: Json) -> Approval:
    """Read a received approval strictly. Raises ``MalformedError``; proves nothing about who said it."""
    fields = Fields(body, "approval")
    intent_fields = fields.nested("intent")
    approval = Approval(
        origin=fields.origin("origin"),
        request=fields.hex("request", length=ID_BYTES),
        intent=read_intent(intent_fields),
        calldata_hash=intent_fields.hex("calldata_hash", length=ID_BYTES),
        fee_ceiling=fields.amount("fee_ceiling"),
        slot=read_slot(fields.nested("slot")),
        policy=fields.hex("policy", length=ID_BYTES),
        expires_ms=fields.integer("expires_ms"),
        approval_id=fields.hex("approval_id", length=ID_BYTES),
        operator=fields.name("operator"),
    )
    intent_fields.done()
    fields.done()
    return checked_approval(approval)


def checked_approval(approval: Approval) -> Approval:
    """An approval whose fields fit together, each of them checked before. Raises ``MalformedError``."""
    if approval.slot.chain != approval.intent.chain:
        raise MalformedError(
            f"approval: slot is on {approval.slot.chain}, but the intent is on {approval.intent.chain}"
        )
    return approval


def approval_digest(body: Json) -> bytes:
    """The 32 bytes an operator's passkey signs as its challenge."""
    return document_hash("approval", body)


def comparison_digest(approval: Approval) -> bytes:
    """What two screens show of one payment, for a person to compare.

    It is the approval less who gives it, its id and its expiry, which differ each time it is drawn up. Nobody
    signs it.
    """
    body = approval.body()
    return document_hash("approval-shown", {name: body[name] for name in COMPARED})


def parse_assertion(body: Json) -> Assertion:
    """Read a received assertion within its bounds. Raises ``MalformedError``; verifies nothing."""
    fields = Fields(body, "assertion")
    assertion = Assertion(
        authenticator_data=fields.hex("authenticator_data", length_max=AUTHENTICATOR_DATA_BYTES_MAX),
        client_data=fields.hex("client_data", length_max=CLIENT_DATA_BYTES_MAX),
        signature=fields.hex("signature", length_max=SIGNATURE_BYTES_MAX),
    )
    fields.done()
    return assertion


def verify_assertion(assertion: Assertion, *, credential: Credential, challenge: bytes) -> int:
    """Check a WebAuthn assertion over ``challenge`` and return the authenticator's sign counter.

    Raises ``MalformedError`` for bytes no authenticator or browser produces and
    ``InvalidSignatureError`` for a well-formed assertion that is not this passkey's, verified by its
    user, on one of its origins, for this challenge. The counter is 0 for most passkeys; it is no
    input of the fold.
    """
    _check_client_data(assertion.client_data, credential.origins, challenge)
    counter = _check_authenticator_data(assertion.authenticator_data, credential.rp_id)
    if not 1 <= len(assertion.signature) <= SIGNATURE_BYTES_MAX:
        raise MalformedError(
            f"assertion signature has {len(assertion.signature)} bytes, at most {SIGNATURE_BYTES_MAX}"
        )
    message = assertion.authenticator_data + hashlib.sha256(assertion.client_data).digest()
    if not credential.signed(message, assertion.signature):
        raise InvalidSignatureError("assertion signature does not verify under the operator's passkey")
    return counter


def challenge_text(challenge: bytes) -> str:
    """A challenge as ``clientDataJSON`` carries it: base64url without padding."""
    return base64.urlsafe_b64encode(challenge).rstrip(b"=").decode()


def read_slot(fields: Fields) -> Slot:
    """What a transaction takes, from its three fields. Raises ``MalformedError``."""
    chain = fields.chain("chain")
    slot = Slot(chain, fields.text("account", length_max=SLOT_ACCOUNT_MAX), fields.amount("nonce"))
    fields.done()
    return checked_slot(slot)


def _public_key(data: bytes) -> ec.EllipticCurvePublicKey:
    if len(data) != PUBLIC_KEY_BYTES:
        raise MalformedError(
            f"credential key has {len(data)} bytes, an uncompressed P-256 point has {PUBLIC_KEY_BYTES}"
        )
    try:
        return ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), data)
    except ValueError as error:
        raise MalformedError(f"credential key is no uncompressed P-256 point: {error}") from error


def _check_client_data(client_data: bytes, origins: tuple[str, ...], challenge: bytes) -> None:
    fields = _client_data(client_data)
    expected = challenge_text(challenge)
    if fields.get("type") != "webauthn.get":
        raise InvalidSignatureError(f"assertion type is {_short(fields.get('type'))}, not 'webauthn.get'")
    if fields.get("challenge") != expected:
        raise InvalidSignatureError(
            f"assertion is over challenge {_short(fields.get('challenge'))}, not {expected!r}: "
            "it approves something else"
        )
    if fields.get("origin") not in origins:
        raise InvalidSignatureError(f"assertion comes from origin {_short(fields.get('origin'))}")
    if fields.get("crossOrigin", False) is not False or "topOrigin" in fields:
        raise InvalidSignatureError("assertion was made inside a frame of another origin")


def _client_data(client_data: bytes) -> dict[str, object]:
    if len(client_data) > CLIENT_DATA_BYTES_MAX:
        raise MalformedError(f"clientDataJSON has {len(client_data)} bytes, at most {CLIENT_DATA_BYTES_MAX}")
    try:
        value = json.loads(
            client_data.decode("utf-8"), object_pairs_hook=_distinct, parse_constant=_no_constant
        )
    except (ValueError, RecursionError) as error:
        raise MalformedError(f"clientDataJSON is not JSON: {error}") from error
    if not isinstance(value, dict):
        raise MalformedError("clientDataJSON is not an object")
    return value


def _check_authenticator_data(data: bytes, rp_id: str) -> int:
    if not AUTHENTICATOR_DATA_BYTES_MIN <= len(data) <= AUTHENTICATOR_DATA_BYTES_MAX:
        raise MalformedError(
            f"authenticatorData has {len(data)} bytes, not {AUTHENTICATOR_DATA_BYTES_MIN} "
            f"to {AUTHENTICATOR_DATA_BYTES_MAX}"
        )
    flags = data[32]
    if data[:32] != hashlib.sha256(rp_id.encode()).digest():
        raise InvalidSignatureError(f"assertion is for another relying party than {rp_id!r}")
    if flags & _ATTESTED_CREDENTIAL:
        raise MalformedError("authenticatorData of an assertion must not carry an attested credential")
    if bool(flags & _EXTENSIONS) != (len(data) > AUTHENTICATOR_DATA_BYTES_MIN):
        raise MalformedError("authenticatorData's length does not agree with its extensions flag")
    if flags & _BACKED_UP and not flags & _BACKUP_ELIGIBLE:
        raise MalformedError("authenticatorData says backed up, but not eligible for backup")
    if not flags & _USER_PRESENT:
        raise InvalidSignatureError("the authenticator did not see its user (flag UP)")
    if not flags & _USER_VERIFIED:
        raise InvalidSignatureError("the authenticator did not verify its user (flag UV)")
    return int.from_bytes(data[33:37], "big")


def _distinct(pairs: list[tuple[str, object]]) -> dict[str, object]:
    fields = dict(pairs)
    if len(fields) != len(pairs):
        raise ValueError("a name occurs twice in one object")
    return fields


def _no_constant(text: str) -> NoReturn:
    raise ValueError(f"{text} is not JSON")


def _short(value: object) -> str:
    return repr(value)[:64]
