"""Whether a finished signature, as the log carries it, is the one a job needs: under any suite."""

from policy import ciphersuites, ecdsa
from policy.errors import CallerError
from policy.state import Signing
from policy.suites import DKLS23_SECP256K1, FROST_ED25519, FROST_SECP256K1

ECDSA_BYTES = 65
NONCE_BYTES = 32


def verify(suite: str, signature: bytes, *, signing: Signing) -> bool:
    """Whether ``signature`` is ``suite``'s over the signing's message under its public key.

    ECDSA: r, s (low) and recovery id, 65 bytes. Schnorr: R and z as the ciphersuite writes them.
    """
    if suite != DKLS23_SECP256K1:
        return ciphersuites.verify(suite, signature, message=signing.message, public_key=signing.public_key)
    if len(signature) != ECDSA_BYTES:
        return False
    r, s = int.from_bytes(signature[:32], "big"), int.from_bytes(signature[32:64], "big")
    try:
        read = ecdsa.Signature(r, s, signature[64])
    except CallerError:
        return False
    return ecdsa.verify(read, signing.message, public_key=signing.public_key)


def nonce(suite: str, signature: bytes) -> bytes:
    """What two signatures of different messages must never share: the coordinate of R that -R has, too.

    Two under R and -R give the key away like two under R. That is r of ECDSA, x on secp256k1, y on Ed25519.
    """
    if suite == FROST_SECP256K1:
        return signature[1 : 1 + NONCE_BYTES]  # behind the byte that tells R from -R
    if suite == FROST_ED25519:
        return signature[: NONCE_BYTES - 1] + bytes([signature[NONCE_BYTES - 1] & 0x7F])  # without x's sign
    return signature[:NONCE_BYTES]
