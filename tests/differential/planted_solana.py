"""Decoders of Solana with one flaw each: one check that is not made, one part that is not counted."""

from collections.abc import Callable, Sequence
from hashlib import sha256

from solders.compute_budget import ID as BUDGET
from solders.instruction import AccountMeta, Instruction
from solders.message import Message
from solders.pubkey import Pubkey
from solders.system_program import ID as SYSTEM
from solders.token import ID as TOKENS

from policy.decode import solana
from policy.decode.decoded import Decoder, Transfer
from policy.values import replace
from tests.differential.flawed import Flawed
from tests.unit.solana_house import TOKEN_ACCOUNTS, account_of

Change = Callable[[list[Instruction]], list[Instruction]]
RENT, BASE = 2_039_280, 5_000


def _instructions(tx: bytes) -> list[Instruction]:
    """What a message does; nothing unless these instructions alone give its bytes."""
    try:
        message = Message.from_bytes(tx)
        keys, header = message.account_keys, message.header
        signers, count = header.num_required_signatures, len(keys)
        made = [
            Instruction(
                keys[one.program_id_index],
                bytes(one.data),
                [
                    AccountMeta(
                        keys[place],
                        is_signer=place < signers,
                        is_writable=place < signers - header.num_readonly_signed_accounts
                        or signers <= place < count - header.num_readonly_unsigned_accounts,
                    )
                    for place in one.accounts
                ],
            )
            for one in message.instructions
        ]
        return made if _message(tx, made) == tx else []
    except (ValueError, IndexError):
        return []


def _message(tx: bytes, instructions: Sequence[Instruction]) -> bytes:
    message = Message.from_bytes(tx)
    return bytes(Message.new_with_blockhash(instructions, message.account_keys[0], message.recent_blockhash))


def _unchecked(change: Change) -> Decoder:
    """Reads the instructions as if they were the changed ones, and signs the bytes as they came."""

    def before(tx: bytes) -> bytes:
        made = _instructions(tx)
        return _message(tx, change(made)) if made else tx

    return Flawed(solana, before, lambda tx, found: replace(found, messages=(tx,)))


def _tokens(change: Callable[[Instruction, Instruction], tuple[Instruction, Instruction]]) -> Decoder:
    """Something is not looked at in the two instructions that pay tokens."""

    def changed(found: list[Instruction]) -> list[Instruction]:
        if len(found) < 3 or [len(one.accounts) for one in found[-2:]] != [6, 4]:
            return found
        return [*found[:-2], *change(*found[-2:])]

    return _unchecked(changed)


def _with(one: Instruction, place: int, key: Pubkey) -> Instruction:
    accounts = list(one.accounts)
    old = accounts[place]
    accounts[place] = AccountMeta(key, is_signer=old.is_signer, is_writable=old.is_writable)
    return Instruction(one.program_id, one.data, accounts)


def _own(one: Instruction, owner: int, mint: int) -> Pubkey:
    return account_of(bytes(one.accounts[owner].pubkey), bytes(one.accounts[mint].pubkey))


def _of(one: Instruction, *, program: Pubkey | None = None, data: bytes | None = None) -> Instruction:
    return Instruction(program or one.program_id, one.data if data is None else data, one.accounts)


def _first_payment(found: list[Instruction]) -> list[Instruction]:
    """What comes after a transfer of lamports is dropped."""
    paid = [
        place
        for place, one in enumerate(found)
        if one.program_id == SYSTEM and bytes(one.data)[:4] == b"\2\0\0\0"
    ]
    return found[: paid[0] + 1] if paid else found


def _pair_in_order(found: list[Instruction]) -> list[Instruction]:
    """The priority fee, whichever way round it stands."""
    if [one.program_id for one in found[1:3]] != [BUDGET, BUDGET]:
        return found
    return [found[0], *sorted(found[1:3], key=lambda one: bytes(one.data)), *found[3:]]


def _without_rights(found: list[Instruction]) -> list[Instruction]:
    """Owner and mint may be written, too."""
    return [
        Instruction(
            one.program_id,
            one.data,
            [
                AccountMeta(meta.pubkey, meta.is_signer, meta.is_writable and not (place in (2, 3) and six))
                for place, meta in enumerate(one.accounts)
            ],
        )
        for one in found
        for six in [len(one.accounts) == 6]
    ]


def _fee(change: Callable[[int, bool], int]) -> Decoder:
    """The greatest fee is another one; ``change`` is told whether an account for tokens is made."""

    def after(tx: bytes, found: Transfer) -> Transfer:
        return replace(found, fee_max=change(found.fee_max, found.contract is not None))

    return Flawed(solana, after=after)


def _keyed(tx: bytes) -> bytes:
    """The same tokens for an owner who has a key."""
    made = _instructions(tx)
    if len(made) < 3 or [len(one.accounts) for one in made[-2:]] != [6, 4]:
        return tx
    create, move = made[-2:]
    owner = create.accounts[2].pubkey
    while not owner.is_on_curve():
        owner = Pubkey(sha256(bytes(owner)).digest())
    account = account_of(bytes(owner), bytes(create.accounts[3].pubkey))
    paid = [_with(_with(create, 2, owner), 1, account), _with(move, 2, account)]
    return _message(tx, [*made[:-2], *paid])


def _unkeyed(tx: bytes, found: Transfer) -> Transfer:
    """The owner that the bytes name."""
    if found.contract is None or not (made := _instructions(tx)):
        return replace(found, messages=(tx,))
    return replace(found, messages=(tx,), recipient=str(made[-2].accounts[2].pubkey))


SOLANA_FLAWS: dict[str, Decoder] = {
    "what follows the transfer is not looked at": _unchecked(_first_payment),
    "the priority fee may stand either way round": _unchecked(_pair_in_order),
    "more accounts are written than have to be": _unchecked(_without_rights),
    "the priority fee is forgotten": _fee(lambda _, made: BASE + made * RENT),
    "the priority fee is rounded down": _fee(
        lambda fee, made: fee - (fee > BASE + made * RENT)  # in nearly every case a part of a lamport is left
    ),
    "the rent of a token account is forgotten": _fee(lambda fee, made: fee - made * RENT),
    "the account that is made is any": _tokens(lambda one, two: (_with(one, 1, _own(one, 2, 3)), two)),
    "the tokens go to any account": _tokens(lambda one, two: (one, _with(two, 2, one.accounts[1].pubkey))),
    "the tokens come from any account": _tokens(
        lambda one, two: (
            one,
            _with(two, 0, account_of(bytes(one.accounts[0].pubkey), bytes(one.accounts[3].pubkey))),
        )
    ),
    "the mint is only looked at once": _tokens(lambda one, two: (one, _with(two, 1, one.accounts[3].pubkey))),
    "any program moves tokens": _tokens(lambda one, two: (one, _of(two, program=TOKENS))),
    "any program makes accounts": _tokens(lambda one, two: (_of(one, program=TOKEN_ACCOUNTS), two)),
    "an account is made in any way": _tokens(lambda one, two: (_of(one, data=b"\x01"), two)),
    "tokens are moved in any way": _tokens(
        lambda one, two: (one, _of(two, data=b"\x0c" + (bytes(two.data)[1:] + bytes(9))[:9]))
    ),
    "an owner without a key is paid": Flawed(solana, _keyed, _unkeyed),
    "the mint is not told": Flawed(solana, after=lambda tx, found: replace(found, contract=None)),
    "decimals are not told": Flawed(solana, after=lambda tx, found: replace(found, decimals=None)),
    "the token account is taken for its owner": Flawed(
        solana,
        after=lambda tx, found: replace(
            found,
            recipient=found.recipient
            if found.contract is None
            else str(
                account_of(
                    bytes(Pubkey.from_string(found.recipient)), bytes(Pubkey.from_string(found.contract))
                )
            ),
        ),
    ),
    "amounts are cut to 32 bits": Flawed(
        solana, after=lambda tx, found: replace(found, amount=found.amount % 2**32)
    ),
    "the message is signed as it is read, without what follows": Flawed(
        solana, lambda tx: tx[:-1] if tx[-1:] == b"\0" else tx
    ),
}
UNFLAWED = _unchecked(lambda found: found)
