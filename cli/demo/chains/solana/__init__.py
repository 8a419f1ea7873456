"""Solana in the demo: LiteSVM behind the RPC's names, one Ed25519 key by FROST for each wallet."""

import json
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from cli.demo.chains.family import Amounts, Family, pockets_of
from cli.demo.chains.solana.node import SolanaNode
from cli.files import write_bytes
from cli.main import invoke
from cli.programs import program
from policy.addresses import solana_address
from policy.suites import FROST_ED25519

CHAIN = "solana:localnet"
SOL = 10**9
NONCES_A_WALLET = 2
HOT, WARM, DEPOSITS = pockets_of("solana", hot=("m",), warm="m", deposits="m")


def command(folder: Path, port: int) -> list[str]:
    """A cluster that makes slots while something is to be done, and keeps nothing over a restart."""
    return program("cli.demo.chains.solana.cluster_rpc", "--port", str(port))


def nonce_accounts(folder: Path, port: int, *payers: str) -> str:
    """Have an outsider make nonce accounts of each paying wallet; the settings that name them."""
    key, outsider = folder / "solana-payer.json", Ed25519PrivateKey.generate()
    public = outsider.public_key().public_bytes_raw()
    write_bytes(key, json.dumps(list(outsider.private_bytes_raw() + public)).encode(), mode=0o600)
    SolanaNode(port).pay(solana_address(public), SOL)
    made: list[str] = []
    for address in payers:
        options = ("--chain", CHAIN, "--rpc", f"http://127.0.0.1:{port}", "--payer", str(key))
        done = invoke("solana-nonce", address, *options, "--count", str(NONCES_A_WALLET))
        made += done.document["nonce_accounts"]
    return f"poll_ms = 200\nnonce_accounts = {json.dumps(made)}\n"


FAMILY = Family(
    name="solana",
    chain=CHAIN,
    asset="sol",
    decimals=9,
    suite=FROST_ED25519,
    fee_ceiling=100_000,
    hot=HOT,
    warm=WARM,
    deposits=DEPOSITS,
    amounts=Amounts(
        deposited=2 * SOL,
        kept=5_000,  # less than its rent cannot be left on an account, but nothing at all can
        small=SOL,
        large=20 * SOL,
        moved=5 * SOL,
        daily_max=40 * SOL,
        funded=50 * SOL,
    ),
    customer=solana_address(bytes([0x33]) * 32),
    foreign="0x8ba1f109551bd432803012645ac136ddd64dba72",
    process="solana-cluster",
    command=command,
    network=SolanaNode,
    settings_later=nonce_accounts,
    needs=("solders",),
    observing="",  # what is final is
)
