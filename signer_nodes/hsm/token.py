"""One logged-in PKCS#11 token. Every PKCS#11 call of the process goes through ``Token.run``.

Rules, each bought with a failure that was seen:
- One lock for the whole process: the library initialises the module without locking and releases
  the interpreter lock in every call; two threads crashed or hung.
- A connection belongs to the process that made it. After a fork it is refused, never used.
- A rejected PIN is never tried again, by nobody in this process: a token may lock for good.
- A removed token looks like one without objects. That something is absent is believed only after
  another private object was seen, or on a connection that was made a moment ago.
- Handles live as long as their connection; a new connection looks everything up again.
- The work given to ``run`` may be repeated once after a reconnect, so it must be safe to repeat.
"""

import os
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import closing
from typing import Any, Final, Protocol, TypeVar

import pkcs11
from pkcs11 import Attribute, ObjectClass, exceptions

from policy.errors import CallerError
from signer_nodes.hsm.attributes import Template, attribute_mapper, check_template
from signer_nodes.hsm.errors import HsmError, PinRejectedError, TokenMissingError

T = TypeVar("T")
RETRY_PAUSE_SECONDS: Final = 0.05

_PIN_ERRORS: Final = (
    exceptions.PinIncorrect,
    exceptions.PinInvalid,
    exceptions.PinLenRange,
    exceptions.PinLocked,
    exceptions.PinExpired,
)
_LOST: Final = (  # the token, the session or a handle is gone, or may be: worth one reconnect
    exceptions.DeviceError,
    exceptions.DeviceRemoved,
    exceptions.FunctionFailed,
    exceptions.GeneralError,
    exceptions.KeyHandleInvalid,
    exceptions.NoSuchKey,
    exceptions.ObjectHandleInvalid,
    exceptions.SessionClosed,
    exceptions.SessionHandleInvalid,
    exceptions.TokenNotPresent,
    exceptions.TokenNotRecognised,
    exceptions.UserNotLoggedIn,
)

PROCESS_LOCK: Final = threading.RLock()  # around every PKCS#11 call, also those of provisioning
_generations: dict[str, int] = {}
_open_tokens: set[tuple[str, str]] = set()


class Library(Protocol):
    """What is used of a loaded module; ``pkcs11.lib`` returns one."""

    def finalize(self) -> None:
        """C_Finalize: every session and login of the process ends."""

    def get_token(self, *, token_label: str) -> Any:
        """The one token of that label."""


session_mapper: Final = attribute_mapper()


class _Doubtful(Exception):
    """Nothing was found and nothing else proves that the token is there: reconnect and look again."""


class Connection:
    """A logged-in session. Valid only inside the work given to ``Token.run``."""

    def __init__(self, session: Any, generation: int) -> None:
        self.session = session
        self.generation = generation
        self.just_made = True  # within this ``run``: then absence is believed at once
        self._mapper = session_mapper
        self._keys: dict[tuple[ObjectClass, str], Any] = {}
        self.copies = True  # until this token has refused to copy an object
        self.copies_stay = False  # until a copy was seen to be on the token
        self.replaced: deque[Any] = deque()  # versions to be destroyed when there is time
        self.written: dict[str, tuple[Any, Any]] = {}  # what ``objects`` wrote last by it, by label

    def find(self, template: Template) -> list[Any]:
        """All objects on the token that match; an empty answer has been made sure of."""
        found = self._search(template)
        if not found and not self.just_made and not self._sees_any_private_object():
            raise _Doubtful
        return found

    def key(self, object_class: ObjectClass, label: str) -> Any | None:
        """The one key of that label, or nothing. Raises ``HsmError`` when there are several."""
        known = self._keys.get((object_class, label))
        if known is not None:
            return known
        found = self.find({Attribute.CLASS: object_class, Attribute.LABEL: label})
        if len(found) > 1:
            raise HsmError(
                f"the token holds {len(found)} objects labelled {label!r} where one belongs:"
                " somebody else wrote to it; do not use this token before that is explained"
            )
        if not found:
            return None
        self._keys[(object_class, label)] = found[0]
        return found[0]

    def checked(self, template: Template) -> Template:
        """The template itself, once each value is known to pack."""
        check_template(self._mapper, template)
        return template

    def model(self) -> str:
        """The token's maker and model, as it names them."""
        token = self.session.token
        return f"{token.manufacturer_id} {token.model}"

    def destroy(self, handle: Any) -> None:
        """Destroy an object and forget its handle."""
        self._keys = {place: known for place, known in self._keys.items() if known != handle}
        handle.destroy()

    def _search(self, template: Template) -> list[Any]:
        wanted = self.checked({Attribute.TOKEN: True, **template})
        with closing(self.session.get_objects(wanted)) as results:
            return list(results)

    def _sees_any_private_object(self) -> bool:
        wanted = self.checked({Attribute.TOKEN: True, Attribute.PRIVATE: True})
        with closing(self.session.get_objects(wanted)) as results:
            return next(results, None) is not None


class Token:
    """A token of one PKCS#11 module, found by its label, logged in as the user.

    Use ``Token.open``. Safe for threads. Not safe across a fork: open after it.
    """

    def __init__(
        self, module_path: str, token_label: str, *, pin: Callable[[], str], load: Callable[[str], Library]
    ) -> None:
        self._module_path = module_path
        self._label = token_label
        self._pin = pin
        self._load = load
        self._process = os.getpid()
        self._connection: Connection | None = None
        self._ended: str | None = None

    @classmethod
    def open(
        cls,
        module_path: str,
        token_label: str,
        *,
        pin: Callable[[], str],
        load: Callable[[str], Library] = pkcs11.lib,
    ) -> "Token":
        """Load the module, find the token and log in.

        ``pin`` is called once for each log-in: now, and after a removed token came back.
        Start-up on a token shared with other processes is retried once, a rejected PIN never.
        Raises ``TokenMissingError``, ``PinRejectedError``, or another ``HsmError``.
        """
        name = (module_path, token_label)
        with PROCESS_LOCK:
            if name in _open_tokens:
                raise CallerError(f"token {token_label!r} is already open in this process: use that one")
            token = cls(module_path, token_label, pin=pin, load=load)
            try:
                token._connection = token._connect_with_retry()
            except _PIN_ERRORS as error:
                raise token._pin_rejected(error) from error
            token._connection.just_made = False  # It may be long until the first use.
            _open_tokens.add(name)
            return token

    def __repr__(self) -> str:
        return f"Token({self._module_path!r}, {self._label!r})"

    @property
    def label(self) -> str:
        """The token's label."""
        return self._label

    def run(self, action: str, work: Callable[[Connection], T]) -> T:
        """Do ``work`` with the connection, alone in the process, and once more after a lost token.

        ``action`` names the work in errors. Raises ``TokenMissingError`` when the token is gone,
        ``HsmError`` for whatever else the module answers; errors of ``work`` itself pass through.
        """
        with PROCESS_LOCK:
            self._refuse_if_ended()
            try:
                return self._attempt(action, work)
            except (_Doubtful, *_LOST):
                self._connection = None
            self._reinitialize()
            try:
                return self._attempt(action, work)
            except (_Doubtful, *_LOST) as error:
                self._connection = None
                raise HsmError(
                    f"the HSM failed to {action}, also after a reconnect ({type(error).__name__}):"
                    " look at the HSM's own log, then restart the node"
                ) from error

    def close(self) -> None:
        """Log out and close. The process is logged out of this token as a whole."""
        with PROCESS_LOCK:
            connection, self._connection = self._connection, None
            if self._ended is None:
                self._ended = "was closed: open it again"
                _open_tokens.discard((self._module_path, self._label))
            if connection is not None and self._is_current(connection) and self._process == os.getpid():
                try:
                    connection.session.close()
                except exceptions.PKCS11Error as error:
                    raise HsmError(
                        f"token {self._label!r} did not close cleanly ({type(error).__name__}):"
                        " end the process, which ends its sessions"
                    ) from error

    def _attempt(self, action: str, work: Callable[[Connection], T]) -> T:
        connection = self._current_connection()
        try:
            return work(connection)
        except _LOST:
            raise
        except exceptions.PKCS11Error as error:
            raise HsmError(
                f"the HSM refused to {action} ({type(error).__name__}): see what this error means in"
                " the vendor's manual; nothing was changed by the refused call"
            ) from error
        finally:
            connection.just_made = False

    def _current_connection(self) -> Connection:
        if self._connection is None or not self._is_current(self._connection):
            try:
                self._connection = self._connect_with_retry()
            except _PIN_ERRORS as error:
                raise self._pin_rejected(error) from error
        return self._connection

    def _is_current(self, connection: Connection) -> bool:
        return connection.generation == _generations.get(self._module_path, 0)

    def _refuse_if_ended(self) -> None:
        if self._process != os.getpid():
            raise CallerError(f"token {self._label!r} was opened before a fork: open it in this process")
        if self._ended is not None:
            raise HsmError(f"token {self._label!r} {self._ended}")

    def _connect_with_retry(self) -> Connection:
        try:
            return self._connect()
        except _PIN_ERRORS:
            raise
        except (exceptions.PKCS11Error, HsmError):
            time.sleep(RETRY_PAUSE_SECONDS)
        self._reinitialize()
        return self._connect()

    def _connect(self) -> Connection:
        generation = _generations.setdefault(self._module_path, 0)
        token = self._find_token()
        pin = self._pin()
        try:
            session = token.open(rw=True, user_pin=pin, attribute_mapper=session_mapper)
        except _PIN_ERRORS:
            raise
        except exceptions.PKCS11Error as error:
            raise HsmError(
                f"token {self._label!r} does not let its user log in ({type(error).__name__}):"
                " check that its user PIN is initialised and that no other code of this process uses it"
            ) from error
        return Connection(session, generation)

    def _find_token(self) -> Any:
        try:
            return self._load(self._module_path).get_token(token_label=self._label)
        except exceptions.MultipleTokensReturned as error:
            raise HsmError(
                f"more than one token is labelled {self._label!r}: labels must differ, rename or remove one"
            ) from error
        except exceptions.NoSuchToken as error:
            raise TokenMissingError(
                f"module {self._module_path} has no token {self._label!r}: plug it in or provision it,"
                " and for SoftHSM check SOFTHSM2_CONF and the rights on its token folder"
            ) from error
        except exceptions.PKCS11Error as error:
            raise TokenMissingError(
                f"PKCS#11 module {self._module_path} cannot be used ({type(error).__name__}): check the"
                " path, the vendor's configuration (SoftHSM: SOFTHSM2_CONF) and that its service runs"
            ) from error

    def _reinitialize(self) -> None:
        reinitialize(self._module_path, load=self._load)

    def _pin_rejected(self, error: exceptions.PKCS11Error) -> PinRejectedError:
        """End this token for good; the failed log-in's leaked session goes with the module."""
        self._ended = "rejected its PIN and is not tried again: restart the node with the right PIN"
        _open_tokens.discard((self._module_path, self._label))
        if not any(path == self._module_path for path, _ in _open_tokens):
            self._reinitialize()
        return PinRejectedError(
            f"token {self._label!r} did not accept the user PIN ({type(error).__name__}). It was tried"
            " once and is not retried, since tokens lock: check where the PIN comes from, then restart"
        )


def reinitialize(module_path: str, *, load: Callable[[str], Library] = pkcs11.lib) -> None:
    """Finalise and initialise a module, so that it looks again at slots and tokens.

    Every open ``Token`` of the module notices and connects anew at its next use. Raises
    ``TokenMissingError`` when the module does not come back.
    """
    with PROCESS_LOCK:
        _generations[module_path] = _generations.get(module_path, 0) + 1
        try:
            load(module_path).finalize()
            load(module_path)
        except exceptions.PKCS11Error as error:
            raise TokenMissingError(
                f"PKCS#11 module {module_path} cannot be initialised ({type(error).__name__}): check the"
                " path, the vendor's configuration (SoftHSM: SOFTHSM2_CONF) and that its service runs"
            ) from error
