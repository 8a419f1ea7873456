"""A node that is asked by JSON-RPC, one connection a call. What it answers is understood, or is an error."""

from collections.abc import Mapping
from typing import Any, ClassVar
from urllib.parse import urlsplit

import aiohttp

from custody.chains.answers import Answers, Room
from custody.chains.showing import words
from policy.errors import OperationalError

WORDS_MAX = 300
NOT_ALLOWED = (401, 403)


class Refused(OperationalError):
    """The node answered with an error of its own."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


class NodeRpc:
    """One node of a chain; a family says what it is asked, and how much room its answers have."""

    version: ClassVar[str] = "2.0"
    rooms: ClassVar[Mapping[str, Room]]
    usual: ClassVar[Room]

    def __init__(self, name: str, url: str, *, timeout_s: float) -> None:
        self._name = name
        self._url = url
        self._where = urlsplit(url).netloc.rpartition("@")[2]
        self._timeout_s = timeout_s
        self._answers = Answers()
        self._checked = False

    @property
    def name(self) -> str:
        """The chain as documents call it."""
        return self._name

    async def check(self) -> None:
        """That the node is of the configured chain."""
        raise NotImplementedError

    async def ask(self, method: str, *parameters: Any, timeout_s: float | None = None) -> Any:
        """One call of a node that was checked. Raises ``OperationalError``; ``Refused`` for its own."""
        if not self._checked:
            await self.check()
        return await self._ask(method, *parameters, timeout_s=timeout_s)

    async def _ask(self, method: str, *parameters: Any, timeout_s: float | None = None) -> Any:
        body = {"jsonrpc": self.version, "id": "quorumkeep", "method": method, "params": list(parameters)}
        timeout = aiohttp.ClientTimeout(total=timeout_s or self._timeout_s)
        headers, room = self._headers(), self.rooms.get(method, self.usual)
        try:
            async with (
                aiohttp.ClientSession(timeout=timeout) as session,
                session.post(self._url, json=body, headers=headers, allow_redirects=False) as answer,
            ):
                if answer.status in NOT_ALLOWED:
                    raise OperationalError(f"{self._where} refuses the user or password: correct credentials")
                return self._result(method, await self._answers.read(answer.content, room))
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            reason = words(str(error) if isinstance(error, OSError) else "", WORDS_MAX)
            raise OperationalError(
                f"{self._name} at {self._where} does not answer {method} "
                f"({reason or type(error).__name__}): it is asked again"
            ) from None  # the URL in it may have a password, or a provider's key
        except ValueError as error:
            raise OperationalError(
                f"{self._name} at {self._where} answers {method} without JSON that can be read ({error}): "
                "ask its provider"
            ) from error

    def _headers(self) -> dict[str, str]:
        return {}

    def _result(self, method: str, answer: Any) -> Any:
        if not isinstance(answer, dict):
            raise OperationalError(f"{self._name} at {self._where} speaks no JSON-RPC: ask its provider")
        if (error := answer.get("error")) is not None:
            known = error if isinstance(error, dict) else {}
            code, told = known.get("code"), words(known.get("message", error), WORDS_MAX)
            raise Refused(code if isinstance(code, int) else 0, f"{self._name} refuses {method}: {told}")
        if "result" not in answer:
            raise OperationalError(f"{self._name} at {self._where} speaks no JSON-RPC: ask its provider")
        return answer["result"]
