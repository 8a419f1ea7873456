"""Who may ask for what: one table, by which both doors answer and ``docs/spec/roles.md`` is made.

Reading is the coordinator's to grant, as it has all there is to read. What changes something is decided by
signatures that the fold checks at every node; here it is only refused early.
"""

from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from custody.api.errors import CallRefused, Code
from custody.holdings import REBALANCERS, SWEEPERS
from policy.roster import Roster


class Role(StrEnum):
    """What somebody is to this deployment: by the roster; an auditor by the configuration."""

    BACKEND = "backend"
    REBALANCER = "rebalancer"
    SWEEPER = "sweeper"
    OPERATOR = "operator"
    ADMINISTRATOR = "administrator"
    OBSERVER = "observer"
    AUDITOR = "auditor"


class Scope(StrEnum):
    """How much of it: what is the caller's own, or what there is."""

    OWN = "own"
    ALL = "all"


@dataclass(frozen=True, slots=True)
class Access:
    """What can be asked, by which calls of which door, and by whom; nobody else is answered."""

    what: str
    may: Mapping[Role, Scope]
    grpc: tuple[str, ...] = ()
    http: tuple[str, ...] = ()
    pages: tuple[str, ...] = ()


BACKENDS: Final = (Role.BACKEND, Role.REBALANCER, Role.SWEEPER)
PEOPLE: Final = (Role.OPERATOR, Role.ADMINISTRATOR, Role.OBSERVER, Role.AUDITOR)


def _own(*roles: Role) -> dict[Role, Scope]:
    return dict.fromkeys(roles, Scope.OWN)


def _all(*roles: Role) -> dict[Role, Scope]:
    return dict.fromkeys(roles, Scope.ALL)


OPEN: Final = Access(
    "what the API is and what its codes mean; logging in, enrolling",
    _all(*Role),
    http=("explain_problem",),
    pages=(
        *("GET /login", "POST /login/challenge", "POST /login", "POST /logout", "GET /enrol"),
        "GET /language/{language}",
    ),
)
"""What is answered to strangers, too."""

TABLE: Final[tuple[Access, ...]] = (
    Access(
        "hand requests in; a PSBT to ask with",
        _own(*BACKENDS),
        grpc=("Submit", "Gather"),
        http=("submit_request", "gather_coins"),
    ),
    Access(
        "requests and their events",
        _own(*BACKENDS) | _all(*PEOPLE),
        grpc=("Get", "List", "Watch", "Events", "Psbt"),
        http=("get_request", "get_request_psbt", "list_requests", "list_events", "stream_events"),
        pages=(
            *("GET /", "GET /requests", "GET /requests/{request}", "GET /live"),
            *("GET /requests/{request}/readings", "GET /requests/{request}/effect"),
        ),
    ),
    Access(
        "webhooks: how they are doing, telling again",
        _own(*BACKENDS),
        grpc=("Webhooks", "Resend"),
        http=("list_webhooks", "resend_events"),
    ),
    Access(
        "deposit addresses: take one, label one",
        _own(*BACKENDS),
        grpc=("GiveAddress", "LabelAddress"),
        http=("give_address", "label_address"),
    ),
    Access(
        "deposit addresses: list",
        _own(*BACKENDS) | _all(*PEOPLE),
        grpc=("Addresses",),
        http=("list_addresses",),
    ),
    Access(
        "deposits: list",
        _own(*BACKENDS) | _all(*PEOPLE),
        grpc=("Deposits",),
        http=("list_deposits",),
    ),
    Access(
        "wallets, and the address of a path",
        _all(*Role),
        grpc=("Address",),
        http=("list_wallets", "get_wallet_address"),
        pages=("GET /wallets",),
    ),
    Access(
        "the policy in force",
        _all(*Role),
        grpc=("Policy",),
        http=("get_policy",),
        pages=("GET /policy", "GET /policy/changes/{index}"),
    ),
    Access(
        "status: what is in force; requests in numbers; for who sees all, nodes, keys and what waits",
        _own(*BACKENDS) | _all(*PEOPLE),
        grpc=("Status",),
        http=("get_status",),
        pages=("GET /nodes",),
    ),
    Access("risk indicators (over the API in the status)", _all(*PEOPLE), pages=("GET /indicators",)),
    Access("the newest checkpoint", _all(*PEOPLE), grpc=("Log",), http=("get_checkpoint",)),
    Access(
        "the log's entries, with proofs",
        _all(*PEOPLE),
        grpc=("Entries",),
        http=("list_entries",),
        pages=(
            *("GET /log", "GET /log/{index}", "GET /log/{index}/entry.json", "GET /log/{index}/proof"),
            "GET /log/entries.ndjson",
        ),
    ),
    Access("what the shadow policy says", _all(*PEOPLE), grpc=("Shadow",), http=("get_shadow",)),
    Access(
        "holdings: what every account has, and what is on its way",
        _all(Role.REBALANCER, Role.SWEEPER, *PEOPLE),
        grpc=("Holdings",),
        http=("get_holdings",),
    ),
    Access(
        "movements of the wallets",
        _all(Role.REBALANCER, *PEOPLE),
        grpc=("Movements",),
        http=("list_movements",),
    ),
    Access("a rebalancer's report", _own(Role.REBALANCER), grpc=("Report",)),
    Access(
        "what rebalancers report",
        _all(*PEOPLE),
        pages=("GET /rebalancing", "GET /rebalancing/{by}/{route:path}"),
    ),
    Access("freezing by passkey", _own(Role.OPERATOR), pages=("POST /freeze",)),
    Access(
        "approvals: what waits for oneself, and giving one",
        _own(Role.OPERATOR),
        grpc=("Pending", "Approve"),
        http=("list_drafts", "approve_request"),
        pages=("GET /requests/{request}/approval", "POST /requests/{request}/approval"),
    ),
    Access(
        "what somebody has signed, into the log (changes: administrators alone)",
        _own(*(role for role in Role if role is not Role.AUDITOR)),
        grpc=("Enact",),
        http=("hand_in", "reject_request"),
        pages=("POST /requests/{request}/rejection",),
    ),
    Access(
        "documents by their hash, keys, the draft of a fork",
        _all(Role.ADMINISTRATOR),
        grpc=("Document", "ChangeKey", "ImportOffers", "DraftFork"),
        http=("get_document",),
    ),
    Access("ceremonies of cold nodes", _all(Role.OPERATOR, Role.ADMINISTRATOR), grpc=("Cold",)),
)

_GROUPS: Final = ((REBALANCERS, Role.REBALANCER), (SWEEPERS, Role.SWEEPER))
_OF_CALL: Final = {call: access for access in TABLE for call in (*access.grpc, *access.http)}


def roles_of(caller: str, roster: Roster, *, auditors: Container[str] = ()) -> frozenset[Role]:
    """What the roster says of somebody; whom it does not know may be an auditor."""
    initiator = roster.initiators.get(caller)
    found = set()
    if initiator is not None:
        found.add(next((role for group, role in _GROUPS if group in initiator.groups), Role.BACKEND))
    for role, members in (
        (Role.OPERATOR, roster.operators),
        (Role.ADMINISTRATOR, roster.administrators),
        (Role.OBSERVER, roster.observers),
    ):
        if caller in members:
            found.add(role)
    if not found and caller in auditors:
        found.add(Role.AUDITOR)
    return frozenset(found)


def permit(call: str, caller: str, *, roster: Roster, auditors: Container[str] = ()) -> Scope:
    """How much ``caller`` is shown by a call of either door. Raises ``CallRefused``."""
    access, roles = _OF_CALL.get(call), roles_of(caller, roster, auditors=auditors)
    scopes = {access.may[role] for role in roles & access.may.keys()} if access else set()
    if not scopes:
        allowed = ", ".join(sorted(access.may)) if access else "nobody"
        raise CallRefused(Code.FORBIDDEN, f"{caller} is {listed(roles)}: {call} is for {allowed}")
    return Scope.ALL if Scope.ALL in scopes else Scope.OWN


def listed(roles: Iterable[Role]) -> str:
    """Roles in words."""
    return " and ".join(sorted(roles)) or "nobody of the roster"
