"""Words and character pieces in a logistic regression, trained on the same rows.

The cheap model that a fine-tuned language model has to beat: it trains in seconds and predicts
thousands of rows a second.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from luthier.errors import DataError
from luthier.evaluation.asking import Asked, Setting, choices, input_text

FITS = ("classification",)
STRENGTHS = (1.0, 10.0, 100.0)
"""Inverse regularisation strengths tried by cross-validation on the training rows."""
FOLDS = 3


def measure(setting: Setting) -> Asked:
    """Train on the training rows, predict the test rows.

    Raises:
        DataError: the training rows have one label only.
    """
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.pipeline import make_pipeline, make_union

    texts = [input_text(example) for example in setting.train]
    gold = np.array([example.label for example in setting.train])
    if len(set(gold)) < 2:
        raise DataError(f"it needs training rows of two labels, and there are {len(set(gold))}")
    features = make_union(
        TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, token_pattern=r"(?u)\b\w+\b"),
        TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 5), sublinear_tf=True, min_df=2),
    )
    strength = _strength(features, texts, gold, setting.recipe.seed)
    model = make_pipeline(features, _regression(strength))
    model.fit(texts, gold)
    found = model.predict_log_proba([input_text(example) for example in setting.test])
    labels = setting.recipe.labels
    # A label without training rows is impossible to this model.
    scores = np.full((len(setting.test), len(labels)), -50.0)
    for column, label in enumerate(model.classes_):
        scores[:, labels.index(label)] = found[:, column]
    return Asked(
        choices(setting.recipe, setting.test, scores),
        f"TF-IDF (words 1-2, characters 2-5) and logistic regression, C = {strength:g}",
    )


def _strength(features: Any, texts: list[str], gold: np.ndarray, seed: int) -> float:
    """The strength with the best log-likelihood in cross-validation; the middle for few rows."""
    from sklearn.model_selection import StratifiedKFold, cross_val_score

    rarest = min(np.unique(gold, return_counts=True)[1])
    if rarest < FOLDS:
        return STRENGTHS[1]
    matrix = features.fit_transform(texts)
    folds = StratifiedKFold(FOLDS, shuffle=True, random_state=seed)
    means = [
        cross_val_score(_regression(c), matrix, gold, cv=folds, scoring="neg_log_loss").mean()
        for c in STRENGTHS
    ]
    return STRENGTHS[int(np.argmax(means))]


def _regression(strength: float) -> Any:
    from sklearn.linear_model import LogisticRegression

    # scikit-learn's default solver, lbfgs, stops before it is done on such wide matrices.
    return LogisticRegression(C=strength, solver="newton-cg", max_iter=1000)
