"""Private data objects on the token, in versions.

A CKO_DATA value cannot be changed, so a new version is created first and the old ones are destroyed
after it. If the process dies between the two, both are there: the highest sequence number wins and
``sweep`` destroys the leftovers at start. A version that was cut off while it was written carries no
valid digest: it was never acknowledged, and the version before it wins.
"""

import re
from dataclasses import dataclass, field
from typing import Any, Final

from pkcs11 import Attribute, ObjectClass, exceptions

from policy.encoding import tagged_hash
from policy.errors import CallerError
from signer_nodes.hsm.attributes import Template
from signer_nodes.hsm.errors import HsmError
from signer_nodes.hsm.token import Connection, Token

APPLICATION: Final = "quorumkeep"
DATA_BYTES_MAX: Final = 1 << 20
REPLACED_MAX: Final = 16
NAME: Final = re.compile(r"[a-z0-9][a-z0-9._/-]{0,127}")
_MAGIC: Final = b"QKO1"
_ON_TOKEN: Final[Template] = {Attribute.TOKEN: True, Attribute.MODIFIABLE: False}
_HEADER_BYTES: Final = len(_MAGIC) + 8 + 32


@dataclass(frozen=True, slots=True)
class Stored:
    """The winning version of an object."""

    sequence: int
    data: bytes = field(repr=False)


def read(token: Token, label: str) -> Stored | None:
    """The highest version of ``label``, or nothing when the token is there and holds none.

    Raises ``HsmError`` when versions are there but none is whole, or two differ at one sequence.
    """
    found = token.run("read a data object", lambda connection: _versions(connection, label))
    return _highest(label, [stored for _, stored in found])


def write(token: Token, label: str, *, data: bytes, tidy_later: bool = False) -> int:
    """Store ``data`` as the next version of ``label``; destroy the older ones, or leave that to ``tidy``.

    Returns the new sequence number: higher than any before, not always by one. Once this returns,
    a read answers this version or a later one. What this connection wrote itself is not looked up again. If
    somebody else replaced it, the connection is made anew and finds what is there.
    """

    def work(connection: Connection) -> int:
        known = connection.written.pop(label, None)  # after any failure below it is looked up
        found = _looked_up(connection, label) if known is None else [known]
        newest = _highest(label, [stored for _, stored in found])
        sequence = 1 if newest is None else newest.sequence + 1
        made = create_version(connection, label, sequence=sequence, data=data)
        _check_there(found)
        connection.replaced.extend(handle for handle, _ in found)  # a crash here leaves two: the highest wins
        _destroy_replaced(connection, keep=REPLACED_MAX if tidy_later and known is not None else 0)
        connection.written[label] = (made, Stored(sequence, data))
        return sequence

    return token.run("write a data object", work)


def tidy(token: Token) -> None:
    """Destroy the versions that newer ones replaced."""
    token.run("destroy replaced data objects", lambda connection: _destroy_replaced(connection, keep=0))


def destroy(token: Token, label: str) -> bool:
    """Destroy every version of ``label``, oldest first; whether there was any."""

    def work(connection: Connection) -> bool:
        connection.written.pop(label, None)
        _destroy_replaced(connection, keep=0)
        found = sorted(_versions(connection, label), key=lambda pair: pair[1].sequence if pair[1] else 0)
        _destroy_all(connection, [handle for handle, _ in found])
        return bool(found)

    return token.run("destroy a data object", work)


def labels(token: Token, prefix: str) -> tuple[str, ...]:
    """The labels that begin with ``prefix``, sorted, each once."""

    def work(connection: Connection) -> tuple[str, ...]:
        found = {str(handle[Attribute.LABEL]) for handle in connection.find(_ours({}))}
        return tuple(sorted(label for label in found if label.startswith(prefix)))

    return token.run("list data objects", work)


def sweep(token: Token, prefix: str) -> int:
    """Destroy what crashes left behind under ``prefix``; how many versions went."""
    return sum(_sweep_one(token, label) for label in labels(token, prefix))


def create_version(connection: Connection, label: str, *, sequence: int, data: bytes) -> Any:
    """Create one version and destroy nothing: the first half of ``write``. Its handle."""
    if not NAME.fullmatch(label):
        raise CallerError(
            "an object's label is 1 to 128 of lower-case letters, digits, '.', '_', '/' and '-'"
        )
    if len(data) > DATA_BYTES_MAX:
        raise CallerError(f"a data object has at most {DATA_BYTES_MAX} bytes, got {len(data)}: use a file")
    connection.written.pop(label, None)
    value = _MAGIC + sequence.to_bytes(8, "big") + _digest(label, sequence, data) + data
    template = _ours({Attribute.PRIVATE: True, Attribute.LABEL: label, Attribute.VALUE: value})
    try:
        return _copied_onto_token(connection, template) or _made_on_token(connection, template)
    except exceptions.DeviceMemory as error:
        raise HsmError(
            f"the token has no room for {len(value)} bytes as {label!r}: destroy blobs of old epochs,"
            " or keep sealed blobs in files"
        ) from error


def _copied_onto_token(connection: Connection, template: Template) -> Any | None:
    """Make it in the session and copy it onto the token; nothing where a token does not copy.

    SoftHSM writes an object's file a dozen times while it makes it there, and a copy's twice.
    """
    if not connection.copies:
        return None
    try:
        made = connection.session.create_object(connection.checked({**template, Attribute.TOKEN: False}))
        try:
            return _stays(connection, made.copy(connection.checked(_ON_TOKEN)))
        finally:
            made.destroy()
    except exceptions.PKCS11Error:  # should the token be gone, making it there says so
        connection.copies = False
        return None


def _stays(connection: Connection, copied: Any) -> Any:
    """A copy that is on the token: one in the session would go with the process, after what it replaced.

    A module does with every copy what it does with the first.
    """
    if not connection.copies_stay and copied[Attribute.TOKEN] is not True:
        copied.destroy()
        raise exceptions.FunctionNotSupported
    connection.copies_stay = True
    return copied


def _made_on_token(connection: Connection, template: Template) -> Any:
    whole = {**template, **_ON_TOKEN, Attribute.COPYABLE: False}
    return connection.session.create_object(connection.checked(whole))


def _sweep_one(token: Token, label: str) -> int:
    def work(connection: Connection) -> int:
        _destroy_replaced(connection, keep=0)
        found = _versions(connection, label)
        newest = _highest(label, [stored for _, stored in found])
        connection.written.pop(label, None)
        old = [handle for handle, stored in found if stored != newest]
        _destroy_all(connection, old)
        return len(old)

    return token.run("destroy leftovers", work)


def _looked_up(connection: Connection, label: str) -> list[tuple[Any, Stored | None]]:
    _destroy_replaced(connection, keep=0)
    return _versions(connection, label)


def _check_there(found: list[tuple[Any, Stored | None]]) -> None:
    """An error of the module when somebody else has replaced what is replaced here."""
    for handle, _ in found:
        _ = handle[Attribute.PRIVATE]


def _ours(template: Template) -> Template:
    return {Attribute.CLASS: ObjectClass.DATA, Attribute.APPLICATION: APPLICATION, **template}


def _versions(connection: Connection, label: str) -> list[tuple[Any, Stored | None]]:
    handles = connection.find(_ours({Attribute.LABEL: label}))
    return [(handle, _parse(label, bytes(handle[Attribute.VALUE]))) for handle in handles]


def _parse(label: str, value: bytes) -> Stored | None:
    """What a value says, or nothing when it is not whole."""
    if len(value) < _HEADER_BYTES or not value.startswith(_MAGIC):
        return None
    sequence = int.from_bytes(value[4:12], "big")
    data = value[_HEADER_BYTES:]
    return Stored(sequence, data) if value[12:_HEADER_BYTES] == _digest(label, sequence, data) else None


def _highest(label: str, found: list[Stored | None]) -> Stored | None:
    whole = [stored for stored in found if stored is not None]
    if not found:
        return None
    if not whole:
        raise HsmError(
            f"{len(found)} versions of {label!r} are on the token and none is whole: the token lost data."
            " A record: treat this node as restored from an old state and re-enrol it. A blob: destroy it and"
            " rebuild the share from its peers"
        )
    newest = max(whole, key=lambda stored: stored.sequence)
    if any(stored.sequence == newest.sequence and stored != newest for stored in whole):
        raise HsmError(
            f"two different versions of {label!r} have sequence number {newest.sequence}: two processes"
            " write to this token; stop both and find out which one is the node"
        )
    return newest


def _destroy_replaced(connection: Connection, *, keep: int) -> None:
    """The oldest first; of one that somebody else destroyed, the connection is made anew."""
    while len(connection.replaced) > keep:
        connection.destroy(connection.replaced.popleft())


def _destroy_all(connection: Connection, handles: list[Any]) -> None:
    for handle in handles:
        connection.destroy(handle)


def _digest(label: str, sequence: int, data: bytes) -> bytes:
    return tagged_hash("hsm-object", label.encode(), sequence.to_bytes(8, "big"), data)
