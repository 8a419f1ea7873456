"""The coordinator's configuration and its lease."""

import re
from pathlib import Path

import pytest

from custody import config
from custody.config_reading import load_config
from custody.lease import take_lease
from custody.pools import PoolSizes
from policy.errors import OperationalError

RPC = 'url = "http://127.0.0.1:8545"'
NONCE_ACCOUNT = "4uhcVJyU9pJkvQyS88uRDiswHXSCkY3zQawwpjk2NsNY"
HOSTS = ["https://a.example.com", "https://b.example.com", "https://c.example.com"]


def example() -> str:
    """The file the module's documentation shows."""
    found = re.search(r"```toml\n(.*?)```", config.__doc__ or "", re.DOTALL)
    assert found is not None
    return found[1]


def test_the_documented_file_is_read_relative_to_its_folder(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text(example())

    loaded = load_config(tmp_path / "config.toml")

    assert loaded.genesis == tmp_path / "genesis.json"
    assert loaded.nodes["node-a"].certificate == tmp_path / "node-a.pem"
    assert loaded.chains["evm:1"].confirmations == 1
    assert loaded.pools == PoolSizes(16, 48, 32, 2)
    assert loaded.auditors == (tmp_path / "anna.json",)


def test_what_may_be_left_out_has_safe_values(tmp_path: Path) -> None:
    optional = (
        "database",
        "publish_dir",
        "listen_file",
        "metrics",
        "signing",
        "low",
        "high",
        "batch",
        "parallel",
        "[pools]",
    )
    kept = [line for line in example().splitlines() if not line.startswith(optional)]
    (tmp_path / "config.toml").write_text("\n".join(kept))

    loaded = load_config(tmp_path / "config.toml")

    assert loaded.database == f"sqlite:///{tmp_path / 'data' / 'custody.db'}"
    assert (loaded.metrics_port, loaded.publish_dir, loaded.pools.low) == (0, None, 16)


def test_of_several_endpoints_most_must_agree_unless_it_says_how_many(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text(example().replace(RPC, f"urls = {HOSTS}"))
    most = load_config(path).chains["evm:1"]
    path.write_text(example().replace(RPC, f"urls = {HOSTS}\nagree = 3").replace('"latest"', '"finalized"'))
    every = load_config(path).chains["evm:1"]

    assert (most.agree, most.head, len(most.urls)) == (2, "latest", 3)
    assert (every.agree, every.head) == (3, "finalized")


def test_each_of_several_nodes_has_its_own_credentials(tmp_path: Path) -> None:
    path, given = tmp_path / "config.toml", re.search(r"(?m)^credentials = [^#\n]*", example())
    assert given is not None
    several = example().replace('url = "http://127.0.0.1:8332"', f"urls = {HOSTS}")

    path.write_text(several.replace(given[0], 'credentials = ["a", "", "/c"]'))
    chain = load_config(path).chains["bitcoin:mainnet"]

    assert (chain.agree, len(chain.urls)) == (2, 3)
    assert chain.bitcoin is not None and chain.bitcoin.credentials == (tmp_path / "a", None, Path("/c"))
    for wrong in ('"a"', '["a", ""]', '["a", "", 7]'):
        path.write_text(several.replace(given[0], f"credentials = {wrong}"))
        with pytest.raises(OperationalError, match="credentials must"):
            load_config(path)


@pytest.mark.parametrize(("said", "days"), [("events_days = 7", 7), ("", 0), (None, 0)])
def test_nothing_is_forgotten_unless_it_is_configured(tmp_path: Path, said: str | None, days: int) -> None:
    section = "" if said is None else f"[retention]\n{said}\n"
    text = re.sub(r"(?ms)^\[retention\].*?(?=^\[)", section, example())
    (tmp_path / "config.toml").write_text(text)

    assert load_config(tmp_path / "config.toml").retention.events_days == days


@pytest.mark.parametrize("hold", ['["no id"]', f'["{"AB" * 32}"]', '"all"', "[7]"])
def test_a_legal_hold_that_names_no_request_is_a_mistake(tmp_path: Path, hold: str) -> None:
    path = tmp_path / "config.toml"
    path.write_text(example().replace("hold = []", f'hold = ["{"ab" * 32}"]'))
    assert load_config(path).retention.hold == (b"\xab" * 32,)

    path.write_text(example().replace("hold = []", f"hold = {hold}"))
    with pytest.raises(OperationalError):
        load_config(path)


def test_the_second_door_and_webhooks_are_off_unless_they_are_configured(tmp_path: Path) -> None:
    text = example()
    (tmp_path / "config.toml").write_text(text)
    opened = load_config(tmp_path / "config.toml")
    kept = re.sub(r"(?ms)^\[(http|webhooks)[^\]]*\].*?(?=^\[)", "", text)
    (tmp_path / "config.toml").write_text(kept)
    closed = load_config(tmp_path / "config.toml")
    (tmp_path / "config.toml").write_text(kept + "\n[http]\n")
    usual = load_config(tmp_path / "config.toml").http

    assert opened.webhooks is not None and opened.webhooks.to["shop"].certificate == tmp_path / "shop.pem"
    assert (closed.http, closed.webhooks) == (None, None)
    assert usual is not None and usual.listen.startswith("127.0.0.1:")


@pytest.mark.parametrize(
    ("old", "new", "named"),
    [
        ("batch = 32", "batch = 30", "pools.batch"),
        ("high = 48", "high = 8", "high"),
        ("confirmations = 1", "confirmations = 0", "confirmations"),
        ('listen = "127.0.0.1:7600"', "", "listen"),
        ("metrics_port = 0", "metrics_prot = 0", "metrics_prot"),
        ("[pools]", "[pools", "table declaration"),
        ("https://shop.example.com/custody", "http://shop.example.com/custody", "webhooks.to.shop.url"),
        ("https://shop.example.com/custody", "https://user:word@shop.example.com/", "without user"),
        ("https://shop.example.com/custody", "file:///etc/passwd", "webhooks.to.shop.url"),
        ("https://shop.example.com/custody", "https:///custody", "webhooks.to.shop.url"),
        ("https://shop.example.com/custody", "https://[::1/custody", "webhooks.to.shop.url"),
        ("https://shop.example.com/custody", "https://shop.example.com:port/", "webhooks.to.shop.url"),
        ('key = "webhook-key.pem"', "", "key"),
        ('security = "tls"', 'security = "none"', "security"),
        ('security = "tls"', 'security = "insecure-plain"', "mail.security is without TLS"),
        ('password_file = "mail-password"', "", "user and password_file come together"),
        ('password_file = "mail-password"', 'password = "word"', "password"),
        ("otto@example.com", "otto@example.com\\nBcc: eve@example.com", "otto"),
        ("otto@example.com", "Otto <otto@example.com>", "mail.to.otto"),
        ("custody@example.com", "custody", "mail.sender"),
        (RPC, "", "chains.evm:1.url is missing"),
        (RPC, f'{RPC}\nurls = ["http://127.0.0.1:8546"]', "give one url, or urls"),
        (RPC, 'url = "127.0.0.1:8545"', "chains.evm:1.url must be an http or https URL"),
        (RPC, f"urls = {HOSTS}\nagree = 4", "agree"),
        (RPC, f"urls = {HOSTS}\nagree = 1", "agree is '1': set it to a number from 2 to 3"),
        (RPC, 'urls = ["https://rpc.example.com/a", "https://rpc.example.com/b"]', "different hosts"),
        (RPC, 'urls = ["https://rpc.example.com/a", "https://RPC.Example.com/b"]', "different hosts"),
        (RPC, 'urls = ["https://rpc.example.com/a", "https://rpc.example.com:443"]', "different hosts"),
        (RPC, 'urls = ["https://rpc.example.com/a", "https://rpc.example.com./"]', "different hosts"),
        (RPC, 'urls = ["https://rpc.example.com/a", "https://me@rpc.example.com"]', "different hosts"),
        (RPC, 'urls = ["https://rpc.example.com/a", "https://two.example.com:99999"]', "different hosts"),
        (RPC, "urls = []", "urls"),
        (
            'head = "latest"',
            'head = "pending"',
            "head is 'pending': set it to one of latest, safe",
        ),
    ],
)
def test_a_mistake_is_named(tmp_path: Path, old: str, new: str, named: str) -> None:
    (tmp_path / "config.toml").write_text(example().replace(old, new, 1))

    with pytest.raises(OperationalError, match=re.escape(named)):
        load_config(tmp_path / "config.toml")


def test_mail_is_off_unless_it_is_configured_and_then_over_tls(tmp_path: Path) -> None:
    text = example()
    (tmp_path / "config.toml").write_text(text)
    mail = load_config(tmp_path / "config.toml").mail
    (tmp_path / "config.toml").write_text(re.sub(r"(?ms)^\[mail[^\]]*\].*?(?=^\[)", "", text))

    assert mail is not None
    assert (mail.security, mail.port, mail.to) == ("tls", 465, {"otto": "otto@example.com"})
    assert (mail.password_file, mail.certificate) == (tmp_path / "mail-password", tmp_path / "mail.pem")
    assert load_config(tmp_path / "config.toml").mail is None


def test_a_second_coordinator_does_not_get_the_lease(tmp_path: Path) -> None:
    with take_lease(tmp_path), pytest.raises(OperationalError, match="another coordinator"):
        take_lease(tmp_path)

    take_lease(tmp_path).close()


@pytest.mark.parametrize(
    ("section", "wrong"),
    [
        ('origin = "http://custody.example.com"', "must be https"),
        ('origin = "https://custody.example.com/console"', "must be https"),
        ('origin = "https://user@custody.example.com"', "must be https"),
        ('origin = "https://custody.example.com"\ncertificate = "c.pem"', "come together"),
        ('origin = "https://custody.example.com"\nlisten = "0.0.0.0:7602"', "on this machine alone"),
    ],
)
def test_a_console_that_browsers_could_not_trust_is_refused(tmp_path: Path, section: str, wrong: str) -> None:
    before, _, after = example().partition("[console]")
    (tmp_path / "config.toml").write_text(
        f"{before}[console]\n{section}\n[webhooks]{after.partition('[webhooks]')[2]}"
    )

    with pytest.raises(OperationalError, match=wrong):
        load_config(tmp_path / "config.toml")


def test_whoever_vouches_for_addresses_names_the_doubt(tmp_path: Path) -> None:
    path = with_chain(tmp_path, "bitcoin:mainnet")
    vouched = load_config(path).addresses_claimed
    path.write_text(path.read_text().replace("3f9a2c1b", "yes"))

    with pytest.raises(OperationalError, match="addresses_claimed is 'yes': set it to 8 hex digits"):
        load_config(path)
    assert vouched == "3f9a2c1b"


def with_chain(tmp_path: Path, name: str, *lines: str) -> Path:
    """The documented file with another chain and nothing beside."""
    text = example()[: example().index('[chains."evm:1"]')]
    path = tmp_path / "config.toml"
    path.write_text(text + "\n".join((f'[chains."{name}"]', 'url = "http://127.0.0.1:1"', *lines)))
    return path


@pytest.mark.parametrize(("commitment", "confirmations"), [("finalized", 3), ("confirmed", 2)])
def test_solana_counts_how_sure_a_slot_is(tmp_path: Path, commitment: str, confirmations: int) -> None:
    lines = (f'nonce_accounts = ["{NONCE_ACCOUNT}"]', f'commitment = "{commitment}"')
    chain = load_config(with_chain(tmp_path, "solana:devnet", *lines)).chains["solana:devnet"]

    assert (chain.confirmations, chain.poll_ms, chain.replace_after_ms) == (confirmations, 1_000, 60_000)
    assert chain.solana is not None and chain.solana.nonce_accounts == (NONCE_ACCOUNT,)


def test_a_chain_of_coins_waits_longer_than_one_of_accounts(tmp_path: Path) -> None:
    chain = load_config(with_chain(tmp_path, "bitcoin:mainnet")).chains["bitcoin:mainnet"]

    assert (chain.confirmations, chain.poll_ms, chain.replace_after_ms) == (6, 10_000, 3_600_000)
    assert chain.bitcoin is not None and chain.bitcoin.coins_max == 16


@pytest.mark.parametrize(
    ("name", "line", "words"),
    [
        ("solana:devnet", "confirmations = 1", "confirmations"),
        ("solana:devnet", "nonce_accounts = 7", "nonce_accounts must be at most 100 different addresses"),
        ("solana:devnet", 'nonce_accounts = ["0x00"]', "nonce_accounts must be"),
        (
            "solana:devnet",
            f"nonce_accounts = ['{NONCE_ACCOUNT}', '{NONCE_ACCOUNT}']",
            "nonce_accounts must be",
        ),
        ("solana:devnet", 'commitment = "processed"', "commitment"),
        ("solana:devnet", "coins_max = 4", "coins_max"),
        ("bitcoin:mainnet", "coins_max = 17", "above pools.low, 16"),
        ("bitcoin:mainnet", "fee_rate_max = 0", "fee_rate_max"),
        ("bitcoin:litecoin", "confirmations = 1", "bitcoin:litecoin"),
        ("evm:1", "fee_rate_max = 5", "fee_rate_max"),
    ],
)
def test_a_chain_that_cannot_be_paid_on_is_no_configuration(
    tmp_path: Path, name: str, line: str, words: str
) -> None:
    with pytest.raises(OperationalError, match=re.escape(words)):
        load_config(with_chain(tmp_path, name, line))
