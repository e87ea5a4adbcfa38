"""How long a reviewer waits on 100,000 rows: opening them, one row, a search, a decision.

python benchmarks/review.py [ROWS]

The same rows as a CSV file, which is imported, and as a run builds them, which are read in place.
"""

from __future__ import annotations

import csv
import random
import resource
import sys
import tempfile
import time
from pathlib import Path

from luthier.artifacts import save_examples
from luthier.data.linting import reading
from luthier.data.rows import Reject
from luthier.reviewing.dataset import Dataset, Subject, opened, subject_of
from luthier.reviewing.findings import Findings
from luthier.reviewing.journal import Journal
from luthier.reviewing.query import Query
from luthier.reviewing.rows import ParquetRows, Rows
from luthier.reviewing.session import STATES, Session

DECIDED = 100


def made(path: Path, rows: int) -> None:
    """Instructions of 25 words and answers of 80, drawn from 3,000 words."""
    draw = random.Random(1)
    words = [f"word{i}" for i in range(3000)]
    with open(path, "w", newline="", encoding="utf-8") as file:
        out = csv.writer(file)
        out.writerow(["instruction", "input", "output", "judge_score"])
        for _ in range(rows):
            asked, answer = (" ".join(draw.choices(words, k=k)) for k in (25, 80))
            out.writerow([asked, "", answer, round(draw.random() * 10, 1)])


def as_built(source: Path, path: Path) -> reading.Reading:
    """Write the rows as a build stores them."""
    read = reading.of_file(str(source))
    table = read.open(read.sources[0])
    found = (row for _, row in read.shaped(table, read.sources[0]) if not isinstance(row, Reject))
    save_examples(path, (row.example.but(split="train") for row in found))
    return read


def lap(what: str, started: float, times: int = 1) -> float:
    now = time.perf_counter()
    print(f"  {what}: {1000 * (now - started) / times:,.1f} ms")
    return time.perf_counter()


def measure(dataset: Dataset, started: float, folder: Path) -> None:
    started = lap("open", started)
    name = f"{dataset.subject.name.replace('/', '_')}.decisions.jsonl"
    with Journal(folder / name) as journal:
        session = Session(dataset, journal, reviewer="", findings=Findings())
        session.start()
        view = session.view(Query.of({}, STATES))["view"]
        session.row(view, 0)
        started = lap("then until the first row is shown", started)
        session.row(view, len(dataset.rows) // 2)
        started = lap("a row far away", started)
        session.view(Query.of({"text": "word17 word"}, STATES))
        started = lap("search in all texts", started)
        session.view(Query.of({"number": "judge_score", "order": "lowest"}, STATES))
        started = lap("order all by a score", started)
        for at in range(DECIDED):
            id = session.row(view, at)["id"]
            session.decide(view, at, {"id": id, "decision": "keep"})
        lap("a row and its decision, fsynced", started, DECIDED)


def main() -> None:
    rows = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        source, built = folder / "rows.csv", folder / "train.parquet"
        made(source, rows)
        size = source.stat().st_size / 1e6
        read = as_built(source, built)
        print(f"{rows:,} rows as a build stores them")
        started = time.perf_counter()
        whole = Rows([ParquetRows(built, "train.parquet")], None)
        subject = Subject("built", folder / "decisions.jsonl")
        measure(Dataset(subject, whole, read.shape, []), started, folder)
        print(f"{rows:,} rows as a CSV file of {size:.0f} MB")
        started = time.perf_counter()
        with opened(subject_of(str(source))) as dataset:
            measure(dataset, started, folder)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"peak memory {peak:,.0f} MiB")


if __name__ == "__main__":
    main()
