"""Every recipe that ships loads, names itself, and finds the data that ships with luthier."""

from __future__ import annotations

from pathlib import Path

import pytest

from luthier.data.files.sources import PACKAGED, source_file
from luthier.data.generating.write import GENERATORS
from luthier.data.intake import files_of, resolved
from luthier.data.templating.template_sets import load_templates
from luthier.look import REGISTRIES
from luthier.recipe import load
from luthier.registry import Registry

FOLDER = Path(__file__).parent.parent / "recipes"
FILES = sorted(FOLDER.rglob("*.yaml"))


def members(kind: str) -> list[str]:
    return Registry(kind, REGISTRIES[kind]).names()


def test_recipes_are_there_and_names_are_unique() -> None:
    assert len(FILES) >= 3
    names = [load(path).recipe.name for path in FILES]
    assert len(set(names)) == len(names)
    assert sorted(FOLDER.rglob("*.y*ml")) == FILES


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.stem)
def test_a_recipe_of_ours_can_be_run(path: Path) -> None:
    loaded = load(path)
    recipe = loaded.recipe
    assert recipe.name.replace("-", "_") == path.stem
    assert loaded.text.startswith("# "), "its first line says what it is for"
    for source in recipe.data.sources:
        found = source_file(source, path.parent)
        assert source.hub or source.generate or (found is not None and found.is_file()), source
        if source.generate:
            module = GENERATORS.load(source.generate.use)
            GENERATORS.build(
                source.generate.use, **resolved(module, source.generate.options, FOLDER)
            )
            assert all(p.is_file() for p in files_of(module, source.generate.options, FOLDER))
        if source.path and not source.path.startswith(PACKAGED):
            assert FOLDER in found.resolve().parents, "a recipe's data ships with it"  # type: ignore[union-attr]
        assert source.format is None or source.format.use in members("formats")
    if recipe.task.kind in ("classification", "generation"):
        for name in recipe.data.templates:
            assert all(template.fields for template in load_templates(name, path.parent))
    for filter_ in recipe.data.filters:
        Registry("filter", REGISTRIES["filters"]).build(filter_.use, **filter_.options)
    assert set(recipe.evaluate.baselines or []) <= set(members("baselines"))
    assert set(recipe.evaluate.metrics or []) <= set(members("metrics"))
    assert set(recipe.exporters) <= set(members("exporters"))
