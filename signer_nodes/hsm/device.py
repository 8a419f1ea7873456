"""The node's HSM as the rest of the node sees it: one object over one token."""

import secrets
from collections.abc import Callable
from typing import Final

import pkcs11

from signer_nodes.hsm import doctor, keys, objects, records, seal
from signer_nodes.hsm.context import SealContext
from signer_nodes.hsm.doctor import Finding
from signer_nodes.hsm.errors import HsmError
from signer_nodes.hsm.seal import SealProfile
from signer_nodes.hsm.token import Library, Token

STAND_IN_NOTICE: Final = (
    "SoftHSM is a stand-in: its keys are files under the PIN, and a clone is 'cp -r'. Use a real HSM for"
    " money that matters."
)


class Pkcs11Hsm:
    """A provisioned token. Every method may raise ``HsmError``; safe for threads, not across a fork."""

    def __init__(self, token: Token, profile: SealProfile) -> None:
        self._token = token
        self._profile = profile
        self.trouble = ""  # why the last record was not written; empty when it was

    @classmethod
    def open(
        cls,
        module_path: str,
        token_label: str,
        *,
        pin: Callable[[], str],
        profile: SealProfile,
        load: Callable[[str], Library] = pkcs11.lib,
    ) -> "Pkcs11Hsm":
        """Log in and destroy what crashes left behind. ``doctor`` comes next, before anything is signed."""
        token = Token.open(module_path, token_label, pin=pin, load=load)
        objects.sweep(token, "")
        return cls(token, profile)

    def __repr__(self) -> str:
        return f"Pkcs11Hsm({self._token!r}, {self._profile.name})"

    def close(self) -> None:
        """Log out."""
        self._token.close()

    def notices(self) -> tuple[str, ...]:
        """What the node must say at every start about this HSM."""
        model = self._token.run("read the token's model", lambda connection: connection.model())
        return (STAND_IN_NOTICE,) if "softhsm" in model.lower() else ()

    def make_identity_keys(self) -> None:
        """At provisioning: make ``cosign`` and ``prf``."""
        keys.make_identity_keys(self._token)

    def identity_public_key(self) -> bytes:
        """The 32 raw bytes of the node's Ed25519 identity."""
        return keys.identity_public_key(self._token)

    def sign_statement(self, message: bytes) -> bytes:
        """64 bytes: the identity's signature over exactly ``message``, which the caller built."""
        return keys.sign_statement(self._token, message)

    def random(self, count: int) -> bytes:
        """Fresh random bytes of the HSM."""
        return keys.random_bytes(self._token, count)

    def prf(self, label: str, data: bytes) -> bytes:
        """32 bytes that only this token computes; for hedging nonces, nothing else."""
        return keys.prf(self._token, label, data=data)

    def create_sealing_key(self, key_id: str, epoch: int) -> bool:
        """Make an epoch's sealing key; false when it is there already."""
        return seal.create_sealing_key(self._token, key_id, epoch=epoch, profile=self._profile)

    def destroy_sealing_key(self, key_id: str, epoch: int) -> bool:
        """Destroy an epoch's sealing key for ever; false when there was none."""
        return seal.destroy_sealing_key(self._token, key_id, epoch=epoch)

    def sealing_epochs(self, key_id: str) -> tuple[int, ...]:
        """The epochs whose sealing key exists, rising."""
        return seal.sealing_epochs(self._token, key_id)

    def seal_file_key(self, context: SealContext, file_key: bytes) -> bytes:
        """Wrap a 32-byte file key for exactly this context."""
        return seal.seal_file_key(self._token, context, file_key=file_key)

    def unseal_file_key(self, context: SealContext, wrapped: bytes) -> bytes:
        """The file key; ``SealedBlobError`` when the blob is wrong and the key works."""
        return seal.unseal_file_key(self._token, context, wrapped=wrapped)

    def put_blob(self, name: str, data: bytes) -> int:
        """Store a sealed blob on the token, replacing an older one of that name."""
        return seal.put_blob(self._token, name, data=data)

    def get_blob(self, name: str) -> bytes | None:
        """The blob, or nothing when the token is there and has none."""
        return seal.get_blob(self._token, name)

    def destroy_blob(self, name: str) -> bool:
        """Destroy a blob; whether there was one."""
        return seal.destroy_blob(self._token, name)

    def list_blobs(self, prefix: str) -> tuple[str, ...]:
        """Names of blobs, sorted."""
        return seal.list_blobs(self._token, prefix)

    def read_record(self, name: str) -> tuple[int, bytes] | None:
        """Sequence number and bytes of ``head`` or ``boot``."""
        return records.read_record(self._token, name)

    def write_record(self, name: str, data: bytes) -> int:
        """Store the next version of a record; its sequence number."""
        try:
            sequence = records.write_record(self._token, name, data=data)
        except HsmError as error:
            self.trouble = str(error)
            raise
        self.trouble = ""
        return sequence

    def tidy(self) -> None:
        """Destroy the versions of records that newer ones replaced."""
        objects.tidy(self._token)

    def raise_boot_counter(self, boot_id: bytes) -> int:
        """Count this start under its 32 random bytes."""
        return records.raise_boot_counter(self._token, boot_id)

    def doctor(self) -> tuple[Finding, ...]:
        """For every start: attempt the impossible on throwaway keys, and read what the live keys say."""
        attempted = doctor.examine_templates(self._token, doctor.templates_in_use(self._profile))
        return attempted + doctor.read_live(self._token)

    def doctor_live(self) -> tuple[Finding, ...]:
        """Attempt the impossible on the keys in use; at provisioning only."""
        return doctor.examine_live(self._token)

    def check_seal(self, context: SealContext) -> None:
        """Seal and unseal a random file key, for refresh to see that a new epoch's key works."""
        file_key = self.random(32)
        if not secrets.compare_digest(
            self.unseal_file_key(context, self.seal_file_key(context, file_key)), file_key
        ):
            raise HsmError(
                f"the sealing key for {context} does not open what it sealed: do not use this epoch"
            )
