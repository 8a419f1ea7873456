"""A dealer in place of the protocols: it knows the key, and deals presignatures."""

import hashlib
import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from policy.ecdsa import SigningTask
from policy.encoding import Json
from policy.state import Job
from signer_nodes.key_changes import Plan
from signer_nodes.mpc.curve import Q, base_mul
from signer_nodes.mpc.ecdsa import partial_signature
from signer_nodes.mpc.presignature import Presignature, rho_commitment

ORIGIN = "log.example.com/test"


class Dealt(Protocol):
    """One signer's part of a presignature: ``rho`` is its opening."""

    @property
    def session(self) -> bytes: ...

    @property
    def index(self) -> int: ...

    @property
    def R(self) -> bytes: ...

    @property
    def rho(self) -> bytes: ...


@dataclass
class Dealer:
    """Knows the key, and deals presignatures to every set, the same to all its members."""

    seed: int = 1
    secret: int = field(init=False)
    dealt: dict[tuple[tuple[str, ...], int], list[dict[str, Dealt]]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._random = random.Random(f"dealer {self.seed}")
        self.secret = self._random.randrange(1, Q)

    def key_body(self, planned: Plan, attempt: int) -> Json:
        """The body of the entry of a key's epoch; nobody here looks at the shares' public halves."""
        point = base_mul(self.secret)
        return {
            "origin": ORIGIN,
            "key": planned.key_id,
            "epoch": planned.epoch,
            "suite": planned.suite,
            "change": planned.change,
            "dealers": list(planned.dealers),
            "min_signers": planned.min_signers,
            "participants": list(planned.participants),
            "group_key": point.hex(),
            "chain_code": "22" * 32,
            "public_shares": [point.hex() for _ in planned.participants],
            "transcript": hashlib.sha256(f"{planned.epoch} {attempt}".encode()).hexdigest(),
        }

    def deal(self, signers: Mapping[str, int], batch_id: int, batch: int) -> list[dict[str, Dealt]]:
        """The same batch to whoever of ``signers`` asks; each comes with its party number."""
        of = tuple(signers), batch_id
        if of not in self.dealt:
            session = self._random.randbytes(32)
            self.dealt[of] = [self._one(signers, session, b) for b in range(batch)]
        return self.dealt[of]

    def partial(self, mine: Dealt, job: Job, index: int, *, openings: Mapping[int, bytes]) -> bytes:
        """What whoever holds ``mine`` signs of a job."""
        assert isinstance(mine, Presignature)
        signing = job.signings[index]
        task = SigningTask(signing.message, signing.tweak, signing.public_key, job.job_id, index)
        return partial_signature(mine, rhos=openings, task=task).to_bytes()

    def _one(self, signers: Mapping[str, int], session: bytes, b: int) -> dict[str, Dealt]:
        source = self._random
        parties = list(signers.values())
        r = source.randrange(1, Q)
        phis = [source.randrange(Q) for _ in signers]
        phi = sum(phis) % Q
        rhos = [source.randbytes(32) for _ in signers]
        commitments = tuple(
            rho_commitment(session, party, b=b, rho=rho) for party, rho in zip(parties, rhos, strict=True)
        )
        us, vs = self._split(r * phi, len(signers)), self._split(self.secret * phi, len(signers))
        return {
            name: Presignature(
                session=session,
                index=b,
                signers=tuple(parties),
                me=parties[i],
                group_key=base_mul(self.secret),
                R=base_mul(r),
                commitments=commitments,
                rho=rhos[i],
                phi=phis[i],
                u=us[i],
                v=vs[i],
            )
            for i, name in enumerate(signers)
        }

    def _split(self, value: int, count: int) -> list[int]:
        parts = [self._random.randrange(Q) for _ in range(count - 1)]
        return [*parts, (value - sum(parts)) % Q]
