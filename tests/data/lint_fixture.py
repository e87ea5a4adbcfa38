"""Forty kinds of defects, and more, each planted alone into rows that are clean without it.

`KINDS` has, for every kind, the files with the defect and their clean twin, what lint must call it,
and the rows it must point at.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from lint_planting import (
    MODEL,
    Kind,
    in_chat,
    in_pair,
    in_recipe,
    in_rows,
    in_table,
    jsonl,
    pairs,
    recipe,
    table,
    turn,
    with_row,
)
from lint_rows import LABELLED, PAIRS


def reader_kinds() -> list[Kind]:
    """What cannot be read as a row."""
    broken = b'{"question": "Why?", "answer": "Because'
    lines: list[Any] = pairs()
    listed = table(LABELLED).split(b"\n")
    fields = b"\n".join([*listed[:12], b"one,two,three", *listed[12:]])
    damaged = b"\n".join(
        [*listed[:12], "Caf\xe9 is open.".encode("latin-1") + b",False", *listed[12:]]
    )
    accented = table(with_row(("The café by the quay is open again.", "False"), 30))
    more = "Zoë will open the new façade in May.,True\nThe naïve plan of last year failed.,False\n"
    damaged, accented = damaged + more.encode(), accented + more.encode()
    return [
        in_rows(
            "broken JSON line",
            "reader",
            "not JSON",
            [*lines[:6], broken, *lines[6:]],
            places=("rows.jsonl:7",),
        ),
        in_rows(
            "JSON that is no object",
            "reader",
            "not an object",
            [*lines[:6], b"[1, 2]", *lines[6:]],
            places=("rows.jsonl:7",),
        ),
        in_rows(
            "repeated key",
            "reader",
            "repeated key",
            [*lines[:6], b'{"question": "Why?", "answer": "So.", "answer": "No."}', *lines[6:]],
            places=("rows.jsonl:7",),
        ),
        Kind(
            "wrong number of fields",
            frozenset({("reader", "wrong number of fields")}),
            {"rows.csv": fields},
            {"rows.csv": table(LABELLED)},
            "rows.csv",
            ("rows.csv:13",),
        ),
        Kind(
            "bytes that are not UTF-8",
            frozenset({("reader", "not UTF-8")}),
            {"rows.csv": damaged},
            {"rows.csv": accented},
            "rows.csv",
            ("rows.csv:13",),
        ),
        in_chat(
            "no conversation", "reader", "not a conversation", turn("user", "Is anybody there?")
        ),
    ]


def row_kinds() -> list[Kind]:
    """What is wrong with one row alone, or with one row after another."""
    article = "https://news.example/2021/storks-on-the-roof"
    loop = "They eat frogs, mice and large insects in wet meadows. " * 6
    month = {"question": "In which month do most storks leave?"}
    system = "You are a gardener who answers in one sentence and never speaks of roses."
    return [
        in_pair("empty answer", "empty", "empty", "Where do storks sleep?", " "),
        in_pair(
            "placeholder answer", "placeholders", "placeholder", "Where do storks sleep?", "N/A"
        ),
        in_pair("only punctuation", "no_content", "no content", "Where do storks sleep?", "?!"),
        in_pair(
            "answer equal to the question",
            "copied_input",
            "copied input",
            "Where do storks sleep?",
            "Where do storks sleep?",
        ),
        in_pair(
            "link without its text",
            "missing_attachments",
            "nothing to look at",
            f"Summarize this article: {article}",
            "It is about storks and the people below them.",
        ),
        in_pair(
            "picture asked for",
            "media_requests",
            "asks for media",
            "Please draw a picture of a stork on a roof.",
            "A stork stands on a red roof.",
        ),
        in_pair(
            "merged instructions",
            "merged_instructions",
            "merged instructions",
            "Where do storks sleep?",
            "In trees.\n\n##\n18. Instruction: Name a lake.\n18. Output: Garda",
        ),
        in_pair(
            "truncated answer",
            "truncated",
            "truncated",
            "Where do storks sleep?",
            "Most storks sleep in trees. Some stand on roofs for the night. A few spend it in the",
        ),
        in_pair(
            "refusal",
            "refusals",
            "refusal",
            "Where do storks sleep?",
            "I'm sorry, but I cannot answer questions about birds.",
        ),
        in_pair(
            "leaked prompt words",
            "prompt_leaks",
            "prompt words",
            "Where do storks sleep?",
            "#Rewritten Prompt#: Where do white storks sleep in winter?",
        ),
        in_pair(
            "control character",
            "control_characters",
            "control character",
            "Where do storks sleep?",
            "In trees\x08, mostly.",
        ),
        in_pair(
            "written-out escapes",
            "stray_escapes",
            "stray escapes",
            "Where do storks sleep?",
            r"In trees.\nOn roofs.\nIn reeds.",
        ),
        in_pair(
            "special tokens",
            "special_tokens",
            "chat markup",
            "Where do storks sleep?",
            "In trees.<|im_end|>",
        ),
        in_pair(
            "personal data",
            "pii",
            "personal data",
            "Who counts the storks?",
            "Ask greta.lindqvist@fjordpost.no about them.",
        ),
        in_pair(
            "wrongly decoded text",
            "encoding_damage",
            "encoding damage",
            "Where do storks sleep?",
            "Near the cafÃ©, in trees.",
        ),
        in_pair(
            "HTML left over",
            "html_leftovers",
            "HTML",
            "Where do storks sleep?",
            "In trees &amp; on roofs.",
        ),
        in_pair("repetition", "repetition", "repetition", "What do storks eat?", loop),
        in_pair(
            "missing code",
            "missing_code",
            "no code",
            "Write a Python function that counts storks.",
            "It goes through the birds and counts.",
        ),
        in_pair(
            "wrong arithmetic", "arithmetic", "wrong arithmetic", "What is 17 + 26?", "17 + 26 = 45"
        ),
        in_pair("exact duplicate", "exact_duplicates", "exact duplicate", *PAIRS[3]),
        in_pair(
            "near-duplicate",
            "near_duplicates",
            "near-duplicate",
            PAIRS[3][0],
            PAIRS[3][1].replace("left behind", "left there"),
        ),
        in_rows(
            "contradiction in free text",
            "contradiction",
            "unlike answers",
            [{**month, "answer": "August"}, *pairs(), {**month, "answer": "May"}],
            clean=[{**month, "answer": "August"}, *pairs()],
            places=(f"rows.jsonl:{len(PAIRS) + 2}",),
        ),
        in_table(
            "contradiction of labels",
            "contradiction",
            "contradiction",
            with_row((LABELLED[2][0], "True")),
            places=("rows.csv:12",),
        ),
        in_chat(
            "two users in a row",
            "alternation",
            "alternation",
            turn("user", "Where do storks sleep?"),
            turn("user", "And geese?"),
            turn("assistant", "Storks in trees, geese on water."),
        ),
        in_chat(
            "system message in the answer",
            "prompt_leaks",
            "prompt words",
            turn("system", system),
            turn("user", "What do you do?"),
            turn("assistant", f"{system} I plant tulips."),
        ),
    ]


def whole_kinds() -> list[Kind]:
    """What no row shows alone."""
    rows = pairs()
    shifted = [{**r, "answer": rows[i - 1]["answer"]} for i, r in enumerate(rows)]
    ordered = sorted(LABELLED, key=lambda pair: pair[1])
    named = [(f"{s} [{label}]", label) for s, label in LABELLED]
    formal = [(s if label == "True" else s.rstrip("."), label) for s, label in LABELLED * 2]
    again = [(f"Note {i}: {s}", label) for i, (s, label) in enumerate(LABELLED * 2)]
    formal = [(f"Note {i}: {s}", label) for i, (s, label) in enumerate(formal)]
    rare = [*(pair for pair in LABELLED if pair[1] == "False"), LABELLED[0]]
    many = [{**r, "answer": rows[0]["answer"]} if i % 6 == 0 else r for i, r in enumerate(rows)]
    numbered = [{"id": f"q{i}", **r} for i, r in enumerate(rows)]
    twice = [{**r, "id": "q3"} if i == 9 else r for i, r in enumerate(numbered)]
    sourced = [{**r, "origin": ""} for r in rows]
    ranked = [{**r, "rank": i % 5} for i, r in enumerate(rows)]
    cut = {
        "question": "Why do bakers weigh their flour?",
        "answer": "A cup may hold more or less of it. A scale says the same, which makes the br",
    }
    french = {
        "question": "Pourquoi les cigognes ne sont-elles pas sur le toit quand il fait froid ?",
        "answer": "Elles vont vers le sud.",
    }
    long = {"question": "Tell me all about the harbour.", "answer": " ".join(a for _, a in PAIRS)}
    asked, options = options_rows(first=True), options_rows(first=False)
    return [
        in_table(
            "constant labels",
            "constant_labels",
            "constant label",
            [(s, "True") for s, _ in LABELLED],
        ),
        in_table("label imbalance", "label_imbalance", "label imbalance", rare),
        in_table(
            "case variants of a label",
            "label_case_variants",
            "label variants",
            with_row(("The mayor will repaint all nine gates.", "true")),
            places=("rows.csv:12",),
        ),
        in_table(
            "label with white space",
            "label_case_variants",
            "label variants",
            with_row(("The mayor will repaint all nine gates.", "True ")),
            places=("rows.csv:12",),
        ),
        in_table(
            "label with a typo",
            "label_typos",
            "label typo",
            with_row(("The mayor will repaint all nine gates.", "Ture")),
            places=("rows.csv:12",),
        ),
        in_table("sorted by label", "label_leakage_position", "label leakage", ordered),
        in_table("label in the input", "label_leakage_input", "label leakage", named),
        in_table(
            "label told by the full stop",
            "label_leakage_format",
            "label leakage",
            formal,
            clean=again,
        ),
        in_table(
            "label told by the template",
            "label_leakage_template",
            "label leakage",
            [(s, label, "short" if label == "True" else "long") for s, label in again],
            clean=[(s, label, ("short", "long")[i // 3 % 2]) for i, (s, label) in enumerate(again)],
            header=("sentence", "label", "template"),
        ),
        told_by_the_source(again),
        in_rows(
            "answer always the first option",
            "option_position",
            "label leakage",
            asked,
            clean=options,
        ),
        in_rows("shifted answers", "misaligned_answers", "shifted answers", shifted),
        in_rows("one answer for many questions", "repeated_answers", "repeated answer", many),
        in_rows(
            "repeated id",
            "duplicate_ids",
            "repeated id",
            twice,
            clean=numbered,
            places=("rows.jsonl:10",),
        ),
        in_rows(
            "empty column",
            "empty_columns",
            "empty column",
            sourced,
            clean=[{**r, "origin": "me"} for r in rows],
        ),
        in_rows(
            "mixed types",
            "mixed_types",
            "mixed types",
            [{**r, "rank": str(r["rank"])} if i == 7 else r for i, r in enumerate(ranked)],
            clean=ranked,
            places=("rows.jsonl:8",),
        ),
        in_rows(
            "another language",
            "other_languages",
            "other language",
            [*rows[:9], french, *rows[9:]],
            places=("rows.jsonl:10",),
        ),
        in_rows(
            "very long answer",
            "length_outliers",
            "very long answer",
            [*rows[:9], long, *rows[9:]],
            places=("rows.jsonl:10",),
        ),
        in_rows(
            "answer that breaks off in a word",
            "unfinished_answers",
            "unfinished answer",
            [*rows[:9], cut, *rows[9:]],
            places=("rows.jsonl:10",),
        ),
        markers(),
    ]


def told_by_the_source(rows: Sequence[tuple[str, str]]) -> Kind:
    """A file of promises and a file of other sentences, or two mixed ones."""
    promises = [pair for pair in rows if pair[1] == "True"]
    others = [pair for pair in rows if pair[1] == "False"]
    text = recipe([{"path": "a.csv"}, {"path": "b.csv"}])
    return Kind(
        "label told by the source",
        frozenset({("label_leakage_source", "label leakage")}),
        {"recipe.yaml": text, "a.csv": table(promises), "b.csv": table(others)},
        {"recipe.yaml": text, "a.csv": table(rows[:50]), "b.csv": table(rows[50:])},
        "recipe.yaml",
    )


def options_rows(*, first: bool) -> list[dict[str, str]]:
    """Multiple choice: the answer is the first option, or one that moves around."""
    rows = []
    for i, (question, _) in enumerate(PAIRS):
        words = [f"{question.split()[-2]} {n}" for n in ("alpha", "beta", "gamma", "delta")]
        right = words[0 if first else (i * 7 + i // 5) % 4]
        listed = " ".join(f"({c}) {w}" for c, w in zip("ABCD", words, strict=True))
        rows.append({"question": f"{question}\n{listed}", "answer": right})
    return rows


def markers() -> Kind:
    """Two spellings of an input that there is none."""
    clean: list[dict[str, Any]] = [{"instruction": q, "input": "", "output": a} for q, a in PAIRS]
    planted = [dict(r) for r in clean]
    planted[4]["input"], planted[8]["input"] = "<noinput>", "No input"
    return in_rows(
        "empty-input markers",
        "empty_input_markers",
        "empty-input marker",
        planted,
        clean=clean,
        places=("rows.jsonl:5", "rows.jsonl:9"),
    )


def recipe_kinds() -> list[Kind]:
    """What only a recipe can tell: label sets, splits, templates, tokens."""
    fresh = [
        ("Somebody painted the old lighthouse green last week.", "False"),
        ("We will buy a second fire engine for the eastern villages.", "True"),
    ]
    copied = [*fresh, LABELLED[5]]
    similar = [*fresh, (LABELLED[5][0].rstrip(".") + " today.", LABELLED[5][1])]
    split = [{"path": "rows.csv"}, {"path": "test.csv", "split": "test"}]
    long = " ".join(s for s, _ in LABELLED[:16])
    return [
        in_recipe(
            "label outside the set",
            "labels",
            "label outside the set",
            with_row(("The mayor will repaint all nine gates.", "Maybe")),
            places=("rows.csv:12",),
        ),
        in_recipe(
            "unused label",
            "unused_labels",
            "unused label",
            [(s, "False" if label == "Vague" else label) for s, label in three_labels()],
            three_labels(),
            labels=["True", "False", "Vague"],
        ),
        Kind(
            "row in train and test",
            frozenset({("train_test_overlap", "same row")}),
            {"recipe.yaml": recipe(split), "rows.csv": table(LABELLED), "test.csv": table(copied)},
            {"recipe.yaml": recipe(split), "rows.csv": table(LABELLED), "test.csv": table(fresh)},
            "recipe.yaml",
            ("rows.csv:7",),
        ),
        Kind(
            "nearly the same row in train and test",
            frozenset({("train_test_overlap", "near-duplicate")}),
            {"recipe.yaml": recipe(split), "rows.csv": table(LABELLED), "test.csv": table(similar)},
            {"recipe.yaml": recipe(split), "rows.csv": table(LABELLED), "test.csv": table(fresh)},
            "recipe.yaml",
            ("rows.csv:7",),
        ),
        in_recipe(
            "test row in the data",
            "decontamination",
            "test data",
            with_row(fresh[0]),
            also={"test.csv": table(fresh)},
            places=("rows.csv:12",),
            filters=[{"use": "decontamination", "against": ["test.csv"]}],
        ),
        long_answer(),
        in_recipe(
            "semantic duplicate",
            "semantic_duplicates",
            "semantic duplicate",
            with_row(("The council will, in June, repair the roof of this swimming hall.", "True")),
            filters=[{"use": "semantic_duplicates", "similarity": 0.9}],
            places=("rows.csv:12",),
        ),
        long_question(long),
    ]


def long_answer() -> Kind:
    """An answer that does not end within the row, in a task of free text."""
    tree = {
        "name": "fixture",
        "model": MODEL,
        "task": {"kind": "generation"},
        "data": {"sources": [{"path": "rows.jsonl", "input": "question", "output": "answer"}]},
        "train": {"max_seq_length": 150},
    }
    clean = pairs()
    answer = " ".join(a for _, a in PAIRS[:4])
    planted = [
        *clean[:9],
        {"question": "Tell me of birds, boats, bread and salt.", "answer": answer},
        *clean[9:],
    ]
    files = {"recipe.yaml": json.dumps(tree).encode()}
    return Kind(
        "row longer than training takes",
        frozenset({("longer_than_model", "longer than max_seq_length")}),
        {**files, "rows.jsonl": jsonl(planted)},
        {**files, "rows.jsonl": jsonl(clean)},
        "recipe.yaml",
        ("rows.jsonl:10",),
    )


def three_labels() -> list[tuple[str, str]]:
    """The labelled sentences with a third label."""
    return [(s, "Vague" if i % 3 == 1 else label) for i, (s, label) in enumerate(LABELLED)]


def long_question(long: str) -> Kind:
    """A question that leaves no room for its answer."""
    return in_recipe(
        "nothing trained",
        "zero_trained_tokens",
        "nothing trained, by length",
        with_row((long, "True")),
        places=("rows.csv:12",),
    )


KINDS = [*reader_kinds(), *row_kinds(), *whole_kinds(), *recipe_kinds()]
