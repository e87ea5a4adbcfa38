"""Numbers and names as a reader of the report meets them."""

from __future__ import annotations

import re
from collections.abc import Iterable

from luthier.artifacts import Estimate

METRIC_NAMES = {
    "auroc": "AUROC", "accuracy": "accuracy", "macro_f1": "macro F1", "mcc": "MCC", "nll": "NLL",
    "ece": "ECE", "brier": "Brier score", "rouge_l": "ROUGE-L", "bleu": "BLEU", "chrf": "chrF",
    "token_f1": "word F1",
    "exact_match": "exact match", "average_precision": "average precision",
    "ece_noise_floor": "ECE by chance alone",
}  # fmt: skip
LOWER_IS_BETTER = {"loss", "nll", "ece", "brier", "perplexity", "wer", "cer", "edit_distance"}
PRECISIONS = {
    "float32": "everything in 32-bit floats",
    "frozen_bf16": "products with frozen weights in bfloat16; adapters, norms and the residual "
    "stream in 32-bit floats",
    "bf16_autocast": "autocast: every matrix product in bfloat16",
    "fp16_autocast": "autocast: every matrix product in 16-bit floats, with loss scaling",
}
_SECRETS = re.compile(
    r"hf_[A-Za-z0-9]{16,}|sk-[A-Za-z0-9_-]{16,}|gh[pousr]_[A-Za-z0-9]{20,}"
    r"|AKIA[0-9A-Z]{16}|(?<=://)[^\s/@:]+:[^\s/@]+(?=@)"
)
_UNPRINTABLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff\ufffe\uffff]")


def metric_name(name: str) -> str:
    """Name of a metric for people: `macro_f1` -> `macro F1`."""
    return METRIC_NAMES.get(name, name.replace("_", " "))


def system_name(name: str) -> str:
    """Name of a system for people: `zero_shot` -> `zero shot`."""
    return {"tfidf": "TF-IDF"}.get(name, name.replace("_", " "))


def last_part(path: str) -> str:
    """The file name of an absolute or dotted path; other names as they are."""
    return path.rstrip("/").rpartition("/")[2] if path[:1] in "/.~" else path


def sentence_case(text: str) -> str:
    """The text with its first letter in upper case."""
    return text[:1].upper() + text[1:]


def digits_for(values: Iterable[float | None]) -> int:
    """Decimals that suit a column: two for shares, one for 0-100 scales."""
    found = [abs(v) for v in values if v is not None]
    return 1 if found and max(found) >= 10 else 2


def number(value: float | None, digits: int = 2) -> str:
    """A number with fixed decimals and a proper minus sign; an em dash for none."""
    if value is None or value != value:
        return "\u2014"
    text = f"{value:,.{digits}f}"
    if text.startswith("-"):
        text = "\u2212" + text[1:] if float(text.replace(",", "")) else text[1:]
    return text


def signed(value: float | None, digits: int = 2) -> str:
    """A number with its sign always shown."""
    text = number(value, digits)
    return text if value is None or value < 0 or text == "\u2014" else "+" + text


def count(value: float) -> str:
    """A whole number with thousands separated."""
    return f"{value:,.0f}"


def share(part: float, whole: float) -> str:
    """A percentage; below one per cent it keeps a decimal."""
    percent = 100 * part / whole if whole else 0.0
    return f"{percent:.1f}\u202f%" if 0 < percent < 1 else f"{percent:.0f}\u202f%"


def interval(estimate: Estimate, digits: int = 2) -> str:
    """`[0.84\u20130.90]`; empty where there is none. Negative ends are joined by `to`."""
    if estimate.low is None or estimate.high is None:
        return ""
    joint = " to " if estimate.low < 0 or estimate.high < 0 else "\u2013"
    return f"[{number(estimate.low, digits)}{joint}{number(estimate.high, digits)}]"


def signed_interval(estimate: Estimate, digits: int = 2) -> str:
    """`[+0.04 to +0.12]`; empty where there is none."""
    if estimate.low is None or estimate.high is None:
        return ""
    return f"[{signed(estimate.low, digits)} to {signed(estimate.high, digits)}]"


def estimate_text(estimate: Estimate, digits: int = 2) -> str:
    """`0.87 [0.84\u20130.90]`."""
    return f"{number(estimate.value, digits)} {interval(estimate, digits)}".rstrip()


def difference_text(estimate: Estimate, digits: int = 2) -> str:
    """`+0.08 [+0.04 to +0.12]`."""
    return f"{signed(estimate.value, digits)} {signed_interval(estimate, digits)}".rstrip()


def p_text(p_value: float | None) -> str:
    """A p value: `< 0.001`, `0.034`; an em dash for none."""
    if p_value is None:
        return "\u2014"
    return "< 0.001" if p_value < 0.001 else f"{p_value:.3f}"


def compact(value: float) -> str:
    """A learning rate, a loss, an axis tick: the shortest exact-looking form (`3e-4`, `12k`)."""
    size = abs(value)
    if size == 0:
        return "0"
    if size < 0.01:
        mantissa, exponent = f"{value:.2e}".split("e")
        return f"{float(mantissa):g}e{int(exponent)}".replace("-", "\u2212", value < 0)
    if size >= 10_000:
        return f"{value / 1e6:.4g}M" if size >= 1e6 else f"{value / 1e3:.4g}k"
    return f"{value:.4g}".replace("-", "\u2212")


def shortened(text: str, limit: int) -> tuple[str, str, int]:
    """Head and tail of a long text and the number of characters between them.

    The end of a prompt matters as much as its start, so both are kept.
    """
    if len(text) <= limit:
        return text, "", 0
    head, tail = limit * 2 // 3, limit // 3
    return text[:head], text[-tail:], len(text) - head - tail


def without_secrets(text: str) -> str:
    """Blot out what looks like an access token or a password in a URL."""
    return _SECRETS.sub("[removed: looks like a secret]", text)


def printable(text: str) -> str:
    """Replace characters that HTML cannot hold (control characters, lone surrogates)."""
    return _UNPRINTABLE.sub("\ufffd", text)
