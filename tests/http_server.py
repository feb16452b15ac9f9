"""A server of a few lines that speaks the contract over real HTTP, for tests of what calls one."""

import json
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

from pydantic import BaseModel

from contract.problems import Fault, Problem

TOKEN = "test-token-0123456789"


@dataclass(frozen=True)
class Call:
    method: str
    path: str
    query: str
    headers: dict[str, str]
    body: bytes
    peer: int = 0
    """The port it came from: calls over one connection share it."""


@dataclass(frozen=True)
class Answer:
    """``sent`` is the part of the body after which the connection is cut; 0 cuts it before the headers."""

    body: Any = None
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    sent: float = 1

    def encoded(self) -> bytes:
        if isinstance(self.body, bytes):
            return self.body
        if isinstance(self.body, BaseModel):
            return self.body.model_dump_json().encode()
        items = [item.model_dump(mode="json") for item in self.body] if isinstance(self.body, list) else self.body
        return b"" if items is None else json.dumps(items).encode()


NO_CONTENT = Answer(status=204)
LOST = Answer(sent=0)


def problem(status: int, kind: str, detail: str, *faults: Fault, **headers: str) -> Answer:
    body = Problem(type=f"/problems/{kind}", title=kind, status=status, detail=detail, faults=list(faults))
    return Answer(body, status, headers)


class FakeServer:
    """Answers each route from a list, the last answer again and again; remembers the calls.

    A hook of a route is called before its answer is chosen.
    """

    def __init__(self) -> None:
        self.routes: dict[str, list[Answer]] = {}
        self.calls: list[Call] = []
        self.hooks: dict[str, Callable[[], None]] = {}
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def _answer(self) -> None:
                parts = urlsplit(self.path)
                length = int(self.headers.get("Content-Length") or 0)
                headers = {name.lower(): value for name, value in self.headers.items()}
                body = self.rfile.read(length)
                call = Call(self.command, parts.path, parts.query, headers, body, self.client_address[1])
                outer.calls.append(call)
                answer = outer.answer(call)
                content = answer.encoded()
                if answer.sent < 1:
                    self.close_connection = True
                if answer.sent == 0:
                    return
                self.send_response(answer.status)
                for name, value in answer.headers.items():
                    self.send_header(name.replace("_", "-"), value)
                if answer.status != 204:
                    self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content[: int(answer.sent * len(content))])

            do_GET = do_POST = do_PUT = do_DELETE = _answer  # noqa: N815

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002
                pass

        self._http = _QuietServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._http.server_address[1]}"

    def on(self, route: str, *answers: Answer | BaseModel | list[Any]) -> None:
        self.routes[route] = [answer if isinstance(answer, Answer) else Answer(answer) for answer in answers]

    def to(self, route: str) -> list[Call]:
        """The calls of a route, in their order."""
        return [call for call in self.calls if self.route(call) == route]

    def route(self, call: Call) -> str:
        return f"{call.method} {call.path}"

    def answer(self, call: Call) -> Answer:
        if hook := self.hooks.get(self.route(call)):
            hook()
        if call.path.startswith("/v1") and call.headers.get("authorization") != f"Bearer {TOKEN}":
            return problem(401, "unauthenticated", "the token is missing or unknown")
        return self.choose(call)

    def choose(self, call: Call) -> Answer:
        answers = self.routes.get(self.route(call))
        if not answers:
            return problem(404, "not-found", f"there is no {call.path}")
        return answers.pop(0) if len(answers) > 1 else answers[0]

    def close(self) -> None:
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()


class _QuietServer(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """A caller that went away; what it lacked for shows in the test."""
