"""Calling webhooks: to the configured URL alone, whatever proxies, redirects or cookies would have it."""

import ssl
from collections.abc import Mapping

import httpx

from custody.webhooks import Webhook
from policy.errors import OperationalError

TIMEOUT_S, ANSWER_BYTES_MAX = 10.0, 16 * 1024


class WebhookSender:
    """Implements ``custody.webhooks.Poster``; one client for each webhook."""

    def __init__(self, webhooks: Mapping[str, Webhook]) -> None:
        self._clients = {name: _client(webhook) for name, webhook in webhooks.items()}

    async def close(self) -> None:
        """End all connections."""
        for client in self._clients.values():
            await client.aclose()

    async def post(self, webhook: Webhook, body: bytes, *, headers: Mapping[str, str]) -> int:
        """Send a body; the status of the answer, which is all that is heard of it."""
        sent = {**headers, "Content-Type": "application/json"}
        try:
            client = self._clients[webhook.name]
            async with client.stream("POST", webhook.url, content=body, headers=sent) as answer:
                read = 0
                async for part in answer.aiter_raw():  # a short answer is read, to keep the connection
                    read += len(part)
                    if read > ANSWER_BYTES_MAX:
                        break
                return answer.status_code
        except (httpx.HTTPError, httpx.InvalidURL, ssl.SSLError) as error:
            raise OperationalError(f"{type(error).__name__} {error}: is the receiver up?") from error


def _client(webhook: Webhook) -> httpx.AsyncClient:
    try:
        trusted = ssl.create_default_context(cafile=webhook.certificate)
    except (OSError, ssl.SSLError) as error:
        raise OperationalError(f"webhook {webhook.name}: {webhook.certificate}: {error}") from error
    return httpx.AsyncClient(
        verify=trusted, trust_env=False, follow_redirects=False, timeout=TIMEOUT_S, cookies=None
    )
