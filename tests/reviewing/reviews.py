"""Reviews that are served, by a thread or a process of their own, and who asks them."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

from luthier.reviewing.dataset import opened, subject_of
from luthier.reviewing.findings import Findings
from luthier.reviewing.journal import Journal
from luthier.reviewing.server import ReviewServer
from luthier.reviewing.session import Session

HOSTILE = (
    "<script>document.title='owned'</script><img src=x onerror=\"document.title='owned'\">"
    "</div></article>&amp;<b>bold</b> ${7*7} {{7*7}} \u202eright to left\u202c"
)


@dataclass
class Client:
    """Asks a served review what its page asks."""

    url: str
    decisions: Path
    process: subprocess.Popen[str] | None = None
    session: Session | None = None

    def request(
        self, method: str, path: str, body: bytes | None = None, **headers: str
    ) -> tuple[int, dict[str, str], bytes]:
        """Any request: status, headers, body."""
        at = urlsplit(self.url)
        connection = http.client.HTTPConnection(at.hostname or "", at.port, timeout=30)
        with contextlib.closing(connection):
            connection.request(method, path, body, headers)
            answer = connection.getresponse()
            return answer.status, dict(answer.getheaders()), answer.read()

    def get(self, path: str, **query: Any) -> Any:
        """What an address of the page's answers."""
        text = f"?{urlencode(query)}" if query else ""
        status, _, body = self.request("GET", urlsplit(self.url).path + "api/" + path + text)
        assert status == 200, body
        return json.loads(body)

    def post(self, path: str, asked: Any, expect: int = 200, **query: Any) -> Any:
        """Send JSON."""
        status, _, body = self.request(
            "POST", f"{urlsplit(self.url).path}api/{path}?{urlencode(query)}",
            json.dumps(asked).encode(), **{"Content-Type": "application/json"},
        )  # fmt: skip
        assert status == expect, body
        return json.loads(body)

    def decide(self, at: int, decision: str, **more: Any) -> Any:
        """Decide about a row of a new view of all."""
        view = self.get("view")["view"]
        row = self.get("row", view=view, at=at)
        return self.post("decide", {"id": row["id"], "decision": decision, **more},
                         view=view, at=at)  # fmt: skip

    def records(self) -> list[dict[str, Any]]:
        """The lines of the file of decisions."""
        text = self.decisions.read_text(encoding="utf-8") if self.decisions.exists() else ""
        return [json.loads(line) for line in text.splitlines()]


@contextlib.contextmanager
def in_thread(name: str | Path, *, runs: Path = Path("runs"), **options: Any) -> Iterator[Client]:
    """A review served by a thread of this process, without lint."""
    subject = subject_of(str(name), runs=runs)
    with (
        opened(subject, rejects=options.get("rejects", False)) as dataset,
        Journal(subject.decisions) as journal,
    ):
        session = Session(dataset, journal, reviewer="ada", findings=Findings())
        with ReviewServer(session) as server:
            thread = threading.Thread(target=server.serve_forever, args=(0.01,))
            thread.start()
            try:
                yield Client(server.url, subject.decisions, session=session)
            finally:
                server.shutdown()
                thread.join()


@dataclass
class Processes:
    """Real `luthier review` processes."""

    folder: Path
    running: list[subprocess.Popen[str]] = field(default_factory=list)

    def start(self, name: str, *options: str) -> Client:
        """Start one in the test's folder; it answers when this returns."""
        process = subprocess.Popen(
            [sys.executable, "-m", "luthier", "review", name, "--no-browser", *options],
            cwd=self.folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            env={**os.environ, "NO_COLOR": "1", "PYTHONPATH": str(Path(__file__).parents[2])},
        )  # fmt: skip
        self.running.append(process)
        assert process.stderr is not None
        said = []
        for line in process.stderr:
            said.append(line)
            if found := re.search(r"http://\S+", line):
                return Client(found[0], self.folder / f"{name}.decisions.jsonl", process)
        raise AssertionError("".join(said))
