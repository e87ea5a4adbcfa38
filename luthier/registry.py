"""A folder is a registry: one file is one plugin, and adding a plugin is adding a file.

filters = Registry("filter", "luthier.data.filters")
filters.names()                        # file names, nothing imported
filters.describe("length")             # first line of the docstring, nothing imported
filters.load("length").build(max_tokens=256)
"""

from __future__ import annotations

import ast
import importlib
import importlib.util
import inspect
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import ModuleType
from typing import Any

from luthier.errors import LuthierError, unknown


@dataclass(frozen=True)
class Registry:
    """The plugins of one kind: the modules of one package."""

    kind: str
    """What a member is called in messages: `filter`, `metric`, ..."""
    package: str
    """Dotted name of the package whose modules are the members."""

    @cached_property
    def folder(self) -> Path:
        """The package's folder, found without importing any of its modules."""
        spec = importlib.util.find_spec(self.package)
        assert spec is not None and spec.submodule_search_locations, self.package
        return Path(next(iter(spec.submodule_search_locations)))

    def names(self) -> list[str]:
        """Names of all members, sorted."""
        return sorted(p.stem for p in self.folder.glob("*.py") if not p.stem.startswith("_"))

    def describe(self, name: str) -> str:
        """First line of the member's docstring, read without importing it."""
        return (ast.get_docstring(self._tree(name)) or "").partition("\n")[0]

    def options(self, name: str) -> dict[str, bool]:
        """What the recipe may say to the member, and whether it must, read without importing it.

        The arguments of `build`; of a format, the named ones of `rows`.
        """
        for node in self._tree(name).body:
            if isinstance(node, ast.FunctionDef) and node.name in ("build", "rows"):
                given = node.args
                plain = [*given.posonlyargs, *given.args] if node.name == "build" else []
                optional = len(given.defaults)
                needed = {a.arg: i < len(plain) - optional for i, a in enumerate(plain)}
                named = zip(given.kwonlyargs, given.kw_defaults, strict=True)
                return needed | {a.arg: default is None for a, default in named}
        return {}

    def fits(self, name: str) -> tuple[str, ...]:
        """Kinds of task the member is for (its `FITS`), read without importing it."""
        for node in self._tree(name).body:
            if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "FITS":
                return tuple(ast.literal_eval(node.value))
        return ()

    def load(self, name: str) -> ModuleType:
        """Import the member's module.

        Raises:
            LuthierError: no such member; names the nearest one and lists all.
        """
        self._require(name)
        return importlib.import_module(f"{self.package}.{name}")

    def build(self, name: str, /, **options: Any) -> Any:
        """Call the member's `build` with the recipe's options.

        Raises:
            LuthierError: no such member, options that `build` does not take, or one it needs.
        """
        build = self.load(name).build
        accepted = inspect.signature(build).parameters
        for option in options:
            if option not in accepted:
                raise LuthierError(f"{self.kind} '{name}': {unknown('option', option, accepted)}")
        for option, parameter in accepted.items():
            if parameter.default is parameter.empty and option not in options:
                raise LuthierError(f"{self.kind} '{name}' needs the option '{option}'.")
        return build(**options)

    def _tree(self, name: str) -> ast.Module:
        self._require(name)
        return ast.parse((self.folder / f"{name}.py").read_text(encoding="utf-8"))

    def _require(self, name: str) -> None:
        if name not in self.names():
            raise LuthierError(unknown(self.kind, name, self.names()))
