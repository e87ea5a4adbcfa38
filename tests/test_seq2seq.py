"""Encoder-decoders: a tiny T5 is rendered, trained, scored, asked, planned, shipped and used."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny_t5 import make_t5, t5_model_dir  # noqa: F401
from trained_project import Project, luthier, rows
from transformers import AutoModelForSeq2SeqLM

from luthier import model as models
from luthier import scoring, seq2seq
from luthier.artifacts import Evaluation, Plan, TrainSummary, load_examples
from luthier.chat import Renderer
from luthier.errors import DataError, ModelError
from luthier.evaluation.config import GenerationSection
from luthier.example import Example, Message, Origin
from luthier.generate import answer
from luthier.predict import load
from luthier.recipe import ModelSection
from luthier.run import Run, file_digest
from luthier.training import batches, loss
from luthier.training import trainer as job
from luthier.training.config import LoraSection
from luthier.training.smoothing import ClassSmoothing
from luthier.training.train import train

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
SENTENCES = [
    "We will build 400 new clinics.",
    "Why?",
    "The economy grew last year, and nobody can say why it did so, or for how long it will.",
    "We will build 400 new clinics before the next election.",
]


@pytest.fixture(scope="module")
def section(t5_model_dir: Path) -> ModelSection:  # noqa: F811
    return ModelSection(name=str(t5_model_dir))


@pytest.fixture(scope="module")
def renderer(section: ModelSection) -> Renderer:
    return Renderer(models.open_tokenizer(section))


@pytest.fixture(scope="module")
def model(section: ModelSection) -> Any:
    return models.open_model(section)


def example(question: str, answer: str = "True", **fields: Any) -> Example:
    turns = (Message("user", question), Message("assistant", answer))
    return Example(id="x", origin=Origin("r.csv", 1), messages=turns, **fields)


# --- a row ---------------------------------------------------------------------------------------


def test_a_row_is_what_the_encoder_reads_and_what_the_decoder_says(renderer: Renderer) -> None:
    tokenizer = renderer.tokenizer
    row = renderer.render(example("We will build.", "no promise"))
    pair = seq2seq.take_apart(*row)

    assert pair.asked == tokenizer.encode("We will build.") == renderer.prompt(
        [Message("user", "We will build.")]
    )  # fmt: skip
    assert pair.answer == tokenizer.encode("no promise")
    assert pair.asked[-1] == pair.answer[-1] == renderer.stop_id == 1
    assert renderer.pad_id == 0


def test_what_users_write_stays_text(renderer: Renderer) -> None:
    row = renderer.render(example("Fill <extra_id_0> and </s> in.", "</s> <pad>"))

    specials = set(renderer.tokenizer.all_special_ids) - {renderer.tokenizer.unk_token_id}
    pair = seq2seq.take_apart(*row)
    assert not specials & {*pair.asked[:-1], *pair.answer[:-1]}


def test_tokenising_rows_ahead_changes_nothing(section: ModelSection, renderer: Renderer) -> None:
    given = [example(text, said) for text in [*SENTENCES, "</s> a"] for said in ("True", "<pad>")]
    ahead = Renderer(models.open_tokenizer(section))
    ahead.prepare(given)

    assert [ahead.render(row) for row in given] == [renderer.render(row) for row in given]


def test_conversations_are_read_as_one_text(renderer: Renderer) -> None:
    asked = [Message("user", "Hello."), Message("assistant", "Yes?"), Message("user", "No.")]

    assert renderer.prompt(asked) == renderer.prompt([Message("user", "Hello.\n\nYes?\n\nNo.")])


def test_rows_without_a_question_or_with_several_answers(renderer: Renderer) -> None:
    text = Example(id="x", origin=Origin("r.csv", 3), text="Plain text.")
    with pytest.raises(DataError, match=r"r\.csv:3: plain text has no question"):
        renderer.render(text)
    turns = (*example("Hello.", "Yes?").messages, *example("No.", "Yes.").messages)
    several = Example(id="x", origin=Origin("r.csv", 4), messages=turns)
    every = Renderer(renderer.tokenizer, "assistant")
    with pytest.raises(DataError, match="encoder reads all but the last answer"):
        every.render(several)
    assert every.render(example("Hello.")) == renderer.render(example("Hello."))


# --- opening -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "changes",
    [{}, {"feed_forward_proj": "gated-gelu", "tie_word_embeddings": False}, {"num_layers": 3}],
    ids=["as T5 1.0", "as T5 1.1 and FLAN-T5", "encoder deeper than decoder"],
)
def test_a_model_saved_in_full_opens_as_the_same(changes: dict[str, Any], tmp_path: Path) -> None:
    if "num_layers" in changes:
        changes = {**changes, "num_decoder_layers": 2}
    section = ModelSection(name=str(make_t5(tmp_path / "first", **changes)))
    model = models.open_model(section)
    ids = torch.tensor([[5, 6, 7, 1]])
    own = AutoModelForSeq2SeqLM.from_pretrained(tmp_path / "first")
    with torch.inference_mode():
        expected = own.eval()(input_ids=ids, decoder_input_ids=ids).logits
        hidden = seq2seq.decode(model, ids, seq2seq.encode(model, ids, torch.ones_like(ids)))
        torch.testing.assert_close(models.logits(model, hidden), expected)

    models.save_full(model, models.open_tokenizer(section), tmp_path / "second")
    again = models.open_model(ModelSection(name=str(tmp_path / "second")))
    with torch.inference_mode():
        found = again(input_ids=ids, decoder_input_ids=ids).logits
    torch.testing.assert_close(found, expected)


def test_mt5(tmp_path: Path, t5_model_dir: Path) -> None:  # noqa: F811
    import shutil

    from transformers import MT5Config, MT5ForConditionalGeneration

    shutil.copytree(t5_model_dir, tmp_path / "mt5")
    config = MT5Config(vocab_size=165, d_model=64, d_kv=16, d_ff=128, num_layers=2, num_heads=4)
    MT5ForConditionalGeneration(config).save_pretrained(tmp_path / "mt5")

    section = ModelSection(name=str(tmp_path / "mt5"))
    model, renderer = models.open_model(section), Renderer(models.open_tokenizer(section))
    asked = [[Message("user", text)] for text in SENTENCES]
    labels = ["True", "False"]
    np.testing.assert_allclose(
        scoring.label_scores(model, renderer, asked, labels, 2),
        naive(model, renderer, asked, labels),
        atol=1e-4,
    )


def test_other_encoder_decoders_are_refused_with_the_reason(tmp_path: Path) -> None:
    from transformers import BartConfig

    BartConfig(vocab_size=50, d_model=16, encoder_layers=1, decoder_layers=1).save_pretrained(
        tmp_path
    )
    with pytest.raises(ModelError, match=r"of the type 'bart'.*t5 and mt5"):
        models.open_config(ModelSection(name=str(tmp_path)))


def test_a_pickle_is_converted_by_the_right_class(
    t5_model_dir: Path,  # noqa: F811
    tmp_path: Path,
) -> None:
    (tmp_path / "config.json").write_bytes((t5_model_dir / "config.json").read_bytes())
    (tmp_path / "pytorch_model.bin").write_bytes(b"")
    with pytest.raises(ModelError, match="AutoModelForSeq2SeqLM as M"):
        models.open_model(ModelSection(name=str(tmp_path)))


# --- the loss ------------------------------------------------------------------------------------


def items_of(renderer: Renderer, **options: Any) -> list[batches.Item]:
    answers = ["True", "False", "no promise", ""]
    pairs = zip(SENTENCES, answers, strict=True)
    return batches.prepare([example(q, a) for q, a in pairs], renderer, **options)


def test_the_loss_is_the_models_own(model: Any, renderer: Renderer) -> None:
    items = items_of(renderer)
    batch = batches.collate([[i] for i in range(4)], items, pad_id=0, start_id=0)

    labels = torch.full((4, batch.decoder_ids.shape[1]), -100)
    for row, item in zip(labels, items, strict=True):
        answer = seq2seq.take_apart(item.ids, item.trained).answer
        row[: len(answer)] = torch.tensor(answer)
    own = model(input_ids=batch.input_ids, attention_mask=batch.attention_mask, labels=labels).loss
    assert batch.tokens == sum(len(item.ids) for item in items)
    assert len(batch.targets) == sum(sum(item.trained) for item in items)
    found = loss.summed_loss(model, batch)
    torch.testing.assert_close(found, own * len(batch.targets), rtol=1e-5, atol=1e-5)


def test_padding_and_accumulation_change_no_gradient(
    section: ModelSection, renderer: Renderer
) -> None:
    items = items_of(renderer)

    def gradients(plans: list[batches.BatchPlan]) -> dict[str, torch.Tensor]:
        model = models.open_model(section, trainable=True)  # in eval mode: no dropout
        for plan in plans:
            batch = batches.collate(plan, items, pad_id=0, start_id=0)
            loss.summed_loss(model, batch).backward()
        return {name: p.grad for name, p in model.named_parameters() if p.grad is not None}

    together, alone = gradients([[[0], [1], [2], [3]]]), gradients([[[3]], [[1]], [[0]], [[2]]])
    assert together.keys() == alone.keys() and len(together) > 40
    for name, grad in together.items():
        assert (grad - alone[name]).norm() <= 1e-5 * max(float(grad.norm()), 1.0), name


def test_class_smoothing_finds_the_answer(renderer: Renderer) -> None:
    labels = ["True", "False"]
    answers = [[*renderer.completion([], label), renderer.stop_id] for label in labels]
    examples = [example("We will build.", "True"), example("Why?", "False")]
    items = batches.prepare(examples, renderer, smoothing=ClassSmoothing(answers, 0.1))
    batch = batches.collate([[0], [1]], items, pad_id=0, start_id=0)

    assert len(batch.soft) == 2
    for (index, ids, p), label, other in zip(batch.soft, answers, answers[::-1], strict=True):
        branch = next(i for i, (a, b) in enumerate(zip(label, other, strict=False)) if a != b)
        assert int(batch.targets[index]) == label[branch]
        assert dict(zip(ids, p, strict=True)) == pytest.approx(
            {label[branch]: 0.95, other[branch]: 0.05}
        )


# --- scores and answers --------------------------------------------------------------------------


@torch.inference_mode()
def naive(
    model: Any, renderer: Renderer, prompts: Sequence[Sequence[Message]], labels: Sequence[str]
) -> np.ndarray:
    scores = np.zeros((len(prompts), len(labels)))
    answers = [renderer.completion([], label) for label in labels]
    for row, messages in enumerate(prompts):
        asked = torch.tensor([renderer.prompt(messages)])
        for column, label in enumerate(answers):
            begins = any(len(o) > len(label) and o[: len(label)] == label for o in answers)
            tail = label + ([renderer.stop_id] if begins else [])
            out = model(input_ids=asked, decoder_input_ids=torch.tensor([[0, *tail]])).logits[0]
            for at, token in enumerate(tail):
                scores[row, column] += out[at].float().log_softmax(-1)[token].item()
    return scores


@pytest.mark.parametrize("batch_size", [1, 3, 16])
@pytest.mark.parametrize(
    "labels",
    [["True", "False"], ["red", "red-green", "red-green blue", "x"], ["yes"]],
    ids=["two", "one begins another", "one"],
)
def test_label_scores_equal_naive_ones(
    model: Any, renderer: Renderer, labels: list[str], batch_size: int
) -> None:
    asked = [[Message("user", text)] for text in [*SENTENCES, "", SENTENCES[0]]]
    found = scoring.label_scores(model, renderer, asked, labels, batch_size)

    expected = naive(model, renderer, asked, labels)
    assert np.ptp(expected, axis=0).min() > 0.01
    np.testing.assert_allclose(found, expected, atol=1e-4)
    assert scoring.label_scores(model, renderer, [], labels).shape == (0, len(labels))


def test_the_encoder_reads_each_prompt_once(section: ModelSection, renderer: Renderer) -> None:
    model = models.open_model(section)
    seen: list[int] = []
    model.get_encoder().register_forward_hook(lambda m, i, out: seen.append(len(out[0])))
    asked = [[Message("user", text)] for text in SENTENCES]

    scoring.label_scores(model, renderer, asked, ["red", "red-green", "blue", "x", "yes"], 3)
    assert seen == [3, 1]


def test_with_an_adapter_and_references(section: ModelSection, renderer: Renderer) -> None:
    torch.manual_seed(3)
    adapted = models.attach_adapter(models.open_model(section), LoraSection(r=4)).eval()
    with torch.no_grad():
        for name, parameter in adapted.named_parameters():
            if "lora_B" in name:
                parameter.normal_(std=0.3)
    assert adapted.peft_config["default"].task_type == "SEQ_2_SEQ_LM"
    adapted_modules = {n.split(".lora_")[0].rpartition(".")[2] for n, _ in
                       adapted.named_parameters() if "lora_" in n}  # fmt: skip
    assert adapted_modules == {"q", "k", "v", "o", "wi", "wo"}
    asked = [[Message("user", text)] for text in SENTENCES]
    references = ["yes", "no promise", "", "red-green"]
    pairs = zip(SENTENCES, references, strict=True)
    rendered = [renderer.render(example(q, a)) for q, a in pairs]
    found = scoring.answer_scores(adapted, renderer, rendered, 3)

    for row, (prompt, reference) in enumerate(zip(asked, references, strict=True)):
        said = [*renderer.completion([], reference), 1]
        ids = torch.tensor([renderer.prompt(prompt)])
        with torch.inference_mode():
            out = adapted(input_ids=ids, decoder_input_ids=torch.tensor([[0, *said[:-1]]]))
        likely = out.logits[0].log_softmax(-1)[range(len(said)), said]
        assert found.log_likelihood[row] == pytest.approx(float(likely.sum()), abs=1e-3)
        assert found.tokens[row] == len(said)


def test_some_layers_are_those_of_both_stacks(section: ModelSection) -> None:
    lora = LoraSection(r=2, layers_to_transform=[1])
    adapted = models.attach_adapter(models.open_model(section), lora)

    found = {n.split(".layer.")[0].partition("model.")[2] for n, _ in adapted.named_parameters()
             if "lora_A" in n}  # fmt: skip
    assert found == {"model.encoder.block.1", "model.decoder.block.1"}
    with pytest.raises(ModelError, match="no layer 2"):
        models.attach_adapter(models.open_model(section), LoraSection(r=2, layers_to_transform=[2]))


def test_batched_answers_are_those_of_single_rows(model: Any, renderer: Renderer) -> None:
    ids = [renderer.prompt([Message("user", text)]) for text in SENTENCES]
    settings = GenerationSection(max_new_tokens=6)
    together = answer(model, renderer, ids, settings, seed=0, batch_size=3)

    for prompt, text in zip(ids, together, strict=True):
        said = [0]
        with torch.inference_mode():
            while len(said) < 7 and said[-1] != 1:
                given = {"input_ids": torch.tensor([prompt])}
                out = model(**given, decoder_input_ids=torch.tensor([said])).logits
                said.append(int(out[0, -1].argmax()))
        assert renderer.tokenizer.decode(said[1:], skip_special_tokens=True).strip() == text
    sampled = settings.model_copy(update={"do_sample": True})
    assert answer(model, renderer, ids, sampled, 5) == answer(model, renderer, ids, sampled, 5)
    assert answer(model, renderer, [], settings, seed=0) == []


# --- training ------------------------------------------------------------------------------------


@pytest.fixture
def t5_run(ready_run: Callable[..., Run], t5_model_dir: Path) -> Callable[..., Run]:  # noqa: F811
    """A T5 run whose data and plan are done: `t5_run(precision="float32", train={...})`."""
    return partial(ready_run, model=str(t5_model_dir), data={"template": "plain"})


def trained(run: Run) -> TrainSummary:
    with run.stage("train", "trained"):
        return train(run)


@pytest.mark.parametrize(
    ("precision", "settings"),
    [
        ("float32", {"group_by_length": True}),
        ("float32", {"lora": None, "learning_rate": 3e-3, "gradient_checkpointing": True}),
        ("bf16_autocast", {"bf16": True, "autocast": True}),
        ("float32", {"attn_implementation": "eager", "gradient_accumulation_steps": 3}),
        (
            "float32",
            {
                "lora": {"r": 4, "use_dora": True, "lora_dropout": 0.1},
                "label_smoothing_factor": 0.1,
                "label_smoothing_over": "classes",
            },
        ),
        ("float32", {"quantization": {"load_in_4bit": True}, "optim": "paged_adamw_32bit"}),
        ("float32", {"quantization": {"load_in_8bit": True}, "optim": "adamw_bnb_8bit"}),
    ],
    ids=lambda value: value if isinstance(value, str) else "-".join(value) or "default",
)
def test_every_lever_learns(
    t5_run: Callable[..., Run], precision: str, settings: dict[str, Any]
) -> None:
    defaults = {"num_train_epochs": 3, "learning_rate": 1e-2, "bf16": None, "lora": {"r": 4}}
    run = t5_run(precision=precision, train={**defaults, **settings})
    summary = trained(run)

    seen = [event["loss"] for event in run.events("step")]
    assert sum(seen[-3:]) / 3 < seen[0]
    assert "accuracy" in run.events("validation")[0]["metrics"]
    model, _ = models.trained_model(run)
    base, _ = models.trained_model(run, base=True)
    ids = torch.tensor([[5, 6, 1]])
    with torch.inference_mode():
        one, other = (m(input_ids=ids, decoder_input_ids=ids).logits for m in (model, base))
    assert (one - other).abs().max() > 1e-3
    assert summary.trained_tokens == 3 * sum(
        sum(row.trained)
        for row in map(Renderer(models.open_tokenizer(run.recipe.model)).render,
                       load_examples(run, "train"))
    )  # fmt: skip


@pytest.mark.parametrize("lora", [{"r": 4, "lora_dropout": 0.1}, None], ids=["lora", "full"])
def test_a_stopped_run_resumes_to_the_same_bytes(
    t5_run: Callable[..., Run], monkeypatch: pytest.MonkeyPatch, lora: Any
) -> None:
    run = t5_run(train={"num_train_epochs": 1, "lora": lora, "learning_rate": 1e-3,
                        "gradient_accumulation_steps": 2, "eval_steps": 1})  # fmt: skip
    summary = trained(run)
    [weights] = (run.path / summary.weights).glob("*.safetensors")
    digest, seen = file_digest(weights), [e["loss"] for e in run.events("step")]
    (run.path / "events.jsonl").unlink()

    step = job.Trainer.step

    def interrupted(self: Any, group: Any) -> Any:
        if self.progress.step == 2:
            raise KeyboardInterrupt
        return step(self, group)

    monkeypatch.setattr(job.Trainer, "step", interrupted)
    with pytest.raises(KeyboardInterrupt), run.stage("train", "t"):
        train(run)
    monkeypatch.setattr(job.Trainer, "step", step)
    with run.stage("train", "t", resume=True):
        train(run)

    assert run.events("resumed")[0]["step"] == 2
    assert file_digest(weights) == digest
    assert [e["loss"] for e in run.events("step")] == seen


# --- all stages ----------------------------------------------------------------------------------

RECIPE = """\
name: tiny
model: {model}
task: {{kind: classification, labels: ["True", "False"]}}
data:
  sources: [{{path: rows.csv, input: sentence, output: label}}]
  template: plain
train: {{learning_rate: 1e-2, num_train_epochs: 6, lora: {lora}}}
evaluate: {{baselines: [majority, zero_shot, few_shot], bootstrap_samples: 100}}
ship: {{exporters: {exporters}}}
"""


def project_of(folder: Path, model: Path, **changes: str) -> Project:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "rows.csv").write_text(rows())
    given = {"lora": "{r: 4, lora_alpha: 8}", "exporters": "[adapter, merged]", **changes}
    (folder / "recipe.yaml").write_text(RECIPE.format(model=model, **given))
    return Project(folder)


def test_one_recipe_through_all_stages(
    tmp_path: Path,
    t5_model_dir: Path,  # noqa: F811
) -> None:
    project = project_of(tmp_path, t5_model_dir)
    said = project.do("run")
    assert said.code == 0, said.err

    run = Run(project.run)
    plan = Plan.load(run)
    why = {decision.key: decision.why for decision in plan.decisions}
    assert plan.precision == "float32" and "T5 would round" in why["precision"]
    assert plan.decided("architecture") == "encoder-decoder"
    assert why["shared_prefix_tokens"] == "rows are padded: an encoder reads each prompt as a whole"
    assert plan.total_steps == TrainSummary.load(run).steps
    assert not [f for f in plan.findings if f.check == "encoder_decoder"]
    scores = {s.name: s.metrics["accuracy"].value for s in Evaluation.load(run).systems}
    assert scores["tuned"] > scores["zero_shot"]
    # Both exports are opened with the words of their cards, and answer as the run does.
    model, tokenizer = models.trained_model(run)
    asked = tokenizer("We will paint wall 3.", return_tensors="pt").input_ids
    for name in ("adapter", "merged"):
        folder = run.path / "ship" / name
        card = (folder / "README.md").read_text()
        code = card.split("```python\n")[1].split("```")[0]
        assert "Seq2SeqLM" in code and "CausalLM" not in code
        names: dict[str, Any] = {}
        exec(code.replace("FOLDER", str(folder)), names)
        with torch.inference_mode():
            found, expected = (
                m(input_ids=asked, decoder_input_ids=torch.tensor([[0]])).logits
                for m in (names["model"].eval(), model)
            )
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-4)
    [said_one] = luthier("predict", project.run, "We will paint wall 7 red.", "--json").json[
        "predictions"
    ]
    assert said_one["predicted"] in ("True", "False")
    assert project.stages() == dict.fromkeys(project.stages(), "unchanged")


def test_full_weights_for_a_generation_task(
    tmp_path: Path,
    t5_model_dir: Path,  # noqa: F811
) -> None:
    project = project_of(tmp_path, t5_model_dir, lora="null", exporters="[merged]")
    project.edit("learning_rate: 1e-2", "learning_rate: 1e-3")
    project.edit('kind: classification, labels: ["True", "False"]', "kind: generation")
    project.edit("few_shot], boot", "few_shot], generation: {max_new_tokens: 4}, boot")
    project.edit("[majority, zero", "[zero")
    said = project.do("run")
    assert said.code == 0, said.err
    systems = Evaluation.load(Run(project.run)).systems
    found = {s.name: s.metrics["perplexity"].value for s in systems}
    assert found["tuned"] < found["zero_shot"]
    assert load(project.run).predict(["We will paint."])[0].confidence is None


def test_what_cannot_be_is_refused_before_training(
    tmp_path: Path,
    t5_model_dir: Path,  # noqa: F811
) -> None:
    project = project_of(tmp_path, t5_model_dir)
    settings = ("train.packing=true", "train.train_on=all", "train.neftune_noise_alpha=5")
    said = project.do("train", *settings)
    assert said.code == 1, said.err
    found = " ".join(said.err.split())
    assert "encoder_decoder: an encoder-decoder with train.packing, train.train_on: all, " in found
    said = project.do("eject", "--out", tmp_path / "script.py")
    assert said.code != 0 and "SFTTrainer trains models without an encoder" in said.err
