"""What this deployment is and does, over HTTP: the policy in force, status, log, holdings."""

from typing import Annotated, Any

from fastapi import APIRouter, Path, Query
from fastapi.responses import JSONResponse

from custody.adapters.http.calls import CallDependency, Digits, TrueOrFalse
from custody.adapters.http.models import (
    Checkpoint,
    Document,
    EntryList,
    Holdings,
    MovementList,
    Policy,
    ShadowReport,
    Status,
    WalletAddress,
)
from custody.adapters.http.requests import ID
from custody.adapters.http.wallets import WalletName
from custody.holdings import ACCOUNTS_MAX, MOVEMENTS_MAX, holdings, movements
from policy.bip32 import PATH_CHARACTERS_MAX

ENTRIES_MAX = 1000
PLACE_MAX = 2**53 - 1
router = APIRouter(tags=["deployment"])
Place = Annotated[int, Query(ge=0, le=PLACE_MAX), Digits]


@router.get("/v1/status", response_model=Status)
async def get_status(call: CallDependency) -> JSONResponse:
    """What is in force, and requests in numbers, a backend's its own; for people, nodes, keys, what waits."""
    return JSONResponse(await call.service.status(call.own))


@router.get("/v1/policy", response_model=Policy)
async def get_policy(call: CallDependency) -> JSONResponse:
    """The policy in force: the document that administrators signed, its hash, and what it says."""
    return JSONResponse(call.service.policy())


@router.get("/v1/documents/{hash}", response_model=Document)
async def get_document(
    call: CallDependency, hash: Annotated[str, Path(pattern=ID, description="A hash of the status.")]
) -> JSONResponse:
    """A policy, roster or change of a list, in force or pending, by its hash; for administrators."""
    kind, document = call.service.document(call.caller, bytes.fromhex(hash))
    return JSONResponse({"kind": kind, "text": document.decode()})


@router.get("/v1/wallets/{wallet}/address", response_model=WalletAddress)
async def get_wallet_address(
    call: CallDependency,
    wallet: WalletName,
    *,
    path: Annotated[
        str | None,
        Query(
            pattern="^m(/(0|[1-9][0-9]{0,8})){0,10}$",
            max_length=PATH_CHARACTERS_MAX,
            description="One of the wallet's paths; its first otherwise.",
        ),
    ] = None,
) -> JSONResponse:
    """Where a wallet is paid to; it is given to nobody by this."""
    account, chain, key = call.service.address(wallet, path or "")
    shown = {"address": account.address, "path": account.path, "chain": chain, "public_key": key.hex()}
    return JSONResponse(shown)


@router.get("/v1/log", response_model=Checkpoint)
async def get_checkpoint(call: CallDependency) -> JSONResponse:
    """The newest checkpoint that enough cosigners have signed, as a signed note."""
    return JSONResponse({"note": call.service.log_note().decode()})


@router.get("/v1/log/entries", response_model=EntryList)
async def list_entries(
    call: CallDependency,
    *,
    start: Place = 0,
    limit: Annotated[int, Query(ge=1, le=ENTRIES_MAX), Digits] = 100,
) -> JSONResponse:
    """Entries as they stand in the log, from `start` on; possibly fewer than asked for. For people."""
    found = await call.house.parts.database.entries(start, start + limit)
    return JSONResponse({"start": start, "entries": [entry.decode() for entry in found]})


@router.get("/v1/shadow", response_model=ShadowReport)
async def get_shadow(
    call: CallDependency,
    *,
    flips: Annotated[bool, Query(description="Only where it differs."), TrueOrFalse] = False,
    limit: Annotated[int, Query(ge=1, le=1000), Digits] = 100,
) -> JSONResponse:
    """What the shadow policy would have said of the newest requests and reservations. For people."""
    return JSONResponse(await call.service.shadow(flips=flips, limit=limit))


@router.get("/v1/holdings", response_model=Holdings)
async def get_holdings(
    call: CallDependency,
    *,
    after: Place = 0,
    limit: Annotated[int, Query(ge=1, le=ACCOUNTS_MAX), Digits] = ACCOUNTS_MAX,
) -> JSONResponse:
    """What wallets hold now and, with the last page, what is on its way; for people and rebalancers."""
    return JSONResponse(await holdings(call.house.parts, after, limit=limit))


@router.get("/v1/movements", response_model=MovementList)
async def list_movements(
    call: CallDependency,
    *,
    after: Place = 0,
    limit: Annotated[int, Query(ge=1, le=MOVEMENTS_MAX), Digits] = 100,
) -> JSONResponse:
    """Signed payments in the order of the log, from a number on; for people and rebalancers."""
    found: Any = movements(call.house.parts.sequencer.state, after, limit=limit)
    return JSONResponse(found)
