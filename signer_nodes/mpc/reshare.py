"""Reshare: new shares of the same key for another committee, or for another ``min_signers``.

Any ``min_signers`` nodes of the old committee deal λ_i·share_i to the new one (``redeal``): those values add
up to the key, so the new shares are shares of it. Each dealer's constant term is λ_i times its public share,
which everybody has from the key's record: a dealer that deals from anything else is named by its receivers.
New members know nothing but that record. It replaces a lost node, grows or shrinks the committee, and
changes ``min_signers``; group key and chain code stay.

After Desmedt and Jajodia (1997) and Wong, Wang and Wing (2002). The old shares still are shares of the key:
those of dealers and of nodes left out must be destroyed once the new ones count.
"""

from dataclasses import dataclass, field
from functools import partial

from policy.encoding import tagged_hash
from policy.errors import CallerError, UnknownFault
from policy.suites import suite_named
from signer_nodes.mpc.curve import PointAtInfinity
from signer_nodes.mpc.dkg import SESSION_BYTES
from signer_nodes.mpc.groups import Group, group_of, lagrange
from signer_nodes.mpc.keyshare import (
    KeyShare,
    PairState,
    check_committee,
    check_key_id,
    check_public_shares,
)
from signer_nodes.mpc.redeal import OldCommittee, Plan, Redealt, start_redeal
from signer_nodes.mpc.rounds import Rounds


@dataclass(frozen=True, slots=True)
class ReshareParameters:
    """What all parties agreed on before: it is hashed into everything they send.

    ``session``: 32 bytes that no run has used before. ``epoch`` is the new one. ``dealers`` are the names,
    sorted, of exactly ``old.min_signers`` old participants. ``participants[i - 1]`` holds the new share i.
    ``name`` is this party. ``old`` is from the log, and its points were parsed there.
    """

    session: bytes
    suite: str
    key_id: str
    epoch: int
    old: OldCommittee
    dealers: tuple[str, ...]
    min_signers: int
    participants: tuple[str, ...]
    name: str

    def __post_init__(self) -> None:
        suite_named(self.suite)
        check_key_id(self.key_id, self.epoch)
        check_committee(self.old.min_signers, self.old.participants)
        check_committee(self.min_signers, self.participants)
        if len(self.old.public_shares) != len(self.old.participants):
            raise CallerError(f"{len(self.old.participants)} participants have as many public shares")
        if self.epoch != self.old.epoch + 1:
            raise CallerError(f"after epoch {self.old.epoch} comes {self.old.epoch + 1}, not {self.epoch}")
        if len(self.session) != SESSION_BYTES:
            raise CallerError(f"a session id has {SESSION_BYTES} bytes, got {len(self.session)}")
        strangers = sorted(set(self.dealers) - set(self.old.participants))
        if strangers:
            raise CallerError(f"{', '.join(strangers)} cannot deal: no participant of epoch {self.old.epoch}")
        if self.dealers != tuple(sorted(set(self.dealers))) or len(self.dealers) != self.old.min_signers:
            raise CallerError(f"need {self.old.min_signers} distinct dealers, sorted, got {self.dealers}")
        if self.name not in self.parties:
            raise CallerError(f"{self.name} is neither a dealer nor in the new committee")

    @property
    def group(self) -> Group:
        """The group of the suite."""
        return group_of(self.suite)

    @property
    def parties(self) -> tuple[str, ...]:
        """The names of everybody in the run; party number i is ``parties[i - 1]``."""
        return tuple(sorted({*self.dealers, *self.participants}))

    @property
    def number(self) -> int:
        """This party's number in the run."""
        return self.parties.index(self.name) + 1

    @property
    def index(self) -> int | None:
        """The index of this party's new share; None for a dealer that gets none."""
        return self.participants.index(self.name) + 1 if self.name in self.participants else None

    @property
    def context(self) -> bytes:
        """The hash of all that the parties agreed on, but for the points of the old record."""
        names = tuple(name.encode() for name in (*self.old.participants, *self.dealers, *self.participants))
        counts = bytes([len(self.old.participants), len(self.dealers), len(self.participants)])
        numbers = self.epoch.to_bytes(4, "big") + bytes([self.old.min_signers, self.min_signers]) + counts
        key = (self.suite.encode(), self.key_id.encode())
        return tagged_hash("mpc/reshare/context", self.session, *key, numbers, *names)

    def coefficient(self, dealer: str) -> int:
        """The Lagrange coefficient of a dealer's old share among the dealers' shares."""
        indices = tuple(self.old.participants.index(name) + 1 for name in self.dealers)
        return lagrange(self.old.participants.index(dealer) + 1, indices, order=self.group.order)


@dataclass(frozen=True, slots=True)
class ReshareResult:
    """One party's outcome; it counts only after all parties' signatures over ``transcript``.

    ``share`` is None for a dealer that is not in the new committee. ``pairs`` is the state toward each peer
    of the new committee, for suites that need one.
    """

    share: KeyShare | None
    public_shares: tuple[bytes, ...]
    transcript: bytes
    pairs: tuple[PairState, ...] = field(default=(), repr=False)


def start_reshare(parameters: ReshareParameters, share: KeyShare | None, *, randomness: bytes) -> Rounds:
    """A run that ends in a ``ReshareResult``. ``share`` is a dealer's old one, None for who deals nothing.

    ``randomness``: 32 fresh bytes, never used again. Raises ``CallerError`` for a share of another key than
    the record's, and ``InvariantError`` for a share or a record that does not hang together.
    """
    old, group = parameters.old, parameters.group
    check_public_shares(group, old.min_signers, public_shares=old.public_shares, group_key=old.group_key)
    constant = None
    if parameters.name in parameters.dealers:
        own = _own(parameters, share)
        constant = parameters.coefficient(parameters.name) * own.share % group.order
    elif share is not None:
        raise CallerError(f"{parameters.name} deals nothing, so its old share has no place here")
    finish = partial(_reshared, parameters)
    return start_redeal(_plan(parameters), constant, finish=finish, randomness=randomness)


def _plan(parameters: ReshareParameters) -> Plan:
    number = {name: place for place, name in enumerate(parameters.parties, start=1)}
    return Plan(
        group=parameters.group,
        context=parameters.context,
        old_record=parameters.old.digest(),
        min_signers=parameters.min_signers,
        dealers={number[name]: _constant_term(parameters, name) for name in parameters.dealers},
        receivers={number[name]: index for index, name in enumerate(parameters.participants, start=1)},
        me=parameters.number,
        pairwise=(parameters.key_id, parameters.epoch) if suite_named(parameters.suite).pairwise else None,
    )


def _own(parameters: ReshareParameters, share: KeyShare | None) -> KeyShare:
    if share is None:
        raise CallerError(
            f"{parameters.name} is a dealer: it needs its share of epoch {parameters.old.epoch}"
        )
    found = (share.suite, share.key_id, share.participants[share.index - 1], OldCommittee.of(share))
    if found != (parameters.suite, parameters.key_id, parameters.name, parameters.old):
        raise CallerError(f"the share of {share.key_id} in epoch {share.epoch} is not the one of this run")
    share.check()
    return share


def _constant_term(parameters: ReshareParameters, dealer: str) -> bytes:
    public = parameters.old.public_shares[parameters.old.participants.index(dealer)]
    return parameters.group.mul_public(public, parameters.coefficient(dealer))


def _reshared(parameters: ReshareParameters, redealt: Redealt) -> ReshareResult:
    old, group = parameters.old, parameters.group
    try:
        public_shares = tuple(
            group.add([old.group_key, redealt.moved[index + 1]])
            for index in range(len(parameters.participants))
        )
    except PointAtInfinity as error:
        raise UnknownFault(
            f"a new share of transcript {redealt.transcript.hex()} vanishes: compare it at every party, and "
            "start again with a new session id"
        ) from error
    check_public_shares(group, parameters.min_signers, public_shares=public_shares, group_key=old.group_key)
    share = None
    if parameters.index is not None:
        share = KeyShare(
            suite=parameters.suite,
            key_id=parameters.key_id,
            epoch=parameters.epoch,
            index=parameters.index,
            min_signers=parameters.min_signers,
            participants=parameters.participants,
            share=redealt.share,
            public_shares=public_shares,
            group_key=old.group_key,
            chain_code=old.chain_code,
        )
        share.check()
    return ReshareResult(share, public_shares, redealt.transcript, redealt.pairs)
