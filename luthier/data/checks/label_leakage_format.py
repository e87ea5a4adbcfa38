"""The label can be told from a formality of the input, such as its full stop."""

from __future__ import annotations

from luthier.data.candidate import Candidate
from luthier.data.linting.association import Association
from luthier.data.linting.dataset_check import Context, DatasetCheck, Need
from luthier.data.linting.lint_report import LintFinding
from luthier.data.rows import Row

NEEDS: tuple[Need, ...] = ("labels",)
_FEWEST, _ACCURACY, _GAIN = 50, 0.9, 0.25


def build(context: Context) -> DatasetCheck:
    """Formalities that people who collect rows of each label apart get different.

    A question mark is no formality: it may be what the label is about.
    """
    return _LabelLeakageFormat()


class _LabelLeakageFormat:
    def __init__(self) -> None:
        self.found: dict[str, Association] = {}

    def see(self, row: Candidate, raw: Row) -> None:
        if row.example.label is None:
            return
        given = row.example.fields.get("input")
        for name, value in _formalities(given if isinstance(given, str) else row.question):
            self.found.setdefault(name, Association()).add(value, row.example.label)

    def findings(self) -> list[LintFinding]:
        found = []
        for name, association in self.found.items():
            accuracy, majority = association.strength()
            weak = accuracy < _ACCURACY or accuracy - majority < _GAIN or association.rows < _FEWEST
            if weak or not association.is_no_accident():
                continue
            found.append(
                LintFinding(
                    check="label_leakage_format", what="label leakage", severity="warning", count=1,
                    message=f"Whether the input {name} tells the label in {accuracy:.0%} of the "
                    f"rows (the commonest label: {majority:.0%}).",
                    fix="Write the inputs of all labels alike.",
                )
            )  # fmt: skip
        return found


def _formalities(text: str) -> list[tuple[str, bool]]:
    bare = text.strip()
    return [
        ("ends in a full stop", bare.endswith((".", '."', ".'"))),
        ("begins with a capital", bare[:1].isupper()),
        ("stands in quotation marks", bare[:1] in "\"'“«" and bare[-1:] in "\"'”»" and bare != ""),
        ("has white space around it", bare != text),
        ("has two spaces in a row", "  " in bare),
    ]
