"""A folder is a registry: names and descriptions without importing, errors that help."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from luthier.errors import LuthierError
from luthier.registry import Registry

GOOD = '''"""Rejects nothing.

More about it.
"""


def build(*, limit: int = 3, name: str) -> tuple[int, str]:
    """Build it."""
    return limit, name
'''


@pytest.fixture
def sieves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Registry:
    """A package of sieves, one of them with an import that fails."""
    package = tmp_path / "sieves_of_this_test"
    package.mkdir()
    (package / "__init__.py").write_text('"""Sieves."""\n')
    (package / "fine.py").write_text(GOOD)
    (package / "_hidden.py").write_text("raise RuntimeError('not a member')\n")
    (package / "broken.py").write_text('"""Breaks when imported."""\n\nraise RuntimeError("no")\n')
    (package / "silent.py").write_text("x = 1\n")
    (package / "notes.txt").write_text("not a member")
    monkeypatch.syspath_prepend(str(tmp_path))
    for name in [n for n in sys.modules if n.startswith(package.name)]:
        monkeypatch.delitem(sys.modules, name)
    return Registry("sieve", package.name)


def test_names_and_descriptions_import_nothing(sieves: Registry) -> None:
    assert sieves.names() == ["broken", "fine", "silent"]
    assert sieves.describe("fine") == "Rejects nothing."
    assert sieves.describe("broken") == "Breaks when imported."
    assert sieves.describe("silent") == ""
    assert not [n for n in sys.modules if n.startswith(f"{sieves.package}.")]
    with pytest.raises(RuntimeError):
        sieves.load("broken")


def test_what_a_member_takes_and_fits_is_read_without_importing_it(
    sieves: Registry, tmp_path: Path
) -> None:
    (sieves.folder / "broken.py").write_text(
        'FITS = ("chat", "text")\nraise RuntimeError\ndef build(a, b=1, *, c): ...\n'
    )
    assert sieves.options("broken") == {"a": True, "b": False, "c": True}
    assert sieves.options("fine") == {"limit": False, "name": True}
    assert (sieves.options("silent"), sieves.fits("silent")) == ({}, ())
    assert sieves.fits("broken") == ("chat", "text")
    with pytest.raises(LuthierError, match=r"unknown sieve .fin.\. Did you mean .fine."):
        sieves.options("fin")


def test_real_registries_are_read_without_importing_their_members() -> None:
    code = """
import sys
from luthier.registry import Registry
before = set(sys.modules)
found = {}
for kind, package in (("filter", "luthier.data.filters"), ("metric", "luthier.evaluation.metrics"),
                      ("exporter", "luthier.shipping.exporters")):
    registry = Registry(kind, package)
    found[kind] = [registry.describe(name) for name in registry.names()]
    assert len(found[kind]) > 1 and all(found[kind]), found
    new = [m for m in sys.modules if m.startswith(package + ".")]
    assert not new, new
heavy = {"torch", "transformers", "numpy", "pydantic"} & set(sys.modules)
assert not heavy, heavy
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_a_new_file_is_a_new_member(sieves: Registry) -> None:
    (sieves.folder / "later.py").write_text(GOOD.replace("Rejects nothing", "Came later"))
    assert "later" in sieves.names()
    assert sieves.describe("later") == "Came later."
    assert sieves.build("later", name="x") == (3, "x")
    (sieves.folder / "later.py").unlink()
    assert "later" not in sieves.names()


def test_unknown_members_name_the_nearest(sieves: Registry) -> None:
    for ask in (sieves.load, sieves.describe, sieves.build):
        with pytest.raises(LuthierError) as caught:
            ask("fime")
        assert str(caught.value) == (
            "unknown sieve 'fime'. Did you mean 'fine'? Known: broken, fine, silent."
        )
    for name in ("", "_hidden", "__init__", "../fine", "sub.fine", "notes"):
        with pytest.raises(LuthierError, match="unknown sieve"):
            sieves.load(name)


def test_options_are_checked(sieves: Registry) -> None:
    assert sieves.build("fine", limit=5, name="x") == (5, "x")
    with pytest.raises(LuthierError) as caught:
        sieves.build("fine", limt=5, name="x")
    assert str(caught.value) == (
        "sieve 'fine': unknown option 'limt'. Did you mean 'limit'? Known: limit, name."
    )
    for option in ("self", "kind"):  # as somebody's recipe may have it
        with pytest.raises(LuthierError, match=f"unknown option '{option}'"):
            sieves.build("fine", **{option: 1, "name": "x"})
    with pytest.raises(LuthierError, match="sieve 'fine' needs the option 'name'"):
        sieves.build("fine", limit=5)
