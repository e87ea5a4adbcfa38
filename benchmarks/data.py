"""The data stage at scale: novelty, near-duplicates and templates beside peers, and whole commands.

    python benchmarks/data.py                         all parts, a million rows; about an hour
    python benchmarks/data.py novelty near            some of them
    python benchmarks/data.py scale --gigabytes 2     whole commands on a file of this size

Parts: `novelty` filters 52,445 instructions and measures the original method on a sample; `near`
finds planted near-duplicates, as do datatrove and distilabel; `template` renders rows, as does
`datasets.map`; `scale` runs luthier convert, lint and build on a file and on half of it (or beside
what the same commit was measured with before): what a row costs in memory. All data is synthetic.
Results go to benchmarks/results/data.json and data.md; parts that are not measured keep theirs.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import psutil
from contestants import data_rows, results
from contestants.peers import NotInstallable
from contestants.process import Finished, Setting, resident_peak, run_worker

from luthier.console import say, size
from luthier.data.minhash import banding
from luthier.packaged import NAME, cache

POOL = 52_445
"""Instructions of Self-Instruct's own run (arXiv 2212.10560, table 1)."""
SIMILARITY = 0.8
SEED = 11
PEERS = {
    # Its words come from spaCy.
    "datatrove": (
        ["datatrove[io,processing]==0.10.1", "spacy"],
        "import datatrove.pipeline.dedup, spacy",
    ),
    # It imports `requests` without asking for it, and does not work with datasketch 2.
    "distilabel": (
        ["distilabel[minhash]==1.5.3", "requests", "datasketch==1.6.5"],
        "from distilabel.steps import MinHashDedup",
    ),
}
"""What is installed, and what must then work."""
PROMPT = (
    "Below is a task.\n\n### Instruction:\n{instruction}\n\n### Input:\n{input}\n\n### Response:"
)
ALPACA_ROW = 440
"""Bytes of a row of Alpaca's 52,002 in JSON: a short one."""
FILE = 2e9
"""Bytes of the file whose peak memory is estimated."""
LOAD = os.getloadavg()[0]
"""Processes that wanted to run before this one did."""
Part = dict[str, Any]


def main() -> None:
    options = _options()
    file = options.out / "data.json"
    found = results.load(file)
    with tempfile.TemporaryDirectory(prefix="luthier-bench-", dir=options.scratch) as scratch:
        for name in options.parts:
            say(name, "bold")
            folder = Path(scratch) / name
            folder.mkdir()
            found[name] = {
                "circumstances": results.circumstances(options.threads),
                **PARTS[name](folder, options),
            }
            results.save(file, found)
            shutil.rmtree(folder)
    page = _page(found)
    file.with_suffix(".md").write_text(page, encoding="utf-8")
    print(page)


# --- parts -------------------------------------------------------------------------------------


def _novelty(folder: Path, options: argparse.Namespace) -> Part:
    rows = folder / "instructions.jsonl"
    data_rows.instructions(rows, options.pool, SEED)
    job = {"rows": str(rows), "pairs": options.pairs, "decisions": options.decisions,
           "scores": options.scores}  # fmt: skip
    return {"luthier": _worked("novelty", job, folder, options)}


def _near(folder: Path, options: argparse.Namespace) -> Part:
    rows = folder / "rows.jsonl"
    planted = data_rows.texts(rows, options.rows, SEED)
    bands, rows_per_band = banding(SIMILARITY)
    job = {"rows": str(rows), "similarity": SIMILARITY, "bands": bands,
           "rows_per_band": rows_per_band, "folder": str(folder)}  # fmt: skip
    found: Part = {"planted": len(planted.near), "planted_below": len(planted.below),
                   "contestants": {}, "notes": []}  # fmt: skip
    for name in ("luthier", *PEERS):
        try:
            python = sys.executable if name == "luthier" else _peer(name, options)
        except NotInstallable as reason:
            found["notes"].append(f"{name}: {reason}")
            continue
        done = _worked(f"near_{name}", job, folder, options, python=python)
        removed = set(done.pop("removed", ()))
        if removed:
            pairs = [asdict(planted)[kind] for kind in ("near", "below")]
            hit = [sum(second in removed for _, second in some) for some in pairs]
            done |= {"found": hit[0], "below": hit[1], "false": len(removed) - sum(hit)}
        found["contestants"][name] = done
    return found


def _template(folder: Path, options: argparse.Namespace) -> Part:
    rows, template = folder / "rows.jsonl", folder / "alpaca.yaml"
    data_rows.corpus(rows, rows=min(options.rows, 9_999), size=None, seed=SEED)
    # `datasets` refuses a file with a broken line, so what it is given has none.
    lines = rows.read_text(encoding="utf-8")
    with open(rows, "w", encoding="utf-8") as file:
        for _ in range(max(1, options.rows // 9_999)):
            file.write(lines)
    template.write_text(
        json.dumps({"description": "Alpaca", "prompt": PROMPT, "completion": "{output}"}),
        encoding="utf-8",
    )
    job = {"rows": str(rows), "folder": str(folder), "template": str(template), "prompt": PROMPT}
    found: Part = {"contestants": {}, "load": LOAD}
    contestants = [("luthier", "luthier", 1), ("datasets.map", "datasets", 1)]
    if options.threads > 1:
        name = f"datasets.map, {options.threads} processes"
        contestants.append((name, "datasets", options.threads))
    for name, step, processes in contestants:
        place = folder / f"{step}-{processes}"
        place.mkdir()
        asked = {**job, "processes": processes, "folder": str(place)}
        found["contestants"][name] = _worked(f"template_{step}", asked, place, options)
        shutil.rmtree(place)
    return found


def _scale(folder: Path, options: argparse.Namespace) -> Part:
    sizes = _sizes_before(options)
    for share in (1,) if sizes else (0.5, 1):
        place = folder / f"{share:.2f}"
        place.mkdir()
        wanted = None if options.gigabytes else round(options.rows * share)
        limit = round(options.gigabytes * 1e9 * share) if options.gigabytes else None
        sizes.append(_commands(place, wanted, limit, options))
        shutil.rmtree(place)
    return {"sizes": sizes, "load": LOAD}


def _sizes_before(options: argparse.Namespace) -> list[Part]:
    """Smaller sizes that the same code was measured with on the same machine."""
    before = results.load(options.out / "data.json").get("scale", {})
    known = ("machine", "threads", "commit")
    now = results.circumstances(options.threads)
    if any(before.get("circumstances", {}).get(key) != now[key] for key in known):
        return []
    aim = options.gigabytes * 1e9 if options.gigabytes else options.rows
    kind = "bytes" if options.gigabytes else "rows"
    return [size for size in before.get("sizes", []) if size[kind] < 0.9 * aim]


def _commands(
    folder: Path, rows: int | None, limit: int | None, options: argparse.Namespace
) -> Part:
    """The three commands on a file of so many rows or bytes."""
    corpus = folder / "corpus.jsonl"
    count = data_rows.corpus(corpus, rows=rows, size=limit, seed=SEED)
    (folder / "alpaca.yaml").write_text(
        json.dumps({"description": "Alpaca", "prompt": PROMPT, "completion": "{output}"}),
        encoding="utf-8",
    )
    recipe = {
        "name": "scale", "model": NAME, "task": {"kind": "generation"},
        "data": {
            "sources": [{"path": "corpus.jsonl", "format": "columns", "input": "input",
                         "output": "output", "fields": {"instruction": "instruction"}}],
            "template": "alpaca.yaml",
            "filters": [{"use": "exact_duplicates"}, {"use": "near_duplicates"}],
            "split": {"validation": 0.01, "test": 0.01},
        },
        "train": {"max_seq_length": 1024},
    }  # fmt: skip
    (folder / "recipe.yaml").write_text(json.dumps(recipe), encoding="utf-8")
    commands = {
        "convert": ["convert", "corpus.jsonl", "--to", "messages", "--out", "messages.jsonl"],
        "lint": ["lint", "corpus.jsonl"],
        "build": ["build", "recipe.yaml"],
    }
    found: Part = {"rows": count, "bytes": corpus.stat().st_size, "commands": {}}
    for name, arguments in commands.items():
        found["commands"][name] = _command(arguments, folder, options, count)
        say(f"{name}, {count:,} rows: {found['commands'][name]}")
    return found


PARTS = {"novelty": _novelty, "near": _near, "template": _template, "scale": _scale}


# --- processes ---------------------------------------------------------------------------------


def _worked(
    step: str,
    job: Mapping[str, Any],
    folder: Path,
    options: argparse.Namespace,
    *,
    python: str | Path = sys.executable,
) -> Part:
    setting = Setting(threads=options.threads, gpu=False, timeout=options.timeout)
    place = folder / f"job-{step}"
    done: Finished = run_worker("data_worker", {**job, "step": step}, place, setting, python=python)
    if done.failure:
        say(f"{step}: {done.failure}", "red")
        return {"failure": done.failure, "process_seconds": done.seconds}
    (line,) = done.events("done")
    found = {key: value for key, value in line.items() if key != "event"}
    return {**found, "peak_bytes": done.peak_bytes}


def _command(
    arguments: Sequence[str], folder: Path, options: argparse.Namespace, rows: int
) -> Part:
    """Run a command of luthier and watch it and its children."""
    started, spent = time.monotonic(), _cpu_seconds()
    peak = 0
    log = folder / "log.txt"
    with open(log, "wb") as said:
        process = subprocess.Popen(
            [sys.executable, "-m", "luthier", *arguments],
            cwd=folder,
            stdout=said,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
        )
        try:
            while process.poll() is None and time.monotonic() - started < options.timeout:
                peak = max(peak, resident_peak(process.pid), _resident(process.pid))
                time.sleep(0.2)
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()
    seconds = time.monotonic() - started
    found: Part = {"seconds": seconds, "rows_per_second": rows / seconds, "peak_bytes": peak,
                   "cpu_seconds": _cpu_seconds() - spent}  # fmt: skip
    # Lint exits with 1 where it has found something, which it is there for.
    if process.returncode not in (0, 1):
        text = log.read_text(encoding="utf-8", errors="replace").strip()
        found["failure"] = text.splitlines()[-1][:300] if text else f"exit {process.returncode}"
    return found


def _cpu_seconds() -> float:
    """What the processes that have ended have computed."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _resident(pid: int) -> int:
    """What a process and its children have resident at this moment, in bytes."""
    total = 0
    try:
        root = psutil.Process(pid)
        for process in (root, *root.children(recursive=True)):
            total += process.memory_info().rss
    except psutil.Error:
        pass  # it has just ended
    return total


def _peer(name: str, options: argparse.Namespace) -> Path:
    """The interpreter of a peer's own environment in luthier's cache; made on first use."""
    requirements, probe = PEERS[name]
    folder = cache() / re.sub(r"\[.*\]==", "-", requirements[0])
    python = folder / "bin" / "python"
    if (folder / "ready").is_file():
        return python
    if options.no_install:
        raise NotInstallable("not installed (left out by --no-install)")
    say(f"installing {requirements[0]} into {folder} (once)")
    shutil.rmtree(folder, ignore_errors=True)
    pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    make = [sys.executable, "-m", "venv", str(folder)]
    for command in (make, [*pip, *requirements], [str(python), "-c", probe]):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            shutil.rmtree(folder, ignore_errors=True)
            said = done.stderr.strip().splitlines() or ["no reason given"]
            raise NotInstallable(f"not installable here: {said[-1][:200]}")
    (folder / "ready").touch()
    return python


# --- the page ----------------------------------------------------------------------------------


def _page(found: Mapping[str, Part]) -> str:
    parts = [
        "# The data stage at scale",
        "`python benchmarks/data.py` writes this page. Every contestant works in a process of its "
        "own; memory is the most that was resident at once, children included. All rows are "
        "synthetic: words as rare as words are, with duplicates put in.",
    ]
    for name, make in PAGES.items():
        if name in found:
            parts += make(found[name])
    return "\n\n".join(parts) + "\n"


def _novelty_page(part: Part) -> list[str]:
    done = part["luthier"]
    if "failure" in done:
        return ["## Novelty", f"Failed: {done['failure']}"]
    theirs = done["original_pair_seconds"] * done["pairs"]
    rows = [
        ["luthier: decisions", f"{done['seconds']:.1f} s", f"{theirs / done['seconds']:,.0f}"],
        ["rouge_score, every pair (extrapolated)", f"{theirs / 3600:.1f} h", "1"],
    ]
    if "stored_seconds" in done:
        stored = done["stored_seconds"]
        rows.insert(1, ["luthier: decisions, average and ten most similar",
                        f"{stored:.1f} s", f"{theirs / stored:,.0f}"])  # fmt: skip
    return [
        f"## Novelty: {done['texts']:,} instructions, one after another",
        f"{_where(part)}. {_versions(done)} {done['accepted']:,} were accepted; the original "
        f"method compares {done['pairs']:,} pairs, at {done['original_pair_seconds'] * 1e6:.1f} µs "
        f"each ({done['sampled_pairs']:,} pairs measured in the same process, one core).",
        results.table(["method", "time", "times faster"], rows),
        f"Of {done['sampled_pairs']:,} scores {done['scores_that_differ']} differ from "
        f"`rouge_score` in any bit; of {done['decisions_checked']} decisions that were made again "
        f"against the whole pool {done['decisions_that_differ']} differ. Peak memory "
        f"{size(done['peak_bytes'])}.",
    ]


def _near_page(part: Part) -> list[str]:
    rows = []
    for name, done in part["contestants"].items():
        if "failure" in done:
            rows.append([name, f"failed: {done['failure'][:80]}", *[""] * 5])
            continue
        rows.append([
            name, f"{done['rows'] / done['seconds']:,.0f}", f"{done['seconds']:.0f} s",
            size(done["peak_bytes"]), f"{done['found'] / part['planted']:.2%}",
            f"{done['below'] / max(part['planted_below'], 1):.2%}", f"{done['false']:,}",
        ])  # fmt: skip
    first = next(iter(part["contestants"].values()))
    columns = ["contestant", "rows/s", "time", "peak memory", "of 0.8 or more", "of less", "others"]
    return [
        f"## Near-duplicates: {first.get('rows', 0):,} rows of about 60 words",
        f"{_where(part)}. {' '.join(filter(None, map(_versions, part['contestants'].values())))} "
        f"{part['planted']:,} rows repeat an earlier one with a Jaccard similarity of 0.8 or more "
        f"(word 3-grams), {part['planted_below']:,} with one of less; the last columns say how "
        "many of them, and of all other rows, were removed. luthier measures what MinHash "
        "proposes; datatrove removes what agrees in a band of hashes (as many bands and rows as "
        "luthier's); distilabel compares sets of character 5-grams, which are more alike.",
        results.table(columns, rows),
        *[f"Note: {note}" for note in part["notes"]],
    ]


def _template_page(part: Part) -> list[str]:
    rows = [
        [name, f"{done['rows'] / done['seconds']:,.0f}", _per_cpu(done), f"{done['seconds']:.1f} s",
         size(done["peak_bytes"])]
        if "failure" not in done
        else [name, f"failed: {done['failure'][:80]}", "", "", ""]
        for name, done in part["contestants"].items()
    ]  # fmt: skip
    return [
        "## Templates: JSON lines to rendered rows in Parquet",
        f"{_where(part)}. {_versions(next(iter(part['contestants'].values())))} Libraries are "
        f"imported before the clock starts.{_shared(part)}",
        results.table(["contestant", "rows/s", "rows/CPU s", "time", "peak memory"], rows),
    ]


def _scale_page(part: Part) -> list[str]:
    rows = [
        [f"luthier {name}", f"{of['rows']:,}", f"{done['rows_per_second']:,.0f}",
         _per_cpu({**done, "rows": of["rows"]}), f"{done['seconds']:.0f} s",
         size(done["peak_bytes"]), done.get("failure", "")[:80]]
        for of in part["sizes"]
        for name, done in of["commands"].items()
    ]  # fmt: skip
    small, large = part["sizes"][-2:]
    per_row = large["bytes"] / large["rows"]
    estimates = [
        [f"luthier {name}", f"{_growth(part, name):.0f} B",
         *(size(_estimate(part, name, FILE / of)) for of in (per_row, ALPACA_ROW))]
        for name in large["commands"]
    ]  # fmt: skip
    return [
        f"## Whole commands: {large['rows']:,} rows, {size(large['bytes'])} of JSONL",
        f"{_where(part)}. The build reads, renders a template with {NAME}'s tokenizer, drops exact "
        f"and near duplicates, splits and writes.{_shared(part)}",
        results.table(["command", "rows", "rows/s", "rows/CPU s", "time", "peak memory", ""], rows),
        f"What a row adds to the peak, between {small['rows']:,} and {large['rows']:,} rows, and "
        f"what follows for {size(round(FILE))} of JSONL: {FILE / per_row:,.0f} rows like these "
        f"({per_row:.0f} B each), or {FILE / ALPACA_ROW:,.0f} as short as Alpaca's "
        f"({ALPACA_ROW} B). It is a straight line on from two sizes, no bound: what is sorted at "
        "once and which step is the largest change with the size.",
        results.table(
            ["command", "a row adds", "rows like these", "rows as short as Alpaca's"], estimates
        ),
    ]


def _growth(part: Part, name: str) -> float:
    """Bytes by which the peak grows with a row, between the two sizes."""
    small, large = part["sizes"][-2:]
    grown = large["commands"][name]["peak_bytes"] - small["commands"][name]["peak_bytes"]
    return max(0.0, float(grown) / (large["rows"] - small["rows"]))


def _estimate(part: Part, name: str, rows: float) -> int:
    """Peak bytes at a number of rows: what was measured, gone on with in a straight line."""
    large = part["sizes"][-1]
    peak = large["commands"][name]["peak_bytes"]
    return round(peak + _growth(part, name) * max(0.0, rows - large["rows"]))


def _per_cpu(done: Part) -> str:
    return f"{done['rows'] / done['cpu_seconds']:,.0f}" if done.get("cpu_seconds") else ""


def _shared(part: Part) -> str:
    """A warning where other work was going on."""
    if part.get("load", 0) < 1:
        return ""
    return (
        f" Other work shared the machine (load {part['load']:.0f} before it began): it takes its "
        "part of rows per second, less of rows per CPU second, and nothing of memory."
    )


PAGES = {
    "novelty": _novelty_page,
    "near": _near_page,
    "template": _template_page,
    "scale": _scale_page,
}


def _where(part: Part) -> str:
    return results.where(part["circumstances"])


def _versions(done: Part) -> str:
    versions = done.get("versions", {})
    listed = ", ".join(f"{name} {version}" for name, version in versions.items())
    return f"{listed}." if listed else ""


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("parts", nargs="*", metavar=" ".join(PARTS), help="default: all")
    parser.add_argument("--rows", type=int, default=1_000_000, help="rows (a million)")
    parser.add_argument("--gigabytes", type=float, help="size of the file of `scale` instead")
    parser.add_argument("--pool", type=int, default=POOL, help=f"instructions ({POOL:,})")
    parser.add_argument(
        "--pairs", type=int, default=200_000, help="pairs for the original method (200,000)"
    )
    parser.add_argument(
        "--decisions", type=int, default=3, help="decisions of a kind that are made again (3)"
    )
    parser.add_argument("--scores", action="store_true", help="also what Self-Instruct stores")
    parser.add_argument("--threads", type=int, default=results.default_threads())
    parser.add_argument("--timeout", type=float, default=7200, help="seconds for one process")
    parser.add_argument("--scratch", type=Path, help="folder for the data that is made")
    parser.add_argument("--no-install", action="store_true", help="install no peer")
    parser.add_argument("--out", type=Path, default=results.FOLDER, help="folder of the results")
    options = parser.parse_args()
    options.parts = options.parts or list(PARTS)
    for name in options.parts:
        if name not in PARTS:
            parser.error(f"there is no part {name!r}; parts: {' '.join(PARTS)}")
    return options


if __name__ == "__main__":
    main()
