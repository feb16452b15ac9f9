"""What every request passes first: its Host, where it comes from, and the headers of every answer."""

import ipaddress
import re
from collections.abc import Iterable
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.api.problems import problem

_HOST = re.compile(r"(?P<name>[a-z0-9]([a-z0-9._-]{0,252})|\[[0-9a-f:.]{2,45}\])(:(?P<port>\d{1,5}))?")
_STARLETTES_BODY = b"Content Too Large"
_YEAR = 365 * 86_400
_SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
API_POLICY = "default-src 'none'; frame-ancestors 'none'"
PAGE_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)


class Guard:
    """Refuses unknown or malformed Host headers, bodies with two lengths and cross-site writes; adds security headers.

    ``hosts`` are the names under which the server may be reached, without ports. ``addresses``: every IP address is
    one, too. Rebinding takes a name of the attacker's: a page from an address was served by that address.
    """

    def __init__(self, app: ASGIApp, hosts: Iterable[str], *, addresses: bool = False) -> None:
        self.app = app
        self.hosts = frozenset(hosts)
        self.addresses = addresses

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
            return
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        replaced = False

        async def send_guarded(message: Message) -> None:
            nonlocal replaced
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                if message["status"] == 413 and headers.get("content-type", "").startswith("text/plain"):
                    # Starlette's limit of bodies answers by itself, below every handler of ours.
                    replaced = True
                    await problem("body-too-large", "the body is larger than this address takes")(
                        scope, receive, send_guarded
                    )
                    return
                _add_headers(headers)
                if scope["scheme"] == "https" and _has_name_of_its_own(scope):
                    headers.setdefault("Strict-Transport-Security", f"max-age={_YEAR}")
            elif replaced and message.get("body") == _STARLETTES_BODY:
                return
            await send(message)

        answer = self._refusal(scope) or self.app
        await answer(scope, receive, send_guarded)

    def _refusal(self, scope: Scope) -> ASGIApp | None:
        headers = Headers(scope=scope)
        host = headers.getlist("host")
        match = _HOST.fullmatch(host[0].lower()) if len(host) == 1 else None
        if match is None:
            return problem("malformed-body", "the Host header is missing or malformed", status=400)
        if "transfer-encoding" in headers and "content-length" in headers:
            # Whatever stands in front may have believed the other one, and taken the rest for another request.
            return problem(
                "malformed-body",
                "Transfer-Encoding and Content-Length contradict each other: send one of them",
                headers={"Connection": "close"},
            )
        if match["name"] not in self.hosts and not (self.addresses and _is_address(match["name"])):
            return problem(
                "forbidden",
                f"this server does not answer to the name {match['name'][:100]}; STAGETUNE_ALLOWED_HOSTS adds one",
            )
        if scope["method"] not in _SAFE and _crosses_sites(headers, host[0].lower()):
            return problem("forbidden", "requests that change something are not taken from other sites")
        return None


def _has_name_of_its_own(scope: Scope) -> bool:
    """Whether a name of its own is asked for: of localhost all ports would be bound to TLS."""
    match = _HOST.fullmatch(Headers(scope=scope).get("host", "").lower())
    return match is not None and match["name"] != "localhost" and not _is_address(match["name"])


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name.strip("[]"))
    except ValueError:
        return False
    return True


def _crosses_sites(headers: Headers, host: str) -> bool:
    """What browsers say themselves (Fetch Metadata, else Origin); other clients send neither and carry no cookies."""
    site = headers.get("sec-fetch-site")
    if site is not None:
        return site not in ("same-origin", "none")
    origin = headers.get("origin")
    try:
        return origin is not None and urlsplit(origin).netloc.lower() != host
    except ValueError:
        # `http://[` and the like: whoever sends it, it is none of our pages.
        return True


def _add_headers(headers: MutableHeaders) -> None:
    headers.setdefault("X-Content-Type-Options", "nosniff")
    headers.setdefault("Referrer-Policy", "same-origin")
    headers.setdefault("X-Frame-Options", "DENY")
    headers.setdefault("Cross-Origin-Opener-Policy", "same-origin")
    headers.setdefault("Cross-Origin-Resource-Policy", "same-origin")
    headers.setdefault("Content-Security-Policy", API_POLICY)
    headers.setdefault("Cache-Control", "no-store")
