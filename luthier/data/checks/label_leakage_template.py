"""The label can be told from the template of a row, its instruction, or how its input begins."""

from __future__ import annotations

from collections.abc import Hashable

from luthier.data.candidate import INSTRUCTIONS, Candidate
from luthier.data.linting.association import Association
from luthier.data.linting.dataset_check import Context, DatasetCheck, Need
from luthier.data.linting.lint_report import LintFinding, Severity
from luthier.data.rows import Row

NEEDS: tuple[Need, ...] = ("labels",)
FEWEST, GAIN = 50, 0.1
"""Rows below which nothing is said; accuracy gained over the commonest label, from which it is."""
_AGAIN, _SHARE = 5, 0.95
"""Rows of an instruction or a beginning that comes again, and the share of rows with such ones."""
_MOST_BEGINNINGS = 10
_SURE, _SURE_GAIN = 0.97, 0.25
"""What beginnings must tell: some, such as `How many`, are what the label is about."""


def build(context: Context) -> DatasetCheck:
    """A template that goes with a label gives the answer away in training and misleads later."""
    return _LabelLeakageTemplate()


class _LabelLeakageTemplate:
    def __init__(self) -> None:
        self.templates = Association()
        self.instructions = Association()
        self.beginnings = [Association(), Association()]
        """By the first word, and by the first two."""

    def see(self, row: Candidate, raw: Row) -> None:
        label, fields = row.example.label, row.example.fields
        if label is None:
            return
        # Rows that were rendered elsewhere say in a column which template they had.
        template = row.example.template or "none"
        for name in ("template", "template_id", "template_name", "_template", "_template_idx"):
            if isinstance(said := raw.fields.get(name), (str, int)):
                template = f"{template}/{said}"
                break
        self.templates.add(template, label)
        asked = next((s for n in INSTRUCTIONS if isinstance(s := fields.get(n), str)), None)
        if asked is not None:
            self.instructions.add(" ".join(asked.casefold().split()), label)
        given = fields.get("input")
        words = (given if isinstance(given, str) else row.question)[:200].casefold().split()
        for count, association in enumerate(self.beginnings, 1):
            association.add(" ".join(words[:count]), label)

    def findings(self) -> list[LintFinding]:
        if _tells(self.templates, GAIN):
            return [_finding("The template", self.templates, "error")]
        if _tells(again := _that_come_again(self.instructions), GAIN):
            return [_finding("The instruction", again, "error")]
        for words, association in zip(
            ("first word", "first two words"), self.beginnings, strict=True
        ):
            again = _that_come_again(association)
            few = len(again.keys) <= _MOST_BEGINNINGS and not _names_labels(again)
            if few and _tells(again, _SURE_GAIN) and again.strength().accuracy >= _SURE:
                return [_finding(f"The {words} of the input", again, "warning")]
        return []


def _that_come_again(association: Association) -> Association:
    """Keys of several rows, where these are nearly all; else nothing."""
    common: set[Hashable] = {key for key, rows in association.keys.items() if rows >= _AGAIN}
    found = Association()
    for (key, label), rows in association.counts.items():
        if key in common:
            found.add(key, label, rows)
    return found if found.rows >= _SHARE * association.seen else Association()


def _names_labels(association: Association) -> bool:
    """Whether beginnings hold the label itself, which `label_leakage_input` says."""
    named = sum(n for (key, label), n in association.counts.items() if label.casefold() in str(key))
    return named > association.rows / 2


def _tells(association: Association, gain: float) -> bool:
    accuracy, majority = association.strength()
    enough = association.rows >= FEWEST and accuracy - majority >= gain
    return enough and association.is_no_accident()


def _finding(what: str, association: Association, severity: Severity) -> LintFinding:
    accuracy, majority = association.strength()
    verb = "tell" if what.endswith("words of the input") else "tells"
    fix = {
        "The template": "Give every row its template at random; luthier does, by the row's id.",
        "The instruction": "Give the rows of every label the same instructions.",
    }
    return LintFinding(
        check="label_leakage_template", what="label leakage", severity=severity, count=1,
        message=f"{what} alone {verb} the label in {accuracy:.0%} of the rows (the commonest "
        f"label: {majority:.0%}).",
        fix=fix.get(what, "Write the inputs of all labels alike."),
    )  # fmt: skip
