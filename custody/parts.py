"""The parts of a running coordinator, wired once in ``main.py`` and handed to what uses them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from custody.auditors import Auditor
from custody.ceremonies import Ceremonies
from custody.duties import Duties
from custody.feeds import FeedStorage
from custody.gathering import Gathering
from custody.indicators.kept import Indicators
from custody.log_key import LogKey
from custody.metrics import Metrics
from custody.pools import Pools
from custody.ports import Chain, Node
from custody.quarantine import Quarantine
from custody.replication import Replication
from custody.rising import Rising
from custody.sequencer import Sequencer
from custody.shadow import Shadow
from custody.signing import Signing
from custody.storage import Database
from custody.vitals import Vitals
from custody.webhooks import Hooks


@dataclass(frozen=True, slots=True)
class Patience:
    """Replace what is not mined ``after_ms`` after its job, at most ``replacements_max`` times; 0 is never.

    Cancellations after the expiry are counted by themselves.
    """

    after_ms: int
    replacements_max: int


@dataclass(frozen=True, slots=True)
class Parts:
    """One coordinator. ``confirmations``, ``poll_ms`` and ``patience`` are by chain.

    ``hear_clocks`` is told how far a quorum's clocks are ahead of ``wall_ms``, which this machine shows; what
    is done goes by ``now_ms``.
    """

    database: Database
    feeds: FeedStorage
    sequencer: Sequencer
    replication: Replication
    duties: Duties
    pools: Pools
    signing: Signing
    nodes: Mapping[str, Node]
    chains: Mapping[str, Chain]
    log_key: LogKey
    metrics: Metrics
    now_ms: Callable[[], int]
    wall_ms: Callable[[], int]
    attempts: Rising
    ceremonies: Ceremonies
    confirmations: Mapping[str, int]
    poll_ms: Mapping[str, int]
    patience: Mapping[str, Patience] = field(default_factory=dict)
    shadow: Shadow | None = None
    gathering: Gathering = field(default_factory=Gathering)
    hooks: Hooks = field(default_factory=Hooks)
    vitals: Vitals = field(default_factory=Vitals)
    indicators: Indicators = field(default_factory=Indicators)
    quarantine: Quarantine = field(default_factory=Quarantine)
    hear_clocks: Callable[[Sequence[int]], None] = lambda _: None
    auditors: Mapping[str, Auditor] = field(default_factory=dict)
    addresses_claimed: str = ""

    def key_of(self, caller: str) -> bytes | None:
        """By which key somebody signs calls: the roster's, else the auditor's of that name."""
        key = self.sequencer.state.roster.key_of(caller)
        if key is None and caller in self.auditors:
            return self.auditors[caller].key
        return key

    def login_failed(self, door: str) -> None:
        """Somebody whom the roster does not know came to a door."""
        self.metrics.failed_logins.labels(door).inc()
        self.indicators.login_failed(self.now_ms())
