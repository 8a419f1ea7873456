"""What the coordinator's configuration names is looked for when it is to run: files, keys, folders, ports."""

import ssl
from collections.abc import Callable, Iterator
from pathlib import Path

from custody.auditors import read_auditors
from custody.candidates import EMPTY, extend
from custody.config import Config, ConsoleConfig
from custody.indicators.thresholds import load_thresholds
from custody.secret_files import read_password
from policy.errors import OperationalError, QuorumkeepError
from policy.fields import NAME
from policy.settings import Settings, unlike
from signer_nodes.api import surroundings as around


def look_around(config: Config, settings: Settings, *, ports: bool = True) -> None:
    """Note what is missing or cannot be used, as far as its names could be read."""
    _look_for_genesis(config, settings)
    around.look_for_key(settings, "identity_key", path=config.identity_key)
    around.look_for_key(settings, "log_key", path=config.log_key)
    _look_for_places(config, settings)
    _look_for_nodes(config, settings.section("nodes"))
    if config.webhooks is not None:
        around.look_for_key(settings.section("webhooks"), "key", path=config.webhooks.key)
    for table, key, path in _authorities(config, settings):
        _look_for_authority(table, key, path=path)
    if config.console is not None:
        _look_for_pair(settings.section("console"), config.console)
    if config.mail is not None and config.mail.password_file is not None:
        file = config.mail.password_file
        _try(settings.section("mail"), "password_file", lambda: read_password(file, of="the mail server"))
    if config.indicators is not None:
        _try(settings, "indicators", lambda: load_thresholds(config.indicators))
    if config.auditors:
        _try(settings.section("auditors"), "cards", lambda: read_auditors(config.auditors))
    if ports:
        for table, key, listen in doors_of(config, settings):
            around.look_for_port(table, key, listen=listen)


def doors_of(config: Config, settings: Settings) -> list[tuple[Settings, str, str]]:
    """Where it is to listen."""
    doors = [(settings, "listen", config.listen)]
    if config.http is not None:
        doors.append((settings.section("http"), "listen", config.http.listen))
    if config.console is not None:
        doors.append((settings.section("console"), "listen", config.console.listen))
    if config.metrics_port:
        doors.append((settings, "metrics_port", f"{config.metrics_address}:{config.metrics_port}"))
    return doors


def _look_for_genesis(config: Config, settings: Settings) -> None:
    """The entry holds by itself; whose log it begins is compared here, since nodes would just not answer."""
    data = around.look_for_file(settings, "genesis", path=config.genesis)
    if data is None:
        return
    try:
        _, first = extend(EMPTY, data)
        why = "" if first.outcome.accepted else first.outcome.reason
    except QuorumkeepError as error:
        why = str(error)
    if why:
        settings.problem(
            "genesis", f"is {str(config.genesis)!r}, no genesis entry: {why}; give what genesis sign made"
        )
    elif config.origin and first.state.origin != config.origin:
        settings.problem(
            "origin",
            f"is {config.origin!r}, the genesis entry's is {first.state.origin!r}: correct one of them",
        )


def _look_for_places(config: Config, settings: Settings) -> None:
    """What the coordinator makes and writes itself."""
    around.look_for_place(settings, "data_dir", path=config.data_dir, folder=True)
    if config.publish_dir is not None:
        around.look_for_place(settings, "publish_dir", path=config.publish_dir, folder=True)
    files = [(settings, config.listen_file)]
    files += [(settings.section("http"), config.http.listen_file)] if config.http is not None else []
    files += [(settings.section("console"), config.console.listen_file)] if config.console is not None else []
    for table, path in files:
        if path is not None and (path.parent != config.data_dir or path.parent.exists()):  # else made first
            around.look_for_place(table, "listen_file", path=path, folder=False)


def _look_for_nodes(config: Config, nodes: Settings) -> None:
    known: list[tuple[Settings, str, object]] = []
    for name, node in config.nodes.items():
        if NAME.fullmatch(name):
            section = nodes.section(name)
            found = around.look_for_identity(section, "certificate", path=node.certificate, name=name)
            known.append((section, "certificate", found))
    unlike(known, what="key")


def _authorities(config: Config, settings: Settings) -> Iterator[tuple[Settings, str, Path]]:
    """Certificates by which others are known."""
    if config.webhooks is not None:
        to = settings.section("webhooks").section("to")
        for name, hook in config.webhooks.to.items():
            if hook.certificate is not None:
                yield to.section(name), "certificate", hook.certificate
    if config.mail is not None and config.mail.certificate is not None:
        yield settings.section("mail"), "certificate", config.mail.certificate


def _look_for_authority(table: Settings, key: str, *, path: Path) -> None:
    data = around.look_for_file(table, key, path=path)
    if data is None:
        return
    try:
        ssl.create_default_context(cadata=data.decode("ascii"))
    except (ValueError, ssl.SSLError):
        table.problem(key, f"is {str(path)!r}, which has no certificate in PEM: give the authority's")


def _look_for_pair(table: Settings, console: ConsoleConfig) -> None:
    """The console's certificate and its key, which belong together."""
    if console.certificate is None or console.certificate_key is None:
        return
    found = around.look_for_file(table, "certificate", path=console.certificate)
    secret = around.look_for_secret(table, "certificate_key", path=console.certificate_key)
    if found is None or secret is None:
        return
    try:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(console.certificate, console.certificate_key, password="")
    except (OSError, ValueError):  # what they say may have bytes of it
        table.problem(
            "certificate",
            f"is {str(console.certificate)!r}, no certificate in PEM of which certificate_key is the key "
            "without a password: give both as they were made",
        )


def _try(table: Settings, key: str, load: Callable[[], object]) -> None:
    try:
        load()
    except OperationalError as error:
        table.problem(key, f"cannot be used: {error}")
