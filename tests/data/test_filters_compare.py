"""Filters that compare: languages, meanings, and rows of test files."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from filter_rows import passes, row, said
from numpy.typing import NDArray
from tiny_bert import bert_dir as bert_dir

from luthier.data.build import build
from luthier.data.linting.languages import KNOWN, language_of
from luthier.errors import DataError, LuthierError, ModelError
from luthier.names import FILTERS
from luthier.run import Run


@pytest.mark.parametrize(
    ("code", "text"),
    [
        ("en", "The storks that live on our roof fly to the south when the summer is over."),
        ("fr", "Les cigognes qui vivent sur notre toit partent vers le sud quand il fait froid."),
        ("de", "Die Störche auf unserem Dach fliegen im Herbst nach Süden, und das ist schade."),
        ("es", "Las cigüeñas que viven en el tejado se van al sur cuando hace frío en la noche."),
        ("it", "Le cicogne che vivono sul tetto della casa vanno al sud quando non è più caldo."),
        ("pt", "As cegonhas que vivem no telhado da casa não ficam aqui quando faz muito frio."),
        ("nl", "De ooievaars die op het dak van ons huis wonen gaan in de herfst naar het zuiden."),
        ("sv", "Storkarna som bor på taket är inte kvar när hösten kommer, men jag ser dem i maj."),
        ("pl", "Bociany, które są na dachu, nie zostają tu jesienią, ale jest tak od lat i już."),
        (
            "fi",
            "Haikarat eivät ole täällä talvella, mutta ne ovat katolla kun kesä on ja se on hyvä.",
        ),
        ("tr", "Bu leylekler için çok uzun bir yol var ve ne kadar soğuk olsa da daha geç gider."),
        ("ru", "Аисты на нашей крыше улетают осенью на юг."),
        ("uk", "Лелеки на нашому даху відлітають восени, і їх не видно."),
        ("el", "Οι πελαργοί φεύγουν το φθινόπωρο."),
        ("ar", "تطير اللقالق جنوبا في الخريف"),
        ("fa", "لک‌لک‌ها پاییز به جنوب پرواز می‌کنند و چند ماه دیگر برمی‌گردند"),
        ("he", "החסידות עפות דרומה בסתיו"),
        ("hi", "सारस पतझड़ में दक्षिण की ओर उड़ते हैं"),
        ("zh", "鹳鸟秋天飞往南方过冬"),
        ("ja", "コウノトリは秋に南へ飛んで行きます"),
        ("ko", "황새는 가을에 남쪽으로 날아간다"),
        ("th", "นกกระสาบินไปทางใต้ในฤดูใบไม้ร่วง"),
    ],
)
def test_languages(code: str, text: str) -> None:
    assert language_of(text) == code
    assert code in KNOWN


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Berlin",
        "Greta Lindqvist, Oslo, 1931",
        "x = 3 * y + 2; return x",
        "la la la",
        "12 34 56",
        "Manchester United Real Madrid Bayern München Juventus Torino",
        "ok 好",
    ],
)
def test_what_cannot_be_told_is_left_open(text: str) -> None:
    assert language_of(text) is None


def test_language_filter() -> None:
    french = row(
        "Quelle est la plus haute montagne de France et dans quelle région est-elle ?", "Mont Blanc"
    )
    english = row("Which of the mountains in France is the highest, and where is it?", "Mont Blanc")
    translated = row(
        "Translate this sentence to French for me, please: it is late.", "Il est tard."
    )
    assert said("language", [french, english, translated]) == [
        "other language: fr, not en",
        None,
        None,
    ]
    assert said("language", [french, english], languages=["fr", "en"]) == [None, None]
    with pytest.raises(DataError, match=r"unknown language 'english'"):
        FILTERS.build("language", languages=["english"])
    with pytest.raises(DataError, match=r"languages is 'fr', expected a list"):
        FILTERS.build("language", languages="fr")


# --- meanings ----------------------------------------------------------------------------------


def test_semantic_duplicates_by_pieces_of_words() -> None:
    rows = [
        row("In May we will build ten new clinics for the islands.", line=2),
        row("For the islands, we will build ten new clinics in May.", line=3),
        row("In May we will not build ten new clinics for the islands.", line=4),
        row("Name the rivers that flow through the north of the country.", line=5),
    ]
    first, second, third, fourth = said("semantic_duplicates", rows)
    assert second is not None and second.startswith("semantic duplicate: ")
    assert second.endswith(" similar to rows.jsonl:2")
    assert (first, third, fourth) == (None, None, None), "a negation is another meaning"
    passes(
        "semantic_duplicates",
        row("Which of the two numbers is larger, 12 or 15?"),
        row("Which of the two numbers is larger, 12 or 51?"),
        row("We will build ten clinics.", "True", labels=["True", "False"]),
        row("We will build ten clinics.", "False", labels=["True", "False"]),
    )


def test_semantic_duplicates_by_a_model() -> None:
    """Vectors of one's own: here two topics, whatever the words."""

    def embed(texts: Sequence[str]) -> NDArray[np.float32]:
        birds = [float("stork" in t or "goose" in t) for t in texts]
        return np.array([[b, 1 - b] for b in birds], dtype=np.float32)

    rows = [
        row("A stork flies.", line=2),
        row("The goose swims.", line=3),
        row("It rains.", line=4),
    ]
    assert said("semantic_duplicates", rows, embed=embed) == [
        None,
        "semantic duplicate: 1.00 similar to rows.jsonl:2",
        None,
    ]


PARAPHRASES = [
    row("The doctor quickly bought a big car.", line=2),
    row("The physician fast purchased a large automobile.", line=3),
    row("A stork sang under the old bridge.", line=4),
    row("The old stork sang under a bridge.", line=5),
]


def test_semantic_duplicates_by_a_sentence_embedding_model(bert_dir: Path) -> None:
    assert said("semantic_duplicates", PARAPHRASES[:3]) == [None] * 3, "no piece of a word tells"
    reasons = said("semantic_duplicates", PARAPHRASES[:3], model=str(bert_dir), similarity=0.9)
    assert reasons == [None, "semantic duplicate: 1.00 similar to rows.jsonl:2", None]


def test_a_build_leaves_paraphrases_out(bert_dir: Path, make_run: Callable[..., Run]) -> None:
    model = {"use": "semantic_duplicates", "model": str(bert_dir), "similarity": 0.9}
    run = make_run(data={"filters": [model]})
    with (run.data_root / "rows.csv").open("a", encoding="utf-8") as file:
        file.writelines(f"{each.question},True,plan\n" for each in PARAPHRASES)
    assert build(run).rows_rejected == {"semantic duplicate": 2}
    lines = (run.path / "data/rejects.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line)["reason"].rpartition(" ")[2] for line in lines] == [
        "rows.csv:62", "rows.csv:64",
    ]  # fmt: skip


def test_a_model_that_cannot_be_had_stops_a_build(make_run: Callable[..., Run]) -> None:
    model = {"use": "semantic_duplicates", "model": "sentence-transformers/all-MiniLM-L6-v2"}
    run = make_run(data={"filters": [model]})
    with pytest.raises(ModelError, match=r"filter 'semantic_duplicates': model: .* cannot be fetc"):
        build(run)


def test_rows_that_are_prepared_together_are_judged_the_same() -> None:
    texts = ["Ten storks fly south.", "South fly ten storks.", "It rains again today."]
    rows = [row(text, line=i) for i, text in enumerate(texts, 2)]
    judge = FILTERS.build("semantic_duplicates", similarity=0.9)
    judge.prepare(rows)
    reasons = []
    for each in rows:
        reasons.append(judge(each))
        if reasons[-1] is None:
            judge.remember(each)
    assert [bool(r) for r in reasons] == [False, True, False]
    assert reasons == said("semantic_duplicates", rows, similarity=0.9)


@pytest.mark.parametrize(
    "options",
    [
        {"similarity": 0}, {"similarity": "high"}, {"embed": "a model"}, {"model": ["a"]},
        {"model": ""}, {"revision": "main"}, {"model": "a/b", "revision": 3},
        {"model": "a/b", "embed": len}, {"model": "run:first"},
    ],
)  # fmt: skip
def test_semantic_duplicates_refuse_impossible_options(options: dict[str, Any]) -> None:
    with pytest.raises(DataError, match="filter 'semantic_duplicates'"):
        FILTERS.build("semantic_duplicates", **options)


# --- decontamination ---------------------------------------------------------------------------

PASSAGE = (
    "Storks leave in August, fly by day, rest in trees at night and cross the sea where it is "
    "narrow, most of them at Gibraltar."
)


@pytest.fixture
def test_file(tmp_path: Path) -> Path:
    path = tmp_path / "test.jsonl"
    rows = [
        {"question": "How do storks get to Africa in the autumn of each year?", "answer": PASSAGE},
        {"question": "Where do geese sleep?", "answer": "On water."},
        {
            "question": "Give three reasons why a small town should keep its old railway station "
            "open for the people of the villages around it.",
            "answer": "Work, school and the market.",
        },
    ]
    path.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    return path


def test_decontamination_names_the_test_row(test_file: Path) -> None:
    rows = [
        row("Tell me about birds.", f"Well: {PASSAGE.upper()} That is all."),
        row("where do GEESE sleep", "Nobody knows."),
        row(
            "Give three reasons why a small town should keep its old railway station open for the "
            "people in villages around it."
        ),
        row("Where do geese sleep in winter?", "On water."),
        row("What does a stork eat?", "Frogs, and what it finds in wet meadows."),
    ]
    reasons = said("decontamination", rows, against=str(test_file))
    assert reasons == [
        f"test data: 13 words of the answer are in {test_file}:1 ('storks leave in august "
        f"fly by day "
        "rest in trees...')",
        f"test data: the question is that of {test_file}:2",
        f"test data: 13 words of the question are in {test_file}:3 ('give three reasons why "
        f"a small "
        "town should keep...')",
        None,
        None,
    ]


def test_decontamination_finds_near_matches(test_file: Path) -> None:
    near = row("How do storks get to Africa in the autumn of every year?")
    [reason] = said("decontamination", [near], against=[str(test_file)], similarity=0.6)
    assert reason is not None and reason.endswith(f" similar to {test_file}:1")


def test_the_wording_of_a_test_is_not_its_content(tmp_path: Path) -> None:
    ask = (
        "Read the sentence with care and say whether the speaker makes a promise that can be kept: "
    )
    path = tmp_path / "test.jsonl"
    rows = [{"input": f"{ask}{word}", "output": "True"} for word in "abcdefghijklmno"]
    path.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    passes(
        "decontamination",
        row(f"{ask}we will build a bridge here"),
        against=[str(path)],
        similarity=1.0,
    )


def test_decontamination_needs_a_file_that_is_there(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such file"):
        FILTERS.build("decontamination", against=[str(tmp_path / "none.jsonl")])
    with pytest.raises(DataError, match=r"against is \[3\], expected a list of files"):
        FILTERS.build("decontamination", against=[3])
    with pytest.raises(LuthierError, match="unknown option 'agianst'"):
        FILTERS.build("decontamination", against=[], agianst=[])
    with pytest.raises(DataError, match=r"against is \[\], expected a list of files"):
        FILTERS.build("decontamination", against=[])


def test_decontamination_reads_every_column_of_a_test(tmp_path: Path) -> None:
    path = tmp_path / "squad.jsonl"
    record = {"id": "1", "context": f"Of birds. {PASSAGE}", "question": "When do storks leave?",
              "answers": {"text": ["August"], "answer_start": [20]}}  # fmt: skip
    choices = {"question": "Which is right?", "choices": ["No.", PASSAGE], "answer": "B"}
    path.write_text(json.dumps(record), encoding="utf-8")
    other = tmp_path / "mmlu.jsonl"
    other.write_text(json.dumps(choices), encoding="utf-8")
    for file in (path, other):
        [reason] = said("decontamination", [row(f"Sum up: {PASSAGE}")], against=str(file))
        assert reason is not None and f"13 words of the question are in {file}:1" in reason
