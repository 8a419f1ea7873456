"""Unsigned Bitcoin payments, and cancellations: PSBTs that spend P2TR or P2WPKH outputs of one wallet.

What is accepted, and nothing else: a PSBT as ``psbt`` reads it, whose inputs all spend outputs of the
source's accounts, in their order; one output to somebody else, and at most one, the change, to an address
of the same wallet; or several inputs and one output, to an address of the wallet, which makes one coin of
them. A cancellation has one input and one output, to an address of the wallet. The anchor is the first
input's outpoint: any two transactions that spend it conflict.

Taproot's hash commits to every amount spent; that of P2WPKH (BIP 143) to its own input's alone. There a
coordinator could have the inputs of one transaction signed by two PSBTs, each with a lie about another one,
take from each the signature that its lie does not touch, and burn the difference as fee. So several P2WPKH
inputs must each carry the transaction that made them; one alone signs its amount itself.

What is signed names neither network nor wallet; that an account is of one wallet on one of them is the
policy's rule.
"""

from policy.addresses import segwit_address
from policy.approval import Slot
from policy.bech32 import PROGRAM_BYTES
from policy.decode.decoded import Cancel, Refusal, Source, Transfer, Undecodable, require
from policy.decode.psbt import Output, Transaction, parse_psbt, signature_hash

_OP_1 = 0x51
_P2WPKH_BYTES = 22


def decode(tx: bytes, source: Source) -> Transfer | Undecodable:
    """Say what the PSBT ``tx`` pays, or why it is not a payment we sign. Total: any bytes give an answer."""
    try:
        found = _transaction(tx, source)
        paid = _paid(found, source)
    except Refusal as refusal:
        return Undecodable(str(refusal))
    return Transfer(
        anchor=_anchor(found, source),
        contract=None,
        recipient=_address(paid, source.chain),
        amount=paid.amount,
        fee_max=found.fee,
        messages=_messages(found),
    )


def decode_cancel(tx: bytes, source: Source) -> Cancel | Undecodable:
    """Say which outpoint the PSBT ``tx`` uses up while everything but the fee stays in the wallet."""
    try:
        found = _transaction(tx, source)
        addresses = [_address(one, source.chain) for one in found.outputs]
        require(len(addresses) == 1, f"a cancellation has one output, got {len(addresses)}")
        require(len(found.inputs) == 1, f"a cancellation has one input, got {len(found.inputs)}")
        require(source.owns(addresses[0]), f"{addresses[0]} is no address of the wallet")
    except Refusal as refusal:
        return Undecodable(str(refusal))
    return Cancel(_anchor(found, source), found.fee, _messages(found))


def _transaction(tx: bytes, source: Source) -> Transaction:
    found = parse_psbt(tx)
    accounts = source.accounts
    require(
        len(found.inputs) == len(accounts),
        f"{len(found.inputs)} inputs, the reservation names {len(accounts)} accounts",
    )
    for index, (one, account) in enumerate(zip(found.inputs, accounts, strict=True)):
        address = _address(one.spent, source.chain)
        require(address == account.address, f"input {index} spends from {address}, not {account.address}")
        require(one.spent.script[0] == _OP_1 or len(one.spent.script) == _P2WPKH_BYTES, f"{address} is P2WSH")
    require(found.fee >= 0, f"the outputs are {-found.fee} satoshi above the inputs")
    unproven = [one for one in found.inputs if one.spent.script[0] != _OP_1 and not one.proven]
    alone = len(found.inputs) == 1
    require(alone or not unproven, f"{len(unproven)} inputs come without the transaction that made them")
    return found


def _paid(tx: Transaction, source: Source) -> Output:
    """The one output to somebody else; or the only one, to the wallet itself, that several coins become."""
    foreign = [one for one in tx.outputs if not source.owns(_address(one, source.chain))]
    if not foreign and len(tx.outputs) == 1 and len(tx.inputs) > 1:
        return tx.outputs[0]
    require(len(foreign) == 1, f"{len(foreign)} outputs pay somebody else, a payment has one")
    return foreign[0]


def _anchor(tx: Transaction, source: Source) -> Slot:
    return Slot(source.chain, tx.inputs[0].outpoint_text, 0)


def _messages(tx: Transaction) -> tuple[bytes, ...]:
    return tuple(signature_hash(tx, index) for index in range(len(tx.inputs)))


def _address(output: Output, chain: str) -> str:
    """The segwit address of an output's script: a version, then one push of the program."""
    script = output.script
    require(len(script) > 2 and script[0] in (0, _OP_1), "a script is not P2WPKH, P2WSH or P2TR")
    version, program = int(script[0] == _OP_1), script[2:]
    require(
        script[1] == len(program) and len(program) in PROGRAM_BYTES[version],
        "a script is not P2WPKH, P2WSH or P2TR",
    )
    return segwit_address(chain, version, program=program)
