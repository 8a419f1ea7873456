"""What can go wrong at the token, each with what to do next; none carries a PIN or a secret."""

from policy.errors import OperationalError


class HsmError(OperationalError):
    """The HSM or its module failed, or is not set up as this node needs it."""


class TokenMissingError(HsmError):
    """The module or the token cannot be reached: nothing is known about what it holds."""


class PinRejectedError(HsmError):
    """The token did not accept the PIN. It was tried once and this process never tries again."""


class KeyMissingError(HsmError):
    """The token is present and holds no key of that label."""


class SealedBlobError(OperationalError):
    """A sealed blob does not open although its key works: blob or context are not what was sealed."""


class OpenTokenError(HsmError):
    """The doctor did something with a key that must be impossible: the node must not run."""
