"""What the planning tests build on: a machine, data artifacts, and rows on disk."""

from __future__ import annotations

from collections.abc import Sequence

from luthier.artifacts import DataStats, SplitStats, TokenCounts, save_examples
from luthier.chat import Renderer
from luthier.data.stats import token_counts
from luthier.example import Example, Message, Origin
from luthier.hardware import Hardware
from luthier.run import Run
from luthier.tokenizer import open_tokenizer

MACHINE = Hardware(
    device="cpu",
    device_name="Xeon",
    devices=1,
    cores=2,
    memory_total=32_000_000_000,
    memory_available=30_000_000_000,
    bf16=True,
    amx=True,
    fp16=False,
    disk_free=10**12,
)


def split(rows: int, *, longest: int = 60, **labels: int) -> SplitStats:
    tokens = TokenCounts(
        min=10,
        median=longest // 2,
        mean=longest / 2,
        p95=longest,
        max=longest,
        total=rows * longest // 2,
        trained=rows * 2,
        histogram=[(0, rows)],
    )
    return SplitStats(rows=rows, labels=labels, tokens=tokens)


def stats(**splits: SplitStats) -> DataStats:
    return DataStats(rows_read={"rows.csv": 9}, rows_rejected={}, splits=splits,
                     templates={"plain": 9}, samples=[])  # fmt: skip


INSTRUCTION = "Reply 'True' if it is a promise. "


def give_data(
    run: Run,
    rows: int = 40,
    *,
    text: str = "Is this row number {} long?",
    instructions: Sequence[str] = (INSTRUCTION,),
) -> None:
    """Write what the data stage would: a training split of short rows with common beginnings."""
    examples = [
        Example(
            id=f"{i:016x}",
            origin=Origin("rows.csv", i + 1),
            messages=(
                Message("user", instructions[i % len(instructions)] + text.replace("{}", str(i))),
                Message("assistant", "True" if i % 2 else "False"),
            ),
            label="True" if i % 2 else "False",
            split="train",
        )
        for i in range(rows)
    ]
    with run.stage("data", "fingerprint") as folder:
        save_examples(folder / "train.parquet", examples)
        renderer = Renderer(open_tokenizer(run.recipe.model), run.recipe.train.train_on)
        rendered = [renderer.render(example) for example in examples]
        lengths = [(len(row.input_ids), sum(row.trained[1:])) for row in rendered]
        counts = token_counts(*zip(*lengths, strict=True))
        labels = {"True": rows // 2, "False": rows - rows // 2}
        found = stats(
            train=SplitStats(rows=rows, labels=labels, tokens=counts),
            validation=split(100),
            calibration=split(100),
            test=split(200),
        )
        found.save(run)
