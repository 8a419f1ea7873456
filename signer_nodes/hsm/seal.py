"""Sealing: the HSM wraps a file key for one key and epoch; sealed blobs live on the token.

The HSM unseals a file key of one epoch, and only the worker opens share and OT state with it
(``envelope.py``). What the HSM gives: sealing at rest, destroying old epochs. No standard PKCS#11
mechanism computes a threshold share of a signature, so a share is in process memory while it is used.

A wrapped file key is: version 1, profile, 16 bytes naming the context, nonce, ciphertext with tag;
all before the nonce, and the whole canonical context, are associated data.
"""

from enum import Enum
from typing import Any, Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from pkcs11 import Attribute, GCMParams, Mechanism, exceptions

from policy.errors import CallerError
from signer_nodes.hsm import objects
from signer_nodes.hsm.context import SealContext, check_key_and_epoch
from signer_nodes.hsm.envelope import FILE_KEY_BYTES, NONCE_BYTES, TAG_BYTES
from signer_nodes.hsm.errors import HsmError, KeyMissingError, SealedBlobError
from signer_nodes.hsm.keys import KEK, SEAL, KeyTemplate, make_key
from signer_nodes.hsm.token import Connection, Token

BLOB_PREFIX: Final = "blob/"
_VERSION: Final = 1
_HEADER_BYTES: Final = 18
WRAPPED_BYTES: Final = _HEADER_BYTES + NONCE_BYTES + FILE_KEY_BYTES + TAG_BYTES
_PROBE_CONTEXT: Final = b"quorumkeep/v1 probe\n"


class SealProfile(Enum):
    """How the HSM seals: ``GCM`` wherever it can, ``KEK`` (a key derived by HMAC) on HSMs without GCM."""

    GCM = 1
    KEK = 2


_TEMPLATES: Final[dict[SealProfile, KeyTemplate]] = {SealProfile.GCM: SEAL, SealProfile.KEK: KEK}


def create_sealing_key(token: Token, key_id: str, *, epoch: int, profile: SealProfile) -> bool:
    """Make the sealing key of an epoch; false when it is there already, so that it may be repeated."""
    check_key_and_epoch(key_id, epoch)

    def work(connection: Connection) -> bool:
        if _present(connection, key_id, epoch):
            return False
        template = _TEMPLATES[profile]
        make_key(connection, template, label=_key_label(template, key_id, epoch))
        return True

    return token.run("make a sealing key", work)


def destroy_sealing_key(token: Token, key_id: str, *, epoch: int) -> bool:
    """Destroy an epoch's sealing key for ever; false when there was none, so that it may be repeated.

    Call it only after all nodes acknowledged the next epoch. Raises ``HsmError`` if the key is still
    found afterwards.
    """
    check_key_and_epoch(key_id, epoch)

    def work(connection: Connection) -> bool:
        present = _present(connection, key_id, epoch)
        for key in present:
            connection.destroy(key)
        if _present(connection, key_id, epoch):
            raise HsmError(
                f"the HSM says it destroyed the sealing key of {key_id} epoch {epoch} and still has it"
            )
        return bool(present)

    return token.run("destroy a sealing key", work)


def sealing_epochs(token: Token, key_id: str) -> tuple[int, ...]:
    """The epochs of ``key_id`` whose sealing key exists, rising."""
    check_key_and_epoch(key_id, 0)
    prefixes = tuple(f"{template.kind}/{key_id}/" for template in _TEMPLATES.values())

    def work(connection: Connection) -> tuple[int, ...]:
        keys = connection.find({Attribute.CLASS: SEAL.object_class})
        names = [str(key[Attribute.LABEL]) for key in keys]
        epochs = {name.rpartition("/")[2] for name in names if name.startswith(prefixes)}
        return tuple(sorted(int(epoch) for epoch in epochs if epoch.isdecimal()))

    return token.run("list sealing keys", work)


def seal_file_key(token: Token, context: SealContext, *, file_key: bytes) -> bytes:
    """Wrap a 32-byte file key under the sealing key of the context's key and epoch: 78 bytes.

    Raises ``KeyMissingError`` when that epoch has no sealing key.
    """
    if len(file_key) != FILE_KEY_BYTES:
        raise CallerError(f"a file key has {FILE_KEY_BYTES} bytes, got {len(file_key)}")

    def work(connection: Connection) -> bytes:
        profile, key = _any_sealing_key(connection, context)
        header = bytes([_VERSION, profile.value]) + context.digest()
        nonce = bytes(connection.session.generate_random(8 * NONCE_BYTES))
        aad = header + context.canonical_bytes()
        return header + nonce + _encrypt(profile, key, file_key, nonce=nonce, aad=aad)

    wrapped = token.run("seal a file key", work)
    if len(wrapped) != WRAPPED_BYTES:
        raise HsmError(f"the HSM sealed to {len(wrapped)} bytes, {WRAPPED_BYTES} are right: its GCM differs")
    return wrapped


def unseal_file_key(token: Token, context: SealContext, *, wrapped: bytes) -> bytes:
    """The 32-byte file key that was sealed for exactly this context.

    Raises ``SealedBlobError`` when the key works and the blob does not open under it,
    ``KeyMissingError`` when the epoch's key does not exist, ``HsmError`` when the HSM fails.
    """
    header = _checked_header(context, wrapped)
    profile = SealProfile(header[1])
    body = wrapped[_HEADER_BYTES:]
    nonce, sealed = body[:NONCE_BYTES], body[NONCE_BYTES:]

    def work(connection: Connection) -> bytes:
        key = _sealing_key(connection, context, profile)
        if key is None:
            raise _no_sealing_key(context)
        aad = header + context.canonical_bytes()
        try:
            return _decrypt(profile, key, sealed, nonce=nonce, aad=aad)
        except (exceptions.PKCS11Error, InvalidTag) as error:
            # If key or token fail, the probe raises that, and the blob is not blamed.
            _probe(connection, profile, key)
            raise SealedBlobError(
                f"wrapped file key of {context} does not open though its sealing key works: the blob was"
                " altered; restore it from the token, or rebuild the share from its peers"
            ) from error

    return token.run("unseal a file key", work)


def put_blob(token: Token, name: str, *, data: bytes) -> int:
    """Store a sealed blob under ``name``, replacing an older one only once the new one is there."""
    return objects.write(token, BLOB_PREFIX + name, data=data)


def get_blob(token: Token, name: str) -> bytes | None:
    """The blob, or nothing when the token is there and has none of that name."""
    stored = objects.read(token, BLOB_PREFIX + name)
    return None if stored is None else stored.data


def destroy_blob(token: Token, name: str) -> bool:
    """Destroy a blob; whether there was one."""
    return objects.destroy(token, BLOB_PREFIX + name)


def list_blobs(token: Token, prefix: str) -> tuple[str, ...]:
    """The names that begin with ``prefix``, sorted."""
    return tuple(label.removeprefix(BLOB_PREFIX) for label in objects.labels(token, BLOB_PREFIX + prefix))


def _checked_header(context: SealContext, wrapped: bytes) -> bytes:
    header = wrapped[:_HEADER_BYTES]
    profiles = {profile.value for profile in SealProfile}
    if header and header[0] > _VERSION:
        raise SealedBlobError(
            f"wrapped file key of {context} has version {header[0]}, this program knows {_VERSION}: start the"
            " newer program that sealed it; if there was none, the blob was altered: restore it"
        )
    if len(wrapped) != WRAPPED_BYTES or header[0] != _VERSION or header[1] not in profiles:
        raise SealedBlobError(
            f"wrapped file key of {context} has {len(wrapped)} bytes and is not in this format"
            f" ({WRAPPED_BYTES} bytes): restore it from the token, or rebuild the share from its peers"
        )
    if header[2:] != context.digest():
        raise SealedBlobError(
            f"wrapped file key was sealed for another context than {context}: suite, key, group key, node,"
            " t, n or epoch differ; find the blob of this context, nothing is wrong with the HSM"
        )
    return header


def _present(connection: Connection, key_id: str, epoch: int) -> list[Any]:
    labelled = [(kind.object_class, _key_label(kind, key_id, epoch)) for kind in _TEMPLATES.values()]
    keys = [connection.key(object_class, label) for object_class, label in labelled]
    return [key for key in keys if key is not None]


def _any_sealing_key(connection: Connection, context: SealContext) -> tuple[SealProfile, Any]:
    for profile in SealProfile:
        key = _sealing_key(connection, context, profile)
        if key is not None:
            return profile, key
    raise _no_sealing_key(context)


def _sealing_key(connection: Connection, context: SealContext, profile: SealProfile) -> Any | None:
    template = _TEMPLATES[profile]
    return connection.key(template.object_class, _key_label(template, context.key_id, context.epoch))


def _no_sealing_key(context: SealContext) -> KeyMissingError:
    return KeyMissingError(
        f"no sealing key for {context}: this epoch was destroyed or never begun here; what was sealed"
        " under it cannot be opened, use the current epoch or rebuild the share from its peers"
    )


def _key_label(template: KeyTemplate, key_id: str, epoch: int) -> str:
    return f"{template.kind}/{key_id}/{epoch}"


def _encrypt(profile: SealProfile, key: Any, plaintext: bytes, *, nonce: bytes, aad: bytes) -> bytes:
    if profile is SealProfile.KEK:
        return _derived(key, aad).encrypt(nonce, plaintext, aad)
    return bytes(key.encrypt(plaintext, mechanism=Mechanism.AES_GCM, mechanism_param=GCMParams(nonce, aad)))


def _decrypt(profile: SealProfile, key: Any, sealed: bytes, *, nonce: bytes, aad: bytes) -> bytes:
    if profile is SealProfile.KEK:
        return _derived(key, aad).decrypt(nonce, sealed, aad)
    return bytes(key.decrypt(sealed, mechanism=Mechanism.AES_GCM, mechanism_param=GCMParams(nonce, aad)))


def _derived(key: Any, aad: bytes) -> AESGCM:
    return AESGCM(bytes(key.sign(aad, mechanism=Mechanism.SHA256_HMAC)))


def _probe(connection: Connection, profile: SealProfile, key: Any) -> None:
    """A round trip of zeros under a context of its own, to tell a broken key from a bad blob."""
    zeros = bytes(FILE_KEY_BYTES)
    nonce = bytes(connection.session.generate_random(8 * NONCE_BYTES))
    sealed = _encrypt(profile, key, zeros, nonce=nonce, aad=_PROBE_CONTEXT)
    if _decrypt(profile, key, sealed, nonce=nonce, aad=_PROBE_CONTEXT) != zeros:
        raise HsmError(
            "a sealing key does not open what it sealed a moment ago: the HSM is broken, replace it"
        )
