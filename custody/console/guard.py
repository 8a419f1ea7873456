"""What every answer of the console carries, and which calls are not answered at all.

Only what this site serves is loaded, and no script but its own files runs. A call that changes something must
come from this site's own pages: by its ``Origin``, and by the session's token in a header.
"""

from typing import Final
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

CSP: Final = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self'",
        "connect-src 'self'",
        "form-action 'self'",
        "base-uri 'none'",
        "frame-ancestors 'none'",
    )
)
HEADERS: Final = {
    "Content-Security-Policy": CSP,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "publickey-credentials-get=(self), publickey-credentials-create=(self)",
}
HSTS: Final = "max-age=31536000"
READING: Final = ("GET", "HEAD")


class Guard:
    """Wraps the application of a site such as ``https://custody.example.com``."""

    def __init__(self, app: ASGIApp, site: str) -> None:
        self._app = app
        self._site = site
        self._host = urlsplit(site).netloc
        self._headers = HEADERS | ({"Strict-Transport-Security": HSTS} if site.startswith("https:") else {})

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one call."""

        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers.update(self._headers)
                kept = scope["path"].startswith("/static/")
                headers.setdefault("Cache-Control", "no-cache" if kept else "no-store")
            await send(message)

        refused = self._refused(scope)
        await (refused or self._app)(scope, receive, send_guarded)

    def _refused(self, scope: Scope) -> PlainTextResponse | None:
        headers = Headers(scope=scope)
        if headers.get("host") != self._host:
            return PlainTextResponse(f"this is {self._site}: use that address", 421)
        if scope["method"] not in READING and headers.get("origin") != self._site:
            return PlainTextResponse(f"the call does not come from a page of {self._site}", 403)
        return None
