"""Bitcoin in the demo: a node on regtest with Bitcoin Core's own validation, P2TR keys by FROST."""

from pathlib import Path

from cli.demo.chains.bitcoin.node import CHAIN, BitcoinNode
from cli.demo.chains.family import Amounts, Family, pockets_of
from cli.programs import program
from policy.addresses import segwit_address
from policy.suites import FROST_TAPROOT

COIN = 10**8
HOT, WARM, DEPOSITS = pockets_of(
    "bitcoin", hot=("m/0/0", "m/0/1", "m/0/2", "m/0/3"), warm="m/0/0", deposits="m/0/0"
)


def command(folder: Path, port: int) -> list[str]:
    """A node that mines what waits, and keeps nothing over a restart."""
    place = folder / "bitcoin"
    place.mkdir(exist_ok=True)
    return program("cli.demo.chains.bitcoin.core_rpc", "--port", str(port), "--dir", str(place))


FAMILY = Family(
    name="bitcoin",
    chain=CHAIN,
    asset="btc",
    decimals=8,
    suite=FROST_TAPROOT,
    fee_ceiling=COIN // 1000,
    hot=HOT,
    warm=WARM,
    deposits=DEPOSITS,
    amounts=Amounts(
        deposited=COIN // 5,
        kept=COIN // 1000,
        small=COIN // 10,
        large=2 * COIN,
        moved=COIN // 2,
        daily_max=4 * COIN,
        funded=3 * COIN,
    ),
    customer=segwit_address(CHAIN, 1, program=bytes([0x33]) * 32),
    foreign=segwit_address("bitcoin:mainnet", 1, program=bytes([0x33]) * 32),
    process="bitcoin-node",
    command=command,
    network=BitcoinNode,
    settings="poll_ms = 200\ncoins_max = 8\n",
    needs=("embit", "pbk"),
)
