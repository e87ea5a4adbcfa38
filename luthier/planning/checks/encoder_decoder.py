"""What an encoder-decoder (T5) cannot be trained with."""

from __future__ import annotations

from luthier.artifacts import Finding
from luthier.planning.facts import Facts


def check(facts: Facts) -> Finding | None:
    """Find settings that are for a model that reads its rows from left to right.

    What: packing, `train_on: all` or `assistant`, plain text, NEFTune, Liger's kernels, FSDP,
    DeepSpeed or `engine: trl` with an encoder-decoder; conversations for it.
    Why: its encoder reads the prompt and its decoder says the answer, so a row is no one line of
    tokens, and what is made for such lines would not be what it says. A conversation is one text to
    the encoder: who said what is lost.
    Fix: leave the setting out, or use a model without an encoder.
    """
    if not facts.has_encoder:
        return None
    if clashes := _clashes(facts):
        return Finding(
            check="encoder_decoder",
            severity="error",
            what=f"an encoder-decoder with {', '.join(clashes)}.",
            why="Its encoder reads the prompt and its decoder says the answer: "
            f"{'; '.join(dict.fromkeys(clashes.values()))}.",
            fix=f"Leave out {', '.join(clashes)}, or use a model without an encoder.",
        )
    if facts.train.fp16:
        return Finding(
            check="encoder_decoder",
            severity="warning",
            what="train.fp16 with an encoder-decoder of the T5 family.",
            why="T5 was trained in bfloat16; numbers between its layers exceed what fp16 holds.",
            fix="Set train.fp16: false, or train.bf16: true with train.autocast: true.",
        )
    if facts.recipe.task.kind != "chat":
        return None
    return Finding(
        check="encoder_decoder",
        severity="note",
        what="conversations for an encoder-decoder.",
        why="Its encoder reads the messages before the last answer as one text, with empty lines "
        "between them; who wrote which is not said.",
        fix="",
    )


def _clashes(facts: Facts) -> dict[str, str]:
    """Settings of the recipe that cannot be, and why."""
    train, kind = facts.train, facts.recipe.task.kind
    unsupported = "training with it is not made for two stacks of layers"
    clashes = {
        "train.packing": (train.packing, "there is no one line that rows could share"),
        f"train.train_on: {train.train_on}": (
            train.train_on != "completion",
            "only the last answer is said by the decoder",
        ),
        f"task.kind: {kind}": (kind == "text", "plain text has no question to read"),
        "train.neftune_noise_alpha": (
            train.neftune_noise_alpha is not None,
            "noise is scaled by the length of the one line a decoder reads",
        ),
        "train.use_liger_kernel": (train.use_liger_kernel, unsupported),
        "train.fsdp": (train.fsdp, unsupported),
        "train.deepspeed": (train.deepspeed is not None, unsupported),
        "train.engine: trl": (train.engine == "trl", "SFTTrainer trains models without an encoder"),
    }
    return {name: why for name, (clash, why) in clashes.items() if clash}
