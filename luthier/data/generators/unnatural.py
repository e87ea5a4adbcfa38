"""Unnatural Instructions: a fourth example after three, its output, and other words for it.

The method of arXiv 2212.09689: an example has an instruction, an input and constraints of the
output. Its output comes of a call of its own, always the likeliest, so that what is new is written
freely and what must be right is not. Reformulations say the instruction as people do, with the
input in their midst; constraints are not repeated.
"""

from __future__ import annotations

from luthier.data.generating.options import SAMPLING, problems, require_none
from luthier.data.generating.unnatural import settings as numbers
from luthier.data.generating.unnatural.demonstrations import read_demonstrations
from luthier.data.generating.unnatural.settings import Settings
from luthier.data.generating.unnatural.steps import write
from luthier.data.generating.writing import Write, Writing

FORMAT = "unnatural_instructions"
FILES = ("demonstrations",)


def build(
    *,
    rows: int = numbers.ROWS,
    demonstrations: str = numbers.DEMONSTRATIONS,
    temperature: float = numbers.TEMPERATURE,
    top_p: float = numbers.TOP_P,
    max_tokens: int = numbers.MAX_TOKENS,
    output_max_tokens: int = numbers.OUTPUT_TOKENS,
    reformulations: int = numbers.REFORMULATIONS,
    reformulation_tries: int = numbers.TRIES,
    reformulation_max_tokens: int = numbers.REFORMULATION_TOKENS,
    cross_reference: bool = True,
    chat: bool = False,
    patience: int = numbers.PATIENCE,
) -> Write:
    """Rows by Unnatural Instructions; `generating/unnatural/settings.py` cites the defaults.

    Args:
        rows: how many, those of reformulations counted.
        demonstrations: a file of examples without outputs: instruction, input, constraints, and
            the prompt that each stands in.
        temperature: of examples and reformulations; outputs are always the likeliest.
        top_p: likewise.
        max_tokens: of an example.
        output_max_tokens: of an output; longer ones are left out.
        reformulations: wanted of each example; 0: none.
        reformulation_tries: unsuccessful attempts after which no more are asked for.
        reformulation_max_tokens: of one.
        cross_reference: also write reformulations with the inputs of other examples that have the
            same instruction (section 2.2).
        chat: ask by messages, for servers that offer nothing else; plain prompts fit the method
            better, which has the model go on.
        patience: requests in a row without a new example, after which it is given up.

    Raises:
        DataError: values that make no sense, or demonstrations that cannot be read.
    """
    given = {
        "rows": rows, "temperature": temperature, "top_p": top_p, "max_tokens": max_tokens,
        "output_max_tokens": output_max_tokens, "reformulations": reformulations,
        "reformulation_tries": reformulation_tries,
        "reformulation_max_tokens": reformulation_max_tokens, "cross_reference": cross_reference,
        "chat": chat, "patience": patience,
    }  # fmt: skip
    wrong = [*problems(given, counts=numbers.COUNTS, numbers=SAMPLING, switches=numbers.SWITCHES)]
    if not isinstance(demonstrations, str):
        wrong.append(f"demonstrations is {demonstrations!r}, expected a file.")
    require_none("unnatural", wrong)
    settings, groups = Settings(**given), read_demonstrations(demonstrations)  # type: ignore[arg-type]

    async def write_rows(writing: Writing) -> None:
        await write(writing, settings, groups)

    return write_rows
