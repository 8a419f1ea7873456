"""Ceremonies that make a key of cold nodes, refresh it, or reshare it to the nodes that the policy names.

All machines take part that have a part in it: of a resharing those that the policy names, and as many of
the key's present ones as sign, first those that stay.
"""

from collections.abc import Collection

from custody.api.errors import CallRefused, Code
from custody.candidates import Candidate
from custody.ceremonies import Ceremony, Purpose, Stage
from custody.cold_log import ship
from custody.node_statements import unlogged
from custody.parts import Parts
from policy.encoding import parse_canonical
from policy.entries import ENTRY_BYTES_MAX, signature_list
from policy.errors import OperationalError
from policy.ids import GENERATE, REFRESH, RESHARE
from policy.model import Key
from policy.state import KeyRecord, State
from signer_nodes.api import node_pb2 as pb


def members(parts: Parts, wanted: Purpose) -> tuple[str, ...]:
    """Who holds the ceremony. Raises ``OperationalError``."""
    state, key = parts.sequencer.state, wanted.key
    named, record = state.policy.keys.get(key), state.keys.get(key)
    if named is None or not set(named.participants) <= set(state.roster.cold):
        said = f"the policy has no key {key[:64]!r} of cold nodes: name it there first"
        raise CallRefused(Code.UNKNOWN_KEY, said)
    names = _parties(named, record, wanted.change, here=parts.ceremonies.hellos)
    if missing := [one for one in names if one not in parts.ceremonies.hellos]:
        raise OperationalError(f"all of them take part: start {', '.join(missing)} and import its hello")
    return names


def _parties(named: Key, record: KeyRecord | None, change: str, *, here: Collection[str]) -> tuple[str, ...]:
    key = named.name
    if record is None:
        if change != GENERATE:
            raise OperationalError(f"there is no key {key} yet: hold the ceremony that makes it")
        return named.participants
    match change:
        case "refresh":
            return record.participants
        case "reshare" if _same_place(named, record):
            raise OperationalError(
                f"the policy has key {key} where it is: --change refresh renews its shares"
            )
        case "reshare":
            return tuple(sorted({*_dealers(named, record, here=here), *named.participants}))
        case "generate":
            raise OperationalError(
                f"key {key} is in epoch {record.epoch} already: --change refresh begins the next"
            )
        case _:
            known = f"{GENERATE}, {REFRESH} and {RESHARE}"
            raise CallRefused(Code.MALFORMED, f"a ceremony has no {change[:32]}: it has {known}")


def _same_place(named: Key, record: KeyRecord) -> bool:
    place = set(record.participants), record.min_signers
    return (set(named.participants), named.min_signers) == place


def _dealers(named: Key, record: KeyRecord, *, here: Collection[str]) -> tuple[str, ...]:
    """Who deals in a resharing: of those that are here first the ones that stay."""
    able = sorted(
        set(record.participants) & set(here), key=lambda name: (name not in named.participants, name)
    )
    if len(able) < record.min_signers:
        raise OperationalError(
            f"key {record.key} takes {record.min_signers} of {', '.join(record.participants)} to hand it on, "
            f"and there are hellos of {', '.join(able) or 'none'}: start more of them and import their hellos"
        )
    return tuple(sorted(able[: record.min_signers]))


def begin_change(parts: Parts, ceremony: Ceremony) -> None:
    """Ask the machines, which have the log, for the change."""
    wanted, names, state = ceremony.wanted, ceremony.desk.names, parts.sequencer.state
    named, record = state.policy.keys.get(wanted.key), state.keys.get(wanted.key)
    call = pb.ChangeKey(key_id=wanted.key, attempt=parts.attempts(), change=wanted.change)
    if record is not None:
        ceremony.epoch = record.epoch + 1
        ceremony.holders = tuple(name for name in names if name in record.participants)
        if wanted.change == RESHARE and named is not None:
            call.dealers[:] = _dealers(named, record, here=names)
    ceremony.desk.ask(call)
    ceremony.stage = Stage.MAKING_KEY


def is_made(state: State, ceremony: Ceremony) -> bool:
    """Whether the log has the epoch that the ceremony was to begin."""
    record = state.keys.get(ceremony.wanted.key)
    return ceremony.stage is Stage.MAKING_KEY and record is not None and record.epoch >= ceremony.epoch


async def log_key(parts: Parts, ceremony: Ceremony) -> None:
    """Log what all have signed."""
    found = ceremony.desk.replies("change_key")
    if not all(found.values()):
        return
    bodies = {replies[-1].change_key.body for replies in found.values()}
    if len(bodies) != 1:
        ceremony.end(Stage.FAILED, f"the nodes made {len(bodies)} different keys: look at their logs")
        return
    signatures = {name: replies[-1].change_key.signature for name, replies in found.items()}
    body = parse_canonical(bodies.pop(), bytes_max=ENTRY_BYTES_MAX)
    outcome = await parts.sequencer.log(Candidate("key", body, {"signatures": signature_list(signatures)}))
    if outcome.accepted:
        await after_key(parts, ceremony)
    else:
        ceremony.end(Stage.FAILED, f"the log refuses it: {outcome.reason}")


async def after_key(parts: Parts, ceremony: Ceremony) -> None:
    """Once the epoch is in the log: one pass more brings it to the machines, which destroy the one before."""
    if ceremony.epoch == 0:
        ceremony.end(Stage.DONE, f"key {ceremony.wanted.key} is made")
        return
    await ship(parts, ceremony.desk)
    ceremony.desk.ask(pb.Status())
    ceremony.stage = Stage.SHREDDING


async def log_shreds(parts: Parts, ceremony: Ceremony) -> None:
    """Log the receipts of the machines for the shares that they have destroyed."""
    key, before = ceremony.wanted.key, ceremony.epoch - 1
    for name, replies in ceremony.desk.replies("status").items():
        for reply in replies:
            for candidate in unlogged(parts.sequencer.state, name, status=reply.status.document):
                await parts.sequencer.log(candidate)
    shreds = parts.sequencer.state.shreds
    kept = [name for name in ceremony.holders if (key, before, name) not in shreds]
    word = f"key {key} is in epoch {ceremony.epoch}"
    if kept:
        word += (
            f"; {', '.join(kept)} gave no receipt for the shares of epoch {before}: the next ceremony asks"
        )
    ceremony.end(Stage.DONE, word)
