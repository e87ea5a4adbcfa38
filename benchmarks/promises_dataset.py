"""What cheap cues achieve on the authored promises: if one decided, the dataset would be worthless.

python benchmarks/promises_dataset.py
"""

from __future__ import annotations

import csv
import re
from collections import Counter
from importlib import resources

from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from sklearn.pipeline import make_pipeline

RULES = {
    "always False": lambda text: False,
    'contains "will" or "shall"': lambda text: bool(
        re.search(r"\b(will|shall)\b|['’]ll\b", text, re.I)
    ),
    "contains a digit or currency sign": lambda text: bool(re.search(r"[\d£$€%]", text)),
    "longer than 20 words": lambda text: len(text.split()) > 20,
}


def main() -> None:
    source = resources.files("luthier") / "datasets" / "promises.csv"
    with source.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    texts = [row["sentence"] for row in rows]
    gold = [row["label"] == "True" for row in rows]
    print(f"{len(rows)} sentences, {sum(gold)} promises ({sum(gold) / len(rows):.1%})")
    for column in ("category", "style"):
        counts = Counter(row[column] for row in rows)
        print(f"{column}: " + ", ".join(f"{name} {count}" for name, count in counts.most_common()))
    lengths = sorted(len(text.split()) for text in texts)
    print(f"words: {lengths[0]} to {lengths[-1]}, median {lengths[len(lengths) // 2]}")
    print("\n| rule | accuracy |\n|---|---:|")
    for name, rule in RULES.items():
        hits = sum(rule(text) == label for text, label in zip(texts, gold, strict=True))
        print(f"| {name} | {hits / len(rows):.3f} |")
    model = make_pipeline(
        TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True),
        LogisticRegression(C=10, max_iter=2000),
    )
    folds = StratifiedKFold(5, shuffle=True, random_state=0)
    predicted = cross_val_predict(model, texts, gold, cv=folds)
    hits = sum(p == g for p, g in zip(predicted, gold, strict=True))
    print(f"| TF-IDF + logistic regression, 5-fold | {hits / len(rows):.3f} |")


if __name__ == "__main__":
    main()
