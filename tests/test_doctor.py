"""Doctor: what is known to be bad is found, and nothing secret is shown."""

from __future__ import annotations

import json
from dataclasses import replace
from importlib import metadata

import pytest

from luthier import doctor
from luthier.hardware import describe

GOOD = {"python": "3.12.1", "torch": "2.9.0", "transformers": "5.23.0", "peft": "0.21.2"}
MACHINE = replace(describe(), device="cpu", disk_free=10**12)


def found(**versions: str | None) -> list[str]:
    return [p.what for p in doctor.find_problems({**GOOD, **versions}, MACHINE)]


def test_good_versions_are_no_problem() -> None:
    assert found() == []
    assert found(bitsandbytes="0.50.2", torch="2.13.0+cpu") == []


@pytest.mark.parametrize(
    ("package", "version", "count"),
    [
        ("python", "3.10.14", 1),
        ("torch", "2.5.1+cu121", 1),
        ("transformers", "5.14.2", 1),
        ("transformers", "5.2.0", 2),
        ("bitsandbytes", "0.49.1", 1),
        ("peft", None, 1),
    ],
)
def test_known_bad_versions(package: str, version: str | None, count: int) -> None:
    problems = found(**{package: version})

    assert len(problems) == count
    assert all(problem.startswith(package) for problem in problems)


def test_older_bitsandbytes_is_fine_on_a_gpu() -> None:
    versions = {**GOOD, "bitsandbytes": "0.49.1"}

    assert doctor.find_problems(versions, replace(MACHINE, device="cuda")) == []


def test_a_full_disk_is_a_problem() -> None:
    (problem,) = doctor.find_problems(GOOD, replace(MACHINE, disk_free=10**9))

    assert problem.what == "1.0 GB free where runs are written"


def test_secrets_are_never_shown() -> None:
    shown = doctor.settings(
        {
            "PIP_INDEX_URL": "https://me:hunter2@index.example/simple",
            "HF_TOKEN": "hf_secret",
            "HF_HUB_OFFLINE": "1",
            "UNRELATED": "x",
        }
    )

    assert shown == {
        "HF_HUB_OFFLINE": "1",
        "PIP_INDEX_URL": "https://***@index.example/simple",
        "HF_TOKEN": "set (not shown)",
    }


def test_extras_are_read_from_the_installed_metadata(monkeypatch: pytest.MonkeyPatch) -> None:
    extras = metadata.metadata("pytest")
    for extra in ("bnb", "serve"):
        extras["Provides-Extra"] = extra
    needed = [
        "torch>=2.8",
        'torch>=2.8; extra == "bnb"',
        'no-such-package>=3; extra == "serve"',
        'torch>=999; extra == "serve"',
    ]
    monkeypatch.setattr(doctor.metadata, "metadata", lambda name: extras)
    monkeypatch.setattr(doctor.metadata, "requires", lambda name: needed)

    missing = doctor.missing_extras()

    assert missing["bnb"] == []
    assert missing["serve"] == ["no-such-package>=3", "torch>=999"]


def test_a_source_tree_knows_nothing_of_extras() -> None:
    assert doctor.missing_extras("no-such-distribution") == {}


def test_a_diagnosis_is_plain_json() -> None:
    diagnosis = doctor.diagnose()

    assert json.loads(json.dumps(diagnosis)) == diagnosis
    assert diagnosis["versions"]["torch"]
    assert diagnosis["precision"]["choice"] in ("float32", "frozen_bf16")
    assert "smollm2-135m-instruct" in diagnosis["models"]
