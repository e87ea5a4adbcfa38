"""Numbers as they are read."""

from __future__ import annotations

import pytest

from luthier.artifacts import Estimate
from luthier.reporting import wording as w


def test_estimates_read_as_a_value_and_brackets() -> None:
    assert w.estimate_text(Estimate(value=0.8712, low=0.84, high=0.9)) == "0.87 [0.84\u20130.90]"
    assert w.estimate_text(Estimate(value=0.5)) == "0.50"
    assert w.interval(Estimate(value=0, low=-0.01, high=0.1)) == "[\u22120.01 to 0.10]"
    assert w.difference_text(Estimate(value=0.08, low=-0.04, high=0.12)) == (
        "+0.08 [\u22120.04 to +0.12]"
    )


def test_numbers_near_zero_carry_no_false_sign() -> None:
    assert w.number(-0.001) == "0.00"
    assert w.signed(-0.001) == "0.00"
    assert w.signed(0.001) == "+0.00"
    assert w.number(float("nan")) == w.number(None) == w.signed(None) == "\u2014"
    assert w.number(-1234.5, 1) == "\u22121,234.5"


def test_scores_out_of_a_hundred_get_one_decimal() -> None:
    assert w.digits_for([0.87, 0.4]) == 2
    assert w.digits_for([31.2, 4.0, None]) == 1


@pytest.mark.parametrize(
    ("value", "text"),
    [(3e-4, "3e-4"), (2.5e-5, "2.5e-5"), (0, "0"), (0.25, "0.25"), (100, "100"), (12_000, "12k"),
     (2_500_000, "2.5M"), (-0.5, "\u22120.5"), (-3e-4, "\u22123e-4"), (0.2884, "0.2884")],
)  # fmt: skip
def test_compact_numbers(value: float, text: str) -> None:
    assert w.compact(value) == text


def test_p_values_and_shares() -> None:
    assert [w.p_text(p) for p in (0.0004, 0.034, 1.0, None)] == [
        "< 0.001",
        "0.034",
        "1.000",
        "\u2014",
    ]
    assert (
        w.share(1, 500) == "0.2\u202f%"
        and w.share(1, 4) == "25\u202f%"
        and w.share(0, 0) == "0\u202f%"
    )


def test_long_texts_keep_both_ends_and_count_the_rest() -> None:
    head, tail, left_out = w.shortened("a" * 50 + "b" * 50, 30)
    assert (head, tail, left_out) == ("a" * 20, "b" * 10, 70)
    assert w.shortened("short", 30) == ("short", "", 0)


@pytest.mark.parametrize(
    "secret",
    ["hf_" + "aB3" * 11, "sk-" + "x" * 30, "ghp_" + "a" * 36, "AKIA" + "A" * 16],
)
def test_secrets_are_removed(secret: str) -> None:
    assert secret not in w.without_secrets(f"token: {secret}")


def test_what_is_no_secret_stays() -> None:
    text = "path: https://host/a@b.csv, risk-averse, hf_dataset, task-oriented"
    assert w.without_secrets(text) == text
