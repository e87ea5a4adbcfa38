"""Which events of a run folder count, after kills, resumes and fresh starts."""

from __future__ import annotations

from typing import Any

from synthetic_run import Folder

from luthier.reporting.history import MAX_POINTS, History, read_history, smooth, tokens_per_second
from luthier.reporting.report import report
from luthier.run import Run


def steps(run: Run, first: int, last: int, loss: float) -> None:
    for step in range(first, last + 1):
        run.event("step", step=step, loss=loss, lr=1e-4)


def history(count: int) -> History:
    return History([{"step": i, "loss": float(i)} for i in range(1, count + 1)], [], [])


def test_a_resume_replaces_the_steps_done_again(folder: Folder) -> None:
    run = folder.make("plan")
    run.event("stage_started", stage="train")
    steps(run, 1, 5, 9.0)
    run.event("validation", step=5, metrics={"loss": 9.0})
    steps(run, 6, 8, 9.0)
    run.event("stage_started", stage="train")
    run.event("resumed", step=5)
    steps(run, 6, 10, 1.0)
    run.event("validation", step=10, metrics={"loss": 1.0, "accuracy": 0.5})
    found = read_history(run)
    assert [s["step"] for s in found.steps] == list(range(1, 11))
    assert [s["loss"] for s in found.steps] == [9.0] * 5 + [1.0] * 5
    assert found.validation_curve("loss") == [(5.0, 9.0), (10.0, 1.0)]
    assert found.metrics == ["loss", "accuracy"]
    assert [e["event"] for e in found.others] == ["resumed"]


def test_a_fresh_start_forgets_the_attempt_before(folder: Folder) -> None:
    run = folder.make("plan")
    run.event("stage_started", stage="train")
    steps(run, 1, 5, 9.0)
    run.event("validation", step=5, metrics={"loss": 9.0})
    run.event("nonfinite", step=5)
    run.event("stage_started", stage="train")
    run.event("batch_size", size=4)
    steps(run, 1, 2, 1.0)
    found = read_history(run)
    assert [s["loss"] for s in found.steps] == [1.0, 1.0]
    assert found.validations == []
    assert [e["event"] for e in found.others] == ["batch_size"]


def test_planning_anew_makes_an_unfinished_training_history(folder: Folder) -> None:
    run = folder.make("plan")
    run.event("stage_started", stage="train")
    steps(run, 1, 5, 9.0)
    assert len(read_history(run).steps) == 5
    run.event("stage_started", stage="plan")
    found = read_history(run)
    assert (found.steps, found.validations, found.others) == ([], [], [])


def test_a_training_that_stands_after_another_plan_is_still_shown(folder: Folder) -> None:
    run = folder.make("train")
    before = read_history(run)
    assert len(before.steps) > 100
    for stage in ("data", "plan"):
        run.event("stage_started", stage=stage)
    assert read_history(run) == before


def test_events_of_other_stages_are_not_training_events(folder: Folder) -> None:
    run = folder.make("train")
    before = len(read_history(run).others)
    with run.stage("evaluate", "f" * 32):
        run.event("something", rows=3)
    assert len(read_history(run).others) == before == 5


def test_an_unfinished_training_shows_how_far_it_got(folder: Folder) -> None:
    run = folder.make("plan")
    run.event("stage_started", stage="train")
    run.event("step", step=1, loss=None, lr=1e-4, grad_norm=None, tokens=10, seconds=0.0)
    run.event("nonfinite", step=1, rows=["0123456789abcdef"] * 64)
    steps(run, 2, 30, 2.0)
    page = report(run).read_text()
    assert "Training has started and not finished." in page
    assert "characters more in events.jsonl" in page
    assert "Gradient norm" not in page


def test_long_curves_are_averaged_over_equal_numbers_of_steps() -> None:
    assert history(MAX_POINTS).averaged == 1
    found = history(2 * MAX_POINTS + 1)
    curve = found.curve(lambda step: step["loss"])
    assert found.averaged == 3 and len(curve) <= MAX_POINTS
    assert curve[0] == (3.0, 2.0)


def test_steps_without_a_value_are_left_out() -> None:
    found = History([{"step": 1, "loss": None}, {"step": 2, "loss": 4.0}, {"step": 3}], [], [])
    assert found.curve(lambda step: step.get("loss")) == [(2.0, 4.0)]


def test_smoothing_keeps_places_and_levels() -> None:
    flat = [(float(i), 5.0) for i in range(40)]
    assert smooth(flat) == flat
    bumpy: list[Any] = [(float(i), float(i % 2)) for i in range(40)]
    assert max(abs(y - 0.5) for _, y in smooth(bumpy)[5:-5]) < 0.2


def test_throughput_needs_tokens_and_time() -> None:
    assert tokens_per_second({"tokens": 300, "seconds": 1.5}) == 200
    assert tokens_per_second({"tokens": 300, "seconds": 0}) is None
    assert tokens_per_second({}) is None
