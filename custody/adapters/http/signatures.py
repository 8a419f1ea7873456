"""Who makes a call over HTTP: RFC 9421 signatures of whoever has a key here, each good for one call.

The RFC is read by the library ``http-message-signatures``. What is ours is what it leaves to its users: which
parts must be signed, the clock, and that a nonce is used once. Nonces are in the database for as long as a
signature holds, so that no restart makes a call good again; after a restore, which has none of them, and by a
start on a promoted standby, which may lack some, what was signed before is refused.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from http_message_signatures import (
    HTTPMessageSignaturesException,
    HTTPMessageVerifier,
    HTTPSignatureKeyResolver,
    algorithms,
)

from custody.api.calls import SKEW_MS
from custody.api.errors import CallRefused, Code
from custody.api.http_signing import COVERED, LABEL
from custody.feeds import FeedStorage, NonceUse

LIFETIME_MAX_S: Final = 300
NONCES_MAX: Final = 200_000
NONCE_CHARACTERS: Final = range(16, 129)
HOW: Final = (
    f"sign {', '.join(COVERED)} by RFC 9421 with Ed25519, with created, expires, nonce, "
    "keyid (your name in the roster) and tag (the log's origin)"
)


@dataclass(frozen=True, slots=True)
class Received:
    """A call as it arrived. ``headers`` are all of its field lines, in order."""

    method: str
    url: str
    headers: "FieldLines"
    body: bytes


class FieldLines:
    """Header field lines as the library reads them."""

    def __init__(self, raw: list[tuple[bytes, bytes]]) -> None:
        self._lines = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in raw]

    def items(self) -> list[tuple[str, str]]:
        """Name and value of each line."""
        return self._lines


@dataclass(frozen=True, slots=True)
class Signed:
    """Who signed a call, and what makes it good for one call alone."""

    caller: str
    nonce: str
    created_s: int
    expires_s: int


class Callers:
    """Tells who made a call, and refuses what was signed by nobody, at another time, or used before."""

    def __init__(
        self,
        origin: Callable[[], str],
        key_of: Callable[[str], bytes | None],
        *,
        storage: FeedStorage,
        now_ms: Callable[[], int],
    ) -> None:
        self._origin = origin
        self._key_of = key_of
        self._storage = storage
        self._now_ms = now_ms
        self._refused_ms: int | None = None

    async def authenticate(self, received: Received) -> str:
        """Who signed this call; its nonce is used up, also for a later process. Raises ``CallRefused``."""
        signed = self.signed(received)
        await self._check_unrestored(signed)
        used = await self._storage.use_nonce(
            signed.caller,
            signed.nonce,
            until_s=signed.expires_s + SKEW_MS // 1000 + 1,
            now_s=self._now_ms() // 1000,
            nonces_max=NONCES_MAX,
        )
        if used is NonceUse.USED:
            raise CallRefused(Code.REPLAYED, "its nonce was used before: sign again with a fresh one")
        if used is NonceUse.TOO_MANY:
            raise CallRefused(Code.TOO_MANY, f"{NONCES_MAX} signatures hold at once: wait, then sign again")
        return signed.caller

    async def _check_unrestored(self, signed: Signed) -> None:
        """Refuse what may have been used before a restore or a promotion."""
        if self._refused_ms is None:
            self._refused_ms = await self._refused_until_ms()
        until_ms = self._refused_ms
        if signed.created_s * 1000 <= until_ms:
            wait_s = max(0, until_ms - self._now_ms()) // 1000 + 1
            raise CallRefused(
                Code.REPLAYED,
                f"it may have been used before the database was restored or failed over: "
                f"sign again in {wait_s} s",
            )

    async def _refused_until_ms(self) -> int:
        """Up to when a call may have been used at a database whose nonces are not here.

        None was lost later than the start, whatever a clock said. After a restore callers' clocks may be as
        fast as is taken; a fail-over is no reason to refuse everybody for so long (ADR 0060).
        """
        now_ms = self._now_ms()
        restored_ms = min(await self._storage.doubted_ms(), now_ms) + SKEW_MS
        return max(restored_ms, min(await self._storage.promoted_ms(), now_ms))

    def signed(self, received: Received) -> Signed:
        """What the signature says, once it has been verified; nothing is used up. Raises ``CallRefused``."""
        verifier = _Verifier(self._key_of, now_ms=self._now_ms())
        try:
            (result,) = verifier.verify(
                received,
                max_age=timedelta(seconds=LIFETIME_MAX_S),
                expect_tag=self._origin(),
                require_components=COVERED,
                body=received.body,
            )
        except (HTTPMessageSignaturesException, ValueError) as error:
            raise CallRefused(Code.UNAUTHENTICATED, f"{_reason(error)}: {HOW}") from error
        nonce = result.nonce or ""
        if len(nonce) not in NONCE_CHARACTERS:
            raise CallRefused(
                Code.UNAUTHENTICATED,
                f"a nonce has {NONCE_CHARACTERS[0]} to {NONCE_CHARACTERS[-1]} characters",
            )
        created, expires = (int(result.parameters[name]) for name in ("created", "expires"))
        return Signed(str(result.parameters["keyid"]), nonce, created, expires)


class _Keys(HTTPSignatureKeyResolver):
    def __init__(self, key_of: Callable[[str], bytes | None]) -> None:
        self._key_of = key_of

    def resolve_public_key(self, key_id: str) -> Ed25519PublicKey:
        key = self._key_of(key_id)
        if key is None:
            raise CallRefused(Code.UNAUTHENTICATED, f"nobody here is called {key_id[:64]!r}: {HOW}")
        return Ed25519PublicKey.from_public_bytes(key)


class _Verifier(HTTPMessageVerifier):
    """The library's verifier by our clock: a created and an expires are always required."""

    def __init__(self, key_of: Callable[[str], bytes | None], *, now_ms: int) -> None:
        super().__init__(signature_algorithm=algorithms.ED25519, key_resolver=_Keys(key_of))
        self._now_ms = now_ms

    def validate_created_and_expires(self, sig_input: Any, max_age: timedelta | None = None) -> None:
        created, expires = (sig_input.params.get(name) for name in ("created", "expires"))
        if type(created) is not int or type(expires) is not int or sig_input.params.get("nonce") is None:
            raise CallRefused(Code.UNAUTHENTICATED, f"created, expires or nonce is missing: {HOW}")
        if not created < expires <= created + LIFETIME_MAX_S:
            raise CallRefused(
                Code.UNAUTHENTICATED, f"a signature holds for 1 to {LIFETIME_MAX_S} s: set expires to that"
            )
        if not (created * 1000 - SKEW_MS <= self._now_ms <= expires * 1000 + SKEW_MS):
            raise CallRefused(
                Code.CLOCK_SKEW,
                f"it holds from {created} to {expires}, here it is {self._now_ms // 1000}: set the clock",
            )


def _reason(error: Exception) -> str:
    said = str(error)[:300]
    return said if said.isprintable() and said else f"the {LABEL} signature does not verify"
