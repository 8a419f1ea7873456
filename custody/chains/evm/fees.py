"""What a transaction has to offer to take the place of another one. Pure."""

from custody.chains.evm.endpoint import Fees

GAS_CANCEL = 21_000


def raised(old: Fees, *, ceiling: int, market: Fees | None = None) -> Fees | None:
    """Fees at least 12.5 % above ``old`` a gas and not below the market's; None above the ceiling.

    Nodes of the chain drop a replacement that offers less. ``market`` also says how much gas.
    """
    gas = market.gas if market else old.gas
    affordable = ceiling // gas
    fee, priority = _eighth_more(old.fee_per_gas), _eighth_more(old.priority_per_gas)
    if fee > affordable:
        return None
    if market:
        fee = min(max(fee, market.fee_per_gas), affordable)
        priority = min(max(priority, market.priority_per_gas), fee)
    return Fees(fee_per_gas=fee, priority_per_gas=priority, gas=gas)


def _eighth_more(amount: int) -> int:
    return amount + max(1, -(-amount // 8))
