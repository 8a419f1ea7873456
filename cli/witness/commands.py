"""``witness init`` and ``witness run``."""

import json
import logging
from argparse import Namespace
from pathlib import Path

from cli.audit import LOOPBACK, read_trust
from cli.results import Misuse, Result
from cli.witness.keeper import Keeper, make
from cli.witness.server import WitnessServer
from policy.errors import CallerError, MalformedError, OperationalError
from policy.log.checkpoint import TYPE_ED25519, parse_vkey

_LOG = logging.getLogger(__name__)


def init(arguments: Namespace) -> Result:
    """``witness init``: a key and a name, in a folder of their own."""
    try:
        vkey = make(Path(arguments.folder), arguments.name)
    except CallerError as error:
        raise Misuse(str(error)) from error
    lines = (
        f"{vkey}",
        "Give this line to whoever runs the log, and to those who must see this witness's cosignature.",
    )
    return Result({"name": arguments.name, "vkey": vkey, "folder": arguments.folder}, lines)


def run(arguments: Namespace) -> Result:
    """``witness run``: cosigns until it is stopped."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    host, port = _address(arguments.listen)
    if host not in LOOPBACK:
        _LOG.warning("others reach this at %s without TLS: put it behind a proxy that has it", host)
    keeper = Keeper(Path(arguments.folder), _log_keys(arguments))
    with _serving(arguments.listen, (host, port), keeper) as server:
        url = f"http://{host}:{server.server_port}"
        print(json.dumps({"url": url, "vkey": keeper.vkey}), flush=True)
        try:
            server.serve_forever()
        finally:
            keeper.close()
    return Result({}, ())


def _serving(listen: str, address: tuple[str, int], keeper: Keeper) -> WitnessServer:
    try:
        return WitnessServer(address, keeper)
    except OSError as error:
        keeper.close()
        raise OperationalError(
            f"--listen {listen}: {error.strerror or error}; give another address"
        ) from error


def _log_keys(arguments: Namespace) -> dict[str, bytes]:
    keys: dict[str, bytes] = {}
    for path in arguments.trust:
        trust = read_trust(Path(path))
        keys[trust.origin] = trust.log_key
    for text in arguments.log:
        try:
            vkey = parse_vkey(text)
        except MalformedError as error:
            raise Misuse(f"--log {text[:80]}: {error}") from error
        if vkey.key_type != TYPE_ED25519:
            raise Misuse(f"--log {vkey.name}: give the key of a log, this is a cosigner's")
        keys[vkey.name] = vkey.public_key
    if not keys:
        raise Misuse("say which logs to witness: --trust trust.json, or --log VKEY")
    return keys


def _address(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    if not host or not port.isascii() or not port.isdigit() or int(port) > 65535:
        raise Misuse(f"--listen {text!r} is not host:port")
    return host.strip("[]"), int(port)
