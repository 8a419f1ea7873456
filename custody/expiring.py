"""Certificates that end: what browsers, mail and webhooks are met with works until it does not, overnight.

An expired one keeps no coordinator from starting: payments do not hang on it, only the console or the mail.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from cryptography.x509 import load_pem_x509_certificates

from custody.config import Config

SOON_DAYS: Final = 30
DAY_S: Final = 86_400


@dataclass(frozen=True, slots=True)
class Ending:
    """The file that a key of the configuration names, and when its certificate ends."""

    key: str
    path: Path
    end_s: int

    def warning(self, now_s: int) -> str:
        """What to do about it; "" while there is time."""
        left_s = self.end_s - now_s
        if left_s > SOON_DAYS * DAY_S:
            return ""
        end = datetime.fromtimestamp(self.end_s, UTC).strftime("%Y-%m-%d %H:%M UTC")
        said = f"has expired on {end}" if left_s <= 0 else f"expires on {end}, in {left_s // DAY_S} days"
        return f"{self.key} is {str(self.path)!r}, which {said}: renew it, and start the coordinator again"


def endings(config: Config) -> Iterator[Ending]:
    """When the certificates end that a configuration names and that can be read; identities never do."""
    for key, path in _named(config):
        try:
            found = load_pem_x509_certificates(path.read_bytes())
        except (OSError, ValueError):  # what keeps a coordinator from starting is said elsewhere
            continue
        ends = [int(one.not_valid_after_utc.timestamp()) for one in found]
        # Browsers are sent all of them, and none may have ended; of several authorities one is enough.
        yield Ending(key, path, min(ends) if key == "console.certificate" else max(ends))


def _named(config: Config) -> Iterator[tuple[str, Path]]:
    if config.console is not None and config.console.certificate is not None:
        yield "console.certificate", config.console.certificate
    if config.mail is not None and config.mail.certificate is not None:
        yield "mail.certificate", config.mail.certificate
    for name, hook in config.webhooks.to.items() if config.webhooks is not None else ():
        if hook.certificate is not None:
            yield f"webhooks.to.{name}.certificate", hook.certificate
