"""``request sweep``: all that a wallet has to another own wallet, tokens first, the native asset last."""

import asyncio
from argparse import Namespace
from collections.abc import Mapping

from cli.connection import STALE, Connection, caller, load_connection
from cli.psbts import sweep_coins
from cli.results import DONE, REFUSED, Document, Misuse, Result
from policy.ids import BITCOIN, EVM, family
from policy.model import Asset, Wallet


def sweep(arguments: Namespace) -> Result:
    """Ask for it, each asset once; what is left of the native asset is at most a fee ceiling a request.

    Amounts are read from a chain node of the caller's own. That the destination is an own account of the same
    tier the nodes see for themselves: by a rule of sweeps nothing else is paid.
    """
    from cli.main import invoke

    connection, identity = load_connection(arguments), caller(arguments)
    if _has_coins(connection, arguments):
        return sweep_coins(arguments)
    assets = _assets(connection, arguments)
    with connection.open(identity) as client:
        source, to = client.address(arguments.wallet, ""), client.address(arguments.to_wallet, "")
    held = asyncio.run(_balances(source.chain, arguments.rpc, account=source.address, assets=assets))
    asked: list[Document] = []
    for asset in [asset for asset in assets if held[asset.name]]:
        fees = (len(asked) + 1) * connection.policy.chains[asset.chain].fee_ceiling if asset.native else 0
        amount = held[asset.name] - fees
        if amount <= 0:
            continue
        sent = invoke(
            *("request", "send", "--wallet", arguments.wallet, "--asset", asset.name, "--to", to.address),
            *("--amount", str(amount), "--idempotency-key", f"{arguments.idempotency_key}.{asset.name}"),
            *(
                "--as",
                arguments.identity,
                "--client",
                arguments.client,
                "--expires-in",
                str(arguments.expires_in),
            ),
            *("--wait", str(arguments.wait)),
        )
        asked.append(sent.document)
    lines = [f"{one['request']}: {one['state']}" for one in asked]
    failed = any(one["state"] in ("denied", "failed", "expired", "cancelled") for one in asked)
    return Result(
        {"from": source.address, "to": to.address, "requests": asked},
        (*lines, "nothing is left to move" if not asked else "operators approve them: quorumkeep approve"),
        REFUSED if failed else DONE,
    )


def _has_coins(connection: Connection, arguments: Namespace) -> bool:
    return family(_ends(connection, arguments)[0].chain) == BITCOIN


def _ends(connection: Connection, arguments: Namespace) -> tuple[Wallet, Wallet]:
    """The two wallets, which are of one tier and chain."""
    wallets = connection.policy.wallets
    for name in (arguments.wallet, arguments.to_wallet):
        if name not in wallets:
            known = ", ".join(sorted(wallets))
            raise Misuse(f"the policy has no wallet {name[:64]!r}: it has {known}; {STALE}")
    source, to = wallets[arguments.wallet], wallets[arguments.to_wallet]
    if (source.tier, source.chain) != (to.tier, to.chain) or source == to:
        raise Misuse(
            f"{source.name} and {to.name} are not two wallets of one tier and chain: a sweep needs that"
        )
    return source, to


def _assets(connection: Connection, arguments: Namespace) -> list[Asset]:
    """What the source can hold: tokens first, for the native asset pays their fees."""
    source, _ = _ends(connection, arguments)
    if family(source.chain) != EVM or not arguments.rpc:
        raise Misuse(f"give the --rpc of a node of {source.chain}; EVM and Bitcoin are what is swept here")
    if len(source.paths) != 1:
        count = len(source.paths)
        raise Misuse(f"{source.name} has {count} accounts: policy retire-key gives each a wallet of its own")
    assets = [asset for asset in connection.policy.assets.values() if asset.chain == source.chain]
    return sorted(assets, key=lambda asset: (asset.native, asset.name))


async def _balances(chain: str, url: str, *, account: str, assets: list[Asset]) -> Mapping[str, int]:
    from custody.chains.evm.rpc import EvmRpc

    reading = EvmRpc(chain, url)
    try:
        await reading.check()
        return {asset.name: int(await reading.balance(account, asset.contract)) for asset in assets}
    finally:
        await reading.close()
