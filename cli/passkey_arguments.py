"""The arguments of what makes passkeys and signs by them. Imports nothing heavy, as ``cli.parser``."""

from argparse import ArgumentParser

from cli.arguments import Commands, needs_dir, needs_identity, new_command, new_group

AUTHENTICATORS = ("fido2", "pkcs11", "software")


def needs_authenticator(command: ArgumentParser, *, otherwise: str) -> None:
    """An operator signs, with an authenticator at this machine."""
    command.add_argument(
        "--with",
        dest="authenticator",
        choices=AUTHENTICATORS,
        default="",
        help=f"a security key, a key on a PKCS#11 token, or a file ({otherwise})",
    )
    command.add_argument(
        "--pin-file", default="", help="the PIN's file, which only its owner can read (asked at the terminal)"
    )


def add_identity(commands: Commands, kinds: tuple[str, ...]) -> None:
    """Keys and cards of people and backends."""
    identity = new_group(commands, "identity", what="keys and cards of people and backends")
    create = new_command(
        identity,
        "create",
        function="cli.identities:create",
        what="make a key, and for an operator a passkey: on a security key, on a token, or in a file",
        example="quorumkeep identity create operator alice --dir people/alice",
    )
    create.add_argument("kind", choices=kinds)
    create.add_argument("name", help="the name in the roster")
    needs_dir(create)
    create.add_argument(
        "--rp-id", default="localhost", help="an operator's WebAuthn relying party (%(default)s)"
    )
    create.add_argument("--site", default="", help="what browsers call the console (https://RP-ID)")
    needs_authenticator(create, otherwise="a file")
    create.add_argument("--module", default="", help="of pkcs11: the path of the token's library")
    create.add_argument("--token", default="", help="of pkcs11: the token's label")
    create.add_argument("--key-label", default="", help="of pkcs11: the key's label (the operator's name)")
    fingerprint = new_command(
        identity,
        "fingerprint",
        function="cli.identities:fingerprint",
        what="what the owner of a card reads to whoever enrols it",
        example="quorumkeep identity fingerprint people/alice/card.json",
    )
    fingerprint.add_argument("card", help="a card: a person's, a backend's or a node's")


def add_approve(commands: Commands) -> None:
    """The second screen."""
    approve = new_command(
        commands,
        "approve",
        function="cli.approvals:approve",
        what="approve a request as an operator, after reading what will happen",
        example="quorumkeep approve 4a5b... --digest 09c1... --as people/bob",
    )
    approve.add_argument("request", help="its id")
    approve.add_argument(
        "--digest",
        default="",
        help="what the console shows to compare; refused if this machine reads another",
    )
    approve.add_argument(
        "--yes", action="store_true", help="do not ask; for scripts that have shown it already"
    )
    approve.add_argument(
        "--language", choices=("en", "zh"), default="en", help="of the console's sentence (%(default)s)"
    )
    needs_identity(approve, "an operator")
    needs_authenticator(approve, otherwise="what the operator's folder has")
