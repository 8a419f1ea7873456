"""Seal share and OT state under a file key, in the worker process. No PKCS#11 in here.

AES-256-GCM with a fresh random 12-byte nonce; the associated data is a domain string and the
canonical context. A file key seals one blob; the HSM seals the file key (``seal.py``).
"""

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from policy.errors import CallerError
from signer_nodes.hsm.context import SealContext
from signer_nodes.hsm.errors import SealedBlobError

FILE_KEY_BYTES = 32
NONCE_BYTES = 12
TAG_BYTES = 16
_MAGIC = b"QKB1"
_DOMAIN = b"quorumkeep/v1 sealed-state\n"


def seal_blob(file_key: bytes, plaintext: bytes, *, context: SealContext, nonce: bytes) -> bytes:
    """Encrypt ``plaintext`` under the 32-byte ``file_key``, bound to ``context``.

    ``nonce``: 12 bytes, random, never used twice with this file key. The blob is 32 bytes longer
    than the plaintext. Raises ``CallerError`` for wrong lengths.
    """
    if len(nonce) != NONCE_BYTES:
        raise CallerError(f"the nonce has {NONCE_BYTES} bytes, got {len(nonce)}")
    sealed = _cipher(file_key).encrypt(nonce, plaintext, _DOMAIN + context.canonical_bytes())
    return _MAGIC + nonce + sealed


def open_blob(file_key: bytes, blob: bytes, *, context: SealContext) -> bytes:
    """Decrypt what ``seal_blob`` made under the same file key and context.

    Raises ``SealedBlobError``, which proves that blob, context or file key differ from those at
    sealing, and does not tell which.
    """
    cipher = _cipher(file_key)
    if len(blob) < len(_MAGIC) + NONCE_BYTES + TAG_BYTES or not blob.startswith(_MAGIC):
        raise SealedBlobError(
            f"sealed state of {context} has {len(blob)} bytes and is not in this format:"
            " restore it from the token, or rebuild the share from its peers"
        )
    body = blob[len(_MAGIC) :]
    try:
        return cipher.decrypt(body[:NONCE_BYTES], body[NONCE_BYTES:], _DOMAIN + context.canonical_bytes())
    except InvalidTag as error:
        raise SealedBlobError(
            f"sealed state of {context} does not open: it was altered, or sealed for another context"
            " or under another file key; restore it from the token, or rebuild the share from its peers"
        ) from error


def _cipher(file_key: bytes) -> AESGCM:
    if len(file_key) != FILE_KEY_BYTES:
        raise CallerError(f"a file key has {FILE_KEY_BYTES} bytes, got {len(file_key)}")
    return AESGCM(file_key)
