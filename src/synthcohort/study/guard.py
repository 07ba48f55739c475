"""What stands before every page: headers, size limits, rate limits, and no word about the machine behind.

Plain ASGI, so that each rule is visible and nothing is buffered.
"""

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from synthcohort.study.access import Limits

MOST_BODY = 16 * 1024  # the largest honest form is below 1 KiB
MOST_PATH = 300
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

POLICY = (
    "default-src 'none'; img-src 'self' data:; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
)
HEADERS = (
    (b"content-security-policy", POLICY.encode()),
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"permissions-policy", b"camera=(), microphone=(), geolocation=(), interest-cohort=()"),
    (b"x-robots-tag", b"noindex, nofollow"),
)


class Guard:
    """Wraps an application: refuses what is too large or too often, and adds the headers to all answers."""

    def __init__(self, app: Callable[..., Awaitable[None]], limits: Limits):
        self._app, self._limits = app, limits

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":
            return
        secure = scope.get("scheme") == "https"

        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                kept = [(k, v) for k, v in message.get("headers", ()) if k.lower() != b"server"]
                if not any(k.lower() == b"cache-control" for k, _ in kept):
                    kept.append((b"cache-control", b"no-store"))
                if secure:
                    kept.append((b"strict-transport-security", b"max-age=31536000"))
                message["headers"] = [*kept, *HEADERS]
            await send(message)

        refused = self._refusal(scope)
        if refused:
            await _plain(send_guarded, *refused)
            return
        await self._app(scope, _Limited(receive).receive, send_guarded)

    def _refusal(self, scope: MutableMapping[str, Any]) -> tuple[int, str] | None:
        length = dict(scope["headers"]).get(b"content-length", b"0")
        if not length.isdigit() or len(length) > 9 or int(length) > MOST_BODY:
            return 413, "The request is too large."
        if len(scope["raw_path"] or b"") > MOST_PATH or len(scope["query_string"]) > MOST_PATH:
            return 414, "The address is too long."
        client = (scope.get("client") or ("?", 0))[0]
        if not self._limits.allows(_kind(scope["method"], scope["path"]), client):
            return 429, "Too many requests. Wait a minute and go on; nothing is lost."
        return None


class TooLarge(Exception):
    """A body grew past the limit while it was read."""


class _Limited:
    """Counts a body's bytes as they come, for requests that do not say how many there will be."""

    def __init__(self, receive: Receive):
        self._receive, self._read = receive, 0

    async def receive(self) -> Message:
        message = await self._receive()
        self._read += len(message.get("body", b""))
        if self._read > MOST_BODY:
            raise TooLarge
        return message


def _kind(method: str, path: str) -> str:
    if path.startswith("/join/"):
        return "join"
    if method == "POST":
        return "write"
    return "image" if path.startswith(("/image/", "/static/")) else "page"


async def _plain(send: Send, status: int, text: str) -> None:
    body = text.encode()
    headers = [(b"content-type", b"text/plain; charset=utf-8"), (b"content-length", str(len(body)).encode())]
    if status == 429:
        headers.append((b"retry-after", b"60"))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
