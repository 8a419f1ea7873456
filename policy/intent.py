"""What a backend asks for: an intent, and the signed request around it.

An intent says what a transaction must do, in words a person can check; nodes decode the bytes
themselves and sign only what does exactly that. Amounts are in base units of the asset; a fee
ceiling is in base units of the chain's native asset.
"""

from msgspec import Struct

from policy.addresses import EVM_ADDRESS
from policy.bip32 import PATH_CHARACTERS_MAX, parse_path
from policy.decode.eip712 import domain_of, parse_typed_data
from policy.eddsa import KEY_BYTES, SIGNATURE_BYTES, is_signature
from policy.encoding import Json, document_hash, statement
from policy.errors import CallerError, InvalidSignatureError, MalformedError
from policy.fields import Fields
from policy.ids import AMOUNT_MAX, EVM, evm_chain_id, family
from policy.keccak import keccak256

IDEMPOTENCY_KEY_MAX = 64
ERC20_TRANSFER = bytes.fromhex("a9059cbb")
SELECTOR_BYTES, CALLDATA_BYTES_MAX, TYPED_DATA_BYTES_MAX = 4, 4096, 6 * 1024


def transfer_calldata(destination: str, amount: int) -> bytes:
    """The calldata of ERC-20 ``transfer(address,uint256)``. Raises ``CallerError`` outside its bounds."""
    if not EVM_ADDRESS.fullmatch(destination) or not 0 <= amount <= AMOUNT_MAX:
        raise CallerError(f"no transfer of {amount} to {destination[:64]!r} can be encoded")
    return ERC20_TRANSFER + bytes(12) + bytes.fromhex(destination[2:]) + amount.to_bytes(32, "big")


class Intent(Struct, frozen=True, gc=False):
    """A transfer of ``amount`` base units of ``asset`` out of ``wallet`` to ``destination``.

    For a token the destination is who receives it, never the contract. With ``calldata`` it is a call of the
    contract ``destination`` that is sent ``amount``, which may be 0, of the native asset. With ``typed_data``
    it is the signature of that canonical EIP-712 document for the contract ``destination``, which its domain
    names: nothing is sent, and ``amount`` is 0. With ``source``, a path of the wallet, the account there pays
    and no other.
    """

    chain: str
    wallet: str
    asset: str
    amount: int
    destination: str
    calldata: bytes | None = None
    typed_data: bytes | None = None
    source: str | None = None

    def calldata_hash(self, *, native: bool) -> bytes:
        """Keccak-256 of the only calldata that carries out this intent.

        A call's is its own, and in place of typed data's there is the EIP-712 digest that is signed. For a
        transfer, ``native`` says whether the policy in force calls the asset native (empty calldata) or an
        ERC-20 token (``transfer``); the approval binds the policy too. Only EVM chains have calldata.
        """
        if self.typed_data is not None:
            return parse_typed_data(self.typed_data).digest
        if self.calldata is not None:
            return keccak256(self.calldata)
        if native or family(self.chain) != EVM:
            return keccak256(b"")
        return keccak256(transfer_calldata(self.destination, self.amount))

    def to_json(self) -> dict[str, Json]:
        """The intent's fields as they stand in documents."""
        fields: dict[str, Json] = {
            "chain": self.chain,
            "wallet": self.wallet,
            "asset": self.asset,
            "amount": str(self.amount),
            "destination": self.destination,
        }
        if self.typed_data is not None:
            fields["typed_data"] = self.typed_data.hex()
        if self.source is not None:
            fields["source"] = self.source
        return fields if self.calldata is None else {**fields, "calldata": self.calldata.hex()}


class Request(Struct, frozen=True, gc=False):
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
    """Read an intent's five fields, and those it may have besides, of a document that may have more."""
    if fields.has("typed_data"):
        return _read_typed_data(fields)
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
        source=_read_source(fields),
    )


def _read_source(fields: Fields) -> str | None:
    if not fields.has("source"):
        return None
    where, source = fields.path("source"), fields.text("source", length_max=PATH_CHARACTERS_MAX)
    try:
        parse_path(source)
    except MalformedError as error:
        raise MalformedError(f"{where}: {error}") from error
    return source


def _read_typed_data(fields: Fields) -> Intent:
    """An intent to sign typed data: its domain names this chain and the destination, and nothing is moved."""
    chain, path = fields.chain("chain"), fields.path("typed_data")
    typed_data = fields.hex("typed_data", length_max=TYPED_DATA_BYTES_MAX)
    destination = fields.address("destination", chain=chain)
    if family(chain) != EVM:
        raise MalformedError(f"{path}: typed data is for a contract of an EVM chain, not of {chain}")
    if domain_of(parse_typed_data(typed_data)) != (evm_chain_id(chain), destination):
        raise MalformedError(f"{path}: the domain does not name {chain} and the contract {destination}")
    return Intent(
        chain=chain,
        wallet=fields.name("wallet"),
        asset=fields.name("asset"),
        amount=fields.amount("amount", high=0),
        destination=destination,
        typed_data=typed_data,
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
    return checked_request(request)


def checked_request(request: Request) -> Request:
    """A request whose fields fit together, each of them checked before. Raises ``MalformedError``."""
    if request.intent.typed_data is not None and request.fee_ceiling:
        raise MalformedError(f"request: typed data costs no fee, fee_ceiling {request.fee_ceiling} must be 0")
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
    if len(key) != KEY_BYTES:
        raise CallerError(f"a key of {len(key)} bytes is no Ed25519 public key, which has {KEY_BYTES}")
    if not is_signature(signature, request_message(body), key=key):
        raise InvalidSignatureError("request signature does not verify under the initiator's key")
