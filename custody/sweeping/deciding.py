"""What to sweep and what to top up, by what accounts hold and what came of earlier moves. Pure.

Rules: (1) an account with a move under way gets no other, so nothing is swept twice; (2) a move asks for no
more than its account holds less what it may cost; (3) tokens go first, and the gas that they need stays;
(4) what keeps failing is left alone, each time for twice as long; (5) the tank gives no more than it has.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from custody.rebalancing.moves import IN_FLIGHT
from custody.rebalancing.records import Account, Direction, Holdings, Move
from custody.sweeping.history import Past, failures, paused_until_ms, room, route_of, topped_up
from custody.sweeping.tasks import Asset, Sweep, Tank, Tasks


@dataclass(frozen=True, slots=True)
class Wish:
    """A payment to ask for. ``source`` is the path that is to pay, None where the coordinator chooses."""

    direction: Direction
    asset: Asset
    account: str
    wallet: str
    source: str | None
    amount_base: int
    fee_base: int
    to: str
    reason: str

    @property
    def route(self) -> str:
        """Its route in the records."""
        return route_of(self.asset.name, self.account)


@dataclass(frozen=True, slots=True)
class TankLevel:
    """What a tank's paying account holds, None if nobody knows; ``low`` says that people should fill it."""

    wallet: str
    asset: str
    held_base: int | None
    low: bool
    thirsty: int


@dataclass(frozen=True, slots=True)
class Decision:
    """What to ask for; how the tanks are; accounts that are left alone for now, and those nobody knows of."""

    wishes: tuple[Wish, ...]
    tanks: tuple[TankLevel, ...]
    paused: tuple[str, ...]
    unknown: int


class Sight:
    """What one look knows, and which accounts may be asked for something."""

    def __init__(self, tasks: Tasks, holdings: Holdings, *, past: Past, now_ms: int) -> None:
        self.tasks = tasks
        self.holdings = holdings
        self.past = past
        self.now_ms = now_ms
        self.closed = set(past.busy() | past.resting(holdings.time_ms, settle_ms=tasks.pace.settle_ms))
        self.paused: list[str] = []
        self._of: dict[tuple[str, str], list[Account]] = defaultdict(list)
        self._at: dict[tuple[str, str], Account] = {}
        for one in holdings.accounts:
            self._of[one.wallet, one.asset].append(one)
            if one.account:
                self._at[one.account, one.asset] = one
        self._moves: dict[tuple[Direction, str], list[Move]] = defaultdict(list)
        for move in past.moves:
            self._moves[move.direction, move.route].append(move)

    def accounts(self, wallet: str, asset: str) -> list[Account]:
        """The accounts of a wallet with what they hold of an asset, in the policy's order."""
        return self._of[wallet, asset]

    def at(self, account: str, asset: str) -> Account | None:
        """An asset at one account."""
        return self._at.get((account, asset))

    def held(self, account: str, asset: str) -> int | None:
        """What an account holds; None if nobody says."""
        found = self.at(account, asset)
        return None if found is None else found.balance_base

    def moves(self, direction: Direction, route: str) -> list[Move]:
        """Earlier moves of one account."""
        return self._moves[direction, route]

    def paid_at(self, wallet: str, asset: str) -> str:
        """Where a wallet is paid at; empty while its key is not made."""
        accounts = self._of[wallet, asset]
        return accounts[0].account if accounts else ""

    def failed(self, direction: Direction, route: str, *, held_base: int | None = None) -> int:
        """How many of an account's newest moves came to nothing."""
        return failures(self.moves(direction, route), held_base=held_base)

    def is_free(self, direction: Direction, route: str, *, failed: int) -> bool:
        """Whether an account may be asked for a move after so many failures; one that may not is noted."""
        until_ms = paused_until_ms(self.moves(direction, route), failed, pause_ms=self.tasks.pace.pause_ms)
        if self.now_ms < until_ms:
            self.paused.append(route)
            return False
        return route.partition("@")[2] not in self.closed

    def room(self, direction: Direction, asset: str) -> int:
        """How many moves of one sweep or tank may begin."""
        pace = self.tasks.pace
        moves = self.past.of(direction, asset)
        return room(moves, at_once=pace.at_once, pause_ms=pace.pause_ms, now_ms=self.now_ms)


def decide(tasks: Tasks, holdings: Holdings, *, past: Past, now_ms: int) -> Decision:
    """All that one look asks for: sweeps, then gas for what cannot be swept without."""
    sight = Sight(tasks, holdings, past=past, now_ms=now_ms)
    wishes: list[Wish] = []
    for sweep in sorted(tasks.sweeps, key=lambda one: one.asset.is_native):
        found = _coins(sight, sweep) if sweep.asset.by_coins else _emptied(sight, sweep)
        taken = list(found)[: sight.room(Direction.SWEEP, sweep.asset.name)]
        sight.closed.update(one.account for one in taken)
        wishes += taken
    levels = []
    for tank in tasks.tanks:
        filled, level = _topped_up(sight, tank)
        wishes += filled
        levels.append(level)
    unknown = sum(one.balance_base is None for one in holdings.accounts if one.wallet in _watched(tasks))
    return Decision(tuple(wishes), tuple(levels), tuple(dict.fromkeys(sight.paused)), unknown)


def _watched(tasks: Tasks) -> frozenset[str]:
    tanks = {name for tank in tasks.tanks for name in (tank.wallet, *tank.accounts)}
    return frozenset({sweep.wallet for sweep in tasks.sweeps} | tanks)


def _emptied(sight: Sight, sweep: Sweep) -> Iterator[Wish]:
    """A sweep of each account that is worth it and can pay for it: first those that never failed, by size.

    So an account that nothing can leave, as one that a token's issuer has blocked, holds up no other.
    """
    asset, to = sweep.asset, sight.paid_at(sweep.to, sweep.asset.name)
    rich = []
    for one in sight.accounts(sweep.wallet, asset.name) if to else ():
        amount, gas = _sweepable(sight, sweep, one), sight.held(one.account, asset.native)
        if amount and gas is not None and gas >= sweep.gas_base:
            route = route_of(asset.name, one.account)
            rich.append((sight.failed(Direction.SWEEP, route, held_base=amount), amount, one))
    for failed, amount, one in sorted(rich, key=lambda found: (found[0], -found[1])):
        if sight.is_free(Direction.SWEEP, route_of(asset.name, one.account), failed=failed):
            yield Wish(
                direction=Direction.SWEEP,
                asset=asset,
                account=one.account,
                wallet=sweep.wallet,
                source=one.path,
                amount_base=amount,
                fee_base=sweep.fee_base,
                to=to,
                reason=f"{one.path} holds {one.balance_base}, swept from {sweep.minimum_base} on",
            )


def _sweepable(sight: Sight, sweep: Sweep, one: Account) -> int:
    """What leaves an account by a sweep; 0 for what is not worth it, or not known."""
    if not one.balance_base or not one.account:
        return 0
    asset = sweep.asset
    stays = sweep.keep_base + (sweep.fee_base + _still_needed(sight, one) if asset.is_native else 0)
    amount = one.balance_base - stays
    return amount if amount >= sweep.minimum_base and _is_worth(sight, sweep, amount) else 0


def _still_needed(sight: Sight, one: Account) -> int:
    """The gas that an account needs for tokens that are to leave it first."""
    tokens = [
        (sweep, sight.at(one.account, sweep.asset.name))
        for sweep in sight.tasks.sweeps
        if not sweep.asset.is_native and (sweep.wallet, sweep.asset.native) == (one.wallet, one.asset)
    ]
    return sum(sweep.gas_base for sweep, token in tokens if token and _sweepable(sight, sweep, token))


def _is_worth(sight: Sight, sweep: Sweep, amount: int) -> bool:
    """Whether what is swept is worth several fees; the minimum alone decides where a price is missing."""
    asset, prices = sweep.asset, sight.holdings.prices
    if asset.is_native:
        return amount >= sweep.worth * sweep.fee_base
    price, native = prices.get(asset.name), prices.get(asset.native)
    if price is None or native is None or price.unit != native.unit:
        return True
    moved = amount * price.price * asset.native_unit_base
    return moved >= sweep.worth * sweep.fee_base * native.price * asset.unit_base


def _coins(sight: Sight, sweep: Sweep) -> Iterator[Wish]:
    """One request for what many addresses have; after a failure for half as many of them."""
    asset, to = sweep.asset, sight.paid_at(sweep.to, sweep.asset.name)
    route = route_of(asset.name, sweep.wallet)
    held = sorted((one.balance_base or 0 for one in sight.accounts(sweep.wallet, asset.name)), reverse=True)
    failed = sight.failed(Direction.SWEEP, route)
    spent = held[: max(1, sweep.coins_max >> failed)]
    least = sweep.fee_base // sweep.coins_max  # about what it costs to spend one more
    spent = [balance for balance in spent if balance > least]
    amount = sum(spent) - sweep.fee_base - sweep.keep_base
    wanted = to and amount >= sweep.minimum_base and _is_worth(sight, sweep, amount)
    if wanted and sight.is_free(Direction.SWEEP, route, failed=failed):
        yield Wish(
            direction=Direction.SWEEP,
            asset=asset,
            account=sweep.wallet,
            wallet=sweep.wallet,
            source=None,
            amount_base=amount,
            fee_base=sweep.fee_base,
            to=to,
            reason=f"{len(spent)} addresses hold {sum(spent)}, swept from {sweep.minimum_base} on",
        )


def _topped_up(sight: Sight, tank: Tank) -> tuple[list[Wish], TankLevel]:
    """Gas for accounts that have something to send and too little of it, as far as the tank reaches."""
    paying = sight.accounts(tank.wallet, tank.asset.name)
    held = paying[0].balance_base if paying else None
    left = (held or 0) - tank.asset.reserve_base - _given(sight, tank)
    thirsty, wishes = _thirsty(sight, tank), list[Wish]()
    routes = {account: route_of(tank.asset.name, account) for account in thirsty}
    failed = {account: sight.failed(Direction.TOP_UP, route) for account, route in routes.items()}
    for account in sorted(thirsty, key=failed.__getitem__):
        have, route = thirsty[account], routes[account]
        amount, before = tank.full_base - have, sight.moves(Direction.TOP_UP, route)
        if topped_up(before, now_ms=sight.now_ms) >= tank.a_day:
            sight.paused.append(route)
        elif (
            sight.is_free(Direction.TOP_UP, route, failed=failed[account]) and left >= amount + tank.fee_base
        ):
            left -= amount + tank.fee_base
            reason = f"{account} has something to send and {have} for gas, it needs {tank.least_base}"
            wishes.append(
                Wish(
                    direction=Direction.TOP_UP,
                    asset=tank.asset,
                    account=account,
                    wallet=tank.wallet,
                    source=paying[0].path,
                    amount_base=amount,
                    fee_base=tank.fee_base,
                    to=account,
                    reason=reason,
                )
            )
    wishes = wishes[: sight.room(Direction.TOP_UP, tank.asset.name)]
    low = held is not None and (held < tank.low_base or left < 0 or _is_short(wishes, thirsty, left, tank))
    return wishes, TankLevel(tank.wallet, tank.asset.name, held, low=low, thirsty=len(thirsty))


def _is_short(wishes: list[Wish], thirsty: Mapping[str, int], left: int, tank: Tank) -> bool:
    """Whether there are thirsty accounts that the tank cannot pay for."""
    return len(wishes) < len(thirsty) and left < tank.full_base + tank.fee_base


def _given(sight: Sight, tank: Tank) -> int:
    """What is on its way out of the tank, whether its balance shows it or not."""
    under_way = sum(
        move.amount_base + tank.fee_base
        for move in sight.past.of(Direction.TOP_UP, tank.asset.name)
        if move.stage in IN_FLIGHT
    )
    asked = (one for one in sight.holdings.open if one.wallet == tank.wallet)
    return max(under_way, sum(one.amount_base for one in asked if one.asset == tank.asset.name))


def _thirsty(sight: Sight, tank: Tank) -> dict[str, int]:
    """Accounts without gas for what they have to send, and what they have."""
    wanted: dict[str, int] = {}
    native = tank.asset.name
    for one in sight.holdings.accounts:
        have = sight.held(one.account, native) if one.account else None
        if one.wallet not in tank.accounts or one.chain != tank.asset.chain or one.asset == native:
            continue
        if have is not None and have < tank.least_base and _has_to_send(sight, one):
            wanted[one.account] = have
    return wanted


def _has_to_send(sight: Sight, one: Account) -> bool:
    """Whether an account has a token to send: by a sweep of its wallet if there are any, else any of it."""
    sweeps = [sweep for sweep in sight.tasks.sweeps if sweep.wallet == one.wallet]
    if not sweeps:
        return bool(one.balance_base)
    return any(_sweepable(sight, sweep, one) for sweep in sweeps if sweep.asset.name == one.asset)
