"""The examples that people wrote, in the groups in which they are shown."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from luthier.data.files.mapping import mapped
from luthier.data.files.sources import PACKAGED, open_file, source_file
from luthier.data.generating.unnatural.settings import PER_PROMPT
from luthier.data.rows import Reject
from luthier.errors import DataError

_FIELDS = ("instruction", "input", "constraints")


@dataclass(frozen=True, slots=True)
class Demonstration:
    """An example without its output, as the model sees it and writes it."""

    instruction: str
    input: str
    constraints: str
    """Of the output; `None.` where there are none."""

    @property
    def key(self) -> tuple[str, str]:
        """What makes it the same as another: instruction and input, white space apart."""
        return as_one_line(self.instruction), as_one_line(self.input)

    @property
    def has_constraints(self) -> bool:
        """Whether the output is constrained."""
        return self.constraints.strip().rstrip(".").casefold() not in ("", "none")


def as_one_line(text: str) -> str:
    """A text with each run of white space as one space."""
    return " ".join(text.split())


def read_demonstrations(path: str) -> list[list[Demonstration]]:
    """The groups of a file: rows with the same `prompt`, or as many at a time as a prompt shows.

    Args:
        path: a CSV, TSV, JSON, JSONL or Parquet file with the columns instruction, input and
            constraints, or `luthier:NAME`.

    Raises:
        DataError: a missing file or column, an empty text, or too few rows.
    """
    groups: dict[str, list[Demonstration]] = {}
    wrong: list[str] = []
    count = 0
    for row in mapped(open_file(_file(path), name=path), {name: name for name in _FIELDS}):
        if isinstance(row, Reject):
            wrong.append(f"{row.origin}: {row.reason}")
            continue
        texts = {name: str(row.fields[name] or "").strip() for name in _FIELDS}
        texts["constraints"] = texts["constraints"] or "None."
        if empty := next((name for name, text in texts.items() if not text), None):
            wrong.append(f"{row.origin}: the {empty} is empty")
            continue
        group = str(row.fields.get("prompt", count // PER_PROMPT))
        groups.setdefault(group, []).append(Demonstration(**texts))
        count += 1
    if wrong:
        listed = "\n".join(f"  {line}" for line in wrong[:20])
        raise DataError(f"{path}: {len(wrong)} demonstrations cannot be used:\n{listed}")
    if not groups:
        raise DataError(f"{path}: there are no demonstrations in it.")
    return list(groups.values())


def _file(path: str) -> Path:
    if not path.startswith(PACKAGED):
        return Path(path)
    from luthier.data.config import SourceConfig

    found = source_file(SourceConfig(path=path), Path())
    assert found is not None, "a path was given"
    return found
