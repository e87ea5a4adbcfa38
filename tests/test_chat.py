"""The renderer: exact tokens, exact masks, and no user text that acts as a role."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from luthier.chat import Renderer
from luthier.errors import DataError, ModelError
from luthier.example import Example, Message, Origin

# Shapes of real chat templates, each with something of its own.
ZEPHYR = (
    "{% for m in messages %}{{ '<|' + m['role'] + '|>\n' + m['content'] + eos_token + '\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|assistant|>\n' }}{% endif %}"
)  # role names are ordinary text
MISTRAL = (
    "{{ bos_token }}{% for m in messages %}{% if m['role'] == 'user' %}"
    "{{ '[INST] ' + m['content'] + '[/INST]' }}{% else %}{{ ' ' + m['content'] + eos_token }}"
    "{% endif %}{% endfor %}"
)  # no generation prompt; a space before the answer that belongs to neither
PHI = (
    "{% for m in messages %}{{ '<|' + m['role'] + '|>\n' + m['content'] + '<|end|>\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|assistant|>\n' }}{% endif %}"
)  # tokens that swallow the space behind them, declared special or not
TRIMS = (
    "{% for m in messages %}{{ '<s>' + m['role'] + '\n' + m['content'] | trim + '</s>' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<s>assistant\n' }}{% endif %}"
)
FORGETS = (
    "{% for m in messages %}{{ '<s>' + m['role'] + '\n' }}"
    "{{ '' if m['role'] == 'assistant' and not loop.last else m['content'] }}{{ '</s>' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<s>assistant\n' }}{% endif %}"
)
RAISES = (
    "{% for m in messages %}{% if (m['role'] == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('roles must alternate') }}{% endif %}{{ m['content'] + '</s>' }}"
    "{% endfor %}"
)
WORDS = (
    "We will build 400 new clinics. What is the capital of France? Paris is the capital of France."
)
TALK = (
    Message("user", "What is the capital of France?"),
    Message("assistant", "Paris is the capital."),
    Message("user", "Nobody asked. Why?"),
    Message("assistant", "We will build 400 clinics."),
)


def example(*messages: Message, **values: Any) -> Example:
    return Example("id", Origin("rows.csv", 7), messages=messages, **values)


def as_dicts(messages: tuple[Message, ...]) -> list[dict[str, str]]:
    return [{"role": m.role, "content": m.content} for m in messages]


def own(tokenizer: Any, messages: tuple[Message, ...]) -> list[int]:
    """What the tokenizer makes of a conversation by itself."""
    ids: list[int] = tokenizer.apply_chat_template(
        as_dicts(messages), tokenize=True, return_dict=False
    )
    return ids


@pytest.fixture(scope="session")
def tiny(tiny_model_dir: Path) -> Any:
    return AutoTokenizer.from_pretrained(tiny_model_dir)


@pytest.fixture
def renderer(tiny: Any) -> Renderer:
    return Renderer(tiny)


def sentencepiece(scheme: str, template: str | None, *added: AddedToken) -> Any:
    """A tokenizer that marks the beginning of words, as Llama's and Mistral's do.

    Args:
        scheme: where a text that begins in the middle is marked: `first` or `always`.
        template: its chat template.
        added: further tokens.
    """
    backend = Tokenizer(models.BPE(unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme=scheme)
    backend.decoder = decoders.Metaspace(prepend_scheme=scheme)
    trainer = trainers.BpeTrainer(
        vocab_size=300,
        special_tokens=["<unk>", "<s>", "</s>"],
        initial_alphabet=[chr(c) for c in range(33, 127)] + ["\n", "▁"],
        show_progress=False,
    )
    backend.train_from_iterator([WORDS] * 3, trainer)
    made = PreTrainedTokenizerFast(
        tokenizer_object=backend, bos_token="<s>", eos_token="</s>", unk_token="<unk>",
        pad_token="<unk>", chat_template=template,
    )  # fmt: skip
    made.add_tokens([t for t in added if not t.special])
    made.add_tokens([t for t in added if t.special], special_tokens=True)
    return made


def bytes_bpe(template: str | None, **options: Any) -> Any:
    """A byte-level tokenizer without merges: every byte is a token."""
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=259,
        special_tokens=["<pad>", "<s>", "</s>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    backend.train_from_iterator([], trainer)
    tokens = {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>", **options}
    return PreTrainedTokenizerFast(tokenizer_object=backend, chat_template=template, **tokens)


def phi(special: bool, rstrip: bool) -> Any:
    added = [
        AddedToken(t, special=special, rstrip=rstrip, normalized=False)
        for t in ("<|user|>", "<|assistant|>", "<|end|>")
    ]
    return sentencepiece("first", PHI, *added)


# --- what is trained ---------------------------------------------------------------------------


def test_answer_and_stop_token_are_trained_and_nothing_else(renderer: Renderer, tiny: Any) -> None:
    rendered = renderer.render(example(*TALK))
    trained = [i for i, t in zip(rendered.input_ids, rendered.trained, strict=True) if t]
    assert tiny.decode(trained) == "We will build 400 clinics.<|im_end|>"
    assert trained[-1] == renderer.stop_id == tiny.convert_tokens_to_ids("<|im_end|>")
    # They are the end of the row, in one piece.
    count = sum(rendered.trained)
    assert rendered.trained == [False] * (len(rendered.trained) - count) + [True] * count
    assert renderer.completion(TALK[:3], TALK[3].content) == trained[:-1]


@pytest.mark.parametrize("messages", [TALK, TALK[:2], (Message("system", "Be brief."), *TALK)])
def test_the_prompt_is_the_beginning_of_the_trained_row(
    renderer: Renderer, messages: tuple[Message, ...]
) -> None:
    rendered = renderer.render(example(*messages))
    prompt = renderer.prompt(messages[:-1])
    assert rendered.input_ids[: len(prompt)] == prompt
    assert not any(rendered.trained[: len(prompt)]) and all(rendered.trained[len(prompt) :])


def test_assistant_trains_every_answer(tiny: Any) -> None:
    rendered = Renderer(tiny, "assistant").render(example(*TALK))
    pieces, last = [], False
    for token, trained in zip(rendered.input_ids, rendered.trained, strict=True):
        if trained:
            pieces += [] if last else [[]]
            pieces[-1].append(token)
        last = trained
    assert [tiny.decode(p) for p in pieces] == [f"{m.content}<|im_end|>" for m in TALK[1::2]]
    assert rendered.input_ids == Renderer(tiny).render(example(*TALK)).input_ids


def test_a_greeting_answers_nothing(tiny: Any) -> None:
    greeting = Message("assistant", "Hello there.")
    rendered = Renderer(tiny, "assistant").render(example(greeting, *TALK[:2]))
    trained = [i for i, t in zip(rendered.input_ids, rendered.trained, strict=True) if t]
    assert tiny.decode(trained) == "Paris is the capital.<|im_end|>"
    assert rendered.input_ids == own(tiny, (greeting, *TALK[:2]))[: len(rendered.input_ids)]


def test_all_trains_every_token(tiny: Any) -> None:
    rendered = Renderer(tiny, "all").render(example(*TALK))
    assert all(rendered.trained)
    assert rendered.input_ids == Renderer(tiny).render(example(*TALK)).input_ids


@pytest.mark.parametrize("mode", ["completion", "assistant", "all"])
def test_text_rows_are_trained_whole_and_end(tiny: Any, mode: Any) -> None:
    renderer = Renderer(tiny, mode)
    ids, trained = renderer.render(example(text="Plain text <|im_start|>user"))
    assert all(trained) and len(trained) == len(ids)
    assert ids[-1] == renderer.stop_id
    assert tiny.decode(ids[:-1]) == "Plain text <|im_start|>user"
    assert tiny.convert_tokens_to_ids("<|im_start|>") not in ids


def test_text_rows_begin_where_the_tokenizer_says_so() -> None:
    from tokenizers.processors import TemplateProcessing

    tokenizer = bytes_bpe(None)
    bos = tokenizer.bos_token_id
    plain = Renderer(tokenizer).render(example(text="ab")).input_ids
    assert bos not in plain
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single="<s> $A", special_tokens=[("<s>", bos)]
    )
    began = Renderer(tokenizer)
    assert began.render(example(text="ab")).input_ids == [bos, *plain]
    assert began.prompt([Message("user", "ab")])[0] == bos
    assert bos not in began.completion([Message("user", "ab")], "c")


# --- the template's own tokens -----------------------------------------------------------------

TOKENIZERS = {
    "zephyr first": lambda: sentencepiece("first", ZEPHYR),
    "zephyr always": lambda: sentencepiece("always", ZEPHYR),
    "mistral first": lambda: sentencepiece("first", MISTRAL),
    "mistral always": lambda: sentencepiece("always", MISTRAL),
    "phi": lambda: phi(special=True, rstrip=True),
    "phi keeping space": lambda: phi(special=True, rstrip=False),
    "phi undeclared": lambda: phi(special=False, rstrip=False),
    "bytes": lambda: bytes_bpe(TRIMS),
}


@pytest.mark.parametrize("mode", ["completion", "assistant"])
@pytest.mark.parametrize("name", [*TOKENIZERS, "tiny"])
def test_rendering_is_the_tokenizers_own(name: str, mode: Any, tiny: Any) -> None:
    tokenizer = tiny if name == "tiny" else TOKENIZERS[name]()
    renderer = Renderer(tokenizer, mode)
    for length in (2, 4):
        rendered = renderer.render(example(*TALK[:length]))
        expected = own(tokenizer, TALK[:length])
        assert rendered.input_ids == expected[: len(rendered.input_ids)]
        behind = tokenizer.decode(expected[len(rendered.input_ids) :])
        assert behind.strip() == ""  # the newline a template sets after a turn
        assert rendered.input_ids[-1] == renderer.stop_id
        answers = length // 2 if mode == "assistant" else 1
        assert rendered.trained.count(True) >= answers * 2
        ends = Counter(
            t for t, trained in zip(rendered.input_ids, rendered.trained, strict=True) if trained
        )
        assert ends[renderer.stop_id] == answers


@pytest.mark.parametrize(
    ("name", "stop"),
    [("zephyr first", "</s>"), ("mistral always", "</s>"), ("phi", "<|end|>"),
     ("phi undeclared", "<|end|>")],
)  # fmt: skip
def test_the_stop_token_is_what_the_template_sets_behind_an_answer(name: str, stop: str) -> None:
    tokenizer = TOKENIZERS[name]()
    assert Renderer(tokenizer).stop_id == tokenizer.convert_tokens_to_ids(stop)


def test_a_template_without_stop_token_ends_with_eos() -> None:
    tokenizer = bytes_bpe(
        "{% for m in messages %}{{ m['role'] + ': ' + m['content'] }}{% endfor %}"
    )
    renderer = Renderer(tokenizer)
    assert renderer.stop_id == tokenizer.eos_token_id
    ids = renderer.render(example(*TALK[:2])).input_ids
    assert tokenizer.decode(ids).endswith("Paris is the capital.</s>")


# --- user text ---------------------------------------------------------------------------------

PRIVATE = ["\uf8f0", "\uf8f1", "\uf8f00\uf8f1", "\uf8f01\uf8f1", "\uf8f0999\uf8f1", "\ue000"]
TRICKS = [
    "<|im_end|>", "<|im_start|>", "<|im_start|>system\n", "<|endoftext|>", "<|im_end", "|>", "<",
    "</s>", "<s>", "[INST]", "[/INST]", "<|user|>", "<|assistant|>", "<|end|>", "{{ x }}", "{% if",
    "\n", "  ", " ", "\t", "a", "Hello", "é", "😀", "\u0663", *PRIVATE,
]  # fmt: skip
TEXT = st.lists(
    st.sampled_from(TRICKS) | st.text(st.characters(exclude_categories=["Cs"]), max_size=5),
    max_size=8,
).map("".join)


@settings(max_examples=150, deadline=None)
@given(texts=st.lists(TEXT, min_size=2, max_size=5))
def test_user_text_never_becomes_a_role_and_is_never_changed(tiny: Any, texts: list[str]) -> None:
    roles = ["user", "assistant"] * 3
    messages = tuple(Message(r, t) for r, t in zip(roles, texts, strict=False))  # type: ignore[arg-type]
    if messages[-1].role == "user":
        messages = messages[:-1] if len(messages) > 2 else (*messages, Message("assistant", ""))
    for mode in ("completion", "assistant"):
        ids = Renderer(tiny, mode).render(example(*messages)).input_ids  # type: ignore[arg-type]
        count = Counter(tiny.convert_ids_to_tokens(ids))
        assert count["<|im_start|>"] == len(messages)
        assert count["<|im_end|>"] == len(messages)
        assert count["<|endoftext|>"] == 0
        said = "".join(f"<|im_start|>{m.role}\n{m.content}<|im_end|>\n" for m in messages)
        assert tiny.decode(ids, clean_up_tokenization_spaces=False) == said.removesuffix("\n")
        prompt = Renderer(tiny).prompt(messages[:-1])
        assert ids[: len(prompt)] == prompt


@settings(max_examples=60, deadline=None)
@given(question=TEXT, answer=TEXT)
def test_tokens_that_are_not_declared_special_are_kept_apart_too(
    undeclared: Renderer, question: str, answer: str
) -> None:
    talk = (Message("user", question), Message("assistant", answer))
    ids = undeclared.render(example(*talk)).input_ids
    count = Counter(undeclared.tokenizer.convert_ids_to_tokens(ids))
    assert (count["<|user|>"], count["<|assistant|>"], count["<|end|>"]) == (1, 1, 2)
    assert count["<s>"] == count["</s>"] == 0


@pytest.fixture(scope="module")
def undeclared() -> Renderer:
    return Renderer(phi(special=False, rstrip=False))


def test_added_tokens_that_are_no_roles_stay_tokens() -> None:
    thought = AddedToken("<think>", special=False, normalized=False)
    tokenizer = sentencepiece("first", ZEPHYR, thought)
    renderer = Renderer(tokenizer)
    index = tokenizer.convert_tokens_to_ids("<think>")
    assert index in renderer.completion(TALK[:1], "<think> Paris")
    assert index in renderer.prompt([Message("user", "a <think> b")])


@settings(max_examples=60, deadline=None)
@given(question=TEXT, answer=TEXT)
def test_models_without_template_keep_text_as_text(question: str, answer: str) -> None:
    tokenizer = NO_TEMPLATE
    renderer = Renderer(tokenizer)
    talk = (Message("system", "S"), Message("user", question), Message("assistant", answer))
    rendered = renderer.render(example(*talk))
    tokens = Counter(tokenizer.convert_ids_to_tokens(rendered.input_ids))
    assert tokens["</s>"] == 1 and tokens["<s>"] == tokens["<pad>"] == 0
    said = tokenizer.decode(rendered.input_ids, clean_up_tokenization_spaces=False)
    assert said == f"S\n\n{question} {answer}</s>"
    prompt = renderer.prompt(talk[:-1])
    assert rendered.input_ids[: len(prompt)] == prompt


NO_TEMPLATE = bytes_bpe(None)


def test_models_without_template_tokenise_the_boundary_as_one_text() -> None:
    tokenizer = sentencepiece("first", None)
    renderer = Renderer(tokenizer)
    talk = (Message("user", "What is the capital of France?"), Message("assistant", "Paris"))
    rendered = renderer.render(example(*talk))
    whole = tokenizer.encode("What is the capital of France? Paris", add_special_tokens=False)
    assert rendered.input_ids == [*whole, tokenizer.eos_token_id]
    assert renderer.completion(talk[:1], "Paris") == whole[-1:]


def test_without_template_several_answers_cannot_be_told_apart() -> None:
    renderer = Renderer(NO_TEMPLATE, "assistant")
    with pytest.raises(DataError, match=r"rows\.csv:7: .*chat template does not exist.*completion"):
        renderer.render(example(*TALK))
    assert renderer.render(example(*TALK[:2])) == Renderer(NO_TEMPLATE).render(example(*TALK[:2]))


# --- what cannot be rendered -------------------------------------------------------------------


@pytest.mark.parametrize("messages", [(), TALK[:1], TALK[:3]])
def test_a_row_ends_with_an_answer(renderer: Renderer, messages: tuple[Message, ...]) -> None:
    with pytest.raises(DataError, match=r"rows\.csv:7: the last message must be the assistant's"):
        renderer.render(example(*messages))


def test_a_template_that_refuses_a_conversation() -> None:
    renderer = Renderer(bytes_bpe(RAISES))
    assert renderer.render(example(*TALK)).input_ids
    with pytest.raises(DataError, match="refuses this conversation: roles must alternate"):
        renderer.prompt([Message("user", "a"), Message("user", "b")])


@pytest.mark.parametrize("template", [FORGETS, TRIMS])
def test_a_template_that_rewrites_earlier_turns(template: str) -> None:
    tokenizer = bytes_bpe(template)
    talk = (TALK[0], Message("assistant", " padded "), *TALK[2:])
    with pytest.raises(DataError, match=r"rows\.csv:7: .*rewrites earlier turns.*completion"):
        Renderer(tokenizer, "assistant").render(example(*talk))
    # The last answer can be trained all the same, behind what the template makes of the others.
    rendered = Renderer(tokenizer).render(example(*talk))
    assert rendered.input_ids == own(tokenizer, talk)
    trained = [i for i, t in zip(rendered.input_ids, rendered.trained, strict=True) if t]
    assert tokenizer.decode(trained) == f"{TALK[3].content}</s>"


@pytest.mark.parametrize("pad", ["</s>", None])
def test_padding_must_not_mean_stop(pad: str | None) -> None:
    with pytest.raises(ModelError, match="pad token is missing or equals the stop token"):
        Renderer(bytes_bpe(TRIMS, pad_token=pad))


def test_a_tokenizer_without_end_is_refused() -> None:
    with pytest.raises(ModelError, match="no end-of-sequence token"):
        Renderer(bytes_bpe(TRIMS, eos_token=None))


def test_a_template_that_leaves_answers_out_is_refused() -> None:
    template = "{% for m in messages if m['role'] == 'user' %}{{ m['content'] }}{% endfor %}"
    with pytest.raises(ModelError, match="leaves the assistant's answer out"):
        Renderer(bytes_bpe(template))


# --- tools and weights -------------------------------------------------------------------------

CALL = Message("assistant", "", tool_calls='[{"name": "rate", "arguments": {"of": "EUR"}}]')
TOOLS = '[{"name": "rate", "parameters": {"of": "string"}}]'


def test_tools_calls_and_results_are_written_out_and_trained_as_text(tiny: Any) -> None:
    row = example(
        Message("user", "What is a euro worth?"), CALL, Message("tool", "1.08", name="rate"),
        Message("tool", "ok", name="log"), Message("assistant", "1.08 dollars."), tools=TOOLS,
    )  # fmt: skip
    system, asked, call, result, answer = row.turns
    assert system.role == "system" and '{"name": "rate", "parameters"' in system.content
    assert asked.content == "What is a euro worth?"
    said = '<tool_call>\n{"name": "rate", "arguments": {"of": "EUR"}}\n</tool_call>'
    assert call == Message("assistant", said)
    assert result.role == "user" and result.content.count("<tool_response>") == 2
    assert row.completion == answer.content == "1.08 dollars."
    renderer = Renderer(tiny, "assistant")
    rendered = renderer.render(row)
    trained = [t for t, yes in zip(*rendered, strict=True) if yes]
    assert renderer.tokenizer.decode(trained).count("<tool_call>") == 1
    assert row.but(messages=row.messages[:2]).completion == said, "a call can be the answer"


def test_the_tools_join_a_system_message_that_is_there() -> None:
    row = example(Message("system", "Be brief."), Message("user", "?"), CALL, tools=TOOLS)
    assert row.turns[0].content.startswith("Be brief.\n\nYou may call tools.")
    assert [m.role for m in row.turns] == ["system", "user", "assistant"]


def test_turns_without_tools_are_the_messages_themselves() -> None:
    row = example(*TALK)
    assert row.turns is row.messages


def test_a_turn_of_weight_zero_is_shown_and_not_trained(tiny: Any) -> None:
    unweighted = (TALK[0], Message("assistant", TALK[1].content, weight=0.0), *TALK[2:])
    renderer = Renderer(tiny, "assistant")
    plain, weighted = renderer.render(example(*TALK)), renderer.render(example(*unweighted))
    assert weighted.input_ids == plain.input_ids
    last = len(renderer.completion(TALK[:3], TALK[3].content)) + 1
    assert sum(weighted.trained) == last < sum(plain.trained)
    silent = (*TALK[:3], Message("assistant", TALK[3].content, weight=0.0))
    assert not any(Renderer(tiny, "completion").render(example(*silent)).trained)
