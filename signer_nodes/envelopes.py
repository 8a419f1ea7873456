"""Envelopes of a node's own making; how they are sealed and opened is in ``signer_nodes.api.hpke``."""

from policy.encoding import Json
from policy.errors import CallerError
from signer_nodes.api.hpke import (
    ENVELOPE_OVERHEAD_BYTES,
    KEY_BYTES,
    EnvelopeError,
    envelope_info,
    open_envelope,
    seal_envelope,
)

__all__ = [
    "ENVELOPE_OVERHEAD_BYTES",
    "KEY_BYTES",
    "EnvelopeError",
    "envelope_info",
    "import_info",
    "open_envelope",
    "seal_envelope",
]


def import_info(session: bytes, suite: str, *, key_id: str, node: str) -> bytes:
    """The ``info`` of a dealt share on its way to ``node``. ``session``: the 32 bytes of the import's run."""
    if len(session) != KEY_BYTES:
        raise CallerError(f"a session id has {KEY_BYTES} bytes, got {len(session)}")
    body: Json = {"session": session.hex(), "suite": suite, "key": key_id, "node": node}
    return envelope_info("import", body)
