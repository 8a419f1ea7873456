"""EVM in the demo: anvil. Its fourteen scenes stand in ``cli.demo``; the road adds deposits."""

from pathlib import Path

from cli.demo import policy as names
from cli.demo.chain import CHAIN, CHAIN_ID, ETHER, DemoChain, anvil_program
from cli.demo.chains.family import Amounts, Family, Pocket
from policy.addresses import segwit_address
from policy.suites import DKLS23_SECP256K1


def command(folder: Path, port: int) -> list[str]:
    """Anvil with one account, which keeps what it has over a restart."""
    return [
        str(anvil_program(Path(__file__).resolve())),
        *("--host", "127.0.0.1", "--port", str(port)),
        *("--chain-id", str(CHAIN_ID), "--accounts", "1"),
        *("--state", str(folder / "chain.json"), "--state-interval", "1"),
    ]


FAMILY = Family(
    name="evm",
    chain=CHAIN,
    asset=names.ETH,
    decimals=18,
    suite=DKLS23_SECP256K1,
    fee_ceiling=names.FEE_CEILING,
    hot=Pocket(names.WALLET, names.HOT, names.KEY, (names.PATH_PLAIN, *names.PATHS_APPROVED)),
    warm=Pocket(names.WARM, names.WARM, names.WARM, (names.PATH_DEEP,)),
    deposits=Pocket("deposits", names.HOT, names.KEY, ("m/1/0",)),
    amounts=Amounts(
        deposited=ETHER // 4,
        kept=names.FEE_CEILING,
        small=ETHER // 2,
        large=40 * ETHER,
        moved=ETHER,
        daily_max=names.DAILY_MAX,
        funded=0,  # by scenario.fund
    ),
    customer=names.CUSTOMER,
    foreign=segwit_address("bitcoin:mainnet", 1, program=bytes([0x33]) * 32),
    process="anvil",
    command=command,
    network=DemoChain,
)
