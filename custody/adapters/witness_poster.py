"""Calls to witnesses over HTTP: to the configured URL alone, whatever proxies or redirects would have it."""

import asyncio

import httpx

from policy.errors import OperationalError

TIMEOUT_S, WHOLE_S, ANSWER_BYTES_MAX = 5.0, 10.0, 16 * 1024


class WitnessPoster:
    """Implements ``custody.witnesses.Poster``."""

    def __init__(self) -> None:
        self._client = httpx.AsyncClient(trust_env=False, follow_redirects=False, timeout=TIMEOUT_S)

    async def close(self) -> None:
        """End all connections."""
        await self._client.aclose()

    async def post(self, url: str, body: bytes) -> tuple[int, bytes]:
        """Status and body of the answer. Raises ``OperationalError``."""
        try:
            async with asyncio.timeout(WHOLE_S), self._client.stream("POST", url, content=body) as answer:
                read = b""
                async for part in answer.aiter_raw():
                    read += part
                    if len(read) > ANSWER_BYTES_MAX:
                        raise OperationalError(f"it answered with more than {ANSWER_BYTES_MAX} bytes")
                return answer.status_code, read
        except (httpx.HTTPError, httpx.InvalidURL, TimeoutError) as error:
            raise OperationalError(f"{type(error).__name__} {error}: is the witness up?") from error
