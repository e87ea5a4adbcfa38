"""Checks of whole datasets: what they need, what they say, and what they leave alone."""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from typing import Any

import pytest
from filter_rows import row
from lint_rows import LABELLED, PAIRS

from luthier.chat import Rendered
from luthier.data.candidate import Candidate
from luthier.data.lint import CHECKS, FILTERS
from luthier.data.linting.dataset_check import Context
from luthier.data.linting.lint_report import LintFinding
from luthier.data.rows import Row
from luthier.errors import DataError
from luthier.example import Origin

LABELS = Context(kind="classification")
FREE = Context(kind="generation", renders=True, splits=True)


def found(name: str, rows: Iterable[Candidate], context: Context = LABELS) -> list[LintFinding]:
    check = CHECKS.load(name).build(context)
    watch = getattr(check, "watch", None)
    for each in rows:
        raw = Row(each.example.origin, dict(each.example.fields))
        check.see(each, raw)
        if watch is not None:
            watch(raw)
    return check.findings()


def labelled(
    pairs: Sequence[tuple[str, str]], labels: Sequence[str] = ("True", "False")
) -> list[Candidate]:
    return [row(s, label, labels=labels, line=i, input=s) for i, (s, label) in enumerate(pairs, 2)]


def answered(count: int = len(PAIRS)) -> list[Candidate]:
    return [row(q, a, line=i) for i, (q, a) in enumerate(PAIRS[:count], 1)]


@pytest.mark.parametrize("name", CHECKS.names())
def test_every_check_is_described_and_quiet_on_clean_rows(name: str) -> None:
    assert CHECKS.describe(name).endswith(".") and len(CHECKS.describe(name)) <= 100
    module = CHECKS.load(name)
    assert module.build.__doc__ and isinstance(module.NEEDS, tuple)
    assert found(name, labelled(LABELLED)) == []
    assert found(name, answered(), FREE) == []
    assert found(name, [], FREE) == [], "a set without rows"
    assert found(name, answered(1), FREE) == [], "a single row shows nothing of a whole"


@pytest.mark.parametrize("name", FILTERS.names())
def test_every_filter_says_how_bad_it_is_and_what_to_do(name: str) -> None:
    module = FILTERS.load(name)
    assert getattr(module, "SEVERITY", "warning") in ("error", "warning")
    assert getattr(module, "FIX", ".").endswith((".", "]}."))


# --- labels ------------------------------------------------------------------------------------


def test_imbalance_needs_a_factor_of_ten() -> None:
    mild = [(f"s{i}", "True" if i % 9 == 0 else "False") for i in range(90)]
    assert found("label_imbalance", labelled(mild)) == []
    steep = [(f"s{i}", "True" if i % 30 == 0 else "False") for i in range(90)]
    [finding] = found("label_imbalance", labelled(steep))
    assert finding.message == "'False' has 87 rows (97%) against 'True' 3."


def test_rows_without_a_label_are_no_rare_label() -> None:
    pairs = [(f"s{i}", "True" if i % 2 else "False") for i in range(60)]
    for nothing in ("", "N/A", "nan"):
        assert found("label_imbalance", labelled([*pairs, ("t", nothing)]), FREE) == []
    declared = Context(kind="classification", labels=["True", "False", "N/A"])
    assert found("label_imbalance", labelled([*pairs, ("t", "N/A")]), declared) != []


def test_labels_that_differ_in_a_digit_or_a_letter_of_sense_are_no_typos() -> None:
    pairs = [(f"s{i}", "grade 1") for i in range(40)] + [
        ("t", "grade 2"),
        ("u", "no"),
        ("v", "pass"),
    ]
    assert found("label_typos", labelled(pairs)) == []
    declared = Context(kind="classification", labels=["Ture", "True"])
    slips = labelled([*[("s", "True")] * 40, ("t", "Ture")])
    assert found("label_typos", slips, declared) == []
    [finding] = found("label_typos", slips)
    assert finding.places[0].where == "rows.jsonl:42"


def test_shuffled_labels_do_not_leak_by_position() -> None:
    rng = random.Random(3)
    pairs = [(f"s{i}", rng.choice(["True", "False"])) for i in range(500)]
    assert found("label_leakage_position", labelled(pairs)) == []
    turns = [(f"s{i}", "True" if i % 2 else "False") for i in range(100)]
    [finding] = found("label_leakage_position", labelled(turns))
    assert "labels come in turns" in finding.message


def test_a_rare_class_is_not_leaked_by_a_template_of_its_own_size() -> None:
    rng = random.Random(4)
    rows = labelled([(f"s{i}", rng.choice(["True", "False"])) for i in range(300)])
    for each in rows:
        each.example = each.example.but(template=rng.choice(["a", "b", "c"]))
    assert found("label_leakage_template", rows) == []
    for each in rows:
        each.example = each.example.but(template="ab"[each.example.label == "True"])
    [finding] = found("label_leakage_template", rows)
    assert finding.severity == "error" and "100%" in finding.message


def test_topic_words_do_not_count_as_the_label_in_the_input() -> None:
    pairs = [(f"The match of team {i} was fine.", "sport") for i in range(40)]
    pairs += [(f"A sport law was passed in town {i}.", "politics") for i in range(40)]
    assert found("label_leakage_input", labelled(pairs, ["sport", "politics"])) == []


def test_options_in_a_fixed_order_say_nothing_about_position() -> None:
    rows = [row(f"Is {i} even?\nOptions:\n- yes\n- no", "yes") for i in range(50)]
    assert found("option_position", rows, FREE) == []
    moving = [
        row(f"Pick one.\nOPTIONS:\n- right {i}\n- wrong {i}\n- other {i}", f"right {i}")
        for i in range(50)
    ]
    [finding] = found("option_position", moving, FREE)
    assert finding.message.startswith("Option 1 is the right one in 100% of 50 rows")
    letters = [
        row(f"What is {i}?\n(A) x{i} (B) y{i} (C) z{i}", "The answer is (C)") for i in range(50)
    ]
    [finding] = found("option_position", letters, FREE)
    assert finding.message.startswith("Option 3 ")


# --- rows together -----------------------------------------------------------------------------


def test_misaligned_answers_need_many_rows_and_say_the_direction() -> None:
    down = [row(q, PAIRS[i - 1][1]) for i, (q, _) in enumerate(PAIRS)]
    up = [row(q, PAIRS[(i + 1) % len(PAIRS)][1]) for i, (q, _) in enumerate(PAIRS)]
    [finding] = found("misaligned_answers", down, FREE)
    assert "the question before theirs" in finding.message
    [finding] = found("misaligned_answers", up, FREE)
    assert "the question after theirs" in finding.message
    assert found("misaligned_answers", down[:20], FREE) == []


def test_ids_of_one_record_may_be_shared() -> None:
    rows = [row(f"q{i}", "a b", line=i // 2, id=f"tree{i // 2}") for i in range(20)]
    assert found("duplicate_ids", rows, FREE) == []
    kinds = [row(f"q{i}", "a b", line=i, id="train" if i % 2 else "test") for i in range(20)]
    assert found("duplicate_ids", kinds, FREE) == [], "a column of two values is no id"


def test_mixed_types() -> None:
    values: list[Any] = [1, 2.5, 3, None, 4, 5, 6, True, 8, 9, 10, 11]
    [finding] = found("mixed_types", [row("q", line=i, n=v) for i, v in enumerate(values, 1)], FREE)
    assert finding.message == "rows.jsonl: 'n' is a number in most rows, true or false in 1."
    assert finding.places[0].where == "rows.jsonl:8"
    half = [row("q", n=v) for v in [1, "1"] * 20]
    assert found("mixed_types", half, FREE) == [], "a column that is mixed on purpose"


def test_outliers_in_a_wide_range_are_none() -> None:
    rng = random.Random(5)
    lengths = [int(rng.lognormvariate(4, 1.2)) + 1 for _ in range(300)]
    rows = [row("Tell me.", "word " * n) for n in lengths]
    assert found("length_outliers", rows, FREE) == []
    few = [row("Tell me.", "word " * 150) for _ in range(300)] + [row("Tell me.", "Yes.", line=7)]
    [finding] = found("length_outliers", few, FREE)
    assert finding.what == "very short answer" and finding.places[0].where == "rows.jsonl:7"


def test_repeated_answers_are_found_among_very_many() -> None:
    rows = [row(f"q{i}", f"This is answer number {i} of all.") for i in range(3000)]
    assert found("repeated_answers", rows, FREE) == []
    for i in range(0, 3000, 20):
        rows[i] = row(f"q{i}", "Thank you for your kind question.")
    [finding] = found("repeated_answers", rows, FREE)
    assert 140 <= finding.count <= 150, "counted with 512 counters, so at least nearly all"
    again = [row("Who?", "It was the old man himself.")] * 50
    assert found("repeated_answers", again, FREE) == [], "copies of a row are not many questions"


def test_a_bilingual_set_has_no_other_language() -> None:
    english = [row(q, a) for q, a in PAIRS]
    german = [
        row("Warum fliegen die Störche im Herbst nicht mehr über den Fluss?", "a")
        for _ in range(20)
    ]
    assert found("other_languages", [*english, *german], FREE) == []
    [finding] = found("other_languages", [*english, german[0]], FREE)
    assert finding.count == 1 and "1 in 'de'" in finding.message


def test_a_translation_is_not_another_language() -> None:
    english = [
        row(f"What is the name of the bird that we saw at the lake in {n}?") for n in range(40)
    ]
    asked = row("Translate the sentence into English.\nIch hätte gern ein Glas Wasser, bitte.")
    assert found("other_languages", [*english, asked], FREE) == []


# --- answers -----------------------------------------------------------------------------------


def test_an_answer_without_its_full_stop_among_many_that_have_it() -> None:
    told = "They will be back when the ice is gone."
    whole = [row(f"Why {n}?", f"The storks left early in {n}. {told}") for n in range(30)]
    cut = row("Why?", "The storks left. They fly by day and rest in trees, which makes it exp",
              line=7)  # fmt: skip
    surely = row("Why?", "The storks left early. They fly by day and rest in trees because the")
    titles = [row("Name it.", "A Bird of the Lakes. By Ada Lund, of the old Heron House")]
    lists = [
        row("List.", "They need food. They need these:\n- a nest in a tall tree\n- frogs and eels")
    ]
    [finding] = found("unfinished_answers", [*whole, cut, surely, *titles, *lists], FREE)
    assert [place.where for place in finding.places] == ["rows.jsonl:7"]
    assert found("unfinished_answers", [*whole[:20], *[cut] * 5], FREE) == [], "the file's way"


# --- tokens ------------------------------------------------------------------------------------


def rendered(tokens: int, trained: range, answer: str = "Oak.", line: int = 1) -> Candidate:
    found = row("Name a tree.", answer, line=line)
    found.render = lambda e: Rendered(list(range(tokens)), [i in trained for i in range(tokens)])
    return found


def test_nothing_trained_names_the_cause() -> None:
    def refuses(example: Any) -> Rendered:
        raise DataError(f"{example.origin}: the chat template refuses this conversation")

    refused = row("a", "b", line=4)
    refused.render = refuses
    emptied, empty = (rendered(20, range(19, 20), " ", line=n) for n in (5, 6))
    emptied.example = emptied.example.but(template="t")
    rows = [
        rendered(20, range(15, 20), line=1), rendered(20, range(0), line=2),
        rendered(60, range(50, 60), line=3), refused, emptied, empty,
    ]  # fmt: skip
    context = Context(kind="generation", renders=True, max_seq_length=40, positions=512)
    causes = {
        f.what: [p.where for p in f.places] for f in found("zero_trained_tokens", rows, context)
    }
    assert causes == {
        "nothing trained, by template": ["rows.jsonl:4", "rows.jsonl:5"],
        "nothing trained, by mask": ["rows.jsonl:2"],
        "nothing trained, by length": ["rows.jsonl:3"],
    }
    assert found("longer_than_model", rows, context) == [], "said once is enough"


def test_longer_than_training_and_longer_than_the_model() -> None:
    rows = [rendered(100, range(20, 100), line=1), rendered(30, range(20, 30)),
            rendered(600, range(20, 600), line=3)]  # fmt: skip
    context = Context(kind="generation", renders=True, max_seq_length=40, positions=512)
    by = {f.what: f for f in found("longer_than_model", rows, context)}
    assert by["longer than the model"].severity == "error"
    assert by["longer than the model"].places[0].where == "rows.jsonl:3"
    assert by["longer than max_seq_length"].severity == "warning"
    assert by["longer than max_seq_length"].places[0].where == "rows.jsonl:1"


# --- splits ------------------------------------------------------------------------------------


def test_overlap_is_found_whichever_split_comes_first() -> None:
    text = "We will build four hundred new clinics before the next election in May"
    rows = [
        row(text, line=1), row(text, line=2), row(f"{text} or June", line=3), row("Other.", line=4),
        row(text, line=5),
    ]  # fmt: skip
    for each, split in zip(rows, ["train", "train", "test", "test", "validation"], strict=True):
        each.example = each.example.but(split=split)  # type: ignore[arg-type]
    by = {f.what: [p.where for p in f.places] for f in found("train_test_overlap", rows, FREE)}
    assert by == {"same row": ["rows.jsonl:5"], "near-duplicate": ["rows.jsonl:3"]}
    unsplit = [row(text, line=1), row(text, line=2)]
    assert found("train_test_overlap", unsplit, FREE) == []
    assert Origin("rows.jsonl", 1) == unsplit[0].example.origin
