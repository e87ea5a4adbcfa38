"""The rules of Self-Instruct, told step by step and slowly, as its published code applies them.

Written from the description of what bootstrap_instructions.py and prepare_for_finetuning.py of
github.com/yizhongw/self-instruct do, with the package `rouge_score` that they use. Nothing of
luthier is imported.
"""

from __future__ import annotations

import re
import string
from typing import Any

import numpy as np
from rouge_score.rouge_scorer import RougeScorer

BANNED = "image images graph graphs picture pictures file files map maps draw plot".split()
BANNED.append("go to")
SCORER = RougeScorer(["rougeL"], use_stemmer=False)


def verdict_on_words(instruction: str) -> str | None:
    """The rule that an instruction breaks by itself."""
    count = len(instruction.split())
    if count <= 3:
        return "too short"
    if count > 150:
        return "too long"
    for banned in BANNED:
        if re.search(r"\b" + banned + r"\b", instruction, re.IGNORECASE):
            return "blacklist"
    if instruction.startswith("Write a program"):
        return "program"
    if instruction[0] in string.punctuation:
        return "punctuation"
    if ord(instruction[0]) > 127:
        return "not English"
    return None


def instructions_of(text: str, finish_reason: str) -> list[tuple[str, str | None]]:
    """Instructions of a completion with the rule each breaks."""
    if finish_reason == "length":
        return []
    found = []
    for piece in re.split(r"\n\d+\s?\. ", text):
        instruction = re.sub(r"\s+", " ", piece).strip().capitalize()
        if instruction != "":
            found.append((instruction, verdict_on_words(instruction)))
    return found


class Pool:
    """Seeds and accepted instructions."""

    def __init__(self, seeds: list[str]) -> None:
        self.texts = list(seeds)

    def offer(self, instruction: str) -> dict[str, Any] | None:
        """What is stored of an instruction that is novel; None where it is not."""
        scores = [SCORER.score(instruction, text)["rougeL"].fmeasure for text in self.texts]
        if max(scores) > 0.7:
            return None
        nearest_ten = np.argsort(scores)[-10:][::-1]
        stored = {
            "most_similar": {self.texts[i]: scores[i] for i in nearest_ten},
            "avg_similarity_score": float(np.mean(scores)),
        }
        self.texts.append(instruction)
        return stored


def bootstrap(completions: list[tuple[str, str]], seeds: list[str]) -> list[dict[str, Any]]:
    """Every candidate of a list of completions, in order, with what became of it.

    Args:
        completions: (text, finish_reason).
        seeds: instructions.
    """
    pool, found = Pool(seeds), []
    for text, finish_reason in completions:
        for instruction, rule in instructions_of(text, finish_reason):
            record: dict[str, Any] = {"instruction": instruction, "rule": rule}
            if rule is None:
                stored = pool.offer(instruction)
                record["rule"] = "not novel" if stored is None else None
                record.update(stored or {})
            found.append(record)
    return found


def is_classification(text: str) -> bool:
    """Whether the answer to the question after a task's kind counts as yes."""
    return text.strip() in {"Yes", "yes", "YES"}


def split_pair(text: str) -> tuple[str, str]:
    """Input and output of one example."""
    marks = list(re.finditer(r"Output\s*\d*\s*:", text))
    if marks:
        given = text[: marks[0].start()].strip()
        end = marks[1].start() if len(marks) > 1 else len(text)
        output = text[marks[0].end() : end].strip()
    else:
        given, output = "", text.strip()
    if again := re.search(r"Input\s*\d*\s*:", output):
        output = output[: again.start()].strip()
    given = re.sub(r"^Input\s*\d*\s*:", "", given).strip()
    return given, output


def pairs_of_generation(text: str) -> list[tuple[str, str]]:
    """(input, output) of an input-first completion."""
    text = text.strip()
    if re.search(r"Example\s?\d*\.?", text):
        pieces = re.split(r"Example\s?\d*\.?", text)
        return [split_pair(piece.strip()) for piece in pieces if piece.strip() != ""]
    if re.search(r"Output\s*\d*\s*:", text):
        return [split_pair(text)]
    return []


def pairs_of_classification(text: str) -> list[tuple[str, str]]:
    """(input, label) of an output-first completion."""
    pairs = []
    for piece in text.split("Class label:")[1:]:
        lines = piece.strip().split("\n", 1)
        given = lines[1].strip() if len(lines) == 2 else ""
        pairs.append((given, lines[0].strip()))
    return pairs


def instances_of(text: str, finish_reason: str, closed: bool) -> list[tuple[str, str]]:
    """The instances of a completion that are kept, before five of them are drawn."""
    pairs = pairs_of_classification(text) if closed else pairs_of_generation(text)
    if finish_reason == "length":
        pairs = pairs[:-1]
    valid = []
    for given, output in pairs:
        if given == output or output == "":
            continue
        if given.endswith(":") or output.endswith(":"):
            continue
        valid.append((given, output))
    for one in valid:
        for other in valid:
            if one[0] != "" and one[0] == other[0] and one[1] != other[1]:
                return []
    return list(dict.fromkeys(valid))
