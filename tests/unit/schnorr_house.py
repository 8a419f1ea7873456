"""A log with a wallet on Solana and one on Bitcoin, whose nodes hold real shares and really sign."""

from collections.abc import Mapping
from typing import Any

from embit.psbt import PSBT
from embit.script import Script
from embit.transaction import Transaction, TransactionInput, TransactionOutput

from policy import base58, bech32
from policy.accounts import Account, account_at
from policy.addresses import PREFIXES, solana_address
from policy.intent import Intent, request_id
from policy.schnorr import SchnorrTask
from policy.state import CANCEL, PAYMENT, Job
from policy.suites import FROST_ED25519, FROST_TAPROOT
from policy.values import replace
from signer_nodes.mpc.keyshare import KeyShare
from tests.protocols.frost_house import deal, nonces_of, openings_of, partials_of, sign
from tests.simulation.world import PAIR, Book, World, limit, seed
from tests.unit.solana_house import advance, message, pay, pay_tokens, priority

SOL, BTC = "solana:localnet", "bitcoin:regtest"
MINT, TOKEN_DECIMALS = seed("mint"), 6
NONCE_ACCOUNT, NONCE = seed("nonce account"), seed("durable nonce")
SOL_CUSTOMER = solana_address(seed("customer"))
BTC_CUSTOMER = bech32.encode("bcrt", 0, program=seed("customer")[:20])
SIGNERS = (1, 2)
SHARES: Mapping[str, Mapping[int, KeyShare]] = {
    "sol": deal(FROST_ED25519, [123456789, 987654321], n=3),
    "btc": deal(FROST_TAPROOT, [1234567891, 987654321], n=3),
}
LIMITS = {"sol": 10_000_000, "btc": 100_000}
FEE_CEILINGS = {"sol": 5_000_000, "btc": 10_000}
SATOSHI = 50_000


def policy(world: World, **changed: Any) -> dict[str, Any]:
    """The world's policy with the two wallets beside its own."""
    document: dict[str, Any] = world.policy()
    for name, chain, suite, paths in (
        ("sol", SOL, FROST_ED25519, ["m"]),
        ("btc", BTC, FROST_TAPROOT, ["m/0/0", "m/0/1"]),
    ):
        document["chains"][chain] = {"native": name, "fee_ceiling": str(FEE_CEILINGS[name])}
        document["assets"][name] = {"chain": chain, "kind": "native", "decimals": 8}
        document["keys"][name] = {"suite": suite, "min_signers": 2, "participants": list(world.nodes)}
        document["wallets"][name] = {"tier": "hot", "key": name, "chain": chain, "paths": paths}
        document["limits"].append(limit(f"{name}-daily", name, LIMITS[name]))
    document["limits"].append(limit("tok-daily", "tok", 10**9))
    document["assets"]["tok"] = {
        "chain": SOL,
        "kind": "spl",
        "contract": solana_address(MINT),
        "decimals": TOKEN_DECIMALS,
    }
    document["lists"]["customers"] += [SOL_CUSTOMER, BTC_CUSTOMER]
    document["rules"].append(
        {
            "name": "elsewhere",
            "when": {"assets": ["sol", "btc", "tok"], "destinations": ["customers"]},
            "then": {"outcome": "allow"},
        }
    )
    document["cancel"] = {"fee_ceiling": "5000"}
    return {**document, **changed}


class SchnorrBook(Book):
    """One branch of such a log."""

    def __init__(self, world: World, **changed: Any) -> None:
        super().__init__(world, start=False)
        self.genesis(policy=policy(world, **changed))
        self.key()
        for name, shares in SHARES.items():
            share = shares[1]
            self.key(
                key=name,
                suite=share.suite,
                group_key=share.group_key.hex(),
                chain_code=share.chain_code.hex(),
                public_shares=[point.hex() for point in share.public_shares],
            )

    def branch(self) -> "SchnorrBook":
        """Another branch that begins like this one."""
        other = SchnorrBook.__new__(SchnorrBook)
        vars(other).update(vars(self.fork()))
        return other

    def account(self, wallet: str, path: str) -> Account:
        """An account of one of the two wallets."""
        chain = self.state.policy.wallets[wallet].chain
        return account_at(self.state.keys[wallet], path, chain=chain)

    def ask(
        self, wallet: str, amount: int, *, to: str = "", asset: str = "", fee_ceiling: int = 10_000
    ) -> bytes:
        """Log a request to pay a customer out of a wallet; its id."""
        chain, customer = {"sol": (SOL, SOL_CUSTOMER), "btc": (BTC, BTC_CUSTOMER)}[wallet]
        intent = Intent(chain, wallet, asset or wallet, amount, to or customer)
        request = replace(self.asked(fee_ceiling=fee_ceiling), intent=intent)
        self.log_request(request)
        return request_id(request.body())

    def reserved(self, request: bytes, tx: bytes, *, paths: tuple[str, ...], purpose: str = PAYMENT) -> bytes:
        """Log a reservation of these bytes; the id of its job, if it is admitted."""
        return self.log_reservation(self.reservation_of(request, tx, paths=paths, purpose=purpose))

    def reservation_of(
        self, request: bytes, tx: bytes, *, paths: tuple[str, ...], purpose: str = PAYMENT
    ) -> dict[str, Any]:
        """The body of such a reservation."""
        wallet = self.state.requests[request].request.intent.wallet
        count = len(self.entries)
        return {
            "request": request.hex(),
            "purpose": purpose,
            "tx": tx.hex(),
            "key": wallet,
            "epoch": 0,
            "paths": list(paths),
            "signers": list(PAIR),
            "presignatures": [seed(f"pair {count} {index}").hex() for index in range(len(paths))],
        }

    def finish(self, job: bytes, index: int = 0, *, signature: bytes | None = None) -> bool:
        """Log one signature of a job, made by two nodes unless it is given; whether it was taken in."""
        made = signature or frost_signature(self.state.jobs[job], index, self.state.keys)
        return self.write("signature", {"job": job.hex(), "index": index, "signature": made.hex()}).accepted

    def solana(
        self,
        request: bytes,
        *,
        nonce: bytes = NONCE,
        purpose: str = PAYMENT,
        price: int | None = None,
        decimals: int = TOKEN_DECIMALS,
    ) -> bytes:
        """Reserve a Solana message of a request; ``price`` is of each of 1000 compute units."""
        intent = self.state.requests[request].request.intent
        payer, to = self.account("sol", "m").public_key, base58.decode(intent.destination)
        made = [advance(NONCE_ACCOUNT, payer), *([] if price is None else priority(1_000, price))]
        if purpose == PAYMENT and intent.asset == "tok":
            made += pay_tokens(payer, to, MINT, amount=intent.amount, decimals=decimals)
        elif purpose == PAYMENT:
            made.append(pay(payer, to, intent.amount))
        return self.reserved(request, message(payer, nonce, *made), paths=("m",), purpose=purpose)

    def bitcoin(
        self,
        request: bytes,
        *,
        paths: tuple[str, ...] = ("m/0/0", "m/0/1"),
        first: int = 0,
        fee: int = 1_000,
        purpose: str = PAYMENT,
    ) -> bytes:
        """Reserve the PSBT of a request; ``first`` tells the outpoint of its first input.

        A cancellation spends the first input alone.
        """
        paths = paths[:1] if purpose == CANCEL else paths
        intent = self.state.requests[request].request.intent
        change = self.account("btc", "m/0/1").address
        total = SATOSHI * len(paths) - fee
        paid = [(change, total)]
        if purpose == PAYMENT:
            paid = [(intent.destination, intent.amount), (change, total - intent.amount)]
        tx = psbt([self.account("btc", path).address for path in paths], paid, first=first)
        return self.reserved(request, tx, paths=paths, purpose=purpose)


def psbt(spent: list[str], paid: list[tuple[str, int]], *, first: int) -> bytes:
    """A PSBT that another library writes."""
    inputs = [
        TransactionInput(seed(f"outpoint {first + index}"), index, sequence=0xFFFFFFFD)
        for index in range(len(spent))
    ]
    outputs = [TransactionOutput(value, script_of(address)) for address, value in paid if value]
    made = PSBT(Transaction(2, inputs, outputs, 0))
    for scope, address in zip(made.inputs, spent, strict=True):
        scope.witness_utxo = TransactionOutput(SATOSHI, script_of(address))
    return bytes(made.serialize())


def script_of(address: str) -> Script:
    """The script an address stands for."""
    version, program = bech32.decode(PREFIXES[BTC], address)
    return Script(bytes([0x51 if version else 0, len(program)]) + program)


def task_of(job: Job, index: int, keys: Mapping[str, Any]) -> SchnorrTask:
    """What the signers of one signature of a job sign."""
    signing = job.signings[index]
    group_key = keys[job.key].group_key
    return SchnorrTask(
        job.suite, signing.message, group_key, signing.tweak, signing.merkle_root, job.job_id, index
    )


def frost_signature(job: Job, index: int, keys: Mapping[str, Any]) -> bytes:
    """Both rounds of nodes 1 and 2."""
    return sign(SHARES[job.key], SIGNERS, task_of(job, index, keys), seed=job.index * 100 + index)


def both_rounds(job: Job, index: int, keys: Mapping[str, Any]) -> tuple[dict[int, bytes], dict[int, bytes]]:
    """Openings and partial signatures of nodes 1 and 2, by party."""
    nonces = nonces_of(SHARES[job.key], SIGNERS, seed=job.index * 100 + index)
    return openings_of(nonces), partials_of(SHARES[job.key], nonces, task_of(job, index, keys))
