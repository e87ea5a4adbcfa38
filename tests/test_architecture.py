"""The rules of the house, read off the source: who may import whom, and who may do what."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent / "luthier"
FILES = sorted(ROOT.rglob("*.py"))
STAGES = ("data", "planning", "training", "evaluation", "shipping", "reporting")
ABOVE_THE_STAGES = (
    "__init__", "__main__", "cli", "cli_data", "pipeline", "eject", "evidence", "look", "predict",
    "reviewing", "starters",
)  # fmt: skip
"""They know the order of the stages, or show what several of them made."""
HEAVY = ("torch", "transformers", "peft", "accelerate", "datasets", "bitsandbytes", "trl")
OPEN_WEIGHTS = ("model", "packaged", "adapters", "embedder")
HEAVY_MODULES = (
    *OPEN_WEIGHTS, "generate", "scoring", "predict", "chat", "products", "ragged", "fused",
    "prefix_cache", "chunked_loss", "seq2seq", "sampling",
    "planning.trace",  # subclasses of torch's modes; imported where it is used
)  # fmt: skip
MOST_LINES = 550


def name_of(path: Path) -> str:
    """`data.filters.length` of luthier/data/filters/length.py."""
    parts = list(path.relative_to(ROOT).with_suffix("").parts)
    return ".".join(parts[:-1] if parts[-1] == "__init__" and len(parts) > 1 else parts)


def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


def imports(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """(line, dotted name) of everything imported anywhere below a node."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative imports hide who imports whom"
            for alias in node.names:
                yield node.lineno, f"{node.module}.{alias.name}"


def at_import(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """What is imported as soon as the module is."""
    for node in tree.body:
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            continue
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            continue
        yield from imports(node)


def calls(tree: ast.AST) -> Iterator[tuple[ast.Call, str]]:
    """Calls with the dotted name of what is called: `torch.load`, `.generate` of an expression."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            parts, function = [], node.func
            while isinstance(function, ast.Attribute):
                parts.append(function.attr)
                function = function.value
            parts.append(function.id if isinstance(function, ast.Name) else "")
            yield node, ".".join(reversed(parts))


def place(path: Path, line: int) -> str:
    return f"{path.relative_to(ROOT.parent)}:{line}"


def is_module(dotted: str) -> bool:
    path = ROOT.parent / Path(*dotted.split("."))
    return path.with_suffix(".py").is_file() or (path / "__init__.py").is_file()


def module_of(imported: str) -> str:
    """The luthier module that `luthier.a.b.name` comes from, without `luthier.`."""
    while imported and not is_module(imported):
        imported = imported.rpartition(".")[0]
    return imported.removeprefix("luthier").removeprefix(".")


def test_the_source_is_found() -> None:
    assert len(FILES) > 90
    assert {name_of(path).split(".")[0] for path in FILES} >= set(STAGES)


# --- who imports whom --------------------------------------------------------------------------


def test_a_stage_imports_top_level_modules_and_itself() -> None:
    wrong = []
    for path in FILES:
        mine = name_of(path).split(".")[0]
        if mine in ABOVE_THE_STAGES:
            continue
        for line, imported in imports(tree_of(path)):
            if not imported.startswith("luthier."):
                continue
            theirs = module_of(imported)
            stage = theirs.split(".")[0]
            if stage in STAGES and stage != mine and theirs != f"{stage}.config":
                wrong.append(f"{place(path, line)} imports luthier.{theirs}")
            if stage in ABOVE_THE_STAGES[2:] and mine in STAGES:
                wrong.append(f"{place(path, line)} imports luthier.{theirs}, which is above it")
    assert not wrong, "\n".join(wrong)


def test_configs_are_all_that_one_stage_reads_of_another() -> None:
    """The planner reads what training is asked to do; nobody else reads another stage's."""
    found = set()
    for path in FILES:
        mine = name_of(path).split(".")[0]
        for _, imported in imports(tree_of(path)):
            theirs = module_of(imported)
            of_another = theirs.split(".")[0] in STAGES and not theirs.startswith(mine)
            if mine in STAGES and theirs.endswith(".config") and of_another:
                found.add((mine, theirs))
    assert found <= {("planning", "training.config")}


def test_a_stages_config_imports_no_machinery() -> None:
    for stage in STAGES:
        path = ROOT / stage / "config.py"
        if path.is_file():
            mine = {module_of(name) for _, name in imports(tree_of(path)) if "luthier" in name}
            assert mine <= {"section", "inference.config"}, f"{path} imports {mine}"


def test_asking_models_is_a_room_below_the_stages() -> None:
    """`inference/` knows no stage, and no stage but data has a model asked."""
    rooms = (*STAGES, *ABOVE_THE_STAGES[2:])
    wrong, users = [], set()
    for path in FILES:
        mine = name_of(path).split(".")[0]
        for line, imported in imports(tree_of(path)):
            theirs = module_of(imported).split(".")[0] if "luthier" in imported else ""
            if mine == "inference" and theirs in rooms:
                wrong.append(f"{place(path, line)} imports {imported}")
            if theirs == "inference" and mine != "inference":
                users.add(mine)
    assert not wrong, "\n".join(wrong)
    assert users & set(STAGES) == {"data"}
    assert users <= {"data", *ABOVE_THE_STAGES}


def light() -> list[str]:
    """Modules that must be importable in an instant, on a machine without a working torch."""
    return [
        f"luthier.{name}"
        for name in map(name_of, FILES)
        if (
            name.split(".")[0] in ("planning", "data", "reporting")
            or name.split(".")[0] not in STAGES
            or name.endswith(".config")
        )
        and name not in ("__init__", "__main__", *HEAVY_MODULES)
    ]


def test_light_modules_do_not_import_torch() -> None:
    wrong = []
    for path in FILES:
        if f"luthier.{name_of(path)}" in light():
            wrong += [
                f"{place(path, line)} imports {name}"
                for line, name in at_import(tree_of(path))
                if name.split(".")[0] in HEAVY
            ]
    assert not wrong, "\n".join(wrong)
    assert len(light()) > 60


def output_of(code: str) -> list[str]:
    """What a fresh interpreter that runs some code prints, in words."""
    command = [sys.executable, "-c", code]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=120, cwd=ROOT.parent, check=True
    )
    return done.stdout.split()


def test_light_modules_do_not_bring_torch_along() -> None:
    code = f"""
import importlib, sys
for name in {light()!r}:
    importlib.import_module(name)
    if set(sys.modules) & set({HEAVY!r}):
        print(name)
        break
"""
    assert output_of(code) == []


def modules_after(code: str) -> set[str]:
    """Top-level names in `sys.modules` of a fresh interpreter that ran some code."""
    listing = "print(' '.join({m.split('.')[0] for m in sys.modules}))"
    return set(output_of(f"{code}\nimport sys\n{listing}"))


INSTANT = (*HEAVY, "pydantic", "rich", "ruamel", "numpy", "scipy", "sklearn", "pyarrow")


def test_import_luthier_is_instant() -> None:
    assert not modules_after("import luthier; luthier.__version__") & set(INSTANT)


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["run", "--help"]])
def test_help_is_instant(arguments: list[str]) -> None:
    of_typer = {"pydantic"} if len(arguments) > 1 else set()  # it reads a command's options by it
    code = f"""
import contextlib, io, sys
sys.argv = ["luthier", *{arguments!r}]
from luthier.cli import app
with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.suppress(SystemExit):
    app()
assert "luthier" in out.getvalue()
"""
    assert not modules_after(code) & set(INSTANT) - of_typer


# --- who may do what ---------------------------------------------------------------------------


def offences(wanted: re.Pattern[str], allowed: tuple[str, ...]) -> list[str]:
    """Calls of a name that a pattern matches, outside the allowed modules."""
    return [
        f"{place(path, call.lineno)} calls {name}"
        for path in FILES
        if name_of(path) not in allowed
        for call, name in calls(tree_of(path))
        if wanted.search(name)
    ]


def test_only_the_model_modules_open_weights() -> None:
    pretrained = re.compile(r"(?<!Tokenizer)(?<!Config)\.from_pretrained$")
    assert not (found := offences(pretrained, OPEN_WEIGHTS)), "\n".join(found)
    tensors = re.compile(
        r"(^|\.)(safe_open|load_file|load_safetensors|load_model|load_state_dict)$"
    )
    allowed = (
        *OPEN_WEIGHTS,
        "training.checkpoint",
        "training.trainer",
        "training.parallel",
        "training.sharding",
    )
    assert not (found := offences(tensors, allowed)), "\n".join(found)
    for module in OPEN_WEIGHTS[:1]:
        assert any(pretrained.search(n) for _, n in calls(tree_of(ROOT / f"{module}.py")))


def test_only_generate_generates() -> None:
    assert not (found := offences(re.compile(r"\.generate$"), ("generate",))), "\n".join(found)
    assert any(n.endswith(".generate") for _, n in calls(tree_of(ROOT / "generate.py")))


def test_only_the_renderer_applies_chat_templates() -> None:
    found = offences(re.compile(r"\.apply_chat_template$"), ("chat",))
    assert not found, "\n".join(found)


def test_nothing_dangerous_is_used() -> None:
    names = re.compile(
        r"^(torch\.(load|save)|pickle\.\w+|marshal\.\w+|os\.system|os\.popen)$"
        r"|^(eval|exec|compile|__import__)$"
    )
    wrong = offences(names, ())
    for path in FILES:
        tree = tree_of(path)
        for line, name in imports(tree):
            if name.split(".")[0] in (
                "pickle",
                "cPickle",
                "dill",
                "cloudpickle",
                "marshal",
                "shelve",
            ):
                wrong.append(f"{place(path, line)} imports {name}")
        for call, _ in calls(tree):
            for keyword in call.keywords:
                true = isinstance(keyword.value, ast.Constant) and keyword.value.value is True
                if keyword.arg in ("shell", "trust_remote_code", "allow_pickle") and true:
                    wrong.append(f"{place(path, call.lineno)} passes {keyword.arg}=True")
    assert not wrong, "\n".join(wrong)


# --- how it reads ------------------------------------------------------------------------------


def test_modules_are_named_for_what_they_are() -> None:
    bad = {"util", "utils", "helper", "helpers", "common", "base", "manager", "misc", "core"}
    for path in FILES:
        words = set(re.split(r"[._]", name_of(path)))
        assert not words & bad, path


def test_everything_public_is_documented() -> None:
    wrong = []
    for path in FILES:
        tree = tree_of(path)
        if not ast.get_docstring(tree) and path.read_text(encoding="utf-8").strip():
            wrong.append(f"{place(path, 1)}: the module")
        wrong += [
            f"{place(path, node.lineno)}: {node.name}"
            for node in tree.body
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef))
            and not node.name.startswith("_")
            and not ast.get_docstring(node)
        ]
    assert not wrong, "\n".join(wrong)


def test_files_stay_readable() -> None:
    long = {str(p.relative_to(ROOT)): n for p in FILES
            if (n := len(p.read_text(encoding="utf-8").splitlines())) > MOST_LINES}  # fmt: skip
    assert not long


def test_nothing_is_left_to_do() -> None:
    wrong = [
        place(path, number)
        for path in FILES
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if re.search(r"\b(TODO|FIXME|XXX|HACK)\b|raise NotImplementedError|breakpoint\(", line)
    ]
    assert not wrong, "\n".join(wrong)
