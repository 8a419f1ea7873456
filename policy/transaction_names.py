"""What a chain calls the transaction of a signed job: who says that it settled has to name this one."""

from policy.decode.decoded import Refusal
from policy.decode.psbt import bare, parse_psbt, txid
from policy.decode.rlp_list import decode_list, encode_list, payload_of
from policy.errors import MalformedError
from policy.ids import BITCOIN, EVM, SOLANA, family
from policy.keccak import keccak256
from policy.state import Job

_TYPE_EIP1559 = b"\x02"
_LEGACY_SIGNED, _LEGACY_V = 6, 35


def transaction_name(job: Job) -> bytes:
    """32 bytes, on Solana 64, of a job with all its signatures.

    Raises ``MalformedError`` for what no chain takes, such as typed data.
    """
    if not job.anchor.on_chain:
        raise MalformedError("typed data has no transaction")
    return _NAMES[family(job.anchor.chain)](job)


def evm_name(tx: bytes, signature: bytes) -> bytes:
    """The hash of EIP-1559's or EIP-155's unsigned transaction with its signature: r, s and recovery id."""
    r, s, recovery_id = signature[:32].lstrip(b"\0"), signature[32:64].lstrip(b"\0"), signature[64]
    if recovery_id > 1:
        raise MalformedError(f"a transaction's recovery id is 0 or 1, not {recovery_id}")
    if tx[:1] == _TYPE_EIP1559:
        parity = bytes([recovery_id]) if recovery_id else b""
        return keccak256(_TYPE_EIP1559 + encode_list((parity, r, s), before=payload_of(tx[1:])))
    items = [one for one in decode_list(tx) if isinstance(one, bytes)]
    v = _LEGACY_V + recovery_id + 2 * int.from_bytes(items[_LEGACY_SIGNED], "big")
    signed = (v.to_bytes((v.bit_length() + 7) // 8, "big"), r, s)
    return keccak256(encode_list([*items[:_LEGACY_SIGNED], *signed]))


def _evm(job: Job) -> bytes:
    (signature,) = job.signatures
    return evm_name(job.tx, signature)


def _bitcoin(job: Job) -> bytes:
    """The txid, in the order that people read; no witness is in it."""
    try:
        return txid(bare(parse_psbt(job.tx)))[::-1]
    except Refusal as refusal:
        raise MalformedError(f"it is no PSBT that is signed here: {refusal}") from refusal


def _solana(job: Job) -> bytes:
    """The first signature."""
    return job.signatures[0]


_NAMES = {EVM: _evm, BITCOIN: _bitcoin, SOLANA: _solana}
