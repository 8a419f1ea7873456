"""Who is logged in: sessions on this side alone, short, each bound to one passkey.

A session lets its holder look. It signs nothing: every yes and no is a passkey's own signature.
"""

import hashlib
import hmac
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Final

from custody.api.errors import CallRefused, Code
from custody.console.people import People, Person
from policy.approval import Assertion, verify_assertion
from policy.encoding import Json, document_hash
from policy.errors import InvalidSignatureError, MalformedError
from policy.state import State

IDLE_MS: Final = 15 * 60 * 1000
LIFE_MS: Final = 4 * 60 * 60 * 1000
CHALLENGE_MS: Final = 2 * 60 * 1000
SESSIONS_MAX: Final = 1000
TOKEN_BYTES: Final = 32
_UNTIL_DIGITS, _RANDOM_DIGITS = 16, 32


@dataclass(frozen=True, slots=True)
class Session:
    """Somebody who has logged in; ``csrf`` goes with every call that changes something."""

    person: Person
    csrf: str = field(repr=False)
    began_ms: int
    seen_ms: int


class Sessions:
    """All sessions of one coordinator, in memory: a restart ends them."""

    def __init__(
        self, people: People, site: str, *, state: Callable[[], State], now_ms: Callable[[], int]
    ) -> None:
        self._people = people
        self._site = site
        self._state = state
        self._now_ms = now_ms
        self._sessions: dict[bytes, Session] = {}
        self._used: dict[str, int] = {}
        self._secret = secrets.token_bytes(TOKEN_BYTES)

    def challenge(self) -> str:
        """A nonce to log in with, good once and for two minutes.

        It says itself that it is ours and until when: whoever asks for a million of them fills nothing here.
        """
        until = self._now_ms() + CHALLENGE_MS
        said = f"{until:0{_UNTIL_DIGITS}x}{secrets.token_hex(_RANDOM_DIGITS // 2)}"
        return said + self._mark(said)

    def log_in(self, nonce: str, credential_id: bytes, *, assertion: Assertion) -> str:
        """The token of a new session. Raises ``CallRefused``."""
        if not self._is_open(nonce):
            raise CallRefused(Code.REPLAYED, "this login was used or took too long: begin again")
        person = self._people.with_passkey(credential_id, self._state())
        if person is None:
            raise CallRefused(
                Code.UNAUTHENTICATED, "no operator or auditor has this passkey: use the one you enrolled"
            )
        challenge = login_digest(self._state().origin, self._site, nonce=nonce)
        try:
            verify_assertion(assertion, credential=person.credential, challenge=challenge)
        except (InvalidSignatureError, MalformedError) as error:
            raise CallRefused(Code.UNAUTHENTICATED, f"{error}: log in again") from error
        now = self._now_ms()
        self._used = {used: until for used, until in self._used.items() if until > now}
        self._used[nonce] = now + CHALLENGE_MS
        return self._begin(person)

    def find(self, token: str, *, touch: bool = True) -> Session | None:
        """The session of a token, while it lasts and its passkey is its person's."""
        place, now = _place(token), self._now_ms()
        session = self._sessions.get(place)
        if session is None:
            return None
        known = self._people.with_passkey(session.person.credential.id, self._state())
        if known != session.person or now - session.began_ms > LIFE_MS or now - session.seen_ms > IDLE_MS:
            del self._sessions[place]
            return None
        if touch:
            session = self._sessions[place] = replace(session, seen_ms=now)
        return session

    def log_out(self, token: str) -> None:
        """End a session."""
        self._sessions.pop(_place(token), None)

    def _is_open(self, nonce: str) -> bool:
        said, mark = nonce[: _UNTIL_DIGITS + _RANDOM_DIGITS], nonce[_UNTIL_DIGITS + _RANDOM_DIGITS :]
        if nonce in self._used or not same_text(mark, self._mark(said)):
            return False
        return int(said[:_UNTIL_DIGITS], 16) > self._now_ms()

    def _mark(self, said: str) -> str:
        return hmac.new(self._secret, said.encode(), hashlib.sha256).hexdigest()

    def _begin(self, person: Person) -> str:
        now = self._now_ms()
        if len(self._sessions) >= SESSIONS_MAX:
            oldest = min(self._sessions, key=lambda place: self._sessions[place].seen_ms)
            del self._sessions[oldest]
        token = secrets.token_hex(TOKEN_BYTES)
        self._sessions[_place(token)] = Session(person, secrets.token_hex(TOKEN_BYTES), now, now)
        return token


def login_digest(origin: str, site: str, *, nonce: str) -> bytes:
    """The challenge of a login: no approval and no rejection has this tag."""
    body: Json = {"origin": origin, "site": site, "nonce": nonce}
    return document_hash("console-login", body)


def same_text(one: str, other: str) -> bool:
    """Compare secrets in constant time."""
    return hmac.compare_digest(one.encode(), other.encode())


def _place(token: str) -> bytes:
    """Tokens themselves are not kept."""
    return hashlib.sha256(token.encode()).digest()
