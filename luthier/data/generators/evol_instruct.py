"""Evol-Instruct: instructions of yours made harder or rarer, round after round, and answered.

The method of arXiv 2304.12244: five operations in depth, one in breadth, one drawn for each
instruction and round; what fails one of the elimination rules goes on unevolved. The released code
has neither the sixth operation (complicating the input) nor any rule; here all are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from luthier.data.generating.evol_instruct import settings as numbers
from luthier.data.generating.evol_instruct.elimination import PAPER
from luthier.data.generating.evol_instruct.seeds import read_seeds
from luthier.data.generating.evol_instruct.settings import Settings, weights_of, wrong
from luthier.data.generating.evol_instruct.steps import write
from luthier.data.generating.options import require_none
from luthier.data.generating.writing import Write, Writing

FORMAT = "alpaca"
FILES = ("seeds",)


def build(
    *,
    rows: int | None = None,
    seeds: str = numbers.SEEDS,
    rounds: int = numbers.ROUNDS,
    weights: Mapping[str, float] | None = None,
    rules: Sequence[str] = PAPER,
    keep: str = "all",
    temperature: float = numbers.TEMPERATURE,
    top_p: float = numbers.TOP_P,
    max_tokens: int = numbers.MAX_TOKENS,
    response_max_tokens: int = numbers.MAX_TOKENS,
) -> Write:
    """Rows by Evol-Instruct; `generating/evol_instruct/settings.py` cites the defaults.

    Args:
        rows: how many; null: what comes of all seeds.
        seeds: a file of instructions, of any format that asks something. It is no part of the
            result; name it as a source of its own where it should be.
        rounds: evolutions of each instruction.
        weights: how likely each operation is, e.g. {constraints: 2, breadth: 1}; those that are
            not named are not used. null: all alike, as in the paper.
        rules: by which evolutions are thrown out (`generating/evol_instruct/elimination.py`). The
            paper's; h2o-wizardlm has newlines, bare_list, assistant_talk and apology besides.
        keep: `all` evolved instructions of all rounds, as in the paper, or the `last` of each seed.
        temperature: of evolutions and responses.
        top_p: likewise.
        max_tokens: of an evolved instruction; longer ones are left out.
        response_max_tokens: of a response; likewise.

    Raises:
        DataError: values that make no sense, or seeds that cannot be read.
    """
    given = {
        "rows": rows, "rounds": rounds, "weights": weights, "rules": rules, "keep": keep,
        "temperature": temperature, "top_p": top_p, "max_tokens": max_tokens,
        "response_max_tokens": response_max_tokens,
    }  # fmt: skip
    found = list(wrong(given))
    if not isinstance(seeds, str):
        found.append(f"seeds is {seeds!r}, expected a file.")
    require_none("evol_instruct", found)
    settings = Settings(**{**given, "weights": weights_of(weights)})  # type: ignore[arg-type]
    tasks = read_seeds(seeds)

    async def write_rows(writing: Writing) -> None:
        await write(writing, settings, tasks)

    return write_rows
