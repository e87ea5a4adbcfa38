"""The embedded model: fetched with the real pip, from wheels made here that hold a tiny GGUF."""

from __future__ import annotations

import base64
import dataclasses
import errno
import fcntl
import hashlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from luthier import packaged
from luthier.errors import ModelError
from luthier.packaged import MANIFEST, Package

DIST = "tiny_model-1.0.dist-info"
HIDDEN, ROWS = 32, 64


def write_gguf(path: Path) -> np.ndarray:
    """A 1-layer Llama with a byte-level tokenizer; returns its embedding (ROWS, HIDDEN)."""
    import gguf

    rng = np.random.default_rng(0)
    tokens = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    tokens += [chr(code) for code in range(33, 33 + ROWS - len(tokens) - 1)] + ["AB"]
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_context_length(64)
    writer.add_embedding_length(HIDDEN)
    writer.add_block_count(1)
    writer.add_feed_forward_length(64)
    writer.add_head_count(4)
    writer.add_head_count_kv(2)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_vocab_size(ROWS)
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list(tokens)
    writer.add_token_types([3] * 3 + [1] * (ROWS - 3))
    writer.add_token_merges(["A B"])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    shapes = {
        "token_embd": (ROWS, HIDDEN), "output_norm": (HIDDEN,),
        "blk.0.attn_norm": (HIDDEN,), "blk.0.ffn_norm": (HIDDEN,),
        "blk.0.attn_q": (HIDDEN, HIDDEN), "blk.0.attn_k": (16, HIDDEN),
        "blk.0.attn_v": (16, HIDDEN), "blk.0.attn_output": (HIDDEN, HIDDEN),
        "blk.0.ffn_gate": (64, HIDDEN), "blk.0.ffn_up": (64, HIDDEN),
        "blk.0.ffn_down": (HIDDEN, 64),
    }  # fmt: skip
    tensors = {k: rng.normal(0, 0.1, v).astype(np.float32) for k, v in shapes.items()}
    for name, tensor in tensors.items():
        writer.add_tensor(f"{name}.weight", tensor)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return tensors["token_embd"]


@pytest.fixture(scope="module")
def gguf_file(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, np.ndarray]:
    path = tmp_path_factory.mktemp("gguf") / "tiny.gguf"
    return path, write_gguf(path)


@pytest.fixture
def package(
    tmp_path: Path, gguf_file: tuple[Path, np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> Package:
    """A wheel on a local index, and an empty cache."""
    wheels = tmp_path / "wheels"
    wheels.mkdir()
    wheel = wheels / "tiny_model-1.0-py3-none-any.whl"
    trap = f"open({str(tmp_path / 'code_ran')!r}, 'w')"
    files = {
        "tiny_model/tiny.gguf": gguf_file[0].read_bytes(),
        "tiny_model/__init__.py": trap.encode(),
        f"{DIST}/LICENSE": b"Do what you like.\n",
        f"{DIST}/METADATA": b"Metadata-Version: 2.1\nName: tiny-model\nVersion: 1.0\n"
        b"Requires-Dist: no-such-package\n",
        f"{DIST}/WHEEL": b"Wheel-Version: 1.0\nGenerator: x\nRoot-Is-Purelib: true\n"
        b"Tag: py3-none-any\n",
    }

    def record(data: bytes) -> str:
        digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
        return f"sha256={digest},{len(data)}"

    listing = "".join(f"{name},{record(data)}\n" for name, data in files.items())
    with zipfile.ZipFile(wheel, "w") as archive:
        for name, data in {**files, f"{DIST}/RECORD": listing.encode()}.items():
            archive.writestr(name, data)
    monkeypatch.setenv("LUTHIER_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(wheels))
    return Package(
        name="tiny",
        requirement="tiny-model==1.0",
        download_bytes=wheel.stat().st_size,
        installed_bytes=1_000_000,
        wheel_sha256=hashlib.sha256(wheel.read_bytes()).hexdigest(),
        gguf="tiny_model/tiny.gguf",
        gguf_sha256=hashlib.sha256(files["tiny_model/tiny.gguf"]).hexdigest(),
        licence=f"{DIST}/LICENSE",
        pad_token="<|endoftext|>",
    )


def copy_instead_of_converting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Conversion has its own tests; elsewhere it would only take time."""

    def convert(gguf: Path, folder: Path, **_: Any) -> None:
        shutil.copy(gguf, folder / "model.safetensors")
        (folder / "config.json").write_text("{}")

    monkeypatch.setattr(packaged, "dequantize", convert)


def names(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir())


def test_the_wheel_becomes_a_plain_model(
    package: Package, gguf_file: tuple[Path, np.ndarray], tmp_path: Path
) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder = packaged.install(package)
    assert folder == tmp_path / "home" / "tiny"
    assert (folder / "LICENSE").read_text() == "Do what you like.\n"
    assert not (tmp_path / "code_ran").exists()
    settings = json.loads((folder / "config.json").read_text())
    assert "quantization_config" not in settings
    assert (settings["pad_token_id"], settings["eos_token_id"]) == (0, 2)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    assert (tokenizer.pad_token_id, tokenizer.eos_token_id) == (0, 2)
    model, info = AutoModelForCausalLM.from_pretrained(
        folder, use_safetensors=True, output_loading_info=True
    )
    assert not info["missing_keys"] and not info["unexpected_keys"]
    embedding = model.get_input_embeddings().weight.detach()
    assert torch.equal(embedding, torch.from_numpy(gguf_file[1]))
    assert torch.isfinite(model(torch.tensor([[1, 5, 9]])).logits).all()


def test_the_second_time_needs_no_index(
    package: Package, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    copy_instead_of_converting(monkeypatch)
    first = packaged.install(package)
    said = capfd.readouterr().err
    assert "fetching tiny-model==1.0" in said and "ready in" in said
    monkeypatch.setenv("PIP_FIND_LINKS", "/nowhere")
    assert packaged.install(package) == first
    assert capfd.readouterr().err == ""
    assert names(first.parent) == [".tiny.lock", "tiny"]


def test_another_wheel_under_the_name_is_refused(package: Package, tmp_path: Path) -> None:
    wrong = dataclasses.replace(package, wheel_sha256="0" * 64)
    with pytest.raises(ModelError, match=rf"{package.wheel_sha256}, not 0000.*Nothing of it"):
        packaged.install(wrong)
    assert names(tmp_path / "home") == [".tiny.lock"]


def test_a_wheel_cut_short_is_refused(package: Package, tmp_path: Path) -> None:
    wheel = next((tmp_path / "wheels").glob("*.whl"))
    wheel.write_bytes(wheel.read_bytes()[:-500])
    with pytest.raises(ModelError, match=r"tiny-model==1\.0.*pip says"):
        packaged.install(package)
    assert names(tmp_path / "home") == [".tiny.lock"]


def test_an_index_that_does_not_answer(
    package: Package, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket() as reserved:  # bound but not listening: connections are refused
        reserved.bind(("127.0.0.1", 0))
        port = reserved.getsockname()[1]
        monkeypatch.delenv("PIP_NO_INDEX")
        monkeypatch.delenv("PIP_FIND_LINKS")
        monkeypatch.setenv("PIP_RETRIES", "0")
        monkeypatch.setenv("PIP_INDEX_URL", f"http://me:secret@127.0.0.1:{port}/simple")
        with pytest.raises(ModelError) as caught:
            packaged.install(package)
    message = str(caught.value)
    assert "does not answer (Connection refused)" in message
    assert "proxy" in message and "local folder" in message
    assert "secret" not in message
    assert names(tmp_path / "home") == [".tiny.lock"]


def test_an_index_without_the_package(
    package: Package, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "empty").mkdir()
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "empty"))
    with pytest.raises(ModelError, match=r"No matching distribution found for tiny-model==1\.0"):
        packaged.install(package)


def test_passwords_of_an_index_are_not_repeated(package: Package) -> None:
    log = "ERROR: HTTP 403 for https://me:secret@index.example/simple/tiny-model/"
    message = packaged._explain_pip(package, log)
    assert "secret" not in message and "https://***@index.example" in message


def test_a_python_without_pip_is_told_so(package: Package) -> None:
    message = packaged._explain_pip(package, "/usr/bin/python3: No module named pip\n")
    assert "ensurepip" in message


CHILD = """
import os, signal, sys
from pathlib import Path
from luthier import packaged

def dies(gguf, folder, **_):
    (folder / "model.safetensors").write_bytes(b"half")
    print(folder, flush=True)
    os.kill(os.getpid(), signal.SIGKILL)

packaged.dequantize = dies
packaged.install(packaged.Package(**eval(sys.argv[1])))
"""


def test_a_killed_installation_leaves_no_model(
    package: Package, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    child = subprocess.run(
        [sys.executable, "-c", CHILD, repr(dataclasses.asdict(package))],
        capture_output=True, text=True,
    )  # fmt: skip
    assert child.returncode == -signal.SIGKILL, child.stderr
    home = tmp_path / "home"
    assert Path(child.stdout.strip()).is_dir() and not (home / "tiny").exists()
    copy_instead_of_converting(monkeypatch)
    packaged.install(package)
    assert names(home) == [".tiny.lock", "tiny"]


def test_a_second_process_waits_and_installs_nothing(
    package: Package, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy_instead_of_converting(monkeypatch)
    folder = packaged.install(package)
    hidden = folder.with_name("hidden")
    folder.rename(hidden)
    with open(tmp_path / "home" / ".tiny.lock", "a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        child = subprocess.Popen(
            [sys.executable, "-c", CHILD, repr(dataclasses.asdict(package))],
            stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert child.stderr is not None
        assert "another process is installing it" in child.stderr.readline()
        hidden.rename(folder)
    rest = child.stderr.read()
    child.stderr.close()
    assert child.wait() == 0, rest
    assert rest == ""


@pytest.mark.parametrize("harm", ["flip", "cut", "remove", "no manifest", "other layout"])
def test_a_damaged_model_is_made_anew(
    package: Package, harm: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy_instead_of_converting(monkeypatch)
    folder = packaged.install(package)
    weights, manifest = folder / "model.safetensors", folder / MANIFEST
    whole = weights.read_bytes()
    if harm == "flip":
        weights.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    elif harm == "cut":
        weights.write_bytes(whole[:-1])
    elif harm == "remove":
        weights.unlink()
    elif harm == "no manifest":
        manifest.unlink()
    else:
        manifest.write_text(manifest.read_text().replace('"layout": 1', '"layout": 0'))
    assert "not in" in packaged.inventory()[packaged.NAME]
    assert packaged.install(package) == folder
    assert weights.read_bytes() == whole
    assert names(folder.parent) == [".tiny.lock", "tiny"]


def test_large_files_are_hashed_only_when_touched(
    package: Package, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy_instead_of_converting(monkeypatch)
    monkeypatch.setattr(packaged, "_SMALL", 100)
    folder = packaged.install(package)
    weights, written = folder / "model.safetensors", (folder / MANIFEST).stat().st_mtime_ns
    hashed: list[Path] = []
    digest = packaged.file_digest
    monkeypatch.setattr(packaged, "file_digest", lambda p: hashed.append(p) or digest(p))
    packaged.install(package)
    assert weights not in hashed and folder / "LICENSE" in hashed
    os.utime(weights, ns=(written + 1, written + 1))
    packaged.install(package)
    assert weights in hashed


def test_too_little_space_is_said_before_fetching(
    package: Package, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    vast = dataclasses.replace(package, installed_bytes=10**18)
    monkeypatch.setattr(packaged, "_fetch", lambda *_: pytest.fail("fetched"))
    with pytest.raises(ModelError, match=r"needs 1000000\.0 TB.*LUTHIER_HOME"):
        packaged.install(vast)


def test_a_disk_that_fills_up(
    package: Package, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(gguf: Path, folder: Path, **_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", str(folder))

    monkeypatch.setattr(packaged, "dequantize", full)
    with pytest.raises(ModelError, match=r"disk is full.*LUTHIER_HOME"):
        packaged.install(package)
    assert names(tmp_path / "home") == [".tiny.lock"]


def test_a_cache_that_cannot_be_written(
    package: Package, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    for home in ("file", "file/below"):
        monkeypatch.setenv("LUTHIER_HOME", str(tmp_path / home))
        with pytest.raises(ModelError, match="LUTHIER_HOME to a folder you can write to"):
            packaged.install(package)


def test_any_gguf_file_can_be_opened(
    gguf_file: tuple[Path, np.ndarray], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from luthier import model as models
    from luthier.recipe import ModelSection

    monkeypatch.setenv("LUTHIER_HOME", str(tmp_path / "home"))
    section = ModelSection(name=str(gguf_file[0]))
    tokenizer = models.open_tokenizer(section)
    assert tokenizer.pad_token_id not in (None, tokenizer.eos_token_id)
    embedding = models.open_model(section).get_input_embeddings().weight.numpy()
    assert np.array_equal(embedding, gguf_file[1])


def test_a_file_that_is_no_gguf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LUTHIER_HOME", str(tmp_path / "home"))
    path = tmp_path / "fake.gguf"
    path.write_bytes(b"this is not a model")
    with pytest.raises(ModelError, match=r"fake\.gguf.*cannot read this GGUF"):
        packaged.open_gguf(path)


@pytest.mark.slow
@pytest.mark.network
def test_the_real_packaged_model_answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    from luthier import model as models
    from luthier.recipe import ModelSection

    monkeypatch.setenv("LUTHIER_HOME", str(tmp_path))
    section = ModelSection(name=packaged.NAME)
    tokenizer, model = models.open_tokenizer(section), models.open_model(section)
    assert (tokenizer.pad_token, tokenizer.eos_token) == ("<|endoftext|>", "<|im_end|>")
    question = [{"role": "user", "content": "What is the capital of France?"}]
    text = tokenizer.apply_chat_template(question, tokenize=False, add_generation_prompt=True)
    ids = torch.tensor([tokenizer.encode(text, add_special_tokens=False)])
    answer = model.generate(ids, max_new_tokens=12, do_sample=False)[0, ids.shape[1] :]
    assert "Paris" in tokenizer.decode(answer)
