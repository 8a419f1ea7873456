"""What a backend asks for: an intent, and the signed request around it.

An intent says what a transaction must do, in words a person can check; nodes decode the bytes
themselves and sign only what does exactly that. Amounts are in base units of the asset; a fee
ceiling is in base units of the chain's native asset.
"""

from dataclasses import dataclass

import sha3
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from policy.addresses import EVM_ADDRESS
from policy.encoding import Json, document_hash, statement
from policy.errors import CallerError, InvalidSignatureError, MalformedError
from policy.fields import Fields
from policy.ids import AMOUNT_MAX, EVM, family

IDEMPOTENCY_KEY_MAX = 64
ERC20_TRANSFER = bytes.fromhex("a9059cbb")
SIGNATURE_BYTES = 64
SELECTOR_BYTES, CALLDATA_BYTES_MAX = 4, 4096


def keccak256(data: bytes) -> bytes:
    """Ethereum's Keccak-256, which is not SHA3-256."""
    return bytes(sha3.keccak_256(data).digest())


def transfer_calldata(destination: str, amount: int) -> bytes:
    """The calldata of ERC-20 ``transfer(address,uint256)``. Raises ``CallerError`` outside its bounds."""
    if not EVM_ADDRESS.fullmatch(destination) or not 0 <= amount <= AMOUNT_MAX:
        raise CallerError(f"no transfer of {amount} to {destination[:64]!r} can be encoded")
    return ERC20_TRANSFER + bytes(12) + bytes.fromhex(destination[2:]) + amount.to_bytes(32, "big")


@dataclass(frozen=True, slots=True)
class Intent:
    """A transfer of ``amount`` base units of ``asset`` out of ``wallet`` to ``destination``.

    For a token the destination is who receives it, never the contract. With ``calldata`` it is a call of the
    contract ``destination`` that is sent ``amount``, which may be 0, of the native asset.
    """

    chain: str
    wallet: str
    asset: str
    amount: int
    destination: str
    calldata: bytes | None = None

    def calldata_hash(self, *, native: bool) -> bytes:
        """Keccak-256 of the only calldata that carries out this intent.

        A call's is its own. For a transfer, ``native`` says whether the policy in force calls the asset
        native (empty calldata) or an ERC-20 token (``transfer``); the approval binds the policy too.
        """
        if self.calldata is not None:
            return keccak256(self.calldata)
        return keccak256(b"" if native else transfer_calldata(self.destination, self.amount))

    def to_json(self) -> dict[str, Json]:
        """The intent's fields as they stand in documents."""
        fields: dict[str, Json] = {
            "chain": self.chain,
            "wallet": self.wallet,
            "asset": self.asset,
            "amount": str(self.amount),
            "destination": self.destination,
        }
        return fields if self.calldata is None else {**fields, "calldata": self.calldata.hex()}


@dataclass(frozen=True, slots=True)
class Request:
    """What one backend asks for once: ``idempotency_key`` names it among that initiator's requests."""

    origin: str
    initiator: str
    intent: Intent
    fee_ceiling: int
    idempotency_key: str
    created_ms: int
    expires_ms: int

    def body(self) -> Json:
        """The document that is signed and logged; ``parse_request`` is its inverse."""
        return {
            "origin": self.origin,
            "initiator": self.initiator,
            **self.intent.to_json(),
            "fee_ceiling": str(self.fee_ceiling),
            "idempotency_key": self.idempotency_key,
            "created_ms": self.created_ms,
            "expires_ms": self.expires_ms,
        }


def read_intent(fields: Fields) -> Intent:
    """Read an intent's five fields, and a call's sixth, out of a document that may have more."""
    chain = fields.chain("chain")
    calldata = None
    if fields.has("calldata"):
        path = fields.path("calldata")
        calldata = fields.hex("calldata", length_max=CALLDATA_BYTES_MAX)
        if family(chain) != EVM or len(calldata) < SELECTOR_BYTES:
            raise MalformedError(
                f"{path}: a call is of an EVM contract, and begins with its method's selector"
            )
    return Intent(
        chain=chain,
        wallet=fields.name("wallet"),
        asset=fields.name("asset"),
        amount=fields.amount("amount", low=1 if calldata is None else 0),
        destination=fields.address("destination", chain=chain),
        calldata=calldata,
    )


def parse_request(body: Json) -> Request:
    """Read a received request strictly. Raises ``MalformedError``; proves nothing about who sent it."""
    fields = Fields(body, "request")
    request = Request(
        origin=fields.origin("origin"),
        initiator=fields.name("initiator"),
        intent=read_intent(fields),
        fee_ceiling=fields.amount("fee_ceiling"),
        idempotency_key=fields.text("idempotency_key", length_max=IDEMPOTENCY_KEY_MAX),
        created_ms=fields.integer("created_ms"),
        expires_ms=fields.integer("expires_ms"),
    )
    fields.done()
    if request.expires_ms <= request.created_ms:
        raise MalformedError(
            f"request: expires_ms {request.expires_ms} must be after created_ms {request.created_ms}"
        )
    return request


def request_id(body: Json) -> bytes:
    """The 32-byte id of a request: the hash of the whole document, so no field can differ under one id."""
    return document_hash("request", body)


def request_message(body: Json) -> bytes:
    """The bytes a backend's Ed25519 key signs, the same through every door."""
    return statement("request", body)


def verify_request(body: Json, signature: bytes, *, key: bytes) -> None:
    """Check the initiator's Ed25519 signature over ``body`` under the 32-byte ``key`` from the roster.

    Raises ``InvalidSignatureError``. Says nothing about whether the request is well-formed, fresh
    or new: call ``parse_request`` and look into the log for that.
    """
    if len(signature) != SIGNATURE_BYTES:
        raise InvalidSignatureError(f"request signature has {len(signature)} bytes, Ed25519 has 64")
    try:
        public_key = Ed25519PublicKey.from_public_bytes(key)
    except ValueError as error:
        raise CallerError(f"key of {len(key)} bytes is no Ed25519 public key: {error}") from error
    try:
        public_key.verify(signature, request_message(body))
    except InvalidSignature as error:
        raise InvalidSignatureError("request signature does not verify under the initiator's key") from error
