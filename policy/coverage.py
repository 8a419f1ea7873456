"""Reserves against what is owed, asset by asset, and what each tier has of all: never more than is shown."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from policy.encoding import Json
from policy.liabilities import Published
from policy.reserves import Held, WalletShown
from policy.state import State
from policy.worth import lowest

WHOLE_BP: Final = 10_000
COVERED: Final = "proven wallets hold at least what is owed"
ONLY_STATED: Final = "only together with wallets that proved nothing is it as much as is owed"
SHORT: Final = "less is shown than is owed"
NOT_TOLD: Final = "what is owed is not told"


@dataclass(frozen=True, slots=True)
class AssetShown:
    """What proven wallets hold at least and what others do; of ``unknown`` nothing is stated."""

    asset: str
    proven: int
    stated_only: int
    unknown: tuple[str, ...]
    owed: int | None

    @property
    def says(self) -> str:
        """What that comes to."""
        if self.owed is None:
            return NOT_TOLD
        if self.proven >= self.owed:
            return COVERED
        return ONLY_STATED if self.proven + self.stated_only >= self.owed else SHORT

    def to_json(self) -> Json:
        """The document; what is not told is left out."""
        owed: dict[str, Json] = {} if self.owed is None else {"owed": str(self.owed)}
        return {
            "asset": self.asset,
            "proven": str(self.proven),
            "stated_only": str(self.stated_only),
            "unknown": list(self.unknown),
            "says": self.says,
            **owed,
        }


@dataclass(frozen=True, slots=True)
class TierShown:
    """What a tier is worth at least, and its share of all; None where a price or a statement is missing."""

    tier: str
    value: int | None
    share_bp: int | None

    def to_json(self) -> Json:
        """The document; what is not known is left out."""
        value: dict[str, Json] = {} if self.value is None else {"value": str(self.value)}
        share: dict[str, Json] = {} if self.share_bp is None else {"share_bp": self.share_bp}
        return {"tier": self.tier, **value, **share}


def by_asset(
    wallets: Sequence[WalletShown], held: Sequence[Held], *, published: Published | None
) -> list[AssetShown]:
    """Every asset that is held or owed."""
    proven = {shown.wallet.name for shown in wallets if not shown.why}
    owed = {name: one.top.total for name, one in published.assets.items()} if published else {}
    found = []
    for asset in sorted({one.asset for one in held} | owed.keys()):
        mine = [one for one in held if one.asset == asset]
        shown, stated = (
            sum(one.least or 0 for one in mine if (one.wallet in proven) is which) for which in (True, False)
        )
        unknown = tuple(one.wallet for one in mine if one.least is None)
        found.append(AssetShown(asset, shown, stated, unknown, owed.get(asset)))
    return found


def by_tier(state: State, held: Sequence[Held]) -> list[TierShown]:
    """Every tier of the policy, by its wallets."""
    tiers = dict.fromkeys(wallet.tier for wallet in state.policy.wallets.values())
    values = {tier: _value(state, held, tier) for tier in tiers}
    known = [value for value in values.values() if value is not None]
    total = sum(known) if len(known) == len(values) else 0
    return [
        TierShown(tier, value, value * WHOLE_BP // total if value is not None and total else None)
        for tier, value in values.items()
    ]


def _value(state: State, held: Sequence[Held], tier: str) -> int | None:
    total = 0
    for one in held:
        if state.policy.wallets[one.wallet].tier == tier:
            worth = None if one.least is None else _worth(state, one.asset, one.least)
            if worth is None:
                return None
            total += worth
    return total


def _worth(state: State, asset: str, amount: int) -> int | None:
    return lowest(state, asset, amount=amount, time_ms=state.time_ms)
