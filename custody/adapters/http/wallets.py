"""Wallets over HTTP, and addresses of theirs to be paid at."""

import base64
from typing import Annotated

from fastapi import APIRouter, Path, Query
from fastapi.responses import JSONResponse

from custody.adapters.http.calls import CallDependency, Digits
from custody.adapters.http.models import (
    AddressList,
    DepositAddress,
    DepositList,
    GatheredCoins,
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
from policy.entries import JOB_SIGNATURES_MAX
from policy.errors import MalformedError

WALLET = "[a-z0-9][a-z0-9._-]{0,62}"
ADDRESS = "^[0-9A-Za-z]{1,90}$"
router = APIRouter(tags=["addresses"])
WalletName = Annotated[str, Path(pattern=f"^{WALLET}$", description="A wallet's name.")]


@router.get("/v1/wallets", response_model=WalletList)
async def list_wallets(call: CallDependency) -> JSONResponse:
    """The wallets of the policy in force."""
    wallets = call.house.parts.sequencer.state.policy.wallets
    listed = [
        {"name": one.name, "chain": one.chain, "tier": one.tier, "paths": len(one.paths)}
        for _, one in sorted(wallets.items())
    ]
    return JSONResponse({"wallets": listed})


@router.get("/v1/wallets/{wallet}/gathered", response_model=GatheredCoins)
async def gather_coins(
    call: CallDependency,
    wallet: WalletName,
    *,
    to_wallet: Annotated[
        str, Query(pattern=f"^{WALLET}$", description="Whose first address; itself if left out.")
    ] = "",
    coins_max: Annotated[int, Query(ge=0, le=JOB_SIGNATURES_MAX), Digits] = 0,
) -> JSONResponse:
    """A PSBT to ask with: the smallest of a wallet's coins as one, of Bitcoin. Nothing is kept for it."""
    destination, found = await call.service.gather(wallet, to_wallet=to_wallet, coins_max=coins_max)
    return JSONResponse(
        {
            "psbt": base64.b64encode(found.psbt).decode(),
            "destination": destination,
            "amount": str(found.amount),
            "fee": str(found.fee),
            "coins": found.coins,
            "left": found.left,
        }
    )


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
