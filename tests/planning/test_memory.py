"""Memory: counted bytes against bytes that real steps, optimizers and quantizers take."""

from __future__ import annotations

import math
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_t5 import t5_model_dir  # noqa: F401
from torch.profiler import ProfilerActivity, profile

from luthier import model as models
from luthier import ragged
from luthier.errors import ModelError
from luthier.planning import memory, optimizer_state
from luthier.planning.shapes import EndToEnd, Padded, Pairs, StepShape
from luthier.planning.trace import trace_step
from luthier.prefixes import Prefixes
from luthier.recipe import ModelSection
from luthier.training import batches, loss, optimizers
from luthier.training.config import TrainConfig

LLAMA2_7B = [("llama2-7b", 6_738_415_616)]
PUBLISHED = {
    "smollm2-360m-instruct": 361_821_120,
    "smollm2-1.7b-instruct": 1_711_376_384,
    "qwen2.5-0.5b-instruct": 494_032_768,
    "qwen2.5-1.5b-instruct": 1_543_714_304,
    "qwen2.5-7b-instruct": 7_615_616_512,
    "llama2-7b": 6_738_415_616,
    "llama2-7b-chat": 6_738_415_616,
    "mistral-7b": 7_248_023_552,
}
SMALL = EndToEnd(((0, (16, 16)),), trained=4)
LORA = {"r": 4, "lora_alpha": 8}


def train_of(**settings: Any) -> TrainConfig:
    return TrainConfig.model_validate(settings)


@pytest.fixture
def config(tiny_model_dir: Path) -> Any:
    return models.open_config(ModelSection(name=str(tiny_model_dir)))


# --- the optimizer's state ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("optim", "gigabytes"),
    [
        ("adamw_torch", 56.0),
        ("paged_adamw_32bit", 56.0),
        ("adamw_bnb_8bit", 14.2),
        ("lion_32bit", 28.0),
        ("lion_8bit", 7.1),
        ("sgd", 0.0),
    ],
)
def test_state_of_seven_billion_parameters(optim: str, gigabytes: float) -> None:
    found = optimizer_state.state_bytes(train_of(optim=optim, lora=None), [(70_000, 100_000)])

    assert found / 1e9 == pytest.approx(gigabytes, abs=0.05)


@pytest.mark.parametrize(
    ("optim", "arguments"),
    [
        ("adamw_torch", {}),
        ("adamw_torch", {"amsgrad": True}),
        ("adamw_torch_fused", {}),
        ("adafactor", {}),
        ("sgd", {}),
        ("sgd", {"momentum": 0.9}),
        ("rmsprop", {}),
        ("rmsprop", {"momentum": 0.9, "centered": True}),
        ("adagrad", {}),
        *((name, {}) for name in sorted(optimizers.BITSANDBYTES)),
    ],
)
def test_state_is_what_the_optimizer_really_keeps(optim: str, arguments: dict[str, Any]) -> None:
    train = train_of(optim=optim, optim_args=arguments)
    shapes = [(96, 64), (4095,), (64, 64), (3, 5)]
    parameters = [torch.nn.Parameter(torch.randn(*shape)) for shape in shapes]
    optimizer = optimizers.build(parameters, train)
    for parameter in parameters:
        parameter.grad = torch.randn_like(parameter)
    with warnings.catch_warnings():
        # bitsandbytes says that paging does nothing on a CPU.
        warnings.simplefilter("ignore", UserWarning)
        optimizer.step()

    kept = sum(
        value.numel() * value.element_size()
        for state in optimizer.state.values()
        for key, value in state.items()
        # One number per tensor and two tables per optimizer are left out of the count.
        if isinstance(value, torch.Tensor) and value.numel() > 1 and "qmap" not in key
    )
    assert optimizer_state.state_bytes(train, shapes) == kept


def test_only_large_paged_states_can_leave_the_gpu() -> None:
    shapes = [(1000, 1000), (100, 100)]

    assert optimizer_state.paged_bytes(train_of(optim="paged_adamw_32bit"), shapes) == 8_000_000
    assert optimizer_state.paged_bytes(train_of(optim="adamw_torch"), shapes) == 0


# --- parameters and weights --------------------------------------------------------------------


@pytest.mark.parametrize(("name", "parameters"), sorted(PUBLISHED.items()))
def test_known_configurations_have_the_published_size(
    name: str, parameters: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unreachable(*args: Any) -> Any:
        raise ModelError("the hub does not answer")

    monkeypatch.setattr(models, "open_config", unreachable)
    found, remark = memory.open_config(ModelSection(name=name))
    model = memory.build_without_weights(found, train_of(lora=None), "float32")

    assert sum(p.numel() for p in model.parameters()) == parameters
    assert "published configuration" in remark
    assert all(p.is_meta for p in model.parameters())


def test_an_unknown_model_stays_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable(*args: Any) -> Any:
        raise ModelError("the hub does not answer")

    monkeypatch.setattr(models, "open_config", unreachable)
    with pytest.raises(ModelError, match="does not answer"):
        memory.open_config(ModelSection(name="someone/else"))


def test_llama2_7b_in_four_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    """The QLoRA paper's 7B: 0.5 B and 4 B per 64 for each linear weight (arXiv:2305.14314)."""
    monkeypatch.setattr(models, "open_config", lambda *args: (_ for _ in ()).throw(ModelError("")))
    found, _ = memory.open_config(ModelSection(name="llama2-7b"))
    linear, kept = 6_476_005_376, 262_410_240
    settings = {"lora": {"r": 64}, "quantization": {"load_in_4bit": True}}
    single = memory.estimate(found, train_of(**settings), SMALL, precision="float32", device="cuda")
    settings["quantization"]["bnb_4bit_use_double_quant"] = True
    double = memory.estimate(found, train_of(**settings), SMALL, precision="float32", device="cuda")

    assert single.part("weights") == linear // 2 + 4 * kept
    assert single.part("quantization constants") == pytest.approx(linear / 16, rel=1e-3)
    assert double.part("quantization constants") == pytest.approx(linear * 0.0159, rel=0.01)
    assert single.trainable_parameters == 159_907_840
    assert single.part("optimizer") == 8 * 159_907_840


@pytest.mark.parametrize(
    "quantization",
    [
        {"load_in_4bit": True},
        {"load_in_4bit": True, "bnb_4bit_use_double_quant": True},
        {"load_in_8bit": True},
    ],
)
@pytest.mark.parametrize("folder", ["tiny_model_dir", "t5_model_dir"])
def test_quantized_weights_are_as_large_as_real_ones(
    quantization: dict[str, Any], folder: str, request: pytest.FixtureRequest
) -> None:
    section = ModelSection(name=str(request.getfixturevalue(folder)))
    train, config = train_of(lora=LORA, quantization=quantization), models.open_config(section)
    planned = memory.estimate(config, train, SMALL, precision="float32", device="cpu")
    model = models.open_model(section, quantization=train.quantization)

    weights = sum(p.numel() * p.element_size() for p in model.parameters())
    constants = 0
    for module in model.modules():
        state = getattr(getattr(module, "weight", None), "quant_state", None)
        scales = getattr(getattr(module, "state", None), "SCB", None)
        if state is not None:
            held = [state.absmax, state.code]
            if state.nested:
                held += [state.state2.absmax, state.state2.code, state.offset]
            constants += sum(t.numel() * t.element_size() for t in held)
        elif scales is not None:
            constants += scales.numel() * scales.element_size()
    assert planned.part("weights") == weights
    assert planned.part("quantization constants") == constants


def test_only_frozen_products_are_held_in_bf16(config: Any) -> None:
    full = memory.estimate(config, train_of(lora=LORA), SMALL, precision="float32", device="cpu")
    half = memory.estimate(
        config, train_of(lora=LORA), SMALL, precision="frozen_bf16", device="cpu"
    )
    hidden, inner = config.hidden_size, config.intermediate_size
    keys = hidden * config.num_key_value_heads // config.num_attention_heads
    # Queries and output, keys and values, gate, up and down.
    layer = 2 * hidden * hidden + 2 * hidden * keys + 3 * hidden * inner
    linear = config.num_hidden_layers * layer

    assert full.part("weights") - half.part("weights") == 2 * linear
    assert full.part("weights") == 4 * full.total_parameters


# --- a step ------------------------------------------------------------------------------------

EQUAL = EndToEnd(((0, (64,) * 8),), trained=16)
UNEQUAL = EndToEnd(((30, (9, 20, 34, 60)), (0, (64,)), (100, (20,) * 7)), trained=24)
STEPS: list[tuple[str, dict[str, Any], StepShape, str]] = [
    ("lora", {"lora": LORA}, EQUAL, "float32"),
    ("frozen bf16", {"lora": LORA}, EQUAL, "frozen_bf16"),
    ("groups", {"lora": LORA}, UNEQUAL, "frozen_bf16"),
    ("dropout", {"lora": {**LORA, "lora_dropout": 0.1}}, UNEQUAL, "frozen_bf16"),
    ("some layers", {"lora": {**LORA, "layers_to_transform": [1], "target_modules": ["q_proj"]}},
     EQUAL, "float32"),
    ("full", {"lora": None}, UNEQUAL, "float32"),
    ("accumulated", {"lora": None, "gradient_accumulation_steps": 2}, EQUAL, "float32"),
    ("autocast", {"lora": LORA}, UNEQUAL, "bf16_autocast"),
    ("all trained", {"lora": LORA}, EndToEnd(((0, (256,) * 4),), trained=1000), "float32"),
    ("chunks of logits", {"lora": LORA}, EndToEnd(((0, (256,) * 6),), trained=1500), "float32"),
    ("checkpointed", {"lora": {**LORA, "lora_dropout": 0.1}, "gradient_checkpointing": True},
     EndToEnd(((50, (60, 110, 120, 128) * 2),), trained=16), "float32"),
    ("checkpointed in bf16", {"lora": LORA, "gradient_checkpointing": True},
     EndToEnd(((0, (128,) * 8),), trained=16), "frozen_bf16"),
    ("8 bits", {"lora": LORA, "quantization": {"load_in_8bit": True}}, UNEQUAL, "float32"),
    ("padded", {"lora": LORA}, Padded(8, 64, 16), "float32"),
    ("padded, packed", {"lora": LORA}, Padded(4, 128, 64, packed=True), "float32"),
    ("padded, dora, eager", {"lora": {**LORA, "use_dora": True}, "attn_implementation": "eager"},
     Padded(8, 64, 16), "float32"),
]  # fmt: skip


def batch_of(shape: StepShape) -> batches.Batch:
    """A batch that training could have made of rows with these lengths."""
    if isinstance(shape, Pairs):
        marks = [False] * shape.asked + [True] * shape.answered
        item = batches.Item("row", [5] * len(marks), marks)
        return batches.collate([[0]] * shape.rows, [item], pad_id=0, start_id=0)
    lengths: list[tuple[int, int]] = []  # (group, tokens)
    prefixes, lines = None, []
    if isinstance(shape, EndToEnd):
        for group, (prefix, rows) in enumerate(shape.groups):
            lengths += [(group, prefix + row) for row in rows]
        prefixes = Prefixes([group for group, _ in lengths], [g[0] for g in shape.groups])
        lines = [[i] for i in range(len(lengths))]
    else:
        row = 32 if shape.packed else shape.width
        per_line = shape.width // row
        lengths = [(0, row)] * (shape.lines * per_line)
        lines = [list(range(i * per_line, (i + 1) * per_line)) for i in range(shape.lines)]
    items, left = [], shape.trained
    for number, (_, length) in enumerate(lengths):
        trained = -(-left // (len(lengths) - number))
        left -= trained
        marks = [False] * (length - trained) + [True] * trained
        items.append(batches.Item(f"row {number}", [5] * length, marks))
    return batches.collate(lines, items, pad_id=0, prefixes=prefixes)


def real_peak(model: Any, train: TrainConfig, shape: StepShape, precision: Any) -> int:
    """Bytes allocated at most in a forward and backward pass, as torch's profiler saw them."""
    batch = batch_of(shape)
    assert (batch.computed_tokens, len(batch.targets)) == (shape.tokens, shape.trained)

    def step() -> None:
        with ragged.laid_out(model, batch.layout):
            with models.autocast(precision, "cpu"):
                summed = loss.summed_loss(model, batch)
            summed.backward()

    step()
    if train.gradient_accumulation_steps == 1:
        model.zero_grad(set_to_none=True)
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        step()
    events = [e for e in profiler.profiler.kineto_results.events() if e.name() == "[memory]"]
    live = peak = 0
    for event in sorted(events, key=lambda e: e.start_ns()):
        live += event.nbytes()
        peak = max(peak, live)
    if batch.attention_mask is not None and batch.decoder_ids is None:
        peak += batch.attention_mask.numel() * 4
    return peak


@pytest.mark.parametrize(("settings", "shape", "precision"), [s[1:] for s in STEPS],
                         ids=[s[0] for s in STEPS])  # fmt: skip
def test_a_traced_step_takes_what_a_real_one_takes(
    settings: dict[str, Any], shape: StepShape, precision: Any, tiny_model_dir: Path
) -> None:
    traced_and_real(tiny_model_dir, train_of(**settings), shape, precision)


@pytest.mark.parametrize(
    ("settings", "shape", "precision"),
    [
        ({"lora": LORA}, Pairs(8, 64, 4, 32), "float32"),
        ({"lora": LORA}, Pairs(4, 150, 60, 240), "float32"),
        ({"lora": None, "gradient_accumulation_steps": 2}, Pairs(8, 64, 8, 64), "float32"),
        ({"lora": None, "gradient_checkpointing": True}, Pairs(8, 128, 16, 128), "float32"),
        ({"lora": LORA, "attn_implementation": "eager"}, Pairs(8, 64, 16, 128), "float32"),
        ({"lora": LORA}, Pairs(8, 64, 16, 128), "bf16_autocast"),
        ({"lora": LORA, "quantization": {"load_in_8bit": True}}, Pairs(8, 64, 4, 32), "float32"),
    ],
    ids=["lora", "long answers", "accumulated", "checkpointed", "eager", "autocast", "8 bits"],
)
def test_a_traced_step_of_an_encoder_decoder(
    settings: dict[str, Any],
    shape: Pairs,
    precision: Any,
    t5_model_dir: Path,  # noqa: F811
) -> None:
    traced_and_real(t5_model_dir, train_of(**settings), shape, precision)


def traced_and_real(folder: Path, train: TrainConfig, shape: StepShape, precision: Any) -> None:
    section = ModelSection(name=str(folder))
    config = models.open_config(section)
    accumulates = train.gradient_accumulation_steps > 1
    planned = trace_step(
        memory.build_without_weights(config, train, precision), shape,
        precision=precision, device="cpu", accumulates=accumulates,
    )  # fmt: skip
    model = models.open_model(
        section, precision=precision, quantization=train.quantization,
        attn_implementation=train.attn_implementation, trainable=train.lora is None,
    )  # fmt: skip
    if train.lora is not None:
        model = models.attach_adapter(model, train.lora, precision)
    if train.gradient_checkpointing:
        models.checkpoint_activations(model)
    measured = real_peak(model.train(), train, shape, precision)
    if accumulates:
        measured += sum(p.numel() * 4 for p in model.parameters() if p.requires_grad)

    assert planned.peak == pytest.approx(measured, rel=0.03)


def test_parts_add_up_and_follow_the_recipe(config: Any) -> None:
    def estimate(rows: int = 8, length: int = 64, **settings: Any) -> memory.Footprint:
        shape = EndToEnd(((0, (length,) * rows),), 16)
        return memory.estimate(
            config, train_of(**settings), shape, precision="float32", device="cpu"
        )

    plain = estimate(lora=LORA)
    assert plain.total == sum(part.bytes for part in plain.parts)
    assert all(part.bytes >= 0 and part.how for part in plain.parts)
    assert plain.trainable_parameters * 8 == plain.part("optimizer")
    doubled = estimate(rows=16, lora=LORA).part("activations")
    assert doubled == pytest.approx(2 * plain.part("activations"), rel=0.01)
    assert estimate(lora=LORA, gradient_checkpointing=True).total < plain.total
    averaging = estimate(lora=LORA, swa_start=0.75)
    assert averaging.part("average") == plain.trainable_parameters * 4 and not plain.part("average")
    assert averaging.total == plain.total + averaging.part("average")
    # On a GPU torch's AdamW takes as much again as there are parameters while it steps.
    full = memory.estimate(
        config,
        train_of(lora=None, optim="adamw_torch"),
        EndToEnd(((0, (2,)),), trained=1),
        precision="float32",
        device="cuda",
    )
    assert full.part("temporaries") == full.part("weights")
    assert full.part("gradients") == 4 * full.total_parameters == full.part("weights")
    assert full.part("activations") == 0, "the optimizer's step is the peak of such short rows"


def test_blocks_that_the_c_library_keeps(config: Any) -> None:
    config.num_hidden_layers = 12  # fewer are not worth checkpointing

    def planned(keeps_freed: bool, checkpointing: bool) -> memory.Footprint:
        train = train_of(lora=LORA, gradient_checkpointing=checkpointing)
        return memory.estimate(
            config, train, EQUAL, precision="float32", device="cpu", keeps_freed=keeps_freed
        )

    plain, checkpointed = planned(True, False), planned(True, True)

    # While there is room they undo what checkpointing saves; when it runs short they are given
    # back, and what is saved decides whether it fits.
    assert plain.kept == checkpointed.kept > 0
    assert checkpointed.total < plain.total
    assert planned(False, False).kept == 0
    for checkpointing in (False, True):
        given_back, held = planned(False, checkpointing), planned(True, checkpointing)
        assert given_back.part("allocator") < held.part("allocator") < held.kept


def test_eager_attention_holds_the_scores(config: Any) -> None:
    shape = Padded(2, 256, 4)
    fused, eager = (
        memory.estimate(config, train_of(lora=LORA, attn_implementation=kind), shape,
                        precision="float32", device="cpu")
        for kind in ("flash_attention_2", "eager")
    )  # fmt: skip

    # In each layer, two rows, (T, T) probabilities in fp32 at least once.
    scores = 2 * config.num_attention_heads * 256 * 256 * 4
    more = eager.part("activations") - fused.part("activations")
    assert more >= config.num_hidden_layers * scores


def test_constants_are_those_of_training() -> None:
    assert set(optimizers.BITSANDBYTES) == {
        name
        for name in (*optimizer_state._STATES_32BIT, *optimizer_state._STATES_8BIT)
        if optimizer_state.needs_bitsandbytes(name)
    }
    assert math.isclose(2 * (1 + 4 / 256), 2.03, abs_tol=0.005)
