"""Records written to a file, converted, and read as they stand there."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from luthier.data.convert import ENDINGS, Conversion, convert

ASKED, ANSWER = {"role": "user", "content": "hi"}, {"role": "assistant", "content": "ho"}
TALK = [ASKED, ANSWER]


def write(path: Path, *records: Any) -> Path:
    """JSON lines."""
    path.write_text("".join(json.dumps(r) + "\n" for r in records), encoding="utf-8")
    return path


def records(path: Path | str) -> list[dict[str, Any]]:
    """What a JSON list or JSON lines hold."""
    text = Path(path).read_text(encoding="utf-8")
    if text.startswith("["):
        return list(json.loads(text))
    return [json.loads(line) for line in text.splitlines()]


def to(folder: Path, form: str, *rows: dict[str, Any], **said: Any) -> Conversion:
    """Convert records into another format."""
    source = write(folder / "in.jsonl", *rows)
    return convert(source, folder / f"out{ENDINGS[form]}", to=form, **said)
