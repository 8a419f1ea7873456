"""Error families, sorted by who must react.

``CallerError``: we passed nonsense to our own function (a developer reacts).
``ProtocolError`` and its children: a received message breaks a rule (the runtime reacts: it keeps
the evidence, excludes the sender, and goes on).
``OperationalError``: disk, network, HSM, database (raised by adapters only).
``InvariantError``: our own state is impossible (the process stops and an operator looks).
A policy that says no is not an error but a ``policy.evaluate.Verdict``.
"""


class QuorumkeepError(Exception):
    """The root of every error this project raises on purpose."""


class CallerError(QuorumkeepError, ValueError):
    """A function of ours was called with arguments that it documents as wrong."""


class ProtocolError(QuorumkeepError):
    """A received message breaks the protocol; nothing of it was used."""


class MalformedError(ProtocolError):
    """Received bytes do not parse within their bounds. Proves nothing about who altered them."""


class InvalidSignatureError(ProtocolError):
    """A signature does not verify under the key that the roster names for its author."""


class FaultyParticipant(ProtocolError):
    """An authenticated participant deviated, and the evidence names it.

    ``participant`` is the name or index the session knows it by; ``ban`` is true when the failed
    check is one after which no session may run with this peer until a refresh (an oblivious
    transfer, multiplication or consistency check: a retry would leak one bit of secret state).
    """

    def __init__(self, participant: int | str, reason: str, *, ban: bool = False) -> None:
        super().__init__(f"participant {participant}: {reason}")
        self.participant = participant
        self.reason = reason
        self.ban = ban


class FaultyCoordinator(ProtocolError):
    """The coordinator sent what no honest coordinator sends."""


class UnknownFault(ProtocolError):
    """The protocol failed and cannot name a culprit; ``investigation`` says what to compare."""

    def __init__(self, investigation: str) -> None:
        super().__init__(investigation)
        self.investigation = investigation


class OperationalError(QuorumkeepError):
    """The world outside failed: disk, network, HSM, database. The message says what to do next."""


class InvariantError(QuorumkeepError):
    """Our own state is impossible. The process must stop; never catch this to go on."""
