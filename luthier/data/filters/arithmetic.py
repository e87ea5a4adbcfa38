"""Rejects rows that ask for a plain sum and answer it wrongly."""

from __future__ import annotations

import ast
import math
import operator
import re
from collections.abc import Callable
from fractions import Fraction

from luthier.data.candidate import Candidate, Filter
from luthier.data.linting.lint_report import Severity

SEVERITY: Severity = "error"
FIX = "Correct the answer, or delete the row."
_LONGEST = 80
"""Characters of a question that is only a sum."""
# Between two numbers `x` is a multiplication; behind one, as in `Solve 3x - 2`, it is unknown.
_SUM = r"(?P<sum>[\d(](?:[\d\s.,+\-*/×÷−()]|(?<=[\d\s)])x(?=\s*[\d(]))*[\d)])"
_TAIL = r"\s*(?:=\s*\??|equal(?:s| to)?)?\s*[?.!]*"
_ASKS = re.compile(
    rf"(?:please\s+)?(?:calculate|compute|evaluate|work out|add up|solve)\s*:?\s*"
    rf"(?:the (?:value|result|sum|product|answer) (?:of|to)\s*:?\s*)?{_SUM}{_TAIL}",
    re.IGNORECASE,
)
# `What is 24/7?` and `What is 10-4?` are no sums; with spaces around the sign they are.
_WHAT_IS = re.compile(
    rf"(?:what(?:'s| is| does)|how much is)\s+(?:the (?:value|result) of\s+)?{_SUM}{_TAIL}",
    re.IGNORECASE,
)
_SPACED = re.compile(r"\d\s+[+\-*/×÷x−]\s+\d|\d\s*[+*×÷]\s*\d")
_A, _B = (rf"(?P<{name}>-?\d+(?:,\d{{3}})*(?:\.\d+)?)" for name in "ab")
_WORDED = re.compile(
    r"(?:(?:please\s+)?(?:calculate|compute|find|determine|evaluate|work out|tell me|give me)"
    r"|what(?:'s| is)|how much is)\s*:?\s+(?:the (?:value|result) of\s+)?(?:"
    rf"the (?P<of>sum|product|difference|quotient) (?:of|between)\s+{_A}\s+and\s+{_B}"
    rf"){_TAIL}",
    re.IGNORECASE,
)
_BETWEEN = re.compile(
    r"(?:(?:please\s+)?(?:calculate|compute|find|determine|evaluate|work out)"
    rf"|what(?:'s| is)|how much is)\s*:?\s+{_A}\s*"
    r"(?P<of>plus|minus|times|multiplied by|divided by|%\s*of|per ?cent of)"
    rf"\s+{_B}{_TAIL}",
    re.IGNORECASE,
)
_ORDER = re.compile(
    rf"(?:please\s+)?(?P<of>add|subtract|multiply|divide)\s+{_A}\s+(?:and|to|from|by|with)\s+{_B}{_TAIL}",
    re.IGNORECASE,
)
_OF_ONE = re.compile(
    r"(?:(?:calculate|compute|find|determine|what(?:'s| is))\s+)the (?P<of>square root|square|cube)"
    rf" of {_A}{_TAIL}",
    re.IGNORECASE,
)
_NUMBER = re.compile(r"-?\d+(?:,\d{3})*(?:\.\d+)?")
_OTHER_NOTATION = re.compile(
    r"\^|\de[+-]?\d|\d\s*[×x*]\s*10|remainder|\bmod\b|\d\s+\d+/\d", re.IGNORECASE
)
_OPERATORS: dict[type[ast.operator], Callable[[Fraction, Fraction], Fraction]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}
_IN_WORDS: dict[str, Callable[[Fraction, Fraction], Fraction]] = {
    "sum": operator.add, "plus": operator.add, "add": operator.add,
    "difference": lambda a, b: abs(a - b), "minus": operator.sub,
    "subtract": lambda a, b: b - a,
    "product": operator.mul, "times": operator.mul, "multiplied by": operator.mul,
    "multiply": operator.mul,
    "quotient": operator.truediv, "divided by": operator.truediv, "divide": operator.truediv,
    "% of": lambda a, b: a * b / 100, "percent of": lambda a, b: a * b / 100,
}  # fmt: skip


def build() -> Filter:
    """No options.

    Four in five mathematical answers of Alpaca were wrong (AlpacaDataCleaned). Only questions that
    are nothing but a sum, in signs or in words (`10% of 50`, `the square root of 81`), are checked,
    and only answers in digits; a rounded result is right.
    """

    def arithmetic(row: Candidate) -> str | None:
        if row.labels or not 0 < len(row.question) <= _LONGEST:
            return None
        result = _asked(row.question.strip())
        if result is None:
            result = _asked_in_words(row.question.strip())
        if result is None or _OTHER_NOTATION.search(row.answer):
            return None
        numbers = [n.replace(",", "") for n in _NUMBER.findall(row.answer.replace("−", "-"))]
        if not numbers or any(_is(number, result) for number in numbers):
            return None
        fractions = re.findall(r"(-?\d+)\s*/\s*([1-9]\d*)", row.answer)
        if any(Fraction(int(a), int(b)) == result for a, b in fractions):
            return None
        right = str(result) if result.denominator == 1 else f"{float(result):.6g}"
        return f"wrong arithmetic: the result is {right}, the answer says {numbers[-1]}"

    return arithmetic


def _asked(question: str) -> Fraction | None:
    """The result of a question that is only a sum; None for every other."""
    if not _NUMBER.search(question):
        return None
    found = _ASKS.fullmatch(question)
    if found is None:
        found = _WHAT_IS.fullmatch(question)
        if found is None or not _SPACED.search(found["sum"]):
            return None
    text = re.sub(r"(?<=\d),(?=\d{3})", "", found["sum"])
    text = re.sub(r"\s+", " ", text.translate(str.maketrans("×x÷−", "**/-")))
    if re.search(r"\d \d|\*\*|//|,", text) or not re.search(r"[+\-*/]", text):
        return None
    # Leading zeros are no numbers to Python's grammar, and mostly none to people either.
    if re.search(r"(?<![\d.])0\d", text):
        return None
    try:
        return _value(ast.parse(text, mode="eval").body)
    except (SyntaxError, ValueError, ZeroDivisionError):
        return None


def _asked_in_words(question: str) -> Fraction | None:
    """The result of a question that is only one operation, called by its name; else None."""
    if not _NUMBER.search(question):
        return None
    found = (
        _WORDED.fullmatch(question) or _BETWEEN.fullmatch(question) or _ORDER.fullmatch(question)
    )
    if found is None:
        found = _OF_ONE.fullmatch(question)
        return _of_one(found["of"].lower(), _fraction(found["a"])) if found else None
    name = re.sub(r"^%\s*|^per ?cent ", lambda m: "% " if m[0][0] == "%" else "percent ",
                  " ".join(found["of"].lower().split()))  # fmt: skip
    try:
        return _IN_WORDS[name](_fraction(found["a"]), _fraction(found["b"]))
    except ZeroDivisionError:
        return None


def _of_one(name: str, number: Fraction) -> Fraction | None:
    """A square, a cube, or the root of a whole number that has a whole one."""
    if name != "square root":
        return number ** (2 if name == "square" else 3)
    if number.denominator != 1 or number < 0 or math.isqrt(int(number)) ** 2 != number:
        return None
    return Fraction(math.isqrt(int(number)))


def _fraction(number: str) -> Fraction:
    return Fraction(number.replace(",", ""))


def _value(node: ast.expr) -> Fraction:
    if isinstance(node, ast.Constant) and isinstance(node.value, (int, float)):
        return Fraction(str(node.value))
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        return -_value(node.operand)
    if isinstance(node, ast.BinOp) and type(node.op) in _OPERATORS:
        return _OPERATORS[type(node.op)](_value(node.left), _value(node.right))
    raise ValueError("not a sum")


def _is(number: str, result: Fraction) -> bool:
    """Whether a number is the result, rounded or cut to its decimals, or that in per cent."""
    step = Fraction(1, 10 ** len(number.partition(".")[2]))
    return any(abs(Fraction(number) - r) < step for r in (result, 100 * result))
