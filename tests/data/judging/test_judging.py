"""A model as a judge: scores, preferences that survive a swap, agreement with people."""

from __future__ import annotations

import asyncio
import json
import random
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scripted_server import Scripted

from luthier.cli import app
from luthier.data.build import build
from luthier.data.judging.agreement import agreement
from luthier.data.judging.judge_file import judge_file
from luthier.data.judging.rubric import Judged, judge, prefer
from luthier.errors import DataError
from luthier.inference.call_log import CallLog
from luthier.inference.config import LlmSection
from luthier.inference.request import Choice, Completion, Request
from luthier.inference.session import Session
from luthier.run import Run


class Judge:
    """A backend that judges by a function of (question shown, turned round or not)."""

    features = frozenset({"json_schema"})

    def __init__(self, says: Callable[[Request], str]) -> None:
        self.model: dict[str, Any] = {"backend": "test", "model": "judge-1"}
        self.says = says
        self.asked: list[Request] = []

    async def complete(self, request: Request) -> Completion:
        self.asked.append(request)
        return Completion((Choice(self.says(request), "stop"),), "judge-1", 1, 1)

    async def close(self) -> None:
        """Nothing to let go of."""


def ask(tmp_path: Path, backend: Judge, what: Callable[[Session], Any]) -> Any:
    async def run() -> Any:
        with CallLog(tmp_path / "log") as log:
            async with Session(LlmSection(), log, backend=backend) as session:
                return await what(session)

    return asyncio.run(run())


def test_votes_see_either_order_and_their_median_counts(tmp_path: Path) -> None:
    scores = iter([2, 5, 4])
    backend = Judge(lambda r: json.dumps({"reason": f"r{r.seed}", "score": next(scores)}))
    found = ask(tmp_path, backend, lambda s: judge(s, "Q?", "A.", rubric="R", votes=3, seed=7))
    assert found == Judged(4.0, [2, 5, 4], "r9")
    shown = [r.messages[1].content for r in backend.asked]
    assert [text.index("Q?") < text.index("A.") for text in shown] == [True, False, True]
    scales = [re.findall(r"(\d) \(", r.messages[0].content) for r in backend.asked]
    assert scales == [["1", "5"], ["5", "1"], ["1", "5"]]


def test_votes_that_cannot_be_read_are_left_out(tmp_path: Path) -> None:
    said = {1: "no JSON here", 2: json.dumps({"reason": "fine", "score": 3})}
    backend = Judge(lambda r: said.get((r.seed or 0) % 1_000_003, '{"score": 9, "reason": "x"}'))
    found = ask(tmp_path, backend, lambda s: judge(s, "Q", "A", rubric="R", votes=3, seed=1))
    assert found.votes == [3] and found.score == 3


def test_a_preference_must_survive_the_swap(tmp_path: Path) -> None:
    def likes_what_is_first(request: Request) -> str:
        return json.dumps({"reason": "first", "better": "A"})

    def likes_the_sea(request: Request) -> str:
        a = request.messages[1].content.split("### Answer B")[0]
        return json.dumps({"reason": "sea", "better": "A" if "sea" in a else "B"})

    for says, first, second, wanted in [
        (likes_what_is_first, "the sea", "the hill", "tie"),
        (likes_the_sea, "the sea", "the hill", "first"),
        (likes_the_sea, "the hill", "the sea", "second"),
    ]:
        found = ask(
            tmp_path / f"{says.__name__}-{first}", Judge(says),
            lambda s, a=first, b=second: prefer(s, "Where?", a, b, rubric="R", seed=1),
        )  # fmt: skip
        assert found == wanted


def test_agreement_is_cohens_kappa() -> None:
    """Against the table of a textbook (Cohen 1960's formula by hand)."""
    pairs = [("y", "y")] * 20 + [("y", "n")] * 5 + [("n", "y")] * 10 + [("n", "n")] * 15
    human, judged = zip(*pairs, strict=True)
    found = agreement(human, judged, seed=1)
    observed, expected = 35 / 50, (25 / 50) * (30 / 50) + (25 / 50) * (20 / 50)
    assert found.kappa == pytest.approx((observed - expected) / (1 - expected))
    assert found.low < found.kappa < found.high and found.exact == 0.7 and not found.weighted


def test_near_scores_agree_in_part() -> None:
    chance = random.Random(0)
    human = [chance.randint(1, 5) for _ in range(60)]
    near = [min(5, h + 1) for h in human]
    far = [6 - h for h in human]
    assert agreement(human, near, 1).kappa > 0.7 > 0 > agreement(human, far, 1).kappa
    with pytest.raises(DataError, match="at least 10"):
        agreement(human[:5], near[:5], 1)


def test_a_score_that_nobody_gives_counts_in_how_far_others_are_apart() -> None:
    """Quadratic weights by hand: 1 - E[(a - b)^2] / (var a + var b + (mean a - mean b)^2)."""
    human = [1, 1, 1, 2, 2, 2, 5, 5, 5, 5, 1, 2]
    judged = [1, 1, 2, 2, 2, 5, 5, 5, 5, 2, 1, 2]

    def by_hand(rows: Any) -> float:
        a, b = np.array(human)[rows], np.array(judged)[rows]
        apart = a.var() + b.var() + (a.mean() - b.mean()) ** 2
        return 1 - float(np.mean((a - b) ** 2) / apart)

    found, chance = agreement(human, judged, 1), np.random.default_rng(1)
    assert found.kappa == pytest.approx(by_hand(slice(None))) == pytest.approx(0.716, abs=5e-4)
    # Resamples, some of which have no 2, are on the same scale.
    drawn = [by_hand(chance.integers(0, 12, 12)) for _ in range(1000)]
    assert (found.low, found.high) == pytest.approx(tuple(np.percentile(drawn, [2.5, 97.5])))
    with pytest.raises(DataError, match="finite"):
        agreement([*human, float("nan")], [*judged, 3], 1)


def test_scores_of_people_that_cannot_be_compared(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "rows.jsonl"

    def written(*values: Any) -> Path:
        rows = [{"instruction": f"Q {i}", "output": f"worth {1 + i % 5}", "people": value}
                for i, value in enumerate(values)]  # fmt: skip
        path.write_text("\n".join(map(json.dumps, rows)) + "\n")
        return path

    rules = [{"if": f"worth {s}", "say": f'{{"reason": "r", "score": {s}}}'} for s in range(1, 6)]
    scores = [1 + i % 5 for i in range(20)]
    with Scripted(tmp_path / "server", rules=rules) as server:
        section = server.section()
        with pytest.raises(DataError, match=r"not from 1 to 5.*: 2, the first '0' at .*:7\."):
            judge_file(
                written(*scores[:6], 0, 10, *scores[8:]), section, rubric="R", human="people"
            )
        assert server.asked() == [], "told before anything is paid"
        unclear = [float("nan"), "good", None, " ", float("inf")]
        found = judge_file(written(*scores, *unclear), section, rubric="R", human="people")
    assert found.kappa == pytest.approx(1) and "over 20 rows" in str(found.agreement)
    said = " ".join(capsys.readouterr().err.split())
    assert "no numbers: 3, the first 'NaN' at" in said


def test_a_build_leaves_out_what_the_judge_scores_low(
    make_run: Callable[..., Run], tmp_path: Path
) -> None:
    rules = [
        {"if": "birds", "say": '{"reason": "about birds", "score": 2}'},
        {"if": ".", "say": 'My verdict: {"reason": "good", "score": 4}'},
    ]
    with Scripted(tmp_path / "server", rules=rules) as server:
        llm = {"backend": "openai", "model": "strong-model", "base_url": server.base_url}
        run = make_run(
            data={"llm": llm, "filters": [{"use": "judge", "minimum": 3}]},
            task={"labels": ["True", "False"]},
        )
        with pytest.raises(DataError, match="False"):  # every row of that label is about birds
            build(run)
        rejects = [
            json.loads(x) for x in (run.path / "data/rejects.jsonl").read_text().splitlines()
        ]
        assert len(rejects) == 30
        assert rejects[0]["reason"] == "judge: 2 of 5, 3 needed: about birds"
        asked = len(server.asked())
        run = make_run(data={"llm": llm, "filters": [{"use": "judge", "minimum": 2}]})
        stats = build(run)
        assert sum(s.rows for s in stats.splits.values()) == 60
        assert len(server.asked()) == asked == 60, "the second build is answered by the log"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"minimum": 9}, "expected 1 to 5"),
        ({"minimum": 3, "votes": 0}, "whole number"),
        ({"minimum": 3, "llm": {"backend": "opnai"}}, "llm.backend"),
        ({"minimum": 3}, "log is missing"),
    ],
)
def test_mistakes_are_told(options: dict[str, Any], said: str) -> None:
    from luthier.data.filters.judge import build as build_judge

    with pytest.raises(DataError, match=said):
        build_judge(**options)


def test_a_file_is_judged_and_held_against_people(tmp_path: Path) -> None:
    chance = random.Random(1)
    lines = []
    for number in range(30):
        score = chance.randint(1, 5)
        people = score if number < 24 else None  # people did not judge all of them
        row = {"instruction": f"Question {number}", "output": f"worth {score}", "people": people}
        lines.append(json.dumps(row))
    path = tmp_path / "rows.jsonl"
    path.write_text("\n".join(lines) + "\n")
    rules = [
        {"if": f"worth {s}", "say": json.dumps({"reason": f"r{s}", "score": s})}
        for s in range(1, 6)
    ]
    recipe = tmp_path / "r.yaml"
    with Scripted(tmp_path / "server", rules=rules) as server:
        section = server.section()
        found = judge_file(path, section, rubric="R", human="people")
        assert found.kappa == pytest.approx(1) and "over 24 rows" in str(found.agreement)
        assert sum(found.scores.values()) == 30 and found.unread == 0 and found.calls == 30
        again = judge_file(path, section, rubric="R")
        assert again.calls == 0 and again.scores == found.scores
        llm = {"backend": "openai", "model": "strong-model", "base_url": server.base_url}
        recipe.write_text(
            json.dumps({
                "name": "r", "model": "m", "task": {"kind": "chat"},
                "data": {"sources": [{"path": "x.jsonl"}], "llm": llm},
            })
        )  # fmt: skip
        with pytest.raises(SystemExit) as ended:
            app(["judge", str(path), "--recipe", str(recipe), "--votes", "2", "--json"])
        assert ended.value.code in (0, None)
    written = [json.loads(line) for line in Path(found.out).read_text().splitlines()]
    assert [row["instruction"] for row in written] == [f"Question {n}" for n in range(30)]
    assert all(row["output"] == f"worth {row['judge_score']:g}" for row in written)
    with pytest.raises(DataError, match="Did you mean 'people'"):
        judge_file(path, section, rubric="R", human="peopel")
