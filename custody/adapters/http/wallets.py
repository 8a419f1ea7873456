"""Wallets over HTTP, and addresses of theirs to be paid at."""

from typing import Annotated

from fastapi import APIRouter, Path, Query
from fastapi.responses import JSONResponse

from custody.adapters.http.calls import CallDependency, Digits
from custody.adapters.http.models import (
    AddressList,
    DepositAddress,
    DepositList,
    Label,
    NewAddress,
    WalletList,
    takes,
)
from custody.adapters.http.requests import ID
from custody.adapters.http.views import address as shown
from custody.api.errors import CallRefused, Code
from custody.deposits import ADDRESSES_MAX
from custody.feeds import LABEL_MAX, deposit_document
from policy.bip32 import PATH_CHARACTERS_MAX
from policy.errors import MalformedError

ADDRESS = "^[0-9A-Za-z]{1,90}$"
router = APIRouter(tags=["addresses"])
WalletName = Annotated[str, Path(pattern="^[a-z0-9][a-z0-9._-]{0,62}$", description="A wallet's name.")]


@router.get("/v1/wallets", response_model=WalletList)
async def list_wallets(call: CallDependency) -> JSONResponse:
    """The wallets of the policy in force."""
    wallets = call.house.parts.sequencer.state.policy.wallets
    listed = [
        {"name": one.name, "chain": one.chain, "tier": one.tier, "paths": len(one.paths)}
        for _, one in sorted(wallets.items())
    ]
    return JSONResponse({"wallets": listed})


@router.post("/v1/wallets/{wallet}/addresses", response_model=DepositAddress, openapi_extra=takes(NewAddress))
async def give_address(call: CallDependency, wallet: WalletName) -> JSONResponse:
    """The caller's address with this label, a fresh one if there is none: asked twice, given once."""
    fields = call.document()
    try:
        label = fields.text("label", length_max=LABEL_MAX)
        path = fields.text("path", length_max=PATH_CHARACTERS_MAX) if fields.has("path") else ""
        fields.done()
    except MalformedError as error:
        raise CallRefused(Code.MALFORMED, str(error)) from error
    given = await call.service.give_address(call.caller, wallet, label=label, path=path)
    return JSONResponse(shown(given, call.house.parts.sequencer.state))


@router.get("/v1/wallets/{wallet}/addresses", response_model=AddressList)
async def list_addresses(
    call: CallDependency,
    wallet: WalletName,
    *,
    after: Annotated[
        str | None, Query(pattern=ADDRESS, description="Continue after this address of the list.")
    ] = None,
    limit: Annotated[int, Query(ge=1, le=ADDRESSES_MAX), Digits] = 100,
) -> JSONResponse:
    """The addresses that the caller was given, oldest first."""
    found = await call.service.addresses(call.caller, wallet, after=after or "", limit=limit)
    state = call.house.parts.sequencer.state
    return JSONResponse({"addresses": [shown(one, state) for one in found]})


@router.get("/v1/wallets/{wallet}/deposits", response_model=DepositList)
async def list_deposits(
    call: CallDependency,
    wallet: WalletName,
    *,
    after: Annotated[
        str | None, Query(pattern=ID, description="Continue after the deposit of this id.")
    ] = None,
    limit: Annotated[int, Query(ge=1, le=ADDRESSES_MAX), Digits] = 100,
) -> JSONResponse:
    """What was paid at the addresses that the caller was given, in the order in which it was first stated."""
    found = await call.service.deposits(call.caller, wallet, after=bytes.fromhex(after or ""), limit=limit)
    return JSONResponse({"deposits": [deposit_document(one) for one in found]})


@router.put(
    "/v1/wallets/{wallet}/addresses/{address}", response_model=DepositAddress, openapi_extra=takes(Label)
)
async def label_address(
    call: CallDependency, wallet: WalletName, *, address: Annotated[str, Path(pattern=ADDRESS)]
) -> JSONResponse:
    """Give an address of the caller another label."""
    fields = call.document()
    try:
        label = fields.text("label", length_max=LABEL_MAX)
        fields.done()
    except MalformedError as error:
        raise CallRefused(Code.MALFORMED, str(error)) from error
    changed = await call.service.label_address(call.caller, wallet, address=address, label=label)
    return JSONResponse(shown(changed, call.house.parts.sequencer.state))
