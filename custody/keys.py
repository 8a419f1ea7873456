"""Having the nodes make a key, and logging it."""

import asyncio

from custody.candidates import Candidate
from custody.parts import Parts
from policy.encoding import Json, parse_canonical
from policy.entries import ENTRY_BYTES_MAX, signature_list
from policy.errors import OperationalError, ProtocolError


async def create_key(parts: Parts, key: str) -> Json:
    """Make the key the policy describes; the body of its entry. Raises ``OperationalError``."""
    wanted = parts.sequencer.state.policy.keys.get(key)
    if wanted is None:
        raise OperationalError(f"the policy has no key {key}: name it there first")
    missing = [name for name in wanted.participants if name not in parts.nodes]
    if missing:
        raise OperationalError(f"no address of {', '.join(missing)} is configured: add it under [nodes]")
    attempt = parts.now_ms()
    try:
        answers = await asyncio.gather(*(parts.nodes[n].keygen(key, attempt) for n in wanted.participants))
    except ProtocolError as error:
        raise OperationalError(f"key {key} was not made: {error}; try again once that is clear") from error
    bodies = {body for body, _ in answers}
    if len(bodies) != 1:
        raise OperationalError(f"the nodes made {len(bodies)} different keys {key}: look at their logs")
    signatures = {name: answer[1] for name, answer in zip(wanted.participants, answers, strict=True)}
    body = parse_canonical(bodies.pop(), bytes_max=ENTRY_BYTES_MAX)
    proof: dict[str, Json] = {"signatures": signature_list(signatures)}
    outcome = await parts.sequencer.log(Candidate("key", body, proof))
    if not outcome.accepted:
        raise OperationalError(f"the log refuses key {key}: {outcome.reason}")
    return body
