"""Novelty: what Self-Instruct's code decides with `rouge_score`, bit for bit."""

from __future__ import annotations

import json
import os
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from rouge_score import rouge_scorer, scoring, tokenize

from luthier.chat import Rendered
from luthier.data import novelty
from luthier.data.candidate import Candidate
from luthier.data.filters.novelty import build
from luthier.data.novelty import NoveltyPool, rouge_l, rouge_tokens
from luthier.errors import DataError
from luthier.example import Example, Origin

SHARED = Path(os.environ.get("LUTHIER_SHARED", Path(__file__).parents[2].parent / "shared"))
SCORER = rouge_scorer.RougeScorer(["rougeL"], use_stemmer=False)
WORDS = [
    "write",
    "a",
    "an",
    "the",
    "of",
    "poem",
    "story",
    "about",
    "cat",
    "dog",
    "red",
    "list",
    "in",
]


def scores(text: str, pool: list[str]) -> list[float]:
    """As `bootstrap_instructions.py` has them: the new instruction is the target."""
    return [SCORER.score(text, other)["rougeL"].fmeasure for other in pool]


def some_texts(chance: random.Random, count: int, longest: int = 14) -> list[str]:
    texts: list[str] = []
    for _ in range(count):
        if texts and chance.random() < 0.5:
            words = chance.choice(texts).split()
            for _ in range(chance.randint(0, 4)):
                words[chance.randrange(len(words))] = chance.choice(WORDS)
        else:
            words = chance.choices(WORDS, k=chance.randint(1, longest))
        texts.append(" ".join(words))
    return texts


# --- the arithmetic ----------------------------------------------------------------------------


@given(st.text())
@example("İstanbul K \u212a ſharp\n$x^2$ don't")
def test_words_are_those_of_rouge_score(text: str) -> None:
    assert rouge_tokens(text) == tokenize.tokenize(text, None)


def test_f1_is_rounded_alike() -> None:
    tied = above = 0
    for one in range(1, 61):
        others = np.arange(1, 61, dtype=np.int32)
        for common in range(one + 1):
            fits = others[others >= common]
            found = rouge_l(np.full(len(fits), common, np.int32), one, fits)
            expected = [scoring.fmeasure(common / n, common / one) for n in fits.tolist()]
            assert found.tolist() == expected
            ties = 20 * common == 7 * (one + fits)
            tied += int(ties.sum())
            above += int((ties & (found > 0.7)).sum())
    assert (tied, above) == (86, 50)


def test_ties_are_decided_as_they_are_computed() -> None:
    kept = refused = 0
    for one in range(1, 40):
        for other in range(1, 40):
            common, rest = divmod(7 * (one + other), 20)
            if rest or common > min(one, other):
                continue
            shared = [f"w{i}" for i in range(common)]
            text = " ".join(shared + [f"x{i}" for i in range(one - common)])
            pool = NoveltyPool()
            pool.add(pool.read(" ".join(shared + [f"y{i}" for i in range(other - common)])))
            expected = scoring.fmeasure(common / other, common / one)
            assert (pool.closest(pool.read(text)) is not None) == (expected > 0.7)
            refused += expected > 0.7
            kept += expected <= 0.7
    assert kept > 10 and refused > 10


# --- decisions ---------------------------------------------------------------------------------


def decide(texts: list[str], threshold: float, seeds: int) -> list[tuple[int, float] | None]:
    """Self-Instruct's loop over the texts behind the seeds."""
    pool, found = texts[:seeds], []
    for text in texts[seeds:]:
        measured = scores(text, pool)
        highest = max(measured, default=0.0)
        found.append((measured.index(highest), highest) if highest > threshold else None)
        if found[-1] is None:
            pool.append(text)
    return found


def decided(texts: list[str], threshold: float, seeds: int) -> list[tuple[int, float] | None]:
    pool = NoveltyPool(threshold)
    for text in texts[:seeds]:
        pool.add(pool.read(text))
    found = []
    for text in texts[seeds:]:
        words = pool.read(text)
        closest = pool.closest(words)
        found.append(closest and tuple(closest))
        if closest is None:
            pool.add(words)
    return found


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 10**9),
    st.sampled_from([0.7, 0.7, 0.0, 0.3, 0.5, 0.9, 1.0]),
    st.sampled_from([1, 4, 64]),
)
def test_random_texts_are_decided_alike(seed: int, threshold: float, common: int) -> None:
    texts = some_texts(random.Random(seed), 25)
    before, novelty._COMMON = novelty._COMMON, common
    try:
        assert decided(texts, threshold, 3) == decide(texts, threshold, 3)
    finally:
        novelty._COMMON = before


@settings(max_examples=40, deadline=None)
@given(st.lists(st.text("ab c\u00e4\u4f60", max_size=12), max_size=12))
def test_odd_texts_are_decided_alike(texts: list[str]) -> None:
    assert decided(texts, 0.7, 1) == decide(texts, 0.7, 1)


def instructions() -> list[str]:
    folder = SHARED / "data" / "public" / "self_instruct"
    if not folder.is_dir():
        pytest.skip("the real data is not here")
    found = []
    for name in ("seed_tasks.jsonl", "user_oriented_instructions.jsonl"):
        for line in (folder / name).read_text(encoding="utf-8").splitlines():
            found.append(json.loads(line)["instruction"])
    return found


def test_real_texts_are_decided_alike() -> None:
    texts = instructions()[::3]
    chance = random.Random(1)
    for text in texts[:20]:
        words = text.split()
        for _ in range(len(words) // 4):
            words[chance.randrange(len(words))] = "other"
        texts.append(" ".join(words))
    found = decided(texts, 0.7, 60)
    assert found == decide(texts, 0.7, 60)
    assert any(found) and not all(found)


def test_nothing_is_pruned_that_counts() -> None:
    """A larger pool, where words are common and rare, against every pair measured."""
    chance = random.Random(3)
    names = [f"n{i}" for i in range(3000)]
    texts = []
    for _ in range(1500):
        words = chance.choices(WORDS, k=chance.randint(2, 8)) + chance.choices(names, k=5)
        chance.shuffle(words)
        texts.append(" ".join(words))
        copy = [w if chance.random() < 0.75 else chance.choice(WORDS + names) for w in words]
        texts.append(" ".join(copy))
    pool = NoveltyPool()
    refused = 0
    for text in texts:
        words = pool.read(text)
        closest = pool.closest(words)
        every = pool.scores(words)
        if every is not None:
            assert (closest is not None) == (every.highest > 0.7)
            assert closest is None or closest.score == every.highest
        if closest is None:
            pool.add(words)
        refused += closest is not None
    assert 200 < refused < 1400


# --- what is stored ----------------------------------------------------------------------------


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**9))
def test_stored_scores_are_those_of_self_instruct(seed: int) -> None:
    texts = [*some_texts(random.Random(seed), 30), "", "你好"]
    pool = NoveltyPool()
    assert pool.scores(pool.read("a")) is None
    for place, text in enumerate(texts):
        words = pool.read(text)
        if place:
            measured = scores(text, texts[:place])
            expected = [(int(i), measured[i]) for i in np.argsort(measured)[-10:][::-1]]
            found = pool.scores(words)
            assert found is not None
            assert [tuple(c) for c in found.most_similar] == expected
            assert (found.average, found.highest) == (float(np.mean(measured)), max(measured))
        pool.add(words)


def test_more_words_than_there_are_signs(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = some_texts(random.Random(5), 40)
    expected = decided(texts, 0.5, 2)
    monkeypatch.setattr(novelty, "_LAST_SIGN", 6)
    assert decided(texts, 0.5, 2) == expected and any(expected)


# --- other scripts -----------------------------------------------------------------------------


def test_unicode_sees_words_of_every_script() -> None:
    text = "Напиши стихотворение о кошке и собаке"
    for unicode in (False, True):
        pool = NoveltyPool(unicode=unicode)
        pool.add(pool.read(text))
        closest = pool.closest(pool.read(text.upper() + "!"))
        assert (closest is not None) == unicode
        assert (pool.warning is None) == unicode or pool.unseen_texts == 2
    pool = NoveltyPool(unicode=True)
    pool.add(pool.read("写一首关于猫和狗的诗"))
    assert pool.closest(pool.read("写一首关于猫和鸟的诗")) is not None
    assert pool.closest(pool.read("今天天气怎么样呢")) is None


def test_unicode_decides_english_alike() -> None:
    texts = some_texts(random.Random(7), 60)
    pool, other = NoveltyPool(), NoveltyPool(unicode=True)
    for text in texts:
        one, two = pool.read(text), other.read(text)
        assert pool.closest(one) == other.closest(two)
        pool.add(one)
        other.add(two)


def test_the_warning_counts_texts_that_are_mostly_unseen() -> None:
    pool = NoveltyPool()
    for text in ["你好吗朋友 GPT"] * 2 + ["Write a poem in French: café"] * 20:
        pool.read(text)
    assert pool.warning is None
    for _ in range(3):
        pool.read("Привет, как дела?")
    assert pool.warning is not None and "5 of 25 texts" in pool.warning


# --- the filter --------------------------------------------------------------------------------


def row(text: str, line: int, **fields: Any) -> Candidate:
    made = Example(str(line), Origin("r.jsonl", line), fields)
    return Candidate(made, text, "", [], lambda e: Rendered([1], [True]))


def judge(rows: list[Candidate], **options: Any) -> list[str | None]:
    judged = build(**options)
    reasons = []
    for each in rows:
        reasons.append(judged(each))
        if reasons[-1] is None:
            judged.remember(each)  # type: ignore[attr-defined]
    return reasons


def test_the_filter_names_the_row_it_is_like() -> None:
    rows = [
        row("Write a poem about my cat", 1),
        row("Write a poem about my dog!", 2),
        row("Translate this", 3),
        row("Write a short poem about a dog", 4),
    ]
    assert judge(rows) == [None, "not novel: ROUGE-L 0.83 with r.jsonl:1", None, None]
    assert judge(rows, threshold=0.9) == [None] * 4
    assert judge(rows, threshold=0.6)[3] == "not novel: ROUGE-L 0.62 with r.jsonl:1"


def test_instructions_are_compared_where_there_are_some() -> None:
    rows = [row(f"Add up\n{n} and {n}", n, instruction="Add up") for n in range(1, 3)]
    rows.append(row("Add up\n1 and 1", 3))
    assert judge(rows) == [None, "not novel: ROUGE-L 1.00 with r.jsonl:1", None]
    assert judge(rows, compare="question")[2] == "not novel: ROUGE-L 1.00 with r.jsonl:1"


def test_rows_must_differ_from_seeds(tmp_path: Path) -> None:
    seeds = tmp_path / "seeds.jsonl"
    tasks = [
        {"instruction": f"Write a {what} about my cat", "output": "x"} for what in ("poem", "song")
    ]
    seeds.write_text("".join(json.dumps(task) + "\n" for task in tasks), encoding="utf-8")
    rows = [row("Write a song about my cat", 1), row("Something else", 2)]
    reasons = judge(rows, against=str(seeds))
    assert reasons == [f"not novel: ROUGE-L 1.00 with {seeds}:2", None]
    assert judge(rows, against=[str(seeds)]) == reasons


def test_the_filter_says_once_that_it_sees_little(capsys: pytest.CaptureFixture[str]) -> None:
    texts = ["Как дела?", "Что это?", "Кто там?", "Где я?", "Почему?", "Когда?"]
    rows = [row(text, line) for line, text in enumerate(texts, 1)]
    assert judge(rows) == [None] * 6
    said = " ".join(capsys.readouterr().err.split())
    assert said.count("3 of 3 texts") == said.count("unicode: true") == 1
    assert judge(rows, unicode=True) == [None] * 6
    assert not capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"threshold": "high"}, "threshold is 'high', not a number"),
        ({"threshold": True}, "threshold is True, not a number"),
        ({"threshold": 70}, r"threshold is 70, not in \[0, 1\]"),
        ({"compare": "questions"}, "Did you mean 'question'"),
        ({"unicode": "yes"}, "unicode is 'yes', expected true or false"),
        ({"against": [3]}, r"against is \[3\], expected a file"),
        ({"against": "no_such_file.jsonl"}, "no_such_file.jsonl: no such file"),
    ],
)
def test_wrong_options_are_named(options: dict[str, Any], said: str) -> None:
    with pytest.raises(DataError, match=said):
        build(**options)
