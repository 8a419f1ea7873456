"""A dealer of a key of FROST: its nodes sign each with a real share."""

import random
from collections.abc import Mapping
from dataclasses import dataclass

from policy.encoding import Json
from policy.schnorr import SchnorrTask
from policy.state import Job
from policy.suites import FROST_TAPROOT
from signer_nodes.key_changes import Plan
from signer_nodes.mpc.frost import partial_signature
from signer_nodes.mpc.nonces import NoncePair, make_nonces
from tests.protocols.frost_house import deal, session_of
from tests.unit.custody_dealer import Dealer, Dealt


@dataclass(frozen=True)
class Pair:
    """One signer's nonce pair, as the cosigners in memory keep it."""

    pair: NoncePair
    session: bytes
    index: int
    R: bytes = b""

    @property
    def rho(self) -> bytes:
        return self.pair.opening


@dataclass
class FrostDealer(Dealer):
    """Knows a key of two of three, on taproot's curve unless another suite is named."""

    suite: str = FROST_TAPROOT

    def __post_init__(self) -> None:
        super().__post_init__()
        self._shares = deal(self.suite, [self.secret % 2**250, 987_654_321], n=3)

    @property
    def group_key(self) -> bytes:
        """The public key."""
        return self._shares[1].group_key

    def key_body(self, planned: Plan, attempt: int) -> Json:
        body = super().key_body(planned, attempt)
        assert isinstance(body, dict)
        share = self._shares[1]
        public: list[Json] = [point.hex() for point in share.public_shares]
        return {**body, "group_key": share.group_key.hex(), "public_shares": public}

    def deal(self, signers: Mapping[str, int], batch_id: int, batch: int) -> list[dict[str, Dealt]]:
        of = tuple(signers), batch_id
        if of not in self.dealt:
            parties = tuple(sorted(signers.values()))
            session = session_of(self._shares[1], parties, batch_id)
            made = {
                name: make_nonces(
                    self._shares[party],
                    session=session,
                    batch=batch,
                    signers=parties,
                    randomness=random.Random(f"{batch_id} {party}").randbytes(32),
                )
                for name, party in signers.items()
            }
            self.dealt[of] = [
                {name: Pair(pairs[b], session, b) for name, pairs in made.items()} for b in range(batch)
            ]
        return self.dealt[of]

    def partial(self, mine: Dealt, job: Job, index: int, *, openings: Mapping[int, bytes]) -> bytes:
        assert isinstance(mine, Pair)
        signing, share = job.signings[index], self._shares[mine.pair.me]
        task = SchnorrTask(
            suite=job.suite,
            message=signing.message,
            group_key=share.group_key,
            tweak=signing.tweak,
            merkle_root=signing.merkle_root,
            job_id=job.job_id,
            index=index,
        )
        return partial_signature(share, mine.pair, openings=openings, task=task)
