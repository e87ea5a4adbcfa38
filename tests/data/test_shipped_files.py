"""Shipped data files: the template sets and the catalogue of public datasets."""

from __future__ import annotations

import re
from importlib import resources
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from luthier.data.config import SourceConfig
from luthier.registry import Registry

DATA = Path(str(resources.files("luthier.data")))
# Fields of each set besides `output`.
SETS = {
    "text_classification": {"text"},
    "nli": {"premise", "hypothesis"},
    "paraphrase": {"first", "second"},
    "summarization": {"document"},
    "qa_context": {"context", "question"},
    "qa_closed_book": {"question"},
    "sentiment": {"text"},
    "translation": {"text", "source_language", "target_language"},
    "title": {"text"},
    "keywords": {"text"},
    "rewriting": {"text", "style"},
}
CLOSED = {"text_classification", "nli", "paraphrase", "sentiment"}
KEYS = [
    "title", "size", "rows", "authors", "year", "made", "licence", "commercial", "generator",
    "generator_terms", "languages", "defects", "format", "home", "paper", "use", "sources",
]  # fmt: skip
DATASETS = {
    "oig", "flan", "flan2021", "t0", "super_natural_instructions", "chain_of_thought", "dialog",
    "p3", "natural_instructions", "unnatural_instructions", "lima", "self_instruct",
    "evol_instruct", "instructwild", "alpaca", "guanaco", "vicuna_sharegpt", "openassistant",
}  # fmt: skip
FORMATS = Registry("format", "luthier.data.formats").names()


def read(path: Path) -> dict[str, Any]:
    content = YAML(typ="safe", pure=True).load(path)
    assert isinstance(content, dict)
    return content


def placeholders(text: str) -> set[str]:
    found = re.findall(r"\{([^{}]*)\}", text.replace("{{", "").replace("}}", ""))
    assert all(re.fullmatch(r"[a-z_]+", name) for name in found), text
    return set(found)


def wording(text: str) -> str:
    """What is left of a template when its fields and all but its words are taken out."""
    return " ".join(re.findall(r"\w+|[^\w\s]", re.sub(r"\{[^{}]*\}", "@", text).lower()))


@pytest.mark.parametrize("name", SETS)
def test_template_sets(name: str) -> None:
    content = read(DATA / "templates" / f"{name}.yaml")
    assert list(content) == ["description", "fields", "templates"]
    assert content["description"].endswith(".") and len(content["description"]) < 90
    fields = SETS[name]
    assert set(content["fields"]) == fields | {"output"}
    assert all(text.endswith(".") for text in content["fields"].values())

    forward, inverted = [], []
    for key, template in content["templates"].items():
        assert re.fullmatch(r"[a-z][a-z0-9_]*", key)
        assert set(template) <= {"inverted", "input", "target"}, key
        asked, given = template["input"], placeholders(template["input"])
        assert asked == asked.strip() and "  " not in asked, key
        answer = placeholders(template["target"])
        if template.get("inverted", False):
            inverted.append(asked)
            assert answer and answer <= fields and template["target"] != "{output}", key
            assert given <= fields | {"output"} and not given & answer, key
        else:
            forward.append(asked)
            assert template["target"] == "{output}", key
            assert given - {"options_"} == fields, key
    assert len(forward) >= 12 and len(inverted) >= 3
    assert len({wording(text) for text in forward + inverted}) == len(forward + inverted)
    with_options = sum("{options_}" in text for text in forward)
    assert with_options > len(forward) / 2 if name in CLOSED else with_options == 0


def test_the_catalogue_is_complete() -> None:
    assert {path.stem for path in (DATA / "catalog").glob("*.yaml")} == DATASETS


@pytest.mark.parametrize("name", sorted(DATASETS))
def test_catalogue_entries(name: str) -> None:
    entry = read(DATA / "catalog" / f"{name}.yaml")
    assert [key for key in entry if key != "also"] == KEYS
    assert all(re.fullmatch(r"[\w.-]+/[\w.-]+", hub) for hub in entry.get("also", []))
    for key in ("title", "size", "authors", "made", "licence", "home", "use"):
        assert isinstance(entry[key], str) and entry[key], key
    assert entry["rows"] is None or (isinstance(entry["rows"], int) and entry["rows"] > 0)
    assert isinstance(entry["year"], int) and 2020 < entry["year"] < 2030
    assert entry["commercial"] in ("yes", "no", "mixed", "unclear")
    assert (entry["generator"] is None) == (entry["generator_terms"] is None)
    assert entry["format"] in FORMATS
    shown = YAML(typ="safe", pure=True).load(entry["use"])
    for source in shown["data"]["sources"]:
        assert SourceConfig.model_validate(source).dataset in DATASETS or "generate" in source
    assert entry["paper"] is None or re.fullmatch(r"\d{4}\.\d{5}", entry["paper"])
    for key in ("languages", "defects", "sources"):
        assert entry[key] and all(isinstance(item, str) and item for item in entry[key]), key
    assert all(re.fullmatch(r"[a-z]{2,3}", language) for language in entry["languages"])
    assert all(text.endswith(".") for text in entry["defects"])
    assert "shared" not in " ".join(entry["sources"])
    assert 2 <= len(entry["use"].splitlines()) <= 4
