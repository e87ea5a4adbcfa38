"""Licences and generators: what may be used for what."""

from __future__ import annotations

import pytest

from luthier.data import catalog
from luthier.data.config import SourceConfig
from luthier.data.terms import commercial_by_licence, own_terms, refusal, terms_of
from luthier.errors import LuthierError
from luthier.example import Terms


@pytest.mark.parametrize(
    ("licence", "commercial"),
    [
        ("Apache-2.0", "yes"), ("MIT", "yes"), ("CC-BY-4.0", "yes"), ("CC-BY-SA-3.0", "yes"),
        ("CC0-1.0", "yes"), ("GPL-3.0", "yes"), ("CC-BY-NC-4.0", "no"), ("CC-BY-NC-SA-4.0", "no"),
        ("non-commercial", "no"), ("Creative Commons, noncommercial", "no"),
        ("ask the authors", "unclear"), (None, "unclear"),
    ],
)  # fmt: skip
def test_licences(licence: str | None, commercial: str) -> None:
    assert commercial_by_licence(licence) == commercial


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


def test_a_row_may_say_more_than_its_source() -> None:
    source = terms_of(SourceConfig(path="x.json", licence="Apache-2.0"), None)
    assert source.commercial == "yes"
    assert own_terms(Terms(licence="CC-BY-NC-4.0"), source).commercial == "no"
    assert own_terms(Terms(generator="gpt-4"), source).commercial == "no"
    assert own_terms(Terms(), source) == source


def test_every_set_of_the_catalogue_has_terms() -> None:
    assert len(catalog.names()) >= 18
    for name in catalog.names():
        terms = terms_of(SourceConfig(path="x", dataset=name), catalog.entry(name))
        assert terms.licence and terms.commercial in ("yes", "no", "unclear")


def test_an_unknown_set_names_the_nearest() -> None:
    with pytest.raises(LuthierError, match="Did you mean 'alpaca'"):
        catalog.entry("alpacca")
