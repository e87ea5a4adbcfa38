"""What asking a model costs beside the model: throughput, CPU a call, the call log, llama.cpp.

    python benchmarks/generation.py                        all parts, about five minutes
    python benchmarks/generation.py throughput overhead    some of them

throughput: luthier's session against a plain load test (the same requests over bare httpx2, so
    many in flight at a time, without log, budget or retries; the best of several concurrencies).
    Once with a scripted server that queues what is beyond its knee, once with one that refuses it
    (429); the session has to find the knee. At least 90 % is promised.
llamacpp: the same with llama.cpp and the packaged model.
overhead: CPU of this process a call: session with its log, bare httpx2, the `openai` package. Less
    than 2 ms is promised.
log: a call log of 100,000 calls is opened; less than 5 s is promised.
rate: tokens a second of the packaged model in llama.cpp (4 bits) and in transformers.

Results go to benchmarks/results/generation.json and .md; parts that are not run stay as they were.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from importlib import metadata
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
from scripted_server import Scripted

from luthier.console import say
from luthier.hardware import describe
from luthier.inference.backends import llamacpp, transformers
from luthier.inference.call_log import CallLog
from luthier.inference.config import LlmSection
from luthier.inference.request import Choice, Completion, Request
from luthier.inference.session import Session, asking
from luthier.inference.window import each_in_order

RESULTS = Path(__file__).parent / "results" / "generation.json"
KNEE, SERVICE = 16, 0.3
"""Requests that the scripted server works on at once, and seconds of each."""
LOADS = (4, 8, 16, 24, 32, 64)
CALLS = 600
LLAMA_LOADS = (4, 8, 16)
LLAMA_CALLS, LLAMA_TOKENS = 48, 24
OVERHEAD_CALLS, OVERHEAD_LOAD = 1500, 16
LOGGED = 100_000
RATE_CALLS, RATE_TOKENS = 16, 32
N_THREADS: int | None = None
"""Of llama.cpp; `--n-threads`. On a machine with other work, threads that wait for one another
make no headway: give it one."""


def prompt(i: int) -> str:
    """A question of its own, some 60 tokens long."""
    chance = random.Random(i)
    words = ("river", "bread", "window", "lamp", "garden", "paper", "cloud", "stone", "music")
    return f"{i}. Write about " + ", ".join(chance.choices(words, k=25)) + "."


def requests(count: int, tokens: int, first: int = 0) -> list[Request]:
    """Different requests, so that none is answered from the log."""
    return [
        Request(prompt=prompt(i), max_tokens=tokens, seed=i) for i in range(first, first + count)
    ]


# --- throughput --------------------------------------------------------------------------------


def throughput() -> dict[str, Any]:
    """Share of the best plain load test that the session reaches, by what the server does."""
    found: dict[str, Any] = {"knee": KNEE, "service": SERVICE, "calls": CALLS}
    for kind, limits in (("queues", {"slots": KNEE}), ("refuses", {"slots": KNEE, "refuse": KNEE})):
        with (
            tempfile.TemporaryDirectory() as folder,
            Scripted(Path(folder), service=SERVICE, **limits) as server,
        ):
            loads = [n for n in LOADS if kind == "queues" or n <= KNEE]
            plain = {
                n: asyncio.run(plain_load(server.base_url, "strong-model", n, 0.3 * CALLS, 16))
                for n in loads
            }
            say(f"{kind}: plain {rounded(plain)} requests/s")
            best = max(plain, key=lambda n: plain[n])
            plain[best] = asyncio.run(plain_load(server.base_url, "strong-model", best, CALLS, 16))
            session = asyncio.run(with_session(server.section(), CALLS, 16, Path(folder)))
        found[kind] = compared(plain, session)
        say(f"{kind}: session {found[kind]}")
    return found


def compared(plain: dict[int, float], session: dict[str, float]) -> dict[str, Any]:
    """The session's rates as shares of the best plain one."""
    best = max(plain, key=lambda n: plain[n])
    return {
        "plain": rounded(plain),
        "best_at": best,
        "session": rounded(session),
        "share": {name: round(rate / plain[best], 3) for name, rate in session.items()},
    }


def rounded(rates: dict[Any, float]) -> dict[Any, float]:
    return {name: round(rate, 1) for name, rate in rates.items()}


async def plain_load(
    address: str, model: str, load: int, calls: float, tokens: int, headers: Any = None
) -> float:
    """Requests a second with so many in flight, over bare httpx2."""
    import httpx2

    waiting = iter(requests(int(calls), tokens, first=10**6 * load))
    limits = httpx2.Limits(max_connections=load, max_keepalive_connections=load)
    async with httpx2.AsyncClient(
        limits=limits, timeout=600, trust_env=False, headers=headers
    ) as client:

        async def worker() -> None:
            for request in waiting:
                body = {"model": model, **request.as_json(), "cache_prompt": True}
                answer = await client.post(f"{address}/completions", json=body)
                assert answer.status_code == 200, answer.text
                answer.json()

        started = time.perf_counter()
        await asyncio.gather(*(worker() for _ in range(load)))
        return int(calls) / (time.perf_counter() - started)


async def with_session(
    section: LlmSection, calls: int, tokens: int, folder: Path, backend: Any = None
) -> dict[str, float]:
    """Requests a second of a session: of all, from the first on, and of the second half.

    Asked as the methods that write rows ask: a window of twice what may be in flight.
    """
    ended: list[float] = []
    with CallLog(folder / "calls.jsonl") as log:
        async with asking(Session(section, log, backend=backend)) as session:
            asked = requests(calls, tokens, first=5 * 10**8)
            started = time.perf_counter()
            async for _ in each_in_order(asked, session.ask, window=2 * section.concurrency):
                ended.append(time.perf_counter())
    half = len(ended) // 2
    return {
        "from the start": calls / (ended[-1] - started),
        "steady": (calls - half) / (ended[-1] - ended[half - 1]),
    }


def llama_throughput() -> dict[str, Any]:
    """The same with llama.cpp and the packaged model."""
    section = LlmSection(n_ctx=512, n_threads=N_THREADS)
    found: dict[str, Any] = {"calls": LLAMA_CALLS, "tokens": LLAMA_TOKENS}

    async def plain(load: int) -> float:
        backend = llamacpp.open(section, Path("runs"))
        await backend.complete(Request(prompt="Hello", max_tokens=1))
        server = backend._server
        assert server is not None
        key = {"Authorization": f"Bearer {server._key}"}
        try:
            return await plain_load(
                server.base_url, section.model, load, LLAMA_CALLS, LLAMA_TOKENS, key
            )
        finally:
            await backend.close()

    loads = {n: asyncio.run(plain(n)) for n in LLAMA_LOADS}
    say(f"llama.cpp: plain {rounded(loads)} requests/s")

    async def session(folder: Path) -> dict[str, float]:
        backend = llamacpp.open(section, Path("runs"))
        await backend.complete(Request(prompt="Hello", max_tokens=1))  # as the plain test has it
        return await with_session(section, LLAMA_CALLS, LLAMA_TOKENS, folder, backend)

    with tempfile.TemporaryDirectory() as folder:
        found["packaged"] = compared(loads, asyncio.run(session(Path(folder))))
    say(f"llama.cpp: session {found['packaged']}")
    return found


# --- overhead ----------------------------------------------------------------------------------


def overhead() -> dict[str, Any]:
    """Milliseconds of this process's CPU a call; a server without service time answers."""
    found: dict[str, Any] = {"calls": OVERHEAD_CALLS, "load": OVERHEAD_LOAD}
    with tempfile.TemporaryDirectory() as name, Scripted(Path(name)) as server:
        section = server.section(max_concurrency=OVERHEAD_LOAD)
        ways: dict[str, Callable[[], Any]] = {
            "session, with its log": lambda: asyncio.run(
                with_session(section, OVERHEAD_CALLS, 16, Path(tempfile.mkdtemp(dir=name)))
            ),
            "bare httpx2": lambda: asyncio.run(
                plain_load(server.base_url, "strong-model", OVERHEAD_LOAD, OVERHEAD_CALLS, 16)
            ),
        }
        try:
            metadata.version("openai")
            ways["openai package"] = lambda: asyncio.run(openai_load(server.base_url))
        except metadata.PackageNotFoundError:
            say("the openai package is not installed; it is left out")
        for way in ways.values():
            way()  # imports, and the first connections
        times: dict[str, list[float]] = {name: [] for name in ways}
        for _ in range(3):
            for way_name, way in ways.items():
                started = time.process_time()
                way()
                times[way_name].append((time.process_time() - started) / OVERHEAD_CALLS * 1000)
    found["milliseconds"] = {name: round(sorted(of)[1], 3) for name, of in times.items()}
    say(f"CPU a call: {found['milliseconds']} ms")
    return found


async def openai_load(address: str) -> None:
    """The requests of `plain_load` with OpenAI's client."""
    import openai

    client = openai.AsyncOpenAI(base_url=address, api_key="none", max_retries=0)
    waiting = iter(requests(OVERHEAD_CALLS, 16))

    async def worker() -> None:
        for request in waiting:
            await client.completions.create(
                model="strong-model", prompt=request.prompt or "", max_tokens=16,
                temperature=1.0, seed=request.seed,
            )  # fmt: skip

    await asyncio.gather(*(worker() for _ in range(OVERHEAD_LOAD)))
    await client.close()


# --- the log -----------------------------------------------------------------------------------

OPENED = """
import json, random, sys, time
import psutil
from pathlib import Path
from luthier.inference.call_log import CallLog
process = psutil.Process()
before = process.memory_info().rss
started = time.perf_counter()
log = CallLog(Path(sys.argv[1]))
opened = time.perf_counter() - started
# The mapped file counts while it is read; what stays is what the index takes.
after = process.memory_info().rss
keys = [name.hex() for name in log._places]
random.Random(0).shuffle(keys)
started = time.perf_counter()
for key in keys[:5000]:
    assert log.get(key) is not None
got = (time.perf_counter() - started) / 5000
print(json.dumps({"calls": len(log), "seconds": opened, "bytes": after - before, "get": got}))
"""


def opened_log() -> dict[str, Any]:
    """Seconds and memory of opening a log of 100,000 calls, in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "calls.jsonl"
        model = {"backend": "openai", "model": "strong-model"}
        answer = Completion((Choice("word " * 100, "stop"),), "strong-model", 150, 100)
        started = time.perf_counter()
        with CallLog(path) as log:
            for request in requests(LOGGED, 128):
                log.add(request.key(model), request, answer, 1.0)
        added = (time.perf_counter() - started) / LOGGED
        size = path.stat().st_size
        runs = []
        for _ in range(3):
            done = subprocess.run(
                [sys.executable, "-c", OPENED, str(path)], capture_output=True, text=True,
                check=True,
            )  # fmt: skip
            runs.append(json.loads(done.stdout))
    found = sorted(runs, key=lambda run: run["seconds"])[1]
    result = {
        "calls": found["calls"],
        "megabytes_on_disk": round(size / 1e6, 1),
        "seconds_to_open": round(found["seconds"], 3),
        "megabytes_in_memory": round(found["bytes"] / 1e6, 1),
        "milliseconds_to_add": round(added * 1000, 4),
        "milliseconds_to_get": round(found["get"] * 1000, 4),
    }
    say(f"log: {result}")
    return result


# --- the model ---------------------------------------------------------------------------------


def rate() -> dict[str, Any]:
    """Generated tokens a second of the packaged model, by what runs it."""
    section = LlmSection(n_ctx=512, n_threads=N_THREADS)
    found: dict[str, Any] = {"calls": RATE_CALLS, "tokens": RATE_TOKENS, "load": section.n_parallel}
    ways = {"llamacpp": llamacpp.open, "transformers": transformers.open}
    for name, opening in ways.items():
        chosen = section.model_copy(update={"backend": name})
        found[name] = round(asyncio.run(generated(opening(chosen, Path("runs")))), 1)
        say(f"{name}: {found[name]} tokens/s")
    return found


async def generated(backend: Any) -> float:
    await backend.complete(Request(prompt="Hello", max_tokens=2))
    try:
        waiting = iter(requests(RATE_CALLS, RATE_TOKENS))
        tokens = 0

        async def worker() -> None:
            nonlocal tokens
            for request in waiting:
                tokens += (await backend.complete(request)).completion_tokens

        started = time.perf_counter()
        await asyncio.gather(*(worker() for _ in range(8)))
        return tokens / (time.perf_counter() - started)
    finally:
        done: Awaitable[None] = backend.close()
        await done


# --- results -----------------------------------------------------------------------------------

PARTS: dict[str, Callable[[], dict[str, Any]]] = {
    "throughput": throughput,
    "llamacpp": llama_throughput,
    "overhead": overhead,
    "log": opened_log,
    "rate": rate,
}


def table(title: str, head: list[str], rows: list[list[Any]]) -> list[str]:
    """A table in Markdown; numbers are on the right."""
    lines = ["", title, "", "| " + " | ".join(head) + " |"]
    lines.append("|---|" + "---:|" * (len(head) - 1))
    return lines + ["| " + " | ".join(map(str, row)) + " |" for row in rows]


def verdict(is_met: bool) -> str:
    return "met" if is_met else "**missed**"


def written(results: dict[str, Any]) -> str:
    """The page of all parts that were ever measured."""
    lines = ["# What asking a model costs beside the model", "", results["machine"]]
    rows = []
    if found := results.get("throughput"):
        rows += [(f"scripted, {k} beyond {found['knee']}", found[k]) for k in ("queues", "refuses")]
    if found := results.get("llamacpp"):
        rows.append(("llama.cpp, packaged model", found["packaged"]))
    if rows:
        lines += table(
            "Requests a second. The session finds out by itself how much the server takes; the "
            "plain load test is the best of several concurrencies. At least 90 % is promised.",
            ["server", "plain, best", "in flight", "session, from the start", "share", "steady",
             "share", "promise"],
            [[name, f["plain"][str(f["best_at"])], f["best_at"],
              f["session"]["from the start"], f"{f['share']['from the start']:.0%}",
              f["session"]["steady"], f"{f['share']['steady']:.0%}",
              verdict(min(f["share"].values()) >= 0.9)] for name, f in rows],
        )  # fmt: skip
    if found := results.get("overhead"):
        of = found["milliseconds"]
        lines += table(
            f"CPU of the client a call, with {found['load']} in flight. Less than 2 ms is promised "
            f"of the session: {verdict(of['session, with its log'] < 2)}.",
            ["client", "ms"], [[name, f"{value:.2f}"] for name, value in of.items()],
        )  # fmt: skip
    if found := results.get("log"):
        lines += table(
            f"A call log of {found['calls']:,} calls ({found['megabytes_on_disk']:,} MB). Less "
            f"than 5 s to open is promised: {verdict(found['seconds_to_open'] < 5)}.",
            ["what", "cost"],
            [["open", f"{found['seconds_to_open']:.2f} s"],
             ["memory", f"{found['megabytes_in_memory']:.0f} MB"],
             ["add a call", f"{found['milliseconds_to_add']:.3f} ms"],
             ["get a call", f"{found['milliseconds_to_get']:.3f} ms"]],
        )  # fmt: skip
    if found := results.get("rate"):
        lines += table(
            f"Generated tokens a second of the packaged model, {found['load']} sequences at once, "
            f"{found['tokens']} tokens each; {found['n_threads']} threads of llama.cpp.",
            ["backend", "tokens/s"], [[n, found[n]] for n in ("llamacpp", "transformers")],
        )  # fmt: skip
    loads = {n: found["load_of_the_machine_before"] for n in PARTS if (found := results.get(n))}
    busy = ", ".join(f"{name} {load}" for name, load in loads.items())
    lines += [
        "",
        f"Processes that were running or waiting before each part (load average): {busy}.",
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("parts", nargs="*", metavar="PART", help=", ".join(PARTS))
    parser.add_argument("--n-threads", type=int, help="threads of llama.cpp; all cores if left out")
    given = parser.parse_args()
    chosen = given.parts or list(PARTS)
    global N_THREADS
    N_THREADS = given.n_threads
    if wrong := set(chosen) - set(PARTS):
        parser.error(f"unknown part {', '.join(wrong)}; known: {', '.join(PARTS)}")
    packages = ("httpx2", "openai", "xllamacpp", "transformers", "torch")
    versions = []
    for name in packages:
        try:
            versions.append(f"{name} {metadata.version(name)}")
        except metadata.PackageNotFoundError:
            continue
    machine = describe()
    named = f"{machine.device_name}, {machine.cores} cores; {', '.join(versions)}."
    for name in chosen:
        load = os.getloadavg()[0]
        found = PARTS[name]() | {"load_of_the_machine_before": round(load, 1)}
        if name in ("llamacpp", "rate"):
            found["n_threads"] = N_THREADS or os.cpu_count()
        results = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
        text = json.dumps(results | {"machine": named, name: found}, indent=2)
        RESULTS.write_text(text + "\n")
        RESULTS.with_suffix(".md").write_text(written(json.loads(text)))


if __name__ == "__main__":
    main()
