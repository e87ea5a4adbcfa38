"""The answer to a prompt for instances -> inputs and outputs of a task, each with what is wrong.

Input-first answers look like `Example 1`, lines of input, `Output: ...`; output-first ones like
`Class label: ...`, lines of input. `compat: original` reads and judges them as
prepare_for_finetuning.py of the authors' code does.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

_EXAMPLE_ORIGINAL = re.compile(r"Example\s?\d*\.?")
_OUTPUT_ORIGINAL = re.compile(r"Output\s*\d*\s*:")
_INPUT_ORIGINAL = re.compile(r"Input\s*\d*\s*:")
_LABEL_ORIGINAL = "Class label:"
# By default marks count where they stand in the prompt: where a line begins. "For Example" and
# "Output:" within a sentence are words of the text.
_EXAMPLE = re.compile(
    r"^[ \t*#]*Example(?:[ \t]*\d+[ \t*]*(?:[.:)-]|$)|[ \t*]*[.:]?[ \t*]*$)[ \t*]*", re.MULTILINE
)
_OUTPUT = re.compile(r"^[ \t*]*Output[ \t]*\d*[ \t]*:[ \t*]*", re.MULTILINE)
_INPUT = re.compile(r"^[ \t*]*Input[ \t]*\d*[ \t]*:[ \t*]*", re.MULTILINE)
_LABEL = re.compile(r"^[ \t*]*Class label[ \t]*\d*[ \t]*:[ \t*]*", re.MULTILINE | re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Instance:
    """An input with its output."""

    input: str
    output: str
    reason: str | None = None
    """`rule: details`, where it is not kept."""


def read_instances(
    text: str, finish_reason: str, *, classification: bool, original: bool
) -> list[Instance]:
    """Instances of an answer in their order, those that are not kept with the reason.

    Args:
        text: the answer.
        finish_reason: `length` where it was cut off: the last instance is not whole.
        classification: whether the answer is output-first.
        original: whether to decide as the authors' code does.
    """
    parse = _PARSERS[classification, original]
    found = parse(text)
    if not found:
        mark = "Class label:" if classification else "Output:"
        return [Instance("", text.strip(), f"no instance: the answer has no '{mark}'")]
    if finish_reason == "length":
        found[-1] = replace(found[-1], reason="truncated: the answer was cut off in it")
    return _without_conflicts([_judged(one) for one in found], whole=original)


# --- reading -----------------------------------------------------------------------------------


def _generation_original(text: str) -> list[Instance]:
    text = text.strip()
    if _EXAMPLE_ORIGINAL.search(text):
        parts = [part.strip() for part in _EXAMPLE_ORIGINAL.split(text)]
        return [_pair_original(part) for part in parts if part]
    return [_pair_original(text)] if _OUTPUT_ORIGINAL.search(text) else []


def _pair_original(text: str) -> Instance:
    before, *after = _OUTPUT_ORIGINAL.split(text)
    given, output = (before.strip(), after[0].strip()) if after else ("", text.strip())
    output = _INPUT_ORIGINAL.split(output)[0].strip()
    if start := _INPUT_ORIGINAL.match(given):
        given = given[start.end() :]
    return Instance(given.strip(), output)


def _classification_original(text: str) -> list[Instance]:
    found = []
    for part in text.split(_LABEL_ORIGINAL)[1:]:
        label, _, given = part.strip().partition("\n")
        found.append(Instance(given.strip(), label.strip()))
    return found


def _generation(text: str) -> list[Instance]:
    parts = [part for part in _EXAMPLE.split(text) if part.strip()]
    if len(parts) == 1 and not _OUTPUT.search(parts[0]):
        return []
    return [_pair(part.strip()) for part in parts]


def _pair(text: str) -> Instance:
    before, *after = _OUTPUT.split(text)
    given = _INPUT.sub("", before, count=1) if _INPUT.match(before.strip()) else before
    if not after:
        return Instance(given.strip(), "", "no output: the example has no 'Output:'")
    return Instance(given.strip(), _INPUT.split(after[0])[0].strip())


def _classification(text: str) -> list[Instance]:
    found = []
    for part in _LABEL.split(text)[1:]:
        label, _, given = part.partition("\n")
        found.append(Instance(given.strip(), label.strip()))
    return found


_PARSERS: dict[tuple[bool, bool], Callable[[str], list[Instance]]] = {
    (False, True): _generation_original,
    (True, True): _classification_original,
    (False, False): _generation,
    (True, False): _classification,
}

# --- judging -----------------------------------------------------------------------------------


def _judged(one: Instance) -> Instance:
    """With the first rule that it breaks, in the order of the authors' code."""
    reason = one.reason
    if reason is None and one.input == one.output:
        reason = "copied input: input and output are the same"
    if reason is None and not one.output:
        reason = "no output: it is empty"
    for name, text in (("input", one.input), ("output", one.output)):
        if reason is None and text.endswith(":"):
            reason = f"unfinished: the {name} ends with ':'"
    return replace(one, reason=reason)


def _without_conflicts(found: Sequence[Instance], *, whole: bool) -> list[Instance]:
    """Leave out what contradicts itself, and what comes twice.

    Args:
        found: instances of one task.
        whole: whether a contradiction costs the task all its instances, as in the authors' code.
    """
    outputs: dict[str, set[str]] = {}
    for one in found:
        if one.reason is None and one.input:
            outputs.setdefault(one.input, set()).add(one.output)
    unsure = {given for given, said in outputs.items() if len(said) > 1}
    seen: set[tuple[str, str]] = set()
    kept = []
    for one in found:
        reason = one.reason
        if reason is None and (one.input in unsure or (unsure and whole)):
            again = "the task has" if whole else "it has"
            reason = f"conflict: {again} an input with different outputs"
        elif reason is None and (one.input, one.output) in seen:
            reason = "duplicate: the same instance again"
        if reason is None:
            seen.add((one.input, one.output))
        kept.append(replace(one, reason=reason))
    return kept
