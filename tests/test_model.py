"""Opening, quantizing, adapting, merging and saving models, on tiny real ones."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from test_packaged import write_gguf

from luthier import adapters, locate
from luthier import model as models
from luthier.artifacts import Plan, TrainSummary
from luthier.errors import ModelError, RunError
from luthier.made_with import MadeWith
from luthier.products import round_frozen_weights
from luthier.recipe import ModelSection
from luthier.run import Run
from luthier.tokenizer import _choose_pad_token
from luthier.training.config import LoraSection, QuantizationSection

IDS = torch.tensor([[5, 9, 40, 41, 7, 100, 3, 66], [8, 8, 30, 2, 90, 91, 92, 5]])


@pytest.fixture
def section(tiny_model_dir: Path) -> ModelSection:
    return ModelSection(name=str(tiny_model_dir))


@pytest.fixture
def folder(tiny_model_dir: Path, tmp_path: Path) -> Path:
    """A copy of the tiny model that a test may harm."""
    return Path(shutil.copytree(tiny_model_dir, tmp_path / "copy"))


def loss_of(model: Any) -> torch.Tensor:
    logits = models.logits(model, models.hidden_states(model, input_ids=IDS)[:, :-1])
    return F.cross_entropy(logits.flatten(0, 1), IDS[:, 1:].flatten())


def gradients(model: Any) -> torch.Tensor:
    model.zero_grad()
    loss_of(model).backward()
    return torch.cat([p.grad.flatten() for p in model.parameters() if p.requires_grad])


def with_adapter(section: ModelSection, precision: Any = "float32", **lora: Any) -> Any:
    """An adapted model whose adapter does something: B is not zero."""
    model = models.open_model(section, precision=precision)
    torch.manual_seed(1)
    model = models.attach_adapter(
        model, LoraSection(**{"r": 4, "lora_alpha": 8, **lora}), precision
    )
    for name, parameter in model.named_parameters():
        if parameter.requires_grad and ("lora_" in name or "modules_to_save" in name):
            parameter.data += torch.randn_like(parameter) * 0.1
    return model


# --- finding -----------------------------------------------------------------------------------


def refused(name: str | Path, **options: Any) -> str:
    with pytest.raises(ModelError) as caught:
        models.open_model(ModelSection(name=str(name), **options))
    return str(caught.value)


def test_a_mistyped_alias_names_the_nearest() -> None:
    assert "Did you mean 'smollm2-135m-instruct'?" in refused("smollm2-135m-instrct")


def test_a_missing_folder_names_the_nearest(folder: Path) -> None:
    assert f"Did you mean '{folder}'?" in refused(folder.with_name("copi"))


def test_a_hub_name_without_a_hub_says_what_to_do() -> None:
    message = refused("someone/some-model")  # the tests are offline
    assert "'someone/some-model'" in message
    assert "network" in message and "local folder" in message


def test_a_folder_without_a_configuration(tmp_path: Path) -> None:
    assert "has no config.json" in refused(tmp_path)


def test_a_folder_of_gguf_files_points_at_the_file(tmp_path: Path) -> None:
    (tmp_path / "some.gguf").write_bytes(b"")
    assert f"Name the GGUF file itself: {tmp_path / 'some.gguf'}" in refused(tmp_path)


def test_a_file_is_no_model(tmp_path: Path) -> None:
    (tmp_path / "x.bin").write_bytes(b"")
    assert "is a file; expected a folder" in refused(tmp_path / "x.bin")


def test_an_adapter_is_no_model(section: ModelSection, tmp_path: Path) -> None:
    models.save_adapter(with_adapter(section), tmp_path)
    assert "is an adapter, not a model" in refused(tmp_path)


def edit_config(folder: Path, **changes: Any) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def test_code_of_a_repository_is_refused(folder: Path) -> None:
    edit_config(folder, auto_map={"AutoModelForCausalLM": "modeling.Model"})
    message = refused(folder)
    assert "auto_map" in message and "trust_remote_code: true" in message


def test_code_of_a_second_repository_is_refused_even_when_trusted(folder: Path) -> None:
    edit_config(folder, auto_map={"AutoModelForCausalLM": "other/repo--modeling.Model"})
    message = refused(folder, trust_remote_code=True, revision="a" * 40)
    assert "another repository (other/repo)" in message


def test_pickled_weights_are_refused_and_not_read(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(b"not even a pickle")
    message = refused(folder)
    assert "pytorch_model.bin, a pickle" in message and "save_pretrained" in message


def test_a_folder_without_weights(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    assert "holds no weights" in refused(folder)


@pytest.mark.parametrize("size", [0, 5, 3000, -10])
def test_truncated_weights(folder: Path, size: int) -> None:
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:size])
    message = refused(folder)
    assert str(folder) in message and "damaged or cut short" in message


def test_missing_tensors_are_not_made_up(folder: Path) -> None:
    from safetensors.torch import load_file, save_file

    state = load_file(folder / "model.safetensors")
    del state["model.layers.1.mlp.up_proj.weight"]
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
    message = refused(folder)
    assert "lack 1 tensors" in message and "model.layers.1.mlp.up_proj.weight" in message


def test_weights_of_another_size(folder: Path) -> None:
    edit_config(folder, hidden_size=48)
    assert "cannot be opened" in refused(folder)


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"model_type": "no-such-kind"}'])
def test_configurations_that_make_no_sense(folder: Path, text: str) -> None:
    (folder / "config.json").write_text(text)
    message = refused(folder)
    assert str(folder) in message and ("config.json" in message or "no-such-kind" in message)


@pytest.mark.parametrize("harm", ["missing", "broken"])
def test_a_missing_or_broken_tokenizer(folder: Path, harm: str) -> None:
    (folder / "tokenizer_config.json").unlink()
    path = folder / "tokenizer.json"
    path.unlink() if harm == "missing" else path.write_text("{]")
    with pytest.raises(ModelError, match="no tokenizer can be opened"):
        models.open_tokenizer(ModelSection(name=str(folder)))


def test_a_model_that_sees_the_future_is_refused(folder: Path) -> None:
    from transformers import BertConfig, BertForMaskedLM

    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=300, hidden_size=32, num_hidden_layers=2, num_attention_heads=2,
        intermediate_size=64, initializer_range=0.5,
    )  # fmt: skip
    BertForMaskedLM(config).save_pretrained(folder)
    assert "see the ones after it" in refused(folder)


def test_unknown_arithmetic_behind_the_head_is_refused(section: ModelSection) -> None:
    model = models.open_model(section)

    class Doubling(type(model)):  # type: ignore[misc]
        def forward(self, *args: Any, **options: Any) -> Any:
            out = super().forward(*args, **options)
            out.logits = out.logits * 2
            return out

    model.__class__ = Doubling
    with pytest.raises(ModelError, match="Doubling computes its logits"):
        models._check_forward(model, "x")


HUB_CHILD = """
import json, sys
from pathlib import Path
from luthier.errors import ModelError
from luthier.locate import locate
from luthier.recipe import ModelSection
for name, revision in json.loads(sys.argv[1]):
    try:
        locate(ModelSection(name=name, revision=revision), Path("runs"), "config")
        print(json.dumps("found"))
    except ModelError as error:
        print(json.dumps(str(error)))
assert "torch" not in sys.modules
"""


class _Hub(BaseHTTPRequestHandler):
    """Answers as the hub does where there is no such model, none for you, or no such revision."""

    def do_GET(self) -> None:
        owner = self.path.split("/")[3]
        known = {"meta": (403, "GatedRepo"), "some": (404, "RevisionNotFound")}
        status, code = known.get(owner, (401, "RepoNotFound"))
        self.send_response(status)
        self.send_header("X-Error-Code", code)
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_HEAD = do_GET

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def hub() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), _Hub) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def ask_hub(endpoint: str, home: Path, *asked: tuple[str, str | None]) -> tuple[list[str], str]:
    env = {**os.environ, "HF_HUB_OFFLINE": "0", "HF_ENDPOINT": endpoint, "HF_HOME": str(home)}
    child = subprocess.run(
        [sys.executable, "-c", HUB_CHILD, json.dumps(asked)],
        env=env, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert child.returncode == 0, child.stderr
    return [json.loads(line) for line in child.stdout.splitlines()], child.stderr


def test_what_the_hub_refuses_is_explained(hub: str, tmp_path: Path, folder: Path) -> None:
    answers, noise = ask_hub(
        hub,
        tmp_path,
        ("Qwen/Qwen2.5-0.5B-Instrct", None),
        ("meta/gated", None),
        ("some/model", "v9"),
        ("not a name", None),
        (str(folder), None),
    )
    unknown, gated, revision, invalid, local = answers
    assert "knows no model" in unknown and "'Qwen/Qwen2.5-0.5B-Instruct'?" in unknown
    assert "gated" in gated and "hf auth login" in gated
    assert "no revision 'v9'" in revision
    assert "neither an alias nor a folder nor a hub id" in invalid
    assert local == "found"
    assert noise == ""  # no bars, no warnings, no tracebacks


COMMIT = "0123456789abcdef0123456789abcdef01234567"


def test_a_hub_that_is_not_there_is_asked_once(tmp_path: Path) -> None:
    asked = [("some/model", None), ("some/model", COMMIT)]
    answers, noise = ask_hub("http://127.0.0.1:9", tmp_path, *asked)
    for answer in answers:
        assert "cannot be fetched from the hub" in answer and "proxy" in answer
    assert noise == ""  # huggingface_hub says it when it tries again


@pytest.mark.parametrize("revision", [None, COMMIT])
def test_a_hub_that_does_not_answer_is_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, revision: str | None
) -> None:
    monkeypatch.setenv("HF_HUB_ETAG_TIMEOUT", "1")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        endpoint = f"http://127.0.0.1:{silent.getsockname()[1]}"
        (answer,), noise = ask_hub(endpoint, tmp_path, ("some/model", revision))
    assert "cannot be fetched from the hub" in answer and "timed out" in answer
    assert noise == ""


def test_what_was_fetched_before_is_taken_where_the_hub_is_not(
    tmp_path: Path, folder: Path
) -> None:
    kept = tmp_path / "hub" / "models--some--model"
    shutil.copytree(folder, kept / "snapshots" / COMMIT)
    (kept / "refs").mkdir()
    (kept / "refs" / "main").write_text(COMMIT)
    answers, noise = ask_hub("http://127.0.0.1:9", tmp_path, ("some/model", None))
    assert (answers, noise) == (["found"], "")


# --- tokenizers --------------------------------------------------------------------------------


def make_tokenizer(specials: list[str], **names: Any) -> Any:
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    backend = Tokenizer(models.BPE({c: i for i, c in enumerate(alphabet)}, []))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, **names)
    tokenizer.add_special_tokens({"additional_special_tokens": specials})
    return tokenizer


@pytest.mark.parametrize(
    ("specials", "names", "expected"),
    [
        (["<pad>"], {"eos_token": "</s>", "pad_token": "<pad>"}, "<pad>"),
        (
            ["<|endoftext|>"],
            {"eos_token": "<|im_end|>", "pad_token": "<|im_end|>"},
            "<|endoftext|>",
        ),
        (
            ["<unk>", "<s>"],
            {"eos_token": "</s>", "bos_token": "<s>", "unk_token": "<unk>"},
            "<unk>",
        ),
        (["<|reserved_7|>", "<|role|>"], {"eos_token": "</s>"}, "<|reserved_7|>"),
        (["<|role|>"], {"eos_token": "</s>"}, "<|pad|>"),
    ],
)
def test_the_pad_token_never_means_something(
    specials: list[str], names: dict[str, str], expected: str
) -> None:
    tokenizer = make_tokenizer(specials, **names)
    _choose_pad_token(tokenizer, len(tokenizer) + 8, "x")
    assert tokenizer.pad_token == expected
    assert tokenizer.pad_token_id not in (tokenizer.eos_token_id, tokenizer.bos_token_id)


def test_without_a_spare_row_padding_is_a_byte_that_no_text_holds() -> None:
    tokenizer = make_tokenizer([], eos_token="<|endoftext|>", bos_token="<|endoftext|>")
    _choose_pad_token(tokenizer, len(tokenizer), "x")
    assert tokenizer.pad_token_id < len(tokenizer)
    text = "ÿ þ é ü 漢 \U0010ffff"
    assert tokenizer.pad_token_id not in tokenizer.encode(text, split_special_tokens=True)


def test_the_tokenizer_is_padded_on_the_right(section: ModelSection) -> None:
    tokenizer = models.open_tokenizer(section)
    assert tokenizer.padding_side == "right"
    assert (tokenizer.pad_token, tokenizer.eos_token) == ("<|endoftext|>", "<|im_end|>")


# --- looking inside ----------------------------------------------------------------------------

TINY = {
    "vocab_size": 128, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2,
    "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 8,
    "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2,
}  # fmt: skip
ARCHITECTURES: dict[str, tuple[str, dict[str, Any]]] = {
    "untied": ("llama", {"tie_word_embeddings": False}),
    "capped": ("gemma2", {"final_logit_softcapping": 0.5, "initializer_range": 0.5}),
    "scaled": ("cohere", {"logit_scale": 0.3}),
    "divided": ("granite", {"logits_scaling": 7.0}),
    "head with bias": ("phi", {}),
    "convolutions for linear layers": ("gpt2", {"n_embd": 32, "n_layer": 2, "n_head": 4}),
}


@pytest.mark.parametrize("kind", ARCHITECTURES)
def test_logits_are_the_models_own(kind: str, tmp_path: Path) -> None:
    from transformers import AutoConfig, AutoModelForCausalLM

    name, settings = ARCHITECTURES[kind]
    torch.manual_seed(0)
    made = AutoModelForCausalLM.from_config(AutoConfig.for_model(name, **{**TINY, **settings}))
    if kind == "head with bias":
        made.lm_head.bias.data.normal_()
    made.save_pretrained(tmp_path)
    attention = "eager" if name == "gemma2" else "sdpa"
    model = models.open_model(ModelSection(name=str(tmp_path)), attn_implementation=attention)
    model = models.attach_adapter(model, LoraSection(r=2))
    with torch.no_grad():
        hidden = models.hidden_states(model, input_ids=IDS)
        assert hidden.shape == (2, 8, 32)
        torch.testing.assert_close(models.logits(model, hidden), model(input_ids=IDS).logits)
    assert models.lm_head(model).shape == (model.config.vocab_size, 32)


def test_a_cache_is_extended_and_used(section: ModelSection) -> None:
    from transformers import DynamicCache

    model = models.open_model(section)
    cache = DynamicCache(config=model.config)
    whole = models.hidden_states(model, input_ids=IDS)
    first = models.hidden_states(model, input_ids=IDS[:, :5], past_key_values=cache)
    assert cache.get_seq_length() == 5
    second = models.hidden_states(model, input_ids=IDS[:, 5:], past_key_values=cache)
    torch.testing.assert_close(torch.cat([first, second], dim=1), whole)


def test_which_caches_are_plain(section: ModelSection) -> None:
    from transformers import AutoConfig, AutoModelForCausalLM

    assert models.has_plain_cache(with_adapter(section))
    sliding = AutoConfig.for_model("gemma2", **{**TINY, "sliding_window": 4})
    with torch.device("meta"):
        assert not models.has_plain_cache(AutoModelForCausalLM.from_config(sliding))


def test_checkpointed_activations_give_the_same_gradients(section: ModelSection) -> None:
    model = with_adapter(section).train()
    kept = gradients(model)
    calls: list[int] = []
    layer = model.get_base_model().model.layers[0].mlp
    layer.register_forward_pre_hook(lambda *_: calls.append(1))
    models.checkpoint_activations(model)
    torch.testing.assert_close(gradients(model), kept)
    assert len(calls) == 2  # once forward, once again in the backward pass


# --- precision ---------------------------------------------------------------------------------


def test_frozen_products_in_bf16_give_nearly_the_same_gradients(section: ModelSection) -> None:
    exact, rounded = with_adapter(section), with_adapter(section, "frozen_bf16")
    a, b = gradients(exact), gradients(rounded)
    assert 0 < (a - b).norm() / a.norm() < 0.02
    layer = rounded.get_base_model().model.layers[0].mlp.up_proj
    assert layer.base_layer.weight.dtype == torch.bfloat16
    assert layer.base_layer.weight.grad is None
    trained = {p.dtype for p in rounded.parameters() if p.requires_grad}
    assert trained == {torch.float32}
    assert rounded.get_base_model().model.norm.weight.dtype == torch.float32
    assert models.lm_head(rounded).dtype == torch.float32


def test_the_bf16_product_is_the_one_it_says(section: ModelSection) -> None:
    layer = torch.nn.Linear(16, 24).requires_grad_(False)
    weight, bias = layer.weight.clone(), layer.bias.clone()
    model = torch.nn.Sequential(layer)
    model.get_output_embeddings = lambda: None  # type: ignore[assignment]
    models._compute_frozen_products_in_bf16(model)
    round_frozen_weights(model)
    x = torch.randn(5, 16, requires_grad=True)
    out = model(x)
    expected = (x.bfloat16() @ weight.bfloat16().T).float() + bias
    assert torch.equal(out, expected) and out.dtype == torch.float32
    (grad,) = torch.autograd.grad(out.sum(), x)
    assert torch.equal(grad, (torch.ones(5, 24).bfloat16() @ weight.bfloat16()).float())


def test_gpt2s_products_are_in_bf16_too() -> None:
    from transformers import GPT2Config, GPT2LMHeadModel

    shape = {"n_embd": 32, "n_head": 4, "n_layer": 2, "vocab_size": 60}
    model = GPT2LMHeadModel(GPT2Config(**shape)).eval().requires_grad_(False)
    ids = torch.tensor([[1, 2, 3, 4]])
    exact = models.hidden_states(model, input_ids=ids)

    adapted = models.attach_adapter(model, LoraSection(r=4), "frozen_bf16")
    rounded = models.hidden_states(adapted, input_ids=ids)

    layer = adapted.get_base_model().transformer.h[0].mlp.c_fc
    assert layer.base_layer.weight.dtype == torch.bfloat16
    assert 0 < (rounded - exact).norm().item() / exact.norm().item() < 0.02
    rounded.square().sum().backward()
    assert layer.lora_B["default"].weight.grad.abs().max() > 0


@pytest.mark.parametrize(
    ("precision", "asked", "computed"),
    [
        ("float32", None, "float32"),
        ("frozen_bf16", None, "bfloat16"),
        ("frozen_bf16", "float32", "float32"),
        ("float32", "float16", "float16"),
    ],
)
def test_4_bit_bases_compute_in_the_precision_of_the_run(
    section: ModelSection, precision: str, asked: str | None, computed: str
) -> None:
    quantization = QuantizationSection(load_in_4bit=True, bnb_4bit_compute_dtype=asked)

    model = models.open_model(section, precision=precision, quantization=quantization)

    layer = model.model.layers[0].self_attn.q_proj
    assert layer.compute_dtype == getattr(torch, computed)


def test_what_is_trained_is_not_rounded(section: ModelSection) -> None:
    full = models.open_model(section, precision="frozen_bf16", trainable=True)
    same = models.open_model(section, trainable=True)
    assert torch.equal(gradients(full), gradients(same))
    assert all(p.requires_grad for p in full.parameters())
    saved = with_adapter(section, "frozen_bf16", modules_to_save=["down_proj"],
                         target_modules=["q_proj"])  # fmt: skip
    gradients(saved)
    down = saved.get_base_model().model.layers[0].mlp.down_proj.modules_to_save["default"]
    assert down.weight.dtype == torch.float32 and down.weight.grad is not None


def test_weights_are_rounded_when_the_adapter_has_seen_them(section: ModelSection) -> None:
    model = models.open_model(section, precision="frozen_bf16")
    layer = model.model.layers[0].self_attn.q_proj
    assert layer.weight.dtype == torch.float32
    adapted = models.attach_adapter(model, LoraSection(r=4), "frozen_bf16")
    assert adapted.get_base_model().model.layers[0].self_attn.q_proj.weight.dtype == torch.bfloat16


OPENING = """
import sys
from luthier import model as models
from luthier.recipe import ModelSection
from luthier.training.config import LoraSection

def mapped():
    return any("model.safetensors" in line for line in open("/proc/self/maps"))

model = models.open_model(ModelSection(name=sys.argv[1]), precision="frozen_bf16", trainable=True)
assert mapped(), "opened"
model = models.attach_adapter(model, LoraSection(r=4), "frozen_bf16")
assert not mapped(), "adapted"
"""


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="Linux tells what is mapped")
def test_the_weights_file_is_let_go_of(section: ModelSection) -> None:
    """A mapped file counts as resident memory: as much again as the weights."""
    subprocess.run([sys.executable, "-c", OPENING, section.name], check=True)


@pytest.mark.parametrize("precision", ["float32", "frozen_bf16", "bf16_autocast", "fp16_autocast"])
def test_autocast_goes_with_the_precision(precision: Any) -> None:
    a = torch.randn(4, 4)
    with models.autocast(precision, "cpu"):
        found = (a @ a).dtype
    expected = {"bf16_autocast": torch.bfloat16, "fp16_autocast": torch.float16}
    assert found == expected.get(precision, torch.float32)


# --- quantization ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def wide(tmp_path_factory: pytest.TempPathFactory) -> ModelSection:
    """A model whose rows are whole blocks of 64."""
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("wide")
    settings = {**TINY, "hidden_size": 64, "intermediate_size": 128, "head_dim": 16}
    LlamaForCausalLM(LlamaConfig(**settings)).save_pretrained(folder)
    return ModelSection(name=str(folder))


def dequantized(model: Any) -> dict[str, torch.Tensor]:
    """The weights of quantized layers, by the formulas of the papers."""
    weights = {}
    for name, module in model.named_modules():
        state = getattr(getattr(module, "weight", None), "quant_state", None)
        if state is not None:
            scales = state.absmax
            if state.nested:  # 8-bit scales in blocks of 256: QLoRA, arXiv:2305.14314, section 3
                outer = state.state2
                scales = (
                    outer.code[scales.long()]
                    * outer.absmax.repeat_interleave(256)[: scales.numel()]
                    + state.offset
                )
            packed = module.weight.data.flatten()
            codes = torch.stack([packed >> 4, packed & 15], dim=1).flatten().long()
            weights[name] = (state.code[codes].view(-1, 64) * scales[:, None]).view(state.shape)
        elif type(module).__name__ == "Linear8bitLt":
            weights[name] = module.weight.data.float() * module.state.SCB[:, None] / 127
    return weights


@pytest.mark.parametrize(
    "settings",
    [
        {"load_in_4bit": True},
        {"load_in_4bit": True, "bnb_4bit_quant_type": "fp4", "bnb_4bit_use_double_quant": True},
        {"load_in_8bit": True},
    ],
    ids=["nf4", "fp4 twice", "int8"],
)
def test_a_quantized_base_trains_like_its_dequantized_twin(
    wide: ModelSection, settings: dict[str, Any]
) -> None:
    pytest.importorskip("bitsandbytes")
    quantized = models.open_model(wide, quantization=QuantizationSection(**settings))
    quantized(input_ids=IDS)  # a validation in eval mode must leave training as it was
    twin = models.open_model(wide)
    weights = dequantized(quantized)
    assert len(weights) == 14
    for name, value in weights.items():
        original = twin.get_submodule(name).weight
        assert 0 < (original - value).norm() / original.norm() < 0.2
        original.data = value.float()
    pair = []
    for model in (quantized, twin):
        torch.manual_seed(2)
        adapted = models.attach_adapter(model, LoraSection(r=4, init_lora_weights="gaussian"))
        for name, parameter in adapted.named_parameters():
            if "lora_B" in name:
                parameter.data = torch.randn_like(parameter) * 0.1
        adapted.eval()(input_ids=IDS)
        pair.append(gradients(adapted.train()))
    # LLM.int8() also rounds what goes in.
    tolerance = 0.05 if "load_in_8bit" in settings else 1e-4
    assert (pair[0] - pair[1]).norm() / pair[1].norm() < tolerance


def test_four_bits_are_right_or_refused(tmp_path: Path) -> None:
    """bitsandbytes 0.50 dequantizes rows of 32 wrongly on CPUs with AVX-512."""
    pytest.importorskip("bitsandbytes")
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    LlamaForCausalLM(LlamaConfig(**TINY)).save_pretrained(tmp_path)
    section = ModelSection(name=str(tmp_path))
    quantization = QuantizationSection(load_in_4bit=True)
    try:
        model = models.open_model(section, quantization=quantization)
    except ModelError as error:
        assert "no multiple of 64" in str(error) and "load_in_8bit" in str(error)
        return
    twin = models.open_model(section)
    for name, value in dequantized(model).items():
        twin.get_submodule(name).weight.data = value.float()
    torch.testing.assert_close(model(input_ids=IDS).logits, twin(input_ids=IDS).logits)


def test_a_quantization_without_effect_is_said(
    wide: ModelSection, capfd: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("bitsandbytes")
    names = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
    names += ["lm_head"]
    settings = QuantizationSection(load_in_8bit=True, llm_int8_skip_modules=names)
    assert torch.equal(
        models.open_model(wide, quantization=settings)(input_ids=IDS).logits,
        models.open_model(wide)(input_ids=IDS).logits,
    )
    assert "nothing is quantized" in capfd.readouterr().err


def test_a_quantized_base_cannot_be_rewritten(wide: ModelSection) -> None:
    pytest.importorskip("bitsandbytes")
    model = models.open_model(wide, quantization=QuantizationSection(load_in_4bit=True))
    with pytest.raises(ModelError, match="'pissa' rewrites the base"):
        models.attach_adapter(model, LoraSection(init_lora_weights="pissa"))


# --- adapters ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("lora", "message"),
    [
        ({"target_modules": ["q_proj", "v_prj"]}, "'v_prj'. Did you mean 'v_proj'?"),
        ({"target_modules": "query"}, "linear layers: down_proj, gate_proj, k_proj"),
        ({"target_modules": r".*\.(a|b)"}, "not found in the base model"),
        ({"layers_to_transform": [1, 2]}, "no layer 2; the model's 2 layers are 0 to 1"),
        ({"modules_to_save": ["embed_token"]}, "'embed_token'. Did you mean 'embed_tokens'?"),
    ],
)
def test_names_the_model_does_not_have(
    section: ModelSection, lora: dict[str, Any], message: str
) -> None:
    with pytest.raises(ModelError) as caught:
        models.attach_adapter(models.open_model(section), LoraSection(**lora))
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("lora", "count"),
    [
        ({}, 14),
        ({"layers_to_transform": 1}, 7),
        ({"target_modules": "q_proj"}, 2),
        ({"target_modules": ["self_attn.q_proj", "v_proj"]}, 4),
        ({"target_modules": r".*layers\.0\.mlp\..*_proj"}, 3),
    ],
)
def test_adapters_sit_where_they_should(
    section: ModelSection, lora: dict[str, Any], count: int
) -> None:
    model = models.attach_adapter(models.open_model(section), LoraSection(r=2, **lora))
    trained = [name for name, p in model.named_parameters() if p.requires_grad]
    assert len(trained) == 2 * count
    assert all("lora_" in name for name in trained)
    assert not any("lm_head" in name for name in trained)


VARIANTS: dict[str, dict[str, Any]] = {
    "plain": {},
    "rank-stabilised": {"use_rslora": True},
    "dora": {"use_dora": True},
    "pissa": {"init_lora_weights": "pissa"},
    "olora, rank-stabilised": {"init_lora_weights": "olora", "use_rslora": True},
    "dora from pissa": {"init_lora_weights": "pissa", "use_dora": True},
    "with a module": {"target_modules": ["q_proj"], "modules_to_save": ["down_proj"]},
}


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("precision", ["float32", "frozen_bf16"])
def test_a_saved_adapter_gives_the_model_back(
    section: ModelSection, tmp_path: Path, variant: str, precision: Any
) -> None:
    model = with_adapter(section, precision, **VARIANTS[variant])
    before = model(input_ids=IDS).logits
    models.save_adapter(model, tmp_path)
    again = models.open_model(section, precision=precision, adapter=tmp_path)
    after = again(input_ids=IDS).logits
    base = models.open_model(section)(input_ids=IDS).logits
    difference = (after - before).abs().max() / (before - base).abs().max()
    assert difference < (1e-4 if precision == "float32" else 0.05)
    assert not any(p.requires_grad for p in again.parameters())


def test_a_frozen_bf16_base_is_not_in_the_adapter(section: ModelSection, tmp_path: Path) -> None:
    from safetensors.torch import load_file

    models.save_adapter(with_adapter(section, "frozen_bf16"), tmp_path)
    state = load_file(tmp_path / adapters.WEIGHTS)
    assert len(state) == 28 and all("lora_" in name for name in state)
    assert {value.dtype for value in state.values()} == {torch.float32}


SAVE_CHILD = """
import sys, torch
from pathlib import Path
from luthier import model
from luthier.recipe import ModelSection
from luthier.training.config import LoraSection
torch.manual_seed(1)
opened = model.open_model(ModelSection(name=sys.argv[1]))
model.save_adapter(model.attach_adapter(opened, LoraSection(r=4)), Path(sys.argv[2]))
"""


def test_equal_adapters_are_equal_bytes_in_every_process(
    section: ModelSection, tmp_path: Path
) -> None:
    torch.manual_seed(1)
    model = models.attach_adapter(models.open_model(section), LoraSection(r=4))
    models.save_adapter(model, tmp_path / "here")
    child = subprocess.run(
        [sys.executable, "-c", SAVE_CHILD, section.name, str(tmp_path / "there")],
        env={**os.environ, "PYTHONHASHSEED": "7"}, capture_output=True, text=True,
    )  # fmt: skip
    assert (child.returncode, child.stderr) == (0, "")
    for name in (adapters.CONFIG, adapters.WEIGHTS):
        assert (tmp_path / "here" / name).read_bytes() == (tmp_path / "there" / name).read_bytes()


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")  # peft 0.21's own
@pytest.mark.filterwarnings("ignore:Could not find a config file")  # the same
@pytest.mark.parametrize("kind", ["absolute", "relative", "home", "link", "gguf", "run"])
def test_peft_finds_the_base_of_an_adapter_by_itself(
    folder: Path,
    tmp_path: Path,
    make_run: Callable[..., Run],
    monkeypatch: pytest.MonkeyPatch,
    kind: str,
) -> None:
    import peft

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("LUTHIER_HOME", str(tmp_path / "cache"))
    named = {"absolute": str(folder), "relative": "copy/../copy", "home": "~/copy",
             "gguf": "tiny.gguf", "run": "run:tiny"}.get(kind, kind)  # fmt: skip
    if kind == "link":
        Path("link").symlink_to(folder)
    elif kind == "gguf":
        write_gguf(Path(named))
    elif kind == "run":
        base = ModelSection(name=str(folder))
        finish(make_run(), models.open_model(base), models.open_tokenizer(base))
    section = ModelSection(name=named)
    adapted = with_adapter(section)
    models.save_adapter(adapted, tmp_path / "adapter")
    monkeypatch.chdir("/")
    opened = peft.AutoPeftModelForCausalLM.from_pretrained(tmp_path / "adapter").eval()
    ids = IDS % 60  # the GGUF file's vocabulary is small
    with torch.inference_mode():
        expected = adapted(input_ids=ids).logits
        torch.testing.assert_close(opened(input_ids=ids).logits, expected, rtol=0, atol=1e-5)
    settings = json.loads((tmp_path / "adapter" / adapters.CONFIG).read_text())
    found = Path(settings["base_model_name_or_path"])
    assert found.is_absolute() and ".." not in found.parts
    assert found.name == {"link": "link", "run": "full"}.get(kind, found.name)


def test_a_base_that_lies_in_no_folder_keeps_its_name(
    make_run: Callable[..., Run], section: ModelSection, tmp_path: Path
) -> None:
    run = make_run()
    finish(run, with_adapter(section), None)
    upon = models.open_model(ModelSection(name="run:tiny"), runs=run.path.parent)
    models.save_adapter(models.attach_adapter(upon, LoraSection(r=4)), tmp_path / "adapter")
    settings = json.loads((tmp_path / "adapter" / adapters.CONFIG).read_text())
    assert settings["base_model_name_or_path"] == "run:tiny"


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("llama2-7b", "meta-llama/Llama-2-7b-hf"),
        ("some/model", "some/model"),
        ("smollm2-135m-instruct", "HuggingFaceTB/SmolLM2-135M-Instruct"),
    ],
)
def test_models_of_the_hub_have_one_name_everywhere(name: str, expected: str) -> None:
    section = ModelSection(name=name)
    assert locate.name_for_others(section, Path("/a/cache"), Path("runs")) == expected
    assert locate.published_name(ModelSection(name="llama2-7b")) == "meta-llama/Llama-2-7b-hf"


def test_an_adapter_pins_the_revision_of_its_base(section: ModelSection, tmp_path: Path) -> None:
    import peft

    pinned = section.model_copy(update={"revision": "0123abc"})
    models.save_adapter(with_adapter(pinned), tmp_path)
    assert peft.PeftConfig.from_pretrained(tmp_path).revision == "0123abc"


@pytest.mark.parametrize("harm", ["no weights", "cut", "other model"])
def test_adapters_that_do_not_fit(
    section: ModelSection, folder: Path, tmp_path: Path, harm: str
) -> None:
    models.save_adapter(with_adapter(section), tmp_path / "adapter")
    weights = tmp_path / "adapter" / adapters.WEIGHTS
    if harm == "no weights":
        weights.unlink()
    elif harm == "cut":
        weights.write_bytes(weights.read_bytes()[:-100])
    else:
        from transformers import LlamaConfig, LlamaForCausalLM

        LlamaForCausalLM(LlamaConfig(**{**TINY, "hidden_size": 96})).save_pretrained(folder)
    with pytest.raises(ModelError, match="adapter"):
        models.open_model(ModelSection(name=str(folder)), adapter=tmp_path / "adapter")


def test_saving_where_nothing_can_be_written(section: ModelSection, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    model = models.open_model(section)
    with pytest.raises(RunError, match="cannot be written"):
        models.save_full(model, models.open_tokenizer(section), tmp_path / "file")


# --- runs --------------------------------------------------------------------------------------


def finish(run: Run, model: Any, tokenizer: Any, precision: Any = "float32") -> None:
    """Record a run as planned and trained, with the weights of `model`."""
    kind: Any = "adapter" if hasattr(model, "peft_config") else "full"
    Plan(
        device="cpu", precision=precision, decisions=[], findings=[], memory=[], total_bytes=0,
        available_bytes=0, fits=True, trainable_parameters=0, total_parameters=0, train_rows=0,
        batches_per_epoch=0, total_steps=0, tokens_per_epoch=0, seconds=None, schedule=[],
    ).save(run)  # fmt: skip
    with run.stage("train", "x") as folder:
        if kind == "adapter":
            models.save_adapter(model, folder / kind)
        else:
            models.save_full(model, tokenizer, folder / kind)
        TrainSummary(
            kind=kind, weights=f"train/{kind}", base_model="x", precision=precision, steps=1,
            epochs=1, best_step=1, best_metric=None, stopped_early=False, seconds=1, examples=1,
            tokens=1, trained_tokens=1, peak_bytes=1, trainable_parameters=1, total_parameters=1,
        ).save(run)  # fmt: skip
        MadeWith.now(run, Plan.load(run)).save(run)


def test_what_a_run_trained_can_be_opened_merged_and_built_upon(
    make_run: Callable[..., Run], section: ModelSection
) -> None:
    run = make_run()
    adapted = with_adapter(section, "frozen_bf16")
    finish(run, adapted, None, "frozen_bf16")
    exact = models.open_model(section, adapter=run.path / "train/adapter")(input_ids=IDS).logits

    model, tokenizer = models.trained_model(run)
    assert not model.training and tokenizer.pad_token == "<|endoftext|>"
    torch.testing.assert_close(
        model(input_ids=IDS.to(model.device)).logits,
        adapted.to(model.device)(input_ids=IDS.to(model.device)).logits,
    )
    base, _ = models.trained_model(run, base=True)
    assert not hasattr(base, "peft_config")

    merged = models.merge(run)
    assert {p.dtype for p in merged.parameters()} == {torch.float32}
    assert not any("lora" in name for name in merged.state_dict())
    torch.testing.assert_close(merged(input_ids=IDS).logits, exact, rtol=1e-4, atol=1e-5)

    upon = ModelSection(name="run:tiny")
    runs = run.path.parent
    torch.testing.assert_close(
        models.open_model(upon, runs=runs, trainable=True)(input_ids=IDS).logits, exact,
        rtol=1e-4, atol=1e-5,
    )  # fmt: skip
    assert models.open_tokenizer(upon, runs).pad_token == "<|endoftext|>"
    quantized = models.open_model(
        upon, runs=runs, quantization=QuantizationSection(load_in_8bit=True)
    )
    found = quantized(input_ids=IDS).logits
    assert (found - exact).norm() / exact.norm() < 0.05


def test_a_fully_trained_run_is_opened_and_saved_alike(
    make_run: Callable[..., Run], section: ModelSection, tmp_path: Path
) -> None:
    run = make_run(train={"lora": None})
    model = models.open_model(section, trainable=True)
    for parameter in model.parameters():
        parameter.data += 0.01
    tokenizer = models.open_tokenizer(section)
    finish(run, model, tokenizer)
    expected = model(input_ids=IDS).logits
    opened, _ = models.trained_model(run)
    upon = models.open_model(ModelSection(name="run:tiny"), runs=run.path.parent)
    for again in (opened.to("cpu"), models.merge(run), upon):
        # Frozen norms are computed in fewer passes, and round differently.
        torch.testing.assert_close(again(input_ids=IDS).logits, expected)
    models.save_full(models.merge(run), tokenizer, tmp_path / "again")
    for path in (run.path / "train/full").iterdir():
        assert path.read_bytes() == (tmp_path / "again" / path.name).read_bytes(), path.name


def test_a_run_that_is_missing_or_not_trained(make_run: Callable[..., Run]) -> None:
    run = make_run()
    runs = run.path.parent
    with pytest.raises(RunError, match=r"no run 'tinny'\. Did you mean 'tiny'\?"):
        models.open_model(ModelSection(name="run:tinny"), runs=runs)
    with pytest.raises(RunError, match="`luthier train` first"):
        models.open_model(ModelSection(name="run:tiny"), runs=runs)


def test_a_run_that_names_itself(make_run: Callable[..., Run], section: ModelSection) -> None:
    run = make_run(model="run:tiny")
    finish(run, with_adapter(section), None)
    with pytest.raises(ModelError, match="names itself"):
        models.open_model(ModelSection(name="run:tiny"), runs=run.path.parent)
