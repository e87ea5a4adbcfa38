"""Baselines: fair, seeded, and what they say they are."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from made_runs import classification_row, generation_row
from scipy.special import log_softmax

from luthier.errors import DataError
from luthier.evaluation.asking import Setting
from luthier.evaluation.baselines import few_shot, majority, tfidf, zero_shot
from luthier.evaluation.evaluate import BASELINES
from luthier.evaluation.outcome import Answers, Choices
from luthier.example import Example, Message, Origin
from luthier.run import Run


@pytest.fixture
def setting(trained_run: Callable[..., Run]) -> Setting:
    run = trained_run("classification", test=12)
    rows = [classification_row(i) for i in range(72)]
    return Setting(run, run.recipe, rows[:60], rows[60:])


def labelled(counts: dict[str, int]) -> list[Example]:
    rows = [label for label, count in counts.items() for _ in range(count)]
    return [classification_row(i).but(label=label, id=f"{i:03}") for i, label in enumerate(rows)]


def test_the_registry_finds_the_baselines() -> None:
    assert BASELINES.names() == ["copy_input", "few_shot", "majority", "tfidf", "zero_shot"]
    for name in BASELINES.names():
        assert BASELINES.describe(name)
        fits = BASELINES.load(name).FITS
        assert fits == ("generation",) if name == "copy_input" else "classification" in fits


def test_majority_learns_from_the_training_rows_alone(setting: Setting) -> None:
    train = [row for row in setting.train if row.label == "False"] + setting.train[:4]
    asked = majority.measure(Setting(setting.run, setting.recipe, train, setting.test))

    assert isinstance(asked.outcome, Choices)
    assert set(asked.outcome.predicted) == {1}
    assert "'False'" in asked.describe
    p = asked.outcome.probabilities()[0]
    trues = sum(row.label == "True" for row in train)
    assert p[0] == pytest.approx((trues + 1) / (len(train) + 2))


def test_tfidf_learns_an_easy_task_and_keeps_the_order_of_the_labels(setting: Setting) -> None:
    asked = tfidf.measure(setting)

    assert isinstance(asked.outcome, Choices)
    assert asked.outcome.correct.all()
    np.testing.assert_allclose(np.exp(asked.outcome.scores).sum(axis=1), 1, atol=1e-9)


def test_tfidf_reads_the_input_and_not_the_prompt(setting: Setting) -> None:
    """An answer that stands in every prompt must not help."""
    told = [
        row.but(messages=(Message("user", f"The answer is {row.label}."), row.messages[-1]),
                fields={"input": "the same text"})
        for row in setting.train + setting.test
    ]  # fmt: skip
    asked = tfidf.measure(Setting(setting.run, setting.recipe, told[:60], told[60:]))

    assert isinstance(asked.outcome, Choices)
    assert asked.outcome.correct.mean() == pytest.approx(0.5)


def test_tfidf_needs_two_labels_but_not_all(setting: Setting) -> None:
    one = [row for row in setting.train if row.label == "True"]
    with pytest.raises(DataError, match="training rows of two labels"):
        tfidf.measure(Setting(setting.run, setting.recipe, one, setting.test))

    three = setting.recipe.model_copy(
        update={"task": setting.recipe.task.model_copy(
            update={"labels": ["unseen", "True", "False"]})}
    )  # fmt: skip
    asked = tfidf.measure(Setting(setting.run, three, setting.train, setting.test))

    assert isinstance(asked.outcome, Choices)
    assert 0 not in asked.outcome.predicted
    assert np.isfinite(asked.outcome.scores).all()


def test_zero_shot_asks_the_untrained_model(setting: Setting) -> None:
    from luthier.evaluation.asking import Interviewer

    asked = zero_shot.measure(setting)
    tuned = Interviewer.of(setting.run, setting.recipe).ask(setting.test, "")

    assert isinstance(asked.outcome, Choices) and isinstance(tuned, Choices)
    assert np.abs(asked.outcome.scores - tuned.scores).max() > 1
    assert tuned.correct.mean() > 0.9 > asked.outcome.correct.mean()


@pytest.mark.parametrize(
    ("counts", "k", "expected"),
    [
        ({"a": 50, "b": 50}, 4, {"a": 2, "b": 2}),
        ({"a": 97, "b": 3}, 4, {"a": 2, "b": 2}),
        ({"a": 97, "b": 1}, 4, {"a": 3, "b": 1}),
        ({"a": 2, "b": 1}, 9, {"a": 2, "b": 1}),
    ],
)
def test_shots_are_balanced_over_the_labels(
    counts: dict[str, int], k: int, expected: dict[str, int]
) -> None:
    shots = few_shot.choose_shots(labelled(counts), k, seed=3)

    assert Counter(shot.label for shot in shots) == expected
    assert len({shot.id for shot in shots}) == len(shots)


def test_shots_depend_on_the_seed_and_not_on_the_order_of_the_rows() -> None:
    rows = labelled({"a": 50, "b": 50})

    assert few_shot.choose_shots(rows, 4, 1) == few_shot.choose_shots(rows[::-1], 4, 1)
    assert few_shot.choose_shots(rows, 4, 1) != few_shot.choose_shots(rows, 4, 2)


def test_with_three_labels_and_two_shots_every_label_has_its_chance() -> None:
    rows = labelled({"a": 9, "b": 9, "c": 9})
    seen = {s.label for seed in range(20) for s in few_shot.choose_shots(rows, 2, seed)}

    assert seen == {"a", "b", "c"}


def test_shots_are_earlier_turns_and_the_system_message_stays_first() -> None:
    shot = generation_row(1)
    shot = shot.but(messages=(Message("system", "Be brief."), *shot.messages))
    prompt = [Message("system", "Be brief."), Message("user", "And now?")]

    shown = few_shot.with_shots([shot, shot], prompt, turns=True)

    assert [m.role for m in shown] == ["system", "user", "assistant", "user", "assistant", "user"]
    assert shown[-1] == prompt[-1]


def test_shots_are_text_for_models_without_a_template() -> None:
    shots = [generation_row(1), generation_row(2)]

    shown = few_shot.with_shots(shots, generation_row(3).prompt, turns=False)

    assert [m.content for m in shown] == [
        "What did we paint green, number 1? a green wall",
        "What did we paint blue, number 2? a blue wall",
        "What did we paint dark-green, number 3?",
    ]


def test_few_shot_divides_out_what_the_model_answers_to_nothing(setting: Setting) -> None:
    asked = few_shot.measure(setting)
    shots = few_shot.choose_shots(setting.train, 4, setting.recipe.seed)

    def ask(text: str) -> np.ndarray:
        prompt = [m for s in shots for m in s.messages]
        prompt.append(Message("user", setting.test[0].prompt[0].content.replace(
            setting.test[0].fields["input"], text)))  # fmt: skip
        return np.exp(log_softmax(setting.base.score([prompt], "")[0]))

    content_free = np.mean([ask(text) for text in ("N/A", "", "[MASK]")], axis=0)
    calibrated = ask(setting.test[0].fields["input"]) / content_free
    assert isinstance(asked.outcome, Choices)
    assert asked.outcome.probabilities()[0] == pytest.approx(
        calibrated / calibrated.sum(), rel=1e-4
    )
    assert "4 training rows" in asked.describe
    assert "contextually calibrated" in asked.describe


def test_few_shot_says_when_it_cannot_be_calibrated(setting: Setting) -> None:
    hidden = [row.but(fields={"input": "not in the prompt"}) for row in setting.test]
    asked = few_shot.measure(Setting(setting.run, setting.recipe, setting.train, hidden))

    assert "not calibrated" in asked.describe


def test_few_shot_shows_fewer_rows_where_the_context_is_short(setting: Setting) -> None:
    base, config = setting.base, setting.base.model.config
    shots = few_shot.choose_shots(setting.train, 4, setting.recipe.seed)
    longest = max(
        len(base.renderer.prompt(few_shot.with_shots(shots[:1], row.prompt, turns=True)))
        for row in setting.test
    )

    config.max_position_embeddings = longest + 4
    assert "with 1 training row in" in few_shot.measure(setting).describe
    config.max_position_embeddings = longest - 10
    with pytest.raises(DataError, match="no training row fits the model's context"):
        few_shot.measure(setting)


def test_few_shot_without_training_rows(setting: Setting) -> None:
    with pytest.raises(DataError, match="no training rows"):
        few_shot.measure(Setting(setting.run, setting.recipe, [], setting.test))


@pytest.mark.parametrize("baseline", [zero_shot, few_shot])
def test_prompting_answers_free_text(trained_run: Callable[..., Run], baseline: Any) -> None:
    run = trained_run("generation", evaluate={"generation": {"max_new_tokens": 4}})
    rows = [generation_row(i) for i in range(20)]
    asked = baseline.measure(Setting(run, run.recipe, rows[:10], rows[10:]))

    assert isinstance(asked.outcome, Answers)
    assert len(asked.outcome.written) == 10
    assert asked.outcome.references == [row.completion for row in rows[10:]]
    assert (asked.outcome.log_likelihood < 0).all() and (asked.outcome.tokens > 1).all()


def test_content_free_prompts_replace_the_last_occurrence_only() -> None:
    row = Example(
        "x", Origin("rows.csv", 1), {"input": "True"},
        (Message("user", "Say True or False. Input: True\nOutput:"), Message("assistant", "True")),
    )  # fmt: skip
    found = few_shot._without_content(row, "N/A")

    assert found == [Message("user", "Say True or False. Input: N/A\nOutput:")]
