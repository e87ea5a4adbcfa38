"""What users can see go wrong, as a small tree.

    LuthierError                exit 2: the user must fix something
    ├── RecipeError             a recipe file or an override; every problem of the file at once
    ├── DataError               rows, columns, labels, files
    ├── ModelError              a model that cannot be found, fetched or opened
    ├── RunError                a run folder that is missing, broken, or in use
    ├── TrainingError           training cannot go on (non-finite loss, no trained tokens)
    │   └── ProcessLost         another process of the same training is gone
    ├── MissingExtra            a feature whose optional packages are not installed
    └── CheckFailed             exit 1: a gate or a check said no

A message says what was found, where (file:line or recipe key), what was expected and how to
fix it. Programmer errors are plain `assert`s and tracebacks; they are ours to mend.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

MAX_SHOWN = 50
"""Problems of a recipe that are printed; a file with more is something else."""


class LuthierError(Exception):
    """A mistake the user can fix. The command line prints the message and no traceback."""

    exit_code = 2


@dataclass(frozen=True)
class Problem:
    """One thing wrong in a file or on the command line."""

    where: str
    """`file:line`, a recipe key, or `command line`."""
    message: str
    """What was found and what was expected."""
    fix: str = ""
    """What to do about it; empty when the message already says so."""

    def __str__(self) -> str:
        return f"{self.where}: {self.message}" + (f" {self.fix}" if self.fix else "")


class RecipeError(LuthierError):
    """A recipe that cannot be read; carries all its problems."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        assert problems, "a RecipeError without problems says nothing"
        self.problems = list(problems)
        count = len(self.problems)
        head = "1 problem" if count == 1 else f"{count} problems"
        shown = [f"  {problem}" for problem in self.problems[:MAX_SHOWN]]
        if count > MAX_SHOWN:
            shown.append(f"  and {count - MAX_SHOWN} more")
        super().__init__("\n".join([f"{head} in the recipe:", *shown]))


class DataError(LuthierError):
    """Data that cannot be used: a missing file or column, no rows left, broken encoding."""


class ModelError(LuthierError):
    """A model that cannot be found, downloaded, verified or opened."""


class RunError(LuthierError):
    """A run folder that is missing, incomplete, damaged, full or held by another process."""


class TrainingError(LuthierError):
    """Training cannot continue without doing harm."""


class ProcessLost(TrainingError):
    """Another process of the same training died or does not answer."""


class MissingExtra(LuthierError):
    """A feature that needs optional packages."""

    def __init__(self, feature: str, extra: str) -> None:
        super().__init__(
            f"{feature} needs packages that are not installed. "
            f"Install them with: pip install 'luthier[{extra}]'"
        )


class CheckFailed(LuthierError):
    """A gate or check that said no: the work was done and the answer is negative."""

    exit_code = 1


def nearest(name: str, known: Iterable[str]) -> str:
    """Return ` Did you mean 'x'?` for the nearest known name, or an empty string."""
    match = difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)
    return f" Did you mean '{match[0]}'?" if match else ""


def unknown(kind: str, name: str, known: Iterable[str]) -> str:
    """Message for a name that does not exist: what it is, the nearest one, and all of them."""
    names = sorted(known)
    return f"unknown {kind} '{name}'.{nearest(name, names)} Known: {', '.join(names) or 'none'}."
