"""Self-Instruct: new tasks after a few of yours, with inputs and outputs (arXiv 2212.10560)."""

from __future__ import annotations

from collections.abc import Sequence

from luthier.data.generating.self_instruct import settings as numbers
from luthier.data.generating.self_instruct.seeds import read_seeds
from luthier.data.generating.self_instruct.settings import checked
from luthier.data.generating.self_instruct.steps import write
from luthier.data.generating.writing import Write, Writing
from luthier.data.novelty import THRESHOLD
from luthier.errors import DataError

FORMAT = "alpaca"
FILES = ("seeds",)


def build(
    *,
    rows: int | None = None,
    num_instructions: int | None = None,
    seeds: str = numbers.SEEDS,
    compat: str = "none",
    num_human: int = numbers.NUM_HUMAN,
    num_machine: int = numbers.NUM_MACHINE,
    request_batch_size: int = numbers.REQUEST_BATCH_SIZE,
    classification_share: float = 0.0,
    temperature: float = numbers.TEMPERATURE,
    top_p: float = numbers.TOP_P,
    presence_penalty: float = numbers.PRESENCE_PENALTY,
    max_tokens: int = numbers.MAX_TOKENS,
    threshold: float = THRESHOLD,
    min_words: int = numbers.MIN_WORDS,
    max_words: int = numbers.MAX_WORDS,
    blacklist: Sequence[str] = numbers.BLACKLIST,
    max_instances: int = numbers.MAX_INSTANCES,
    instance_max_tokens: int = numbers.INSTANCE_TOKENS,
    classification_max_tokens: int = numbers.CLASSIFICATION_TOKENS,
    instance_presence_penalty: float = numbers.INSTANCE_PRESENCE_PENALTY,
    unnamed_share: float = numbers.UNNAMED_SHARE,
    chat: bool = False,
    patience: int = numbers.PATIENCE,
) -> Write:
    """Rows by Self-Instruct; defaults are those of the authors' code (`settings.py` cites them).

    Args:
        rows: rows after which it ends; null: when the instructions have their instances.
        num_instructions: new instructions after which no more are asked for; null: 100, or with
            `rows` as many as it takes.
        seeds: a file of tasks that people wrote, of any format that has instructions.
        compat: `original` decides what is kept as the authors' code does, warts included.
        num_human: tasks of people that a prompt shows.
        num_machine: tasks of the model that a prompt shows.
        request_batch_size: prompts made before the first of them is answered.
        classification_share: share of the prompts that show and ask for classification tasks only;
            1 is the original's --use_clf_seed_tasks_only.
        temperature: for instructions; instances are always greedy.
        top_p: likewise.
        presence_penalty: likewise.
        max_tokens: likewise.
        threshold: the largest ROUGE-L F1 with an earlier instruction that is novel.
        min_words: of an instruction.
        max_words: of an instruction.
        blacklist: words that no instruction may have.
        max_instances: of a task.
        instance_max_tokens: of the answer with a task's instances.
        classification_max_tokens: likewise, for classification.
        instance_presence_penalty: likewise, for both.
        unnamed_share: share of the inputs that lose the name of their only field.
        chat: ask by messages, for servers that offer nothing else; plain prompts fit the method
            better, which has the model go on with a list.
        patience: requests without a new instruction, or instructions without a row, in a row,
            after which it is given up.

    Raises:
        DataError: values that make no sense, or seeds that cannot be read.
    """
    settings = checked(
        rows=rows, num_instructions=num_instructions, compat=compat, num_human=num_human,
        num_machine=num_machine, request_batch_size=request_batch_size,
        classification_share=classification_share, temperature=temperature, top_p=top_p,
        presence_penalty=presence_penalty, max_tokens=max_tokens, threshold=threshold,
        min_words=min_words, max_words=max_words, blacklist=blacklist, max_instances=max_instances,
        instance_max_tokens=instance_max_tokens,
        classification_max_tokens=classification_max_tokens,
        instance_presence_penalty=instance_presence_penalty, unnamed_share=unnamed_share,
        chat=chat, patience=patience,
    )  # fmt: skip
    if not isinstance(seeds, str):
        raise DataError(f"generator 'self_instruct': seeds is {seeds!r}, expected a file.")
    tasks = read_seeds(seeds)

    async def write_rows(writing: Writing) -> None:
        await write(writing, settings, tasks)

    return write_rows
