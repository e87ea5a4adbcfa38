"""Self-Instruct from seeds to rows: its order, its yield, its lineage, and how it ends."""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import reference_self_instruct as reference
from scripted import Scripted, write
from scripted_server import Scripted as Server
from self_instruct_answers import strong
from test_self_instruct_rules import PIECES, completion

from luthier.artifacts import load_examples
from luthier.data.build import build as build_dataset
from luthier.data.generating.self_instruct.seeds import read_seeds
from luthier.data.generating.self_instruct.settings import SEEDS
from luthier.data.generating.writing import Writing
from luthier.data.generators.self_instruct import build
from luthier.data.novelty import NoveltyPool
from luthier.errors import DataError
from luthier.example import SPLITS
from luthier.inference.config import BudgetSection
from luthier.inference.request import Request
from luthier.recipe import load
from luthier.run import Run

INSTRUCTIONS = {seed.instruction for seed in read_seeds(SEEDS)}


def is_bootstrap(request: Request) -> bool:
    return request.max_tokens == 1024


def is_kind(request: Request) -> bool:
    return request.max_tokens == 3


# --- a strong model ----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def plenty(tmp_path_factory: pytest.TempPathFactory) -> tuple[Writing, Scripted, Path]:
    """120 rows of a strong model."""
    log = tmp_path_factory.mktemp("plenty") / "log"
    backend = Scripted(strong)
    writing, stopped = write(build(rows=120), backend, log)
    assert stopped is None
    return writing, backend, log


def test_a_strong_model_yields_most_of_what_it_writes(plenty: Any) -> None:
    writing, backend, _ = plenty
    assert 120 <= len(writing.rows) < 125
    candidates = len(writing.rows) + sum(writing.reasons.values())
    assert len(writing.rows) > 0.75 * candidates, writing.reasons
    # Nothing much is asked for in vain: a request for instructions brings several tasks.
    assert sum(map(is_bootstrap, backend.asked)) < 40
    kinds = Counter(row["is_classification"] for row in writing.rows)
    assert kinds[True] > 20 and kinds[False] > 20
    labels = Counter(row["output"] for row in writing.rows if row["is_classification"])
    assert labels.keys() <= {"kind", "rude", "neutral", "true", "false", "yes", "no"}
    assert max(labels.values()) < 3 * min(labels.values()), "output first: labels in balance"


def test_rows_are_novel_and_well_formed(plenty: Any) -> None:
    writing, _, _ = plenty
    pool = NoveltyPool(unicode=True)
    for text in INSTRUCTIONS:
        pool.add(pool.read(text))
    for instruction in dict.fromkeys(row["instruction"] for row in writing.rows):
        words = pool.read(instruction)
        assert pool.closest(words) is None
        pool.add(words)
    for row in writing.rows:
        assert row["output"] and row["instruction"][0].isupper()
        assert not row["input"].startswith(("Input:", "Output:"))
    assert len({row["id"] for row in writing.rows}) == len(writing.rows)


def test_lineage_of_a_row(plenty: Any) -> None:
    writing, backend, _ = plenty
    keys = {r.key(backend.model): r for r in backend.asked}
    names = {seed.id: seed.instruction for seed in read_seeds(SEEDS)}
    names |= {row["task"]: row["instruction"] for row in writing.rows}
    machine = Counter[int]()
    for row in writing.rows:
        first, kind, last = (keys[key] for key in row["calls"])
        assert is_bootstrap(first) and is_kind(kind) and last.max_tokens in (300, 350)
        assert kind.text.count(row["instruction"]) == 1
        assert last.max_tokens == (300 if row["is_classification"] else 350)
        assert len(row["parents"]) == 8
        known = [names[p].rstrip(":") for p in row["parents"] if p in names]
        assert all(text in first.text for text in known), "its parents are the tasks shown"
        machine[sum(p.startswith("task_") for p in row["parents"])] += 1
        assert len(row["most_similar"]) == 10 and 0 < row["avg_similarity_score"] < 0.7
    assert machine.keys() <= {0, 1, 2} and machine[2] > 60, "6 of people and 2 of the model"


def test_requests_are_those_of_the_paper(plenty: Any) -> None:
    _, backend, _ = plenty
    for request in backend.asked:
        if is_bootstrap(request):
            assert (request.temperature, request.top_p, request.presence_penalty) == (0.7, 0.5, 2)
            assert request.stop == ("\n\n", "\n16") and request.text.endswith("\n9.")
        elif is_kind(request):
            assert request.temperature == 0 and request.stop == ("\n", "Task")
        else:
            assert (request.temperature, request.presence_penalty) == (0, 1.5)
            assert request.stop == ("Example 6", "Task:")
    seeds = [request.seed for request in backend.asked if is_bootstrap(request)]
    assert len(set(seeds)) == len(seeds)


# --- the original's order and decisions --------------------------------------------------------


def warty(request: Request) -> str:
    """Completions with every wart, as a function of the request."""
    chance = random.Random(f"{request.seed} {request.text!r}")
    if is_bootstrap(request):
        text, finish = completion(chance)
    elif is_kind(request):
        return chance.choice((" Yes", " No", "YES", " Yes.", "no", ""))
    else:
        text = "".join(chance.choice(PIECES) for _ in range(chance.randrange(14)))
        finish = chance.choice(("stop", "stop", "length"))
    return f"CUT{text}" if finish == "length" else text


def test_a_whole_run_as_the_original_would_do_it(tmp_path: Path) -> None:
    backend = Scripted(warty, order=3)
    method = build(num_instructions=60, compat="original", unnamed_share=0.0)
    writing, _ = write(method, backend, tmp_path / "log")
    by_seed = {r.seed: r for r in backend.asked if is_bootstrap(r)}
    ordered = [by_seed[writing.number("instructions", n)] for n in range(len(by_seed))]
    assert len(ordered) % 5 == 0, "requests come in batches, and a batch is taken as a whole"

    seeds = [seed.instruction for seed in read_seeds(SEEDS)]
    completions = [(warty(r), "length" if warty(r).startswith("CUT") else "stop") for r in ordered]
    wanted = reference.bootstrap(completions, seeds)
    taken = [one for one in wanted if one["rule"] is None]
    assert len(taken) >= 60
    rejected = [(one["instruction"], one["rule"]) for one in wanted if one["rule"]]
    found = [
        (row["instruction"], row["reason"].partition(":")[0])
        for row in writing.left_out
        if "task" not in row and not row["reason"].startswith("truncated")
    ]
    assert found == rejected
    before = reference.bootstrap(completions[:-5], seeds)
    assert sum(one["rule"] is None for one in before) < 60, "no batch more than it takes"
    _require_instances(taken, backend, writing)


def test_prompts_of_a_batch_show_what_was_there_before_it(tmp_path: Path) -> None:
    for window in (2, 9):
        backend = Scripted(strong, order=window)
        method = build(num_instructions=60, compat="original")
        writing, _ = write(method, backend, tmp_path / str(window), window=window)
        batches = {row["task"]: row["request_idx"] for row in writing.rows}
        shown = 0
        for row in writing.rows:
            for parent in row["parents"]:
                if parent in batches:
                    assert batches[parent] < row["request_idx"]
                    shown += 1
        assert shown > 20


def test_what_is_left_out_has_its_lineage(tmp_path: Path) -> None:
    writing, _ = write(build(rows=40), Scripted(warty), tmp_path / "log")
    kinds = Counter[int]()
    for row in writing.left_out:
        assert len(row["parents"]) == 8 and row["generator"] == "scripted-1"
        kinds[len(row["calls"])] += 1
    assert kinds.keys() == {1, 3}, "instructions have one request behind them, instances three"


def _require_instances(taken: list[dict[str, Any]], backend: Scripted, writing: Writing) -> None:
    """Instances of every task, five at a time, are those of the reference."""
    kinds = {_task(r): reference.is_classification(warty(r)) for r in backend.asked if is_kind(r)}
    others = [r for r in backend.asked if not is_bootstrap(r) and not is_kind(r)]
    asked = {_task(r): r for r in others}
    rows: dict[str, list[Any]] = {}
    for row in writing.rows:
        rows.setdefault(row["instruction"], []).append((row["input"], row["output"]))
        stored = next(one for one in taken if one["instruction"] == row["instruction"])
        assert row["most_similar"] == stored["most_similar"]
        assert row["avg_similarity_score"] == stored["avg_similarity_score"]
    for place, one in enumerate(taken):
        instruction = one["instruction"].strip()
        closed, request = kinds[instruction], asked[instruction]
        group = [t["instruction"].strip() for t in taken[place - place % 5 :][:5]]
        assert request.max_tokens == (300 if any(kinds[name] for name in group) else 350)
        text = warty(request)
        finish = "length" if text.startswith("CUT") else "stop"
        whole = reference.instances_of(text, finish, closed)
        kept = rows.get(one["instruction"], [])
        assert len(kept) == min(5, len(whole))
        assert kept == [pair for pair in whole if pair in kept], "some of them, in their order"


def _task(request: Request) -> str:
    return request.text.rpartition("Task: ")[2].removesuffix("\nIs it classification?").strip()


# --- the same whatever happens -----------------------------------------------------------------


@pytest.mark.parametrize("options", [{"rows": 40}, {"num_instructions": 30, "compat": "original"}])
def test_the_result_does_not_depend_on_who_answers_first(
    options: dict[str, Any], tmp_path: Path
) -> None:
    found = [
        write(build(**options), Scripted(warty, order), tmp_path / str(order))[0]
        for order in (None, 1, 2)
    ]
    assert found[0].rows and found[0].left_out
    for writing in found[1:]:
        assert (writing.rows, writing.left_out) == (found[0].rows, found[0].left_out)
        assert writing.notes == found[0].notes


def nobody(request: Request) -> str:
    raise AssertionError("asked again")


def test_made_again_from_the_log_without_a_model(plenty: Any, tmp_path: Path) -> None:
    writing, _, log = plenty
    copy = tmp_path / "log"
    copy.write_bytes(log.read_bytes())
    again, _ = write(build(rows=120), Scripted(nobody), copy)
    assert (again.rows, again.left_out) == (writing.rows, writing.left_out)


def test_a_budget_ends_with_rows_and_goes_on(plenty: Any, tmp_path: Path) -> None:
    whole, backend, _ = plenty
    log = tmp_path / "log"
    first, stopped = write(build(rows=120), Scripted(strong), log, budget=BudgetSection(calls=40))
    assert stopped and "40 calls" in stopped
    assert len(first.rows) > 5, "instances come early"
    assert first.rows == whole.rows[: len(first.rows)]
    assert any("were asked for instances" in note for note in first.notes)
    second = Scripted(strong)
    again, stopped = write(build(rows=120), second, log)
    assert stopped is None and again.rows == whole.rows
    assert len(second.asked) <= len(backend.asked) - 40


def test_a_model_that_repeats_itself_is_given_up(tmp_path: Path) -> None:
    def parrot(request: Request) -> str:
        return " Sing a song about the sea." if is_bootstrap(request) else "Output: La la la."

    for options in ({"rows": 50}, {"num_instructions": 50, "compat": "original"}):
        backend = Scripted(parrot)
        method = build(**options, patience=12)  # type: ignore[arg-type]
        writing, _ = write(method, backend, tmp_path / str(len(options)))
        assert len(writing.rows) == 1 and writing.reasons["not novel"] >= 12
        assert any("given up (patience)" in note for note in writing.notes)
        assert len(backend.asked) < 30


def test_a_model_without_instances_is_given_up(tmp_path: Path) -> None:
    def mute(request: Request) -> str:
        return strong(request) if is_bootstrap(request) else " No"

    writing, _ = write(build(rows=50, patience=20), Scripted(mute), tmp_path / "log")
    assert not writing.rows and writing.reasons["no instance"] == 20
    assert any("20 instructions in a row" in note for note in writing.notes)


def test_requests_that_are_refused_are_left_out(tmp_path: Path) -> None:
    def picky(request: Request) -> str:
        refused = random.Random(f"{request.seed}{request.text}").random() < 0.3
        return "UNFIT for some reason" if refused else strong(request)

    writing, _ = write(build(rows=30), Scripted(picky), tmp_path / "log")
    assert len(writing.rows) >= 30 and writing.reasons["unfit"] > 3


def test_a_chat_model_is_told_to_go_on(tmp_path: Path) -> None:
    def chatty(request: Request) -> str:
        text = strong(request)
        if is_bootstrap(request):
            return "9. " + text.strip().replace("\n", "\n\n")
        return (
            text.strip() + "." if is_kind(request) else f"**{text.replace('Output:', 'Output:**')}"
        )

    backend = Scripted(chatty)
    writing, _ = write(build(rows=30, chat=True), backend, tmp_path / "log")
    assert all(r.messages and r.prompt is None for r in backend.asked)
    assert all("\n\n" not in r.stop for r in backend.asked)
    assert len(writing.rows) > 0.6 * (len(writing.rows) + sum(writing.reasons.values()))
    assert not any(row["instruction"][0].isdigit() for row in writing.rows)


def test_only_classification(tmp_path: Path) -> None:
    closed = {seed.instruction for seed in read_seeds(SEEDS) if seed.is_classification}
    for options in (
        {"rows": 20, "num_human": 4},
        {"num_instructions": 15, "compat": "original"},
    ):
        backend = Scripted(strong)
        method = build(**options, classification_share=1)  # type: ignore[arg-type]
        writing, _ = write(method, backend, tmp_path / str(len(options)))
        assert all(row["is_classification"] for row in writing.rows)
        prompts = [r.text for r in backend.asked if is_bootstrap(r)]
        assert not any(text in p for text in INSTRUCTIONS - closed for p in prompts)


def test_a_share_of_the_prompts_asks_for_classification(tmp_path: Path) -> None:
    backend = Scripted(strong)
    write(build(rows=60, classification_share=0.25), backend, tmp_path / "log")
    heads = [r.text.partition("\n")[0] for r in backend.asked if is_bootstrap(r)]
    assert sum("classification" in head for head in heads) == len(heads) // 4


# --- seeds and options -------------------------------------------------------------------------


def test_seeds_that_ship() -> None:
    seeds = read_seeds(SEEDS)
    share = sum(seed.is_classification for seed in seeds) / len(seeds)
    assert len(seeds) >= 60 and 0.2 < share < 0.3


def test_seeds_of_another_format(tmp_path: Path) -> None:
    path = tmp_path / "seeds.csv"
    lines = [f"Tell me something new about number {n}.,,Well." for n in range(9)]
    path.write_text("instruction,input,output\n" + "\n".join(lines))
    seeds = read_seeds(str(path))
    assert len(seeds) == 9 and len({seed.id for seed in seeds}) == 9


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"rows": 0}, "rows is 0, expected a whole number of at least 1."),
        ({"compat": "orignal"}, "Did you mean 'original'?"),
        ({"threshold": 1.5, "top_p": -1}, "threshold is 1.5, expected a number from 0 to 1."),
        ({"top_p": 0}, "temperature: 0 is greedy"),
        ({"chat": "yes"}, "chat is 'yes', expected true or false."),
        ({"blacklist": "image"}, "blacklist is 'image', expected a list of words."),
        ({"blacklist": None}, "blacklist is None, expected a list of words."),
        ({"compat": "original", "rows": 5}, "say num_instructions"),
        ({"compat": "original", "classification_share": 0.5}, "it is 0 or 1"),
        ({"min_words": 9, "max_words": 5}, "no instruction is both"),
        ({"seeds": "nowhere.jsonl"}, "nowhere.jsonl"),
        ({"seeds": 3}, "seeds is 3, expected a file."),
        ({"num_human": True}, "num_human is True"),
    ],
)
def test_options_that_make_no_sense(options: dict[str, Any], said: str) -> None:
    with pytest.raises(DataError) as caught:
        build(**options)
    assert said in str(caught.value)


def test_too_few_seeds(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"shows 20 .* seeds has 16 classification tasks"):
        write(build(num_human=18, classification_share=0.5), Scripted(strong), tmp_path / "log")


# --- the recipe --------------------------------------------------------------------------------

RECIPE = Path(__file__).parents[3] / "recipes" / "self_instruct.yaml"
HERE = Path(__file__).parent


def built(folder: Path, server: Server, model: Path, *changes: str) -> Run:
    """The recipe with the two lines changed that its comment names, and built."""
    overrides = [
        f"model={model}", "data.sources.0.generate.rows=120", "data.llm.backend=openai",
        f"data.llm.base_url={server.base_url}", "data.llm.model=strong-model", *changes,
    ]  # fmt: skip
    run = Run.create(load(RECIPE, overrides), folder)
    build_dataset(run, runs=folder)
    return run


def generated(run: Run) -> dict[str, bytes]:
    folder = run.path / "generated"
    return {p.name: p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.fixture(scope="module")
def from_server(
    tmp_path_factory: pytest.TempPathFactory, tiny_model_dir: Path
) -> Iterator[tuple[Run, Server, Path]]:
    """The recipe built against a server of its own."""
    folder = tmp_path_factory.mktemp("recipe")
    with Server(folder / "server", answers="self_instruct_answers", path=(HERE,)) as server:
        run = built(folder, server, tiny_model_dir, "data.sources.0.generate.window=8")
        yield run, server, tiny_model_dir


def test_the_recipe_against_a_server(from_server: tuple[Run, Server, Path]) -> None:
    run, _, _ = from_server
    examples = [e for split in SPLITS for e in load_examples(run, split)]
    wanted = run.recipe.data.sources[0].generate.options["rows"]  # type: ignore[union-attr]
    assert len(examples) >= 0.8 * wanted
    for example in examples:
        assert example.terms.generator == "strong-model-2026-01"
        given = example.fields["input"]
        asked = example.messages[-2].content
        assert example.fields["instruction"] in asked and given in asked
        assert ("input" in str(example.template)) == bool(given)
    assert len({example.template for example in examples}) == 13, "7 with an input, 6 without"
    summary = json.loads(generated(run)["summary.json"])
    assert summary["rows"] >= wanted and summary["stopped"] is None


def test_slow_answers_and_fewer_at_once_end_with_the_same_bytes(
    from_server: tuple[Run, Server, Path], tmp_path: Path
) -> None:
    run, _, model = from_server
    how: dict[str, Any] = {"answers": "self_instruct_answers", "path": (HERE,)}
    faults = {"seed": 3, "rate": 0.1, "kinds": ["429 seconds", "truncated"]}
    with Server(tmp_path / "server", service=0.002, slots=3, faults=faults, **how) as server:
        again = built(
            tmp_path, server, model,
            "data.sources.0.generate.window=8", "data.llm.max_concurrency=3",
        )  # fmt: skip
    assert generated(again).keys() == generated(run).keys()
    for name, text in generated(again).items():
        assert text == generated(run)[name], name
