"""The only place where text is generated."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from transformers import GenerationConfig, LogitsProcessorList, StoppingCriteriaList

from luthier.chat import Renderer
from luthier.evaluation.config import GenerationSection
from luthier.out_of_memory import BatchSize
from luthier.prefix_cache import Prefix, can_share, families
from luthier.sampling import PerRow, Sampling, StopPerRow, cut
from luthier.seq2seq import has_encoder, padded, start_id


def answer(
    model: Any,
    renderer: Renderer,
    prompts: Sequence[Sequence[int]],
    generation: GenerationSection,
    seed: int,
    *,
    batch_size: int = 16,
    progress: Callable[[int], Any] | None = None,
) -> list[str]:
    """Let the model answer each prompt.

    What many prompts start with (instruction, few-shot examples) is run once. Rows are batched by
    length and padded on the left, behind what they share; for an encoder on the right, each whole.
    The same call on the same machine gives the same answers, sampled ones too; a sampled answer
    depends on the batch it is in.

    Args:
        model: a causal language model or an encoder-decoder in eval mode.
        renderer: decodes, and knows the padding and stop tokens.
        prompts: token ids up to where the answers start, none empty.
        generation: how to decode.
        seed: of the sampling; the caller's own random numbers are left alone.
        batch_size: rows generated at a time; fewer where they do not fit into memory.
        progress: called with the number of rows just answered.

    Returns:
        The answers in input order, without special tokens and surrounding white space.
    """
    config = _config(renderer, generation)
    config.decoder_start_token_id = start_id(model)
    answers = [""] * len(prompts)
    everyone = [(0, list(range(len(prompts))))]
    groups = families(prompts, [1] * len(prompts)) if can_share(model) else everyone
    size = BatchSize(batch_size)
    devices = [model.device] if model.device.type != "cpu" else []
    with torch.random.fork_rng(devices, device_type=model.device.type), torch.inference_mode():
        torch.manual_seed(seed)
        for shared, members in groups:
            prefix = Prefix(model, prompts[members[0]][:shared]) if shared else None

            def run(rows: Sequence[int], prefix: Prefix | None = prefix) -> list[str]:
                return _batch(model, renderer, [prompts[row] for row in rows], config, prefix)

            order = sorted(members, key=lambda row: len(prompts[row]), reverse=True)
            for rows, texts in size.run(order, run):
                for row, text in zip(rows, texts, strict=True):
                    answers[row] = text
                if progress is not None:
                    progress(len(rows))
    return answers


@dataclass(frozen=True, slots=True)
class Drawn:
    """One sampled answer."""

    text: str
    is_cut: bool
    """Whether it ended at `max_tokens`, and not at a stop token or string."""
    tokens: int
    logprobs: list[tuple[str, float]] | None
    """Tokens and their natural log-probabilities by the model's own scores."""


def draw(
    model: Any,
    renderer: Renderer,
    prompts: Sequence[Sequence[int]],
    settings: Sequence[Sampling],
    *,
    logprobs: bool = False,
) -> list[Drawn]:
    """Let the model answer a batch of prompts, each by settings and a seed of its own.

    An answer depends on its own seed, and on the rows it is batched with only as far as the
    rounding of sums does.

    Args:
        model: a causal language model in eval mode.
        renderer: decodes, and knows the padding and stop tokens.
        prompts: token ids up to where the answers start, none empty.
        settings: one for every prompt.
        logprobs: also tell how likely each token was.
    """
    width, longest = max(map(len, prompts)), max(s.max_tokens for s in settings)
    greedy = GenerationSection(max_new_tokens=longest)
    per_row = PerRow(settings, width, keep=logprobs)
    ids, mask = _left_padded(prompts, width, renderer.pad_id)
    with torch.inference_mode():
        produced = model.generate(
            input_ids=torch.tensor(ids, device=model.device),
            attention_mask=torch.tensor(mask, device=model.device),
            generation_config=_config(renderer, greedy),
            logits_processor=LogitsProcessorList([per_row]),
            stopping_criteria=StoppingCriteriaList(
                [StopPerRow(renderer.tokenizer, settings, width)]
            ),
        )
    ends = {renderer.stop_id, renderer.tokenizer.eos_token_id, renderer.pad_id}
    answers = []
    for row, setting in enumerate(settings):
        said = produced[row, width:].tolist()[: setting.max_tokens]
        end = next((i for i, token in enumerate(said) if token in ends), len(said))
        text = renderer.tokenizer.decode(
            said[:end], skip_special_tokens=True, clean_up_tokenization_spaces=False
        )
        text, stopped = cut(text, setting.stop)
        known = None
        if per_row.drawn is not None:
            spelt = [renderer.tokenizer.decode([token]) for token in said[:end]]
            known = [(t, per_row.drawn[i][row].item()) for i, t in enumerate(spelt)]
        is_cut = end == setting.max_tokens and not stopped
        answers.append(Drawn(text, is_cut, end, known))
    return answers


def _left_padded(
    prompts: Sequence[Sequence[int]], width: int, pad: int
) -> tuple[list[list[int]], list[list[int]]]:
    ids = [[*[pad] * (width - len(p)), *p] for p in prompts]
    return ids, [[0] * (width - len(p)) + [1] * len(p) for p in prompts]


def _batch(
    model: Any,
    renderer: Renderer,
    prompts: Sequence[Sequence[int]],
    config: GenerationConfig,
    prefix: Prefix | None,
) -> list[str]:
    if has_encoder(model):
        given, real = padded(prompts, renderer.pad_id)
        produced = model.generate(
            input_ids=given.to(model.device),
            attention_mask=real.to(model.device),
            generation_config=config,
        )
        return _texts(renderer, produced[:, 1:])
    width, beginning = max(map(len, prompts)), prefix.ids if prefix else []
    ids, mask = [], []
    for prompt in prompts:
        pads, rest = width - len(prompt), prompt[len(beginning) :]
        ids.append([*beginning, *[renderer.pad_id] * pads, *rest])
        mask.append([1] * len(beginning) + [0] * pads + [1] * len(rest))
    # `generate` leaves out what the cache holds, and derives the position ids from the mask, so
    # pads take no positions.
    produced = model.generate(
        input_ids=torch.tensor(ids, device=model.device),
        attention_mask=torch.tensor(mask, device=model.device),
        generation_config=config,
        past_key_values=prefix.copies(len(prompts)) if prefix else None,
    )
    return _texts(renderer, produced[:, width:])


def _texts(renderer: Renderer, produced: torch.Tensor) -> list[str]:
    texts: list[str] = renderer.tokenizer.batch_decode(
        produced, skip_special_tokens=True, clean_up_tokenization_spaces=False
    )
    return [text.strip() for text in texts]


def _config(renderer: Renderer, generation: GenerationSection) -> GenerationConfig:
    """Every knob set: what is left open is taken from the model's own generation settings."""
    sampling = {}
    if generation.do_sample:
        sampling = {"temperature": generation.temperature, "top_p": generation.top_p, "top_k": 0}
    return GenerationConfig(
        max_new_tokens=generation.max_new_tokens,
        do_sample=generation.do_sample,
        num_beams=1,
        repetition_penalty=1.0,
        no_repeat_ngram_size=0,
        eos_token_id=sorted({renderer.stop_id, renderer.tokenizer.eos_token_id}),
        pad_token_id=renderer.pad_id,
        **sampling,
    )
