"""A policy document is closed: what it does not define, or says twice, or cannot mean, is refused."""

import copy
from typing import Any, cast

import pytest

from policy.bip32 import checksum_address
from policy.document import normalise_document, parse_policy, policy_hash
from policy.encoding import Json, canonical, parse_canonical
from policy.errors import MalformedError
from policy.ids import family
from policy.model import Allow, Approve, Deny, Policy, Requirement
from policy.suites import CHAIN_SUITES

CUSTOMER, TOKEN = "0x" + "ab" * 20, "0x" + "cd" * 20
MINT = "EPjFWdd5AufqSSqeM2qN1xzybapC8G4wEGGkZwyTDt1v"
DOCUMENT: dict[str, Any] = {
    "version": 1,
    "name": "demo",
    "chains": {"evm:31337": {"native": "eth", "fee_ceiling": "1000"}},
    "assets": {
        "eth": {"chain": "evm:31337", "kind": "native", "decimals": 18},
        "usdc": {"chain": "evm:31337", "kind": "erc20", "contract": TOKEN, "decimals": 6},
    },
    "keys": {
        "hot": {"suite": "dkls23-secp256k1", "min_signers": 2, "participants": ["node-a", "node-b", "node-c"]}
    },
    "wallets": {"hot": {"tier": "hot", "key": "hot", "chain": "evm:31337", "paths": ["m/0/0", "m/0/1"]}},
    "lists": {"customers": [CUSTOMER]},
    "forbids": [{"name": "no-bots", "when": {"initiators": ["bot"]}}],
    "rules": [
        {
            "name": "small",
            "when": {"tiers": ["hot"], "assets": ["eth"], "destinations": ["customers"], "amount_max": "500"},
            "then": {"outcome": "allow"},
        },
        {
            "name": "large",
            "when": {"wallets": ["hot"], "assets": ["eth"], "amount_min": "501"},
            "then": {"outcome": "approve", "approvals": [{"group": "treasury", "count": 2}]},
        },
        {"name": "rest", "when": {}, "then": {"outcome": "deny"}},
    ],
    "limits": [
        {
            "name": "daily",
            "asset": "eth",
            "window_ms": 86_400_000,
            "amount_max": "10000",
            "per": ["initiator", "wallet"],
            "wallets": ["hot"],
            "initiators": ["backend"],
        }
    ],
    "cancel": {"fee_ceiling": "1000"},
}
MISSING = object()


def changed(path: str, value: object) -> Json:
    """The document with what is at ``path`` (dots and numbers) replaced, added or taken out."""
    document = copy.deepcopy(DOCUMENT)
    inner: Any = document
    *steps, last = path.split("/")
    for step in steps:
        inner = inner[int(step)] if isinstance(inner, list) else inner[step]
    if value is MISSING:
        del inner[last]
    elif isinstance(inner, list):
        inner.insert(int(last), value)
    else:
        inner[last] = value
    return cast("Json", document)


def paths_of(value: Any, path: str = "") -> list[str]:
    if isinstance(value, list):
        return [found for i, item in enumerate(value) for found in paths_of(item, f"{path}/{i}")]
    if not isinstance(value, dict):
        return [path.strip("/")]
    return [path.strip("/")] + [found for name in value for found in paths_of(value[name], f"{path}/{name}")]


def refusal(document: Json) -> str:
    with pytest.raises(MalformedError) as caught:
        parse_policy(document)
    return str(caught.value)


def parsed() -> Policy:
    return parse_policy(cast("Json", DOCUMENT))


def test_a_policy_is_read_into_data() -> None:
    policy = parsed()

    assert policy.chains["evm:31337"].fee_ceiling == 1000
    assert policy.wallets["hot"].paths == ("m/0/0", "m/0/1")
    assert policy.lists == {"customers": frozenset({CUSTOMER})}
    assert [rule.then for rule in policy.rules] == [
        Allow(),
        Approve(((Requirement("treasury", 2),),)),
        Deny(),
    ]
    assert policy.limits[0].per == ("wallet", "initiator")
    assert policy.cancel_fee_ceiling == 1000


def test_a_policy_answers_for_the_decoder_and_the_roster() -> None:
    policy = parsed()
    native, token = policy.asset_at("evm:31337", None), policy.asset_at("evm:31337", TOKEN)

    assert native is not None
    assert token is not None
    assert (native.name, token.name) == ("eth", "usdc")
    assert policy.asset_at("evm:31337", CUSTOMER) is None
    assert policy.asset_at("evm:1", None) is None
    assert policy.groups_named() == {"treasury"}
    assert policy.initiators_named() == {"bot", "backend"}


def test_the_hash_is_of_the_canonical_document_whatever_the_order_of_its_fields() -> None:
    body = cast("Json", DOCUMENT)
    reordered = cast("Json", dict(reversed(DOCUMENT.items())))

    assert policy_hash(body) == policy_hash(reordered)
    assert parse_policy(body) == parse_policy(parse_canonical(canonical(reordered), bytes_max=10_000))
    assert policy_hash(body) != policy_hash(changed("name", "other"))


OPTIONAL = ("when/", "limits/0/wallets", "limits/0/initiators")
FIELDS = [p for p in paths_of(DOCUMENT) if p and not p.rsplit("/", 1)[-1].isdigit()]
REQUIRED = [p for p in FIELDS if p != "assets/usdc" and not any(part in p for part in OPTIONAL)]


@pytest.mark.parametrize("path", REQUIRED)
def test_no_field_may_be_missing(path: str) -> None:
    assert refusal(changed(path, MISSING))


@pytest.mark.parametrize(
    ("path", "where"),
    [
        ("memo", "document"),
        ("cancel/memo", "cancel"),
        ("chains/evm:31337/memo", "chains.evm:31337"),
        ("assets/usdc/memo", "assets.usdc"),
        ("assets/eth/contract", "assets.eth"),
        ("keys/hot/memo", "keys.hot"),
        ("wallets/hot/memo", "wallets.hot"),
        ("forbids/0/memo", "forbids[0]"),
        ("forbids/0/then", "forbids[0]"),
        ("rules/1/memo", "rules[1]"),
        ("rules/1/when/memo", "rules[1].when"),
        ("rules/1/then/memo", "rules[1].then"),
        ("rules/0/then/approvals", "rules[0].then"),
        ("rules/1/then/approvals/0/memo", "rules[1].then.approvals[0]"),
        ("limits/0/memo", "limits[0]"),
    ],
)
def test_no_field_may_be_unknown(path: str, where: str) -> None:
    assert refusal(changed(path, TOKEN)) == f"{where}: unknown field {path.rsplit('/', 1)[-1]!r}"


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("chains/evm:31337/native", "btc", "chains.evm:31337.native: unknown asset 'btc'"),
        ("assets/usdc/chain", "evm:1", "assets.usdc.chain: unknown chain 'evm:1'"),
        ("wallets/hot/key", "cold", "wallets.hot.key: unknown key 'cold'"),
        ("wallets/hot/chain", "evm:1", "wallets.hot.chain: unknown chain 'evm:1'"),
        ("forbids/0/when/assets", ["etc"], "forbids[0].when.assets[0]: unknown asset 'etc'"),
        ("rules/2/when/assets", ["eth", "etc"], "rules[2].when.assets[1]: unknown asset 'etc'"),
        ("rules/2/when/tiers", ["cold"], "rules[2].when.tiers[0]: unknown tier 'cold'"),
        ("rules/2/when/wallets", ["cold"], "rules[2].when.wallets[0]: unknown wallet 'cold'"),
        ("rules/2/when/destinations", ["x"], "rules[2].when.destinations[0]: unknown list 'x'"),
        ("rules/2/when/not_destinations", ["x"], "rules[2].when.not_destinations[0]: unknown list 'x'"),
        ("limits/0/asset", "etc", "limits[0].asset: unknown asset 'etc'"),
        ("limits/0/wallets", ["cold"], "limits[0].wallets[0]: unknown wallet 'cold'"),
        ("limits/0/per", ["moon"], "limits[0].per[0]: unknown scope 'moon'"),
    ],
)
def test_a_reference_to_nothing_is_refused_with_its_path(path: str, value: object, message: str) -> None:
    assert refusal(changed(path, value)) == message


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("rules/1/when/assets", MISSING, "rules[1].when: an amount needs its unit"),
        ("rules/1/when/assets", ["eth", "usdc"], "there are 2"),
        ("forbids/0/when/amount_max", "5", "forbids[0].when: an amount needs its unit"),
        ("rules/1/when/amount_max", "500", "no amount is from 501 to 500"),
        ("rules/1/when/initiators", [], "field 'initiators' must be a list of 1 to"),
        ("rules/1/then/approvals", [], "rules[1].then.approvals: an approval by nobody"),
        ("rules/1/then/approvals/0/count", 0, "rules[1].then.approvals[0]: field 'count'"),
        ("rules/1/then/approvals/1", {"group": "treasury", "count": 1}, "is already at"),
        ("rules/0/then/outcome", "unknown", "one of allow, deny, approve"),
        ("rules/1/name", "small", "rules[1].name: 'small' is already at rules[0].name"),
        ("limits/0/name", "small", "limits[0].name: 'small' is already at rules[0].name"),
        ("forbids/0/name", "fee-ceiling", "forbids[0].name: 'fee-ceiling' is a verdict's own word"),
        ("limits/0/window_ms", 0, "limits[0]: field 'window_ms'"),
        ("limits/0/amount_max", "0", "limits[0]: field 'amount_max'"),
        ("limits/0/per", ["wallet", "wallet"], "limits[0].per[1]: 'wallet' is there twice"),
        ("lists/customers/1", CUSTOMER, "lists.customers[1]"),
        ("lists/customers/1", "0x" + "AB" * 20, "lists.customers[1]: must be an address in canonical form"),
        ("keys/hot/min_signers", 1, "keys.hot: field 'min_signers' must be an integer from 2 to 3"),
        ("keys/hot/min_signers", 4, "keys.hot: field 'min_signers'"),
        ("keys/hot/participants", ["node-a", "node-a"], "there twice"),
        ("keys/hot/suite", "p256", "keys.hot: field 'suite'"),
        ("wallets/hot/paths", [], "wallets.hot: field 'paths'"),
        ("wallets/hot/paths", ["m/0/2147483648"], "wallets.hot.paths[0]"),
        ("wallets/hot/paths", ["m/0'"], "wallets.hot.paths[0]"),
        ("wallets/hot/paths", ["m/00"], "wallets.hot.paths[0]"),
        ("wallets/hot/paths", ["m"], "wallets.hot.paths[0]"),
        ("wallets/hot/paths", ["m/0/0", "m"], "wallets.hot.paths[1]: 'm' is the key itself"),
        ("version", 2, "field 'version' must be an integer from 1 to 1"),
        ("chains/btc:1", {"native": "eth", "fee_ceiling": "1"}, "chains: 'btc:1' is not a name"),
        ("chains/evm:31337/native", "usdc", "'usdc' is not the native asset of evm:31337"),
        (
            "assets/gas",
            {"chain": "evm:31337", "kind": "native", "decimals": 18},
            "already has a native asset",
        ),
        (
            "assets/usdt",
            {"chain": "evm:31337", "kind": "erc20", "contract": TOKEN, "decimals": 6},
            "is already at",
        ),
        (
            "wallets/second",
            {"tier": "lax", "key": "hot", "chain": "evm:31337", "paths": ["m/0/1"]},
            "wallets.second.paths[0]: 'evm:31337 hot m/0/1' is already at wallets.hot.paths[1]",
        ),
    ],
)
def test_what_cannot_be_meant_is_refused_with_its_path(path: str, value: object, message: str) -> None:
    assert message in refusal(changed(path, value))


def test_a_limit_on_a_wallet_of_another_chain_would_never_apply() -> None:
    document = cast("dict[str, Any]", changed("chains/evm:1", {"native": "main", "fee_ceiling": "1"}))
    document["assets"]["main"] = {"chain": "evm:1", "kind": "native", "decimals": 18}
    document["wallets"]["main"] = {"tier": "hot", "key": "hot", "chain": "evm:1", "paths": ["m/0/0"]}
    document["limits"][0]["wallets"] = ["hot", "main"]

    assert refusal(document) == "limits[0].wallets[1]: 'main' is not on evm:31337, where eth is"


def test_one_path_may_be_a_wallet_on_each_chain() -> None:
    document = cast("dict[str, Any]", changed("chains/evm:1", {"native": "main", "fee_ceiling": "1"}))
    document["assets"]["main"] = {"chain": "evm:1", "kind": "native", "decimals": 18}
    document["wallets"]["main"] = {"tier": "hot", "key": "hot", "chain": "evm:1", "paths": ["m/0/0"]}

    assert set(parse_policy(document).wallets) == {"hot", "main"}


SUITES = {"dkls": "dkls23-secp256k1", "tap": "frost-secp256k1-taproot", "ed": "frost-ed25519-sha512"}


def with_wallets(*wallets: tuple[str, str, list[str]]) -> dict[str, Any]:
    """The document with more keys, and with these wallets: chain, key and paths."""
    document = cast("dict[str, Any]", changed("name", "more"))
    for name, suite in SUITES.items():
        document["keys"][name] = {**document["keys"]["hot"], "suite": suite}
    for index, (chain, key, paths) in enumerate(wallets):
        native = chain.replace(":", "-").lower()
        document["chains"][chain] = {"native": native, "fee_ceiling": "1"}
        document["assets"][native] = {"chain": chain, "kind": "native", "decimals": 9}
        document["wallets"][f"w{index}"] = {"tier": "hot", "key": key, "chain": chain, "paths": paths}
    return document


@pytest.mark.parametrize(
    ("chain", "key", "paths"),
    [
        ("evm:1", "dkls", ["m/0/0"]),
        ("solana:localnet", "ed", ["m"]),
        ("bitcoin:signet", "tap", ["m/0/0", "m/1/0"]),
        ("bitcoin:signet", "dkls", ["m/0/0", "m/1/0"]),
    ],
)
def test_each_chain_takes_keys_of_its_own_suite(chain: str, key: str, paths: list[str]) -> None:
    assert parse_policy(with_wallets((chain, key, paths))).wallets["w0"].paths == tuple(paths)
    wanted = CHAIN_SUITES[family(chain)]
    for other, suite in SUITES.items():
        if suite not in wanted:
            said = f"needs a key of {' or '.join(wanted)}"
            assert said in refusal(with_wallets((chain, other, paths)))


@pytest.mark.parametrize("paths", [["m/0"], ["m", "m/0"]])
def test_an_ed25519_key_is_one_account(paths: list[str]) -> None:
    assert "its only path is 'm'" in refusal(with_wallets(("solana:localnet", "ed", paths)))


@pytest.mark.parametrize(
    ("first", "second", "key", "path"),
    [
        ("solana:devnet", "solana:mainnet", "ed", "m"),
        ("bitcoin:testnet", "bitcoin:mainnet", "tap", "m/0/0"),
    ],
)
def test_an_account_whose_signatures_name_no_network_is_on_one_network(
    first: str, second: str, key: str, path: str
) -> None:
    """What a lax wallet of a test network signs would be valid on the other one."""
    document = with_wallets((first, key, [path]), (second, key, [path]))

    assert "is already at wallets.w0.paths[0]" in refusal(document)


@pytest.mark.parametrize(
    ("chain", "kind", "contract", "message"),
    [
        ("solana:localnet", "erc20", TOKEN, "field 'kind' must be one of native, spl"),
        ("solana:localnet", "spl", TOKEN, "field 'contract' must be base58 of 32 bytes"),
        ("solana:localnet", "spl", MINT + "1", "field 'contract' must be base58 of 32 bytes"),
        ("evm:31337", "spl", MINT, "field 'kind' must be one of native, erc20"),
        ("bitcoin:regtest", "spl", MINT, "field 'kind' must be one of native"),
    ],
)
def test_a_token_is_of_its_familys_kind(chain: str, kind: str, contract: str, message: str) -> None:
    document = with_wallets(("solana:localnet", "ed", ["m"]), ("bitcoin:regtest", "tap", ["m/0/0"]))
    document["assets"]["usdt"] = {"chain": chain, "kind": kind, "contract": contract, "decimals": 6}

    assert refusal(document) == f"assets.usdt: {message}"


def test_a_token_on_solana_is_named_by_its_mint_once() -> None:
    document = with_wallets(("solana:localnet", "ed", ["m"]))
    token = {"chain": "solana:localnet", "kind": "spl", "contract": MINT, "decimals": 6}
    document["assets"]["usdt"] = token

    policy = parse_policy(document)
    assert policy.asset_at("solana:localnet", MINT) is policy.assets["usdt"]
    assert not policy.assets["usdt"].native

    document["assets"]["again"] = token

    assert "is already at" in refusal(document)


def test_a_list_may_mix_chains() -> None:
    document = with_wallets()
    addresses = [CUSTOMER, "1" * 32, "bcrt1q5aqjmfmvfqqhz048gn2ypdhgwxammx4wnvedvq"]
    document["lists"]["customers"] = addresses

    assert parse_policy(document).lists["customers"] == frozenset(addresses)
    assert normalise_document(document) == document


def test_an_outer_door_lower_cases_addresses_with_a_correct_checksum() -> None:
    document = cast("dict[str, Any]", changed("assets/usdc/contract", checksum_address(TOKEN)))
    document["lists"]["customers"] = [checksum_address(CUSTOMER)]

    assert normalise_document(document) == DOCUMENT
    assert normalise_document(cast("Json", DOCUMENT)) == DOCUMENT


def test_an_address_with_a_wrong_checksum_is_refused_with_its_path() -> None:
    good = checksum_address(CUSTOMER)
    typo = good[:-1] + good[-1].swapcase()

    with pytest.raises(MalformedError, match=r"^lists\.customers\[1\]: "):
        normalise_document(changed("lists/customers/1", typo))
    with pytest.raises(MalformedError, match=r"^assets\.usdc\.contract: "):
        normalise_document(changed("assets/usdc/contract", typo))


@pytest.mark.parametrize(
    "body", [[], "x", {"assets": [], "lists": 1}, {"assets": {"a": 1}, "lists": {"b": 1}}]
)
def test_normalising_leaves_other_mistakes_to_the_parser(body: Json) -> None:
    assert normalise_document(body) == body
    with pytest.raises(MalformedError):
        parse_policy(body)


def test_contracts_and_typed_data_written_by_people_are_normalised_too() -> None:
    mixed = "0x8ba1f109551bD432803012645Ac136ddd64DBA72"
    written = {"contracts": {"a": {"address": mixed}}, "typed_data": {"b": {"contract": mixed}, "c": 1}}

    assert normalise_document(cast("Json", written)) == {
        "contracts": {"a": {"address": mixed.lower()}},
        "typed_data": {"b": {"contract": mixed.lower()}, "c": 1},
    }
    for part, field in (("contracts", "address"), ("typed_data", "contract")):
        with pytest.raises(MalformedError, match=rf"^{part}\.x\.{field}: "):
            normalise_document({part: {"x": {field: mixed.replace("D432", "d432")}}})
