"""Licences and generators: what may be used for what."""

from __future__ import annotations

import pytest

from luthier.data import catalog
from luthier.data.config import SourceConfig
from luthier.data.terms import (
    commercial_by_licence,
    generator_terms,
    names_a_model,
    own_terms,
    refusal,
    terms_of,
)
from luthier.errors import LuthierError
from luthier.example import Terms


@pytest.mark.parametrize(
    ("licence", "commercial"),
    [
        ("Apache-2.0", "yes"), ("MIT", "yes"), ("CC-BY-4.0", "yes"), ("CC-BY-SA-3.0", "yes"),
        ("CC0-1.0", "yes"), ("GPL-3.0", "yes"), ("CC-BY-NC-4.0", "no"), ("CC-BY-NC-SA-4.0", "no"),
        ("non-commercial", "no"), ("Creative Commons, noncommercial", "no"),
        ("ask the authors", "unclear"), (None, "unclear"), ("CC BY 4.0", "yes"),
        ("CC BY-SA 3.0", "yes"), ("CC BY-NC 4.0", "no"), ("CC BY NC 4.0", "no"),
        ("MIT, Apache-2.0", "yes"), ("MIT, Unknown", "unclear"), ("MIT; CC-BY-NC-4.0", "no"),
        ("Apache-2.0 and proprietary", "unclear"), ("mitigated", "unclear"),
    ],
)  # fmt: skip
def test_licences(licence: str | None, commercial: str) -> None:
    assert commercial_by_licence(licence) == commercial


@pytest.mark.parametrize(
    ("commercial", "models"),
    [
        ("no", "gpt-4o-2024-08-06 gpt5 gpt5-mini azure/gpt5 gpt_4 chatgpt-4o-latest davinci-002 "
               "openai/gpt-4.1 anthropic.claude-3-haiku google/gemini-2.5-pro PaLM-2 llama-2-7b "
               "meta-llama/Llama-2-7b-hf Llama2 gpt4all"),
        ("yes", "gpt-oss-20b openai/gpt-oss-120b gpt-oss:20b gpt-neox EleutherAI/gpt-neo-1.3B gpt2 "
                "openai-community/gpt2 distilgpt2 gpt-j-6b cerebras/Cerebras-GPT-13B t5-small "
                "google/flan-t5-xl google/mt5-base qwen3-8b Qwen/Qwen2.5-7B-Instruct qwen2-1.5b "
                "Qwen/Qwen3-235B-A22B Qwen/Qwen2.5-32B-Instruct qwen2.5:14b "
                "mistral-7b mistralai/Mistral-Small-24B-Instruct-2501 open-mistral-nemo phi-3-mini "
                "mistralai/Mixtral-8x7B smollm2-135m-instruct allenai/OLMo-2-1124-7B"),
        ("unclear", "qwen-max qwen/qwen-max qwen3-max qwen2.5-turbo qwen-plus-latest "
                    "mistral-large-latest mistral/mistral-large mistral.mistral-large-2402-v1:0 "
                    "mistralai/Mistral-Large-Instruct-2407 mistral-medium palmyra-x5 ot5x "
                    "strong-model llama-20b qwen:7b Qwen/Qwen-72B-Chat Qwen1.5-72B-Chat qwen1.5:7b "
                    "Qwen/Qwen2.5-3B-Instruct qwen2.5-72b-instruct Qwen2-72B"),
    ],
)  # fmt: skip
def test_models_are_known_by_whole_words(commercial: str, models: str) -> None:
    found = {name: generator_terms(name)[1] for name in models.split()}
    assert found == dict.fromkeys(found, commercial)


def test_of_several_models_what_forbids_most_counts() -> None:
    assert generator_terms("qwen3-8b + gpt-4o")[1] == "no"
    assert generator_terms("qwen3-8b + strong-model")[1] == "unclear"
    assert generator_terms("qwen3-8b + smollm2")[1] == "yes"


def test_an_open_licence_does_not_lift_the_terms_of_the_generator() -> None:
    source = SourceConfig(path="x.json", licence="MIT", generator="text-davinci-003")
    terms = terms_of(source, None)
    assert terms.commercial == "no" and terms.generator_terms
    assert "text-davinci-003" in (refusal(terms, "commercial") or "")
    assert refusal(terms, "research") is None and refusal(terms, None) is None


def test_nobody_said_is_not_yes() -> None:
    terms = terms_of(SourceConfig(path="x.json"), None)
    assert terms.commercial == "unclear"
    assert "commercial: yes" in (refusal(terms, "commercial") or "")
    said = terms_of(SourceConfig(path="x.json", commercial="yes"), None)
    assert refusal(said, "commercial") is None


def test_the_catalogue_is_asked_and_the_recipe_has_the_last_word() -> None:
    alpaca = terms_of(SourceConfig(path="x.json", dataset="alpaca"), catalog.entry("alpaca"))
    assert alpaca.commercial == "no" and alpaca.licence == "CC-BY-NC-4.0"
    assert "davinci" in (alpaca.generator or "")
    mine = SourceConfig(path="x", dataset="alpaca", licence="MIT", generator="smollm2")
    assert terms_of(mine, catalog.entry("alpaca")).commercial == "yes"


def test_copies_of_a_set_are_known_by_their_hub_ids() -> None:
    assert (
        catalog.by_home("tatsu-lab/alpaca") == catalog.by_home("yahma/alpaca-cleaned") == "alpaca"
    )
    assert catalog.by_home("OpenAssistant/oasst2") == "openassistant"
    assert catalog.by_home("nobody/alpaca") is None
    homes = [h for n in catalog.names() for h in (catalog.entry(n).home, *catalog.entry(n).also)]
    assert len(set(homes)) == len(homes)


def test_a_row_may_say_more_than_its_source() -> None:
    source = terms_of(SourceConfig(path="x.json", licence="Apache-2.0"), None)
    assert source.commercial == "yes"
    assert own_terms(Terms(licence="CC-BY-NC-4.0"), source).commercial == "no"
    assert own_terms(Terms(generator="gpt-4"), source).commercial == "no"
    assert own_terms(Terms(), source) == source
    knows = SourceConfig(path="x.json", licence="Apache-2.0", outputs="free")
    assert own_terms(Terms(generator="gpt-4"), source, knows).commercial == "yes"
    knows = SourceConfig(path="x.json", commercial="yes")
    assert own_terms(Terms(generator="gpt-4"), source, knows).commercial == "no"
    assert own_terms(Terms(generator="nobody-7b"), source, knows).commercial == "yes"
    assert own_terms(Terms(generator="nobody-7b"), source).commercial == "unclear"


def test_what_the_recipe_says_of_a_source_is_the_most_that_its_rows_allow() -> None:
    free = Terms(licence="Apache-2.0")
    for closed in ({"commercial": "no"}, {"licence": "CC-BY-NC-4.0"}):
        source = SourceConfig.model_validate({"path": "x.json", **closed})
        assert own_terms(free, terms_of(source, None), source).commercial == "no"
    source = SourceConfig(path="x.json", commercial="yes")
    terms = terms_of(source, None)
    assert own_terms(Terms(licence="MIT, Unknown"), terms, source).commercial == "yes"
    assert own_terms(Terms(licence="CC-BY-NC-4.0"), terms, source).commercial == "no"
    unsaid = SourceConfig(path="x.json")
    assert own_terms(free, terms_of(unsaid, None), unsaid).commercial == "yes"
    assert own_terms(Terms(licence="MIT, Unknown"), terms_of(unsaid, None)).commercial == "unclear"


@pytest.mark.parametrize(
    ("name", "known"),
    [("gpt-4", True), ("claude-2", True), ("qwen3-8b", True), ("Ford Focus", False),
     ("my-model", False), (f"a text about gpt-4 {'and more ' * 20}", False)],
)  # fmt: skip
def test_names_of_models_are_told_from_other_models(name: str, known: bool) -> None:
    assert names_a_model(name) is known


def test_every_set_of_the_catalogue_has_terms() -> None:
    assert len(catalog.names()) >= 18
    for name in catalog.names():
        terms = terms_of(SourceConfig(path="x", dataset=name), catalog.entry(name))
        assert terms.licence and terms.commercial in ("yes", "no", "unclear")


def test_an_unknown_set_names_the_nearest() -> None:
    with pytest.raises(LuthierError, match="Did you mean 'alpaca'"):
        catalog.entry("alpacca")
