"""Label scores equal the naive computation: one row, one label, no cache, no padding."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from luthier import prefix_cache, scoring
from luthier.chat import Renderer
from luthier.errors import ModelError
from luthier.example import Example, Message, Origin
from luthier.model import attach_adapter
from luthier.training.config import LoraSection

INSTRUCTION = "Reply 'True' if the sentence is a promise, 'False' if not.\n\nInput: "
SENTENCES = [
    "We will build 400 new clinics.",
    "Why?",
    "The economy grew last year, and nobody can say why it did so, or for how long it will.",
    "We will build 400 new clinics before the next election.",
    "What is the capital of France?",
    "",
    "We will build 400 new clinics.",
]
LABELS = {
    "single tokens": ["A", "B", "C"],
    "several tokens": ["promise", "no promise", "something else"],
    "one begins another": ["red", "red-green", "red-green blue", "x"],
    "single and several": ["A", "dark green", "dark red"],
}


@pytest.fixture(scope="module")
def tokenizer(tiny_model_dir: Path) -> Any:
    return AutoTokenizer.from_pretrained(tiny_model_dir)


@pytest.fixture(scope="module")
def renderer(tokenizer: Any) -> Renderer:
    return Renderer(tokenizer)


@pytest.fixture(scope="module")
def model(tiny_model_dir: Path) -> Any:
    """The tiny model with larger weights, so that its predictions differ between rows."""
    model = AutoModelForCausalLM.from_pretrained(tiny_model_dir, dtype=torch.float32).eval()
    return sharpened(model)


def sharpened(model: Any) -> Any:
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.add_(torch.randn_like(parameter) * 0.15)
    return model.eval()


def conversations(sentences: Sequence[str] = SENTENCES) -> list[list[Message]]:
    return [[Message("user", INSTRUCTION + s + "\nOutput:")] for s in sentences]


@torch.inference_mode()
def naive(
    model: Any, renderer: Renderer, prompts: Sequence[Sequence[Message]], labels: Sequence[str]
) -> np.ndarray:
    scores = np.zeros((len(prompts), len(labels)))
    for row, messages in enumerate(prompts):
        prompt = renderer.prompt(messages)
        answers = [renderer.completion(messages, label) for label in labels]
        for column, answer in enumerate(answers):
            begins = any(len(o) > len(answer) and o[: len(answer)] == answer for o in answers)
            tail = answer + ([renderer.stop_id] if begins else [])
            logits = model(input_ids=torch.tensor([prompt + tail])).logits[0].float()
            for offset, token in enumerate(tail):
                lp = logits[len(prompt) + offset - 1].log_softmax(-1)[token]
                scores[row, column] += lp.item()
    return scores


@pytest.mark.parametrize("labels", LABELS.values(), ids=LABELS.keys())
@pytest.mark.parametrize("batch_size", [1, 3, 16])
def test_equals_naive(model: Any, renderer: Renderer, labels: list[str], batch_size: int) -> None:
    scores = scoring.label_scores(model, renderer, conversations(), labels, batch_size=batch_size)

    expected = naive(model, renderer, conversations(), labels)
    assert np.ptp(expected, axis=0).min() > 0.01, "rows must differ for this test to mean much"
    np.testing.assert_allclose(scores, expected, atol=1e-4)


def test_the_labels_used_here_have_the_token_counts_their_names_say(renderer: Renderer) -> None:
    sizes = {
        name: [len(renderer.completion([], label)) for label in labels]
        for name, labels in LABELS.items()
    }

    assert max(sizes["single tokens"]) == 1
    assert min(sizes["several tokens"]) > 1
    first, second, third, _ = (renderer.completion([], x) for x in LABELS["one begins another"])
    assert second[: len(first)] == first and third[: len(second)] == second


def test_with_an_adapter(tiny_model_dir: Path, renderer: Renderer) -> None:
    base = sharpened(AutoModelForCausalLM.from_pretrained(tiny_model_dir, dtype=torch.float32))
    labels = LABELS["several tokens"]
    before = scoring.label_scores(base, renderer, conversations(), labels, batch_size=4)
    adapted = sharpened(attach_adapter(base, LoraSection(r=4)))

    scores = scoring.label_scores(adapted, renderer, conversations(), labels, batch_size=4)

    np.testing.assert_allclose(scores, naive(adapted, renderer, conversations(), labels), atol=1e-4)
    assert np.abs(scores - before).max() > 0.1


@pytest.mark.parametrize("sentences", [["We will build."], ["Why?"] * 5, []],
                         ids=["one prompt", "identical prompts", "none"])  # fmt: skip
def test_few_or_equal_prompts(model: Any, renderer: Renderer, sentences: list[str]) -> None:
    prompts = conversations(sentences)
    for labels in LABELS.values():
        scores = scoring.label_scores(model, renderer, prompts, labels, batch_size=2)

        assert scores.shape == (len(sentences), len(labels))
        np.testing.assert_allclose(scores, naive(model, renderer, prompts, labels), atol=1e-4)


def test_several_templates_in_one_call(model: Any, renderer: Renderer) -> None:
    long = "Read this and say True or False. " * 8
    prompts = [
        [Message("user", (long if i % 3 else "Judge: " * 20) + s)]
        for i, s in enumerate(SENTENCES * 4)
    ]
    prompts.append([Message("user", "?")])
    ids = [renderer.prompt(p) for p in prompts]
    families = prefix_cache.families(ids, [1] * len(ids))

    scores = scoring.label_scores(model, renderer, prompts, ["A", "B"], batch_size=4)

    assert sorted(row for _, rows in families for row in rows) == list(range(len(ids)))
    assert sum(shared > 100 for shared, _ in families) >= 1
    assert len(families) >= 2
    np.testing.assert_allclose(scores, naive(model, renderer, prompts, ["A", "B"]), atol=1e-4)


def test_the_shared_prefix_is_run_once(model: Any, renderer: Renderer) -> None:
    seen: list[torch.Size] = []
    hook = model.model.register_forward_pre_hook(
        lambda module, args, kwargs: seen.append(kwargs["input_ids"].shape), with_kwargs=True
    )
    prompts = conversations([f"Sentence {i}." for i in range(12)])

    scoring.label_scores(model, renderer, prompts, ["A", "B"], batch_size=4)

    hook.remove()
    longest = max(len(renderer.prompt(p)) for p in prompts)
    assert seen[0][0] == 1, "the prefix goes alone"
    assert len(seen) == 1 + 3
    assert all(rows == 4 and width < longest / 2 for rows, width in seen[1:])


def test_without_a_chat_template(model: Any, tiny_model_dir: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(tiny_model_dir)
    tokenizer.chat_template = None
    renderer = Renderer(tokenizer)
    for labels in LABELS.values():
        scores = scoring.label_scores(model, renderer, conversations(), labels, batch_size=4)

        expected = naive(model, renderer, conversations(), labels)
        np.testing.assert_allclose(scores, expected, atol=1e-4)


def test_labels_that_become_the_same_tokens_are_refused(model: Any, renderer: Renderer) -> None:
    class Lowercase(Renderer):
        def completion(self, messages: Sequence[Message], text: str) -> list[int]:
            return super().completion(messages, text.lower())

    with pytest.raises(ModelError, match="'Yes' and 'yes' become the same tokens"):
        scoring.label_scores(
            model, Lowercase(renderer.tokenizer), conversations(), ["no", "Yes", "yes"],
            batch_size=4,
        )  # fmt: skip


def test_progress_counts_every_row(model: Any, renderer: Renderer) -> None:
    done: list[int] = []

    scoring.label_scores(
        model, renderer, conversations(), ["A", "B"], batch_size=3, progress=done.append
    )

    assert sum(done) == len(SENTENCES)


SMALL = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "vocab_size": 420}
GROUPED = {"intermediate_size": 64, "num_key_value_heads": 2}
ARCHITECTURES: dict[str, tuple[str, dict[str, Any], bool]] = {
    "gpt2": ("gpt2", {"n_embd": 32, "n_layer": 2, "n_head": 4, "vocab_size": 420}, True),
    "gpt_neox": ("gpt_neox", {**SMALL, "intermediate_size": 64}, True),
    "opt": ("opt", {**SMALL, "ffn_dim": 64, "word_embed_proj_dim": 32}, True),
    "qwen2": ("qwen2", {**SMALL, **GROUPED}, True),
    "qwen3": ("qwen3", {**SMALL, **GROUPED, "head_dim": 8}, True),
    "phi3": ("phi3", {**SMALL, **GROUPED, "pad_token_id": 0}, True),
    "gemma2 (capped logits, sliding window)": (
        "gemma2", {**SMALL, **GROUPED, "head_dim": 8, "final_logit_softcapping": 3.0}, False,
    ),
    "granite (scaled logits)": ("granite", {**SMALL, **GROUPED, "logits_scaling": 4.0}, True),
    "mistral (sliding window)": (
        "mistral", {**SMALL, **GROUPED, "sliding_window": 16, "head_dim": 8}, False,
    ),
    "bloom (ALiBi)": ("bloom", {"hidden_size": 32, "n_layer": 2, "n_head": 4, "vocab_size": 420},
                      False),
    "mamba (recurrent)": ("mamba", {"hidden_size": 32, "num_hidden_layers": 2, "vocab_size": 420,
                                    "state_size": 4}, False),
}  # fmt: skip


@pytest.mark.parametrize("name", ARCHITECTURES)
@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_other_architectures(name: str, attention: str, renderer: Renderer) -> None:
    from transformers import AutoConfig

    kind, options, trees = ARCHITECTURES[name]
    if attention == "eager" and not trees:
        pytest.skip("plain batches do not depend on it")
    config = AutoConfig.for_model(kind, **options)
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(
        config, attn_implementation=attention if trees else "eager"
    )
    model = sharpened(model.float())
    for labels in (LABELS["several tokens"], LABELS["one begins another"]):
        scores = scoring.label_scores(model, renderer, conversations(), labels, batch_size=3)

        assert prefix_cache.can_share(model) == trees
        expected = naive(model, renderer, conversations(), labels)
        np.testing.assert_allclose(scores, expected, atol=1e-4)


@pytest.mark.parametrize("trees", [True, False])
def test_answer_scores_equal_naive(
    model: Any, renderer: Renderer, trees: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scoring, "can_share", lambda model: trees)
    examples = [
        Example("a", Origin("x", 1), messages=(Message("user", s), Message("assistant", s * 2)))
        for s in SENTENCES
    ]
    examples.append(Example("b", Origin("x", 2), text="The economy grew last year."))
    rows = [renderer.render(example) for example in examples]

    scores = scoring.answer_scores(model, renderer, rows, batch_size=3)

    for row, (ids, trained) in enumerate(rows):
        with torch.inference_mode():
            lp = model(input_ids=torch.tensor([ids])).logits[0].log_softmax(-1)
        targets = [t for t in range(1, len(ids)) if trained[t]]
        expected = sum(lp[t - 1, ids[t]].item() for t in targets)
        assert scores.tokens[row] == len(targets)
        assert scores.log_likelihood[row] == pytest.approx(expected, abs=1e-3)
