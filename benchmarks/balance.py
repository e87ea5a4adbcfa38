"""Which labels a model writes when it is told the label first, and when it is not.

    python benchmarks/balance.py                the packaged model, promises; minutes on two cores

Output-first names the label and asks for an input; input-first asks for an input, and the same
model then labels it. As many inputs of either are counted. Written to results/balance.md.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import math
import tempfile
from collections import Counter
from pathlib import Path

from luthier.data.config import SourceConfig
from luthier.data.files.sources import source_file
from luthier.data.generating.writing import Writing
from luthier.data.generators.task import build
from luthier.inference.budget import BudgetSpent
from luthier.inference.call_log import CallLog
from luthier.inference.config import LlmSection
from luthier.inference.session import Session, asking

RESULTS = Path(__file__).parent / "results"
LABELS = ("True", "False")
DESCRIPTION = (
    "Say of a sentence out of a political text whether it is a promise (True) or not (False)."
)


def written(share: float, requests: int, threads: int | None) -> Counter[str]:
    """Labels of the first so many inputs, all of them counted, at a share of output-first."""
    seeds = source_file(SourceConfig(path="luthier:promise_seeds.csv"), Path())
    method = build(
        description=DESCRIPTION, seeds=str(seeds), input="sentence", output="label",
        rows=requests, output_first=share, votes=0,
        novelty=0, min_words=4, max_tokens=60, patience=10**6, min_yield=0,
    )  # fmt: skip

    async def run(log: CallLog) -> Counter[str]:
        section = LlmSection(n_ctx=1024, n_threads=threads)
        session = Session(section, log)
        writing = Writing(session=session, seed=7, window=16, method="task", labels=LABELS)
        seen: Counter[str] = Counter()

        def show(writing: Writing, kept: int) -> None:
            last = writing.rows[-1] if kept else writing.left_out[-1]
            full = not kept and last["reason"].startswith("label full")
            if kept or full:
                seen[last["output"]] += 1
            if seen.total() >= requests:
                raise BudgetSpent("enough")

        writing.show = show
        async with asking(session):
            with contextlib.suppress(BudgetSpent):
                await method(writing)
        return seen

    with tempfile.TemporaryDirectory() as folder, CallLog(Path(folder) / "calls.jsonl") as log:
        return asyncio.run(run(log))


def entropy(counts: Counter[str]) -> float:
    """Of the label shares, in bits: 1 for two labels in balance."""
    shares = [counts[label] / counts.total() for label in LABELS]
    return -sum(p * math.log2(p) for p in shares if p)


def main() -> None:
    """Measure both, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=100)
    parser.add_argument("--threads", type=int)
    args = parser.parse_args()
    found = {
        name: written(share, args.requests, args.threads)
        for name, share in (("input-first", 0.0), ("output-first", 1.0))
    }
    rows = [
        f"| {name} | {c['True']} | {c['False']} | {entropy(c):.3f} |" for name, c in found.items()
    ]
    page = "\n".join([
        "# Labels of what a model writes", "",
        f"The packaged SmolLM2-135M-Instruct (4 bits, llama.cpp), {args.requests} usable inputs",
        "of the promises task each way: labels as output-first asked for them, and as the model",
        "gave them itself in input-first. `python benchmarks/balance.py`.", "",
        "| order | True | False | entropy, bits |", "|---|---:|---:|---:|", *rows, "",
        "Targets are met to the row in both orders (tests/data/generating/test_task.py); what",
        "input-first writes beyond them is left out as `label full`, and paid all the same.", "",
    ])  # fmt: skip
    (RESULTS / "balance.md").write_text(page, encoding="utf-8")
    counts = {name: dict(c) for name, c in found.items()}
    (RESULTS / "balance.json").write_text(json.dumps(counts, indent=2) + "\n", encoding="utf-8")
    print(page)


if __name__ == "__main__":
    main()
