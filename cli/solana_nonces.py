"""``solana-nonce``: make the nonce accounts that a wallet pays by, out of somebody else's pocket.

Whoever pays may be anybody: what a nonce account is for is said by its authority alone, and that is the
wallet's key. No node signs. The accounts' addresses follow from the payer, the authority and a number, so the
same call makes what is missing and nothing twice.
"""

import asyncio
import hashlib
import json
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from cli.files import read_bytes
from cli.results import Misuse, Result
from custody.chains.solana.nonces import read_nonce
from custody.chains.solana.rpc import ACCOUNTS_MAX, COMMITMENTS, CONFIRMED, SolanaRpc, Status
from custody.chains.solana.transaction import NONCE_BYTES, nonce_address, nonce_creation, with_signature
from policy import base58
from policy.addresses import is_address, solana_address
from policy.errors import CallerError, OperationalError
from policy.ids import SOLANA, family

POLL_S, WAIT_S = 0.5, 90.0
KEY_FILE_BYTES, SECRET_BYTES = 64, 32


def make(arguments: Namespace) -> Result:
    """Make what is missing of a wallet's nonce accounts; the line for the coordinator's configuration."""
    chain, authority = arguments.chain, arguments.authority
    if not _is_solana(chain):
        raise Misuse(f"--chain {chain[:80]!r} is no cluster: write it as the policy does, as solana:mainnet")
    if not is_address(chain, authority):
        raise Misuse(
            f"{authority[:80]!r} is no address of {chain}: quorumkeep address WALLET shows the wallet's"
        )
    if not 1 <= arguments.count <= ACCOUNTS_MAX:
        raise Misuse(f"--count {arguments.count} is not from 1 to {ACCOUNTS_MAX}")
    payer = _read_key(Path(arguments.payer))
    rpc = SolanaRpc(chain, arguments.rpc, commitment=CONFIRMED)
    addresses, made = asyncio.run(_all(rpc, payer, authority=base58.decode(authority), count=arguments.count))
    document = {"chain": chain, "authority": authority, "nonce_accounts": addresses, "made": made}
    listed = ", ".join(f'"{address}"' for address in addresses)
    return Result(
        document,
        (
            f"{made} nonce accounts of {authority} were made, {len(addresses) - made} were there.",
            f'Put them under [chains."{chain}"] of the coordinator\'s configuration, and restart it:',
            f"nonce_accounts = [{listed}]",
        ),
    )


async def _all(
    rpc: SolanaRpc, payer: Ed25519PrivateKey, *, authority: bytes, count: int
) -> tuple[list[str], int]:
    """The addresses of all accounts, and how many had to be made."""
    public, label = payer.public_key().public_bytes_raw(), hashlib.sha256(authority).hexdigest()[:24]
    seeds = [f"{label}-{index}" for index in range(count)]
    addresses = [solana_address(nonce_address(public, seed)) for seed in seeds]
    missing = await _missing(rpc, addresses, authority=authority)
    for address in missing:
        seed = seeds[addresses.index(address)]
        await _make(rpc, payer, authority=authority, seed=seed)
    return addresses, len(missing)


async def _missing(rpc: SolanaRpc, addresses: Sequence[str], *, authority: bytes) -> list[str]:
    missing = []
    for address, account in zip(addresses, await rpc.accounts(addresses), strict=True):
        nonce = read_nonce(address, account)
        if account is None:
            missing.append(address)
        elif nonce is None or nonce.authority != authority:
            raise OperationalError(
                f"{address} is there and no nonce account of the wallet: make them with another payer"
            )
    return missing


async def _make(rpc: SolanaRpc, payer: Ed25519PrivateKey, *, authority: bytes, seed: str) -> None:
    message = nonce_creation(
        payer.public_key().public_bytes_raw(),
        authority,
        seed=seed,
        rent=await rpc.rent(NONCE_BYTES),
        blockhash=await rpc.blockhash(),
    )
    signature = payer.sign(message)
    await rpc.send(with_signature(message, signature))
    try:
        status = await asyncio.wait_for(_confirmed(rpc, signature), WAIT_S)
    except TimeoutError as error:
        raise OperationalError(
            f"transaction {base58.encode(signature)} is not confirmed after {WAIT_S:.0f} s: call this again"
        ) from error
    if not status.success:
        raise OperationalError(f"transaction {base58.encode(signature)} failed: look it up, fund the payer")


async def _confirmed(rpc: SolanaRpc, signature: bytes) -> Status:
    enough = COMMITMENTS.index(CONFIRMED)
    while (status := await rpc.status(signature)) is None or status.sure < enough:  # noqa: ASYNC110 - nobody tells
        await asyncio.sleep(POLL_S)
    return status


def _is_solana(chain: str) -> bool:
    try:
        return family(chain) == SOLANA
    except CallerError:
        return False


def _read_key(path: Path) -> Ed25519PrivateKey:
    """A key as ``solana-keygen`` keeps it: a list of 64 numbers, the secret and then the public key."""
    try:
        numbers = json.loads(read_bytes(path, "the payer's key"))
        data = bytes(numbers) if isinstance(numbers, list) else b""
    except (ValueError, TypeError, RecursionError):
        data = b""
    key = Ed25519PrivateKey.from_private_bytes(data[:SECRET_BYTES].ljust(SECRET_BYTES, b"\0"))
    if len(data) != KEY_FILE_BYTES or key.public_key().public_bytes_raw() != data[SECRET_BYTES:]:
        raise OperationalError(f"{path} is no key file of solana-keygen: give the payer's")
    return key
