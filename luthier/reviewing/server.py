"""The review's page and what it asks for, served to this machine and to whoever has the address.

One person, one machine: the standard library's server is enough. It listens on 127.0.0.1 alone. The
address holds a random token, without which every request is refused; a page of another site knows
neither the token nor may it read or send JSON here; a name that somebody points at 127.0.0.1 (DNS
rebinding) is not in the Host header that is asked for.
"""

from __future__ import annotations

import base64
import errno
import hashlib
import hmac
import json
import secrets
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from luthier.errors import LuthierError, RunError
from luthier.reporting.rendering import page_file
from luthier.reviewing.query import Query
from luthier.reviewing.session import STATES, Refused, Session

ADDRESS = "127.0.0.1"
MOST_BODY = 4_000_000
"""Bytes of a request's body."""
_SECONDS = 60
"""A connection on which nothing is said for that long is closed."""
_FOLDER = Path(__file__).parent / "page"


class ReviewServer(ThreadingHTTPServer):
    """Serves one session.

    Args:
        session: what is served.
        port: 0 takes one that is free.

    Raises:
        RunError: the port is taken, or may not be used.
    """

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, session: Session, port: int = 0) -> None:
        self.session = session
        self.token = secrets.token_urlsafe(24)
        self.page, self.policy = page_of(session.dataset.subject.name)
        try:
            super().__init__((ADDRESS, port), _Handler)
        except OSError as error:
            if error.errno not in (errno.EADDRINUSE, errno.EACCES):
                raise
            why = "is in use" if error.errno == errno.EADDRINUSE else "may not be used"
            raise RunError(
                f"port {port} {why}. Choose another with --port, or leave it out for a free one."
            ) from None
        self.hosts = {f"{name}:{self.server_port}" for name in (ADDRESS, "localhost")}

    @property
    def url(self) -> str:
        """The address to open, token included."""
        return f"http://{ADDRESS}:{self.server_port}/{self.token}/"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A browser that goes away in the middle of an answer is nothing to speak of."""
        import sys

        if not isinstance(sys.exc_info()[1], ConnectionError | TimeoutError):
            super().handle_error(request, client_address)


def page_of(name: str) -> tuple[bytes, str]:
    """The page, which needs no other file, and the Content-Security-Policy it goes with."""
    from html import escape

    style = page_file("style.css") + _text("review.css")
    script = _text("review.js")
    page = _text("review.html")
    for mark, text in (("{{name}}", escape(name)), ("{{style}}", style), ("{{script}}", script)):
        page = page.replace(mark, text)
    policy = (
        f"default-src 'none'; script-src {_hash(script)}; style-src {_hash(style)}; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    return page.encode("utf-8"), policy


def _text(name: str) -> str:
    return (_FOLDER / name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    digest = base64.b64encode(hashlib.sha256(text.encode("utf-8")).digest())
    return f"'sha256-{digest.decode()}'"


class _Denied(Exception):
    """A request that is refused."""

    def __init__(self, status: int, said: str) -> None:
        super().__init__(said)
        self.status = status


class _Handler(BaseHTTPRequestHandler):
    server: ReviewServer
    protocol_version = "HTTP/1.1"
    server_version = "luthier"
    sys_version = ""
    timeout = _SECONDS

    def do_GET(self) -> None:
        self._answer(self._get)

    def do_POST(self) -> None:
        self._answer(self._post)

    def _answer(self, job: Callable[[str, dict[str, str], dict[str, Any]], Any]) -> None:
        try:
            rest, query = self._let_in()
            body = self._body() if self.command == "POST" else {}
            with self.server.session.turn:
                found = job(rest, query, body)
        except _Denied as denied:
            self.close_connection = True  # a body that nobody read may follow
            self._send(denied.status, {"error": str(denied)})
        except (Refused, ValueError) as error:
            self._send(400, {"error": str(error)})
        except LuthierError as error:
            self._send(500, {"error": str(error)})
        else:
            self._send(200, found)

    def _let_in(self) -> tuple[str, dict[str, str]]:
        """What is asked for behind the token."""
        address = urlsplit(self.path)
        given, _, rest = address.path.removeprefix("/").partition("/")
        token = self.server.token.encode()
        if not hmac.compare_digest(given.encode("utf-8", "replace"), token):
            raise _Denied(403, "open the address that `luthier review` printed.")
        if self.headers.get("Host", "").lower() not in self.server.hosts:
            raise _Denied(403, "this is not the address of the review.")
        origin = self.headers.get("Origin")
        if origin is not None and urlsplit(origin).netloc.lower() not in self.server.hosts:
            raise _Denied(403, "another site's page has no business here.")
        if self.headers.get("Sec-Fetch-Site", "none") not in ("none", "same-origin"):
            raise _Denied(403, "another site's page has no business here.")
        return rest, dict(parse_qsl(address.query, keep_blank_values=True))

    def _get(self, rest: str, query: dict[str, str], body: dict[str, Any]) -> Any:
        session = self.server.session
        match rest:
            case "":
                return self.server.page
            case "api/start":
                return session.start()
            case "api/facets":
                return session.facets()
            case "api/progress":
                return session.progress()
            case "api/view":
                return session.view(Query.of(query, STATES))
            case "api/row":
                return session.row(int(query.get("view", "")), int(query.get("at", "")))
            case "api/next":
                return session.next_undecided(int(query.get("view", "")), int(query.get("at", "")))
        raise _Denied(404, "there is nothing here.")

    def _post(self, rest: str, query: dict[str, str], body: dict[str, Any]) -> Any:
        session, view = self.server.session, int(query.get("view", ""))
        match rest:
            case "api/decide":
                return session.decide(view, int(query.get("at", "")), body)
            case "api/undo":
                return session.undo(view)
        raise _Denied(404, "there is nothing here.")

    def _body(self) -> dict[str, Any]:
        # A form of another site cannot send this type, and a script of one must ask before.
        if self.headers.get_content_type() != "application/json":
            raise _Denied(415, "expected application/json.")
        length = self.headers.get("Content-Length", "")
        if not length.isdigit() or int(length) > MOST_BODY:
            raise _Denied(413, f"expected a body of at most {MOST_BODY:,} bytes.")
        body = self.rfile.read(int(length))
        try:
            found = json.loads(body)
        except (ValueError, RecursionError):
            raise _Denied(400, "expected JSON.") from None
        if not isinstance(found, dict):
            raise _Denied(400, "expected an object.")
        return found

    def _send(self, status: int, found: Any) -> None:
        if isinstance(found, bytes):
            body, kind = found, "text/html; charset=utf-8"
        else:
            text = json.dumps(found, ensure_ascii=False, default=str)
            # Lone surrogates of damaged text are no UTF-8; `\udc80` is how JSON spells them.
            body, kind = text.encode("utf-8", "backslashreplace"), "application/json"
        self.send_response(status)
        for name, value in (
            ("Content-Type", kind), ("Content-Length", str(len(body))),
            ("Content-Security-Policy", self.server.policy), ("Cache-Control", "no-store"),
            ("Referrer-Policy", "no-referrer"), ("X-Content-Type-Options", "nosniff"),
            ("X-Frame-Options", "DENY"), ("Cross-Origin-Opener-Policy", "same-origin"),
            ("Cross-Origin-Resource-Policy", "same-origin"),
        ):  # fmt: skip
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing: the address holds the token."""
