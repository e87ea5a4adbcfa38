"""Errors users see: exit codes, nearest names, and all that is known."""

from __future__ import annotations

import pytest

from luthier import errors
from luthier.errors import (
    CheckFailed,
    LuthierError,
    MissingExtra,
    Problem,
    RecipeError,
    nearest,
    unknown,
)


def kinds(root: type[LuthierError] = LuthierError) -> set[type[LuthierError]]:
    return {root}.union(*(kinds(k) for k in root.__subclasses__()))


def test_only_a_gate_that_says_no_exits_with_1() -> None:
    mine = {k for k in kinds() if k.__module__ == errors.__name__}
    assert len(mine) >= 8
    assert {k for k in mine if k.exit_code == 1} == {CheckFailed}
    assert {k.exit_code for k in mine} == {1, 2}


@pytest.mark.parametrize(
    ("name", "known", "found"),
    [
        ("lenght", ["length", "empty"], " Did you mean 'length'?"),
        ("zzz", ["length", "empty"], ""),
        ("x", [], ""),
        ("Length", ["length"], " Did you mean 'length'?"),
    ],
)
def test_nearest(name: str, known: list[str], found: str) -> None:
    assert nearest(name, known) == found
    assert nearest(name, iter(known)) == found


def test_unknown_lists_everything_sorted() -> None:
    assert unknown("filter", "emty", iter(["length", "empty"])) == (
        "unknown filter 'emty'. Did you mean 'empty'? Known: empty, length."
    )
    assert unknown("run", "x", []) == "unknown run 'x'. Known: none."


def test_a_missing_extra_says_how_to_install_it() -> None:
    assert str(MissingExtra("8-bit training", "bnb")) == (
        "8-bit training needs packages that are not installed. "
        "Install them with: pip install 'luthier[bnb]'"
    )


def test_recipe_errors_carry_their_problems() -> None:
    problems = [Problem("a:1", "one."), Problem("a:2", "two.", "Mend it.")]
    error = RecipeError(problems)
    assert error.problems == problems
    assert str(error) == "2 problems in the recipe:\n  a:1: one.\n  a:2: two. Mend it."
    with pytest.raises(AssertionError):
        RecipeError([])
