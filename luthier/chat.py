"""The one renderer: messages -> token ids, and which of them are trained.

Training, scoring, prediction and export all come through here, so they cannot disagree about
the template. Two promises:

* Text that a user wrote never becomes a role token. Special-token strings inside a message are
  hidden while the chat template runs and are tokenised as ordinary text afterwards.
* Prompt and answer are tokenised apart and joined, so the prompt a model is asked with is, id for
  id, the prompt it was trained on.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator, Sequence
from typing import Any, Literal, NamedTuple

from luthier.errors import DataError, ModelError
from luthier.example import Example, Message

TrainOn = Literal["completion", "assistant", "all"]
# Private-use characters stand in for special tokens inside user text while a template runs.
_STAND_IN_START, _STAND_IN_END = "\uf8f0", "\uf8f1"


_STAND_IN = re.compile(f"{_STAND_IN_START}([0-9]+){_STAND_IN_END}")
_MARKUP = re.compile(r"\s*[<\[|]")
_SAMPLE = (Message("user", "question"), Message("assistant", "answer"))


class Rendered(NamedTuple):
    """A row as the model sees it."""

    input_ids: list[int]
    trained: list[bool]
    """Same length: whether the token is a target of the loss."""


class _Frame(NamedTuple):
    """What stands around an answer in a rendered conversation."""

    before: str = ""
    """From the end of the question to the end of the prompt."""
    gap: str = ""
    """White space that the template puts before an answer, behind the prompt."""
    rest: str = ""
    """From the end of the answer to the stop token."""
    stop: str = ""
    """The stop token; empty where the template sets none."""


class Renderer:
    """Renders for one tokenizer.

    Models without a chat template get plain text: the prompt, a space, the answer, the
    end-of-sequence token. With an encoder (T5) prompt and answer never meet: the prompt ends with
    an end-of-sequence token of its own, the answer is tokenised by itself, and a row is the
    encoder's tokens and then those the decoder is to say.

    Args:
        tokenizer: a `transformers` fast tokenizer; its pad token must differ from its stop token.
            `is_encoder_decoder` on it (`tokenizer.py`) says that its model has an encoder.
        train_on: `completion` trains the last answer, `assistant` every answer, `all` every token.
    """

    def __init__(self, tokenizer: Any, train_on: TrainOn = "completion") -> None:
        self.tokenizer = tokenizer
        self.train_on = train_on
        self._ahead: dict[tuple[str, bool], list[int]] = {}
        """Token ids by text, and whether special tokens in it are split: see `prepare`."""
        self._before_ids: list[int] | None = None
        """What stands before every answer, see `_Frame`."""
        self._shown: dict[tuple[Message, ...], str] = {}
        """Rendered prompts by messages."""
        self.has_template = bool(tokenizer.chat_template)
        self.has_encoder: bool = getattr(tokenizer, "is_encoder_decoder", False)
        if tokenizer.eos_token_id is None:
            raise ModelError("the tokenizer has no end-of-sequence token, so no answer could end.")
        self._markers = self._find_markers()
        names = sorted([*self._markers, _STAND_IN_START], key=len, reverse=True)
        self._hidden_names = names
        self._hideable = re.compile("|".join(map(re.escape, names)))
        self._marker = re.compile("|".join(map(re.escape, names[:-1])) or r"(?!)")
        self.stop_id: int = tokenizer.eos_token_id
        self._frame = _Frame()
        if self.has_template:
            self._frame = self._find_frame()
            self.stop_id = self._markers.get(self._frame.stop, tokenizer.eos_token_id)
        self.pad_id: int = tokenizer.pad_token_id
        if self.pad_id is None or self.pad_id == self.stop_id:
            raise ModelError(
                "the tokenizer's pad token is missing or equals the stop token "
                f"({tokenizer.pad_token!r}); the model would never learn to stop."
            )

    def prepare(self, examples: Sequence[Example]) -> None:
        """Tokenise at once what the rendering of these rows is going to ask for.

        A tokenizer takes many texts on all cores in the time of a few. Nothing but speed depends
        on it; what an earlier call prepared is forgotten.
        """
        self._ahead.clear()
        self._shown.clear()
        texts: dict[tuple[str, bool], None] = {}
        for example in examples:
            if example.text is not None and not example.messages:
                texts[example.text, True] = None
                continue
            *asked, last = example.turns or (_SAMPLE[1],)
            if any(m.role == "assistant" for m in asked):
                continue  # turn by turn, each after what is before it
            if not self.has_template:
                before = _plain(asked)
                answer = last.content if self.has_encoder else f"{before} {last.content}"
                texts |= dict.fromkeys([(before, True), (answer, True)])
                continue
            with contextlib.suppress(DataError):
                shown = self._template(asked, generation_prompt=True)
                self._shown[tuple(asked)] = shown
                texts[shown, False] = None
                texts[self._frame.before + self._frame.gap + last.content, False] = None
        for split in (False, True):
            wanted = [text for text, splits in texts if splits == split and text]
            if wanted:
                with _all_cores():
                    found = self.tokenizer(
                        wanted, add_special_tokens=False, split_special_tokens=split,
                        return_attention_mask=False, return_token_type_ids=False,
                    )  # fmt: skip
                self._ahead |= zip(((t, split) for t in wanted), found["input_ids"], strict=True)

    def render(self, example: Example) -> Rendered:
        """Render a whole row.

        Raises:
            DataError: the row has nothing to learn, or the chat template rewrites earlier turns;
                or it is plain text, and the model has an encoder, which needs a question to read.
        """
        if example.text is not None and not example.messages:
            if self.has_encoder:
                raise DataError(
                    f"{example.origin}: plain text has no question for the model's encoder to read."
                )
            ids = self._begin() + self._tokens(example.text) + [self.stop_id]
            return Rendered(ids, [True] * len(ids))
        if not example.messages or example.messages[-1].role != "assistant":
            raise DataError(f"{example.origin}: the last message must be the assistant's answer.")
        *asked, last = example.turns
        prompt, trained = self._asked(asked, example)
        answer = [*self.completion(asked, last.content), self.stop_id]
        ids = prompt + answer
        if self.train_on == "all":
            return Rendered(ids, [True] * len(ids))
        return Rendered(ids, trained + [last.weight != 0] * len(answer))

    def prompt(self, messages: Sequence[Message]) -> list[int]:
        """Token ids up to where the assistant's answer starts."""
        if not self.has_template:
            end = [self.stop_id] if self.has_encoder else []
            return [*self._begin(), *self._tokens(_plain(messages)), *end]
        turns = self._turns(messages)
        if turns is None:
            return self._tokenize(self._template(messages, generation_prompt=True))
        return turns.input_ids

    def plain(self, text: str) -> list[int]:
        """Token ids of a text to be gone on with, outside any conversation."""
        return [*self._begin(), *self._tokens(text)] or [self.stop_id]

    def completion(self, messages: Sequence[Message], text: str) -> list[int]:
        """Token ids of an answer to `messages` as it is trained, without the stop token."""
        if self.has_encoder:
            return self._tokens(text)
        # A sentencepiece or BPE tokenizer marks the word boundary on the answer's first token:
        # tokenise what stands before the answer and the answer as one string, and split there.
        if self.has_template:
            before, gap = self._frame.before, self._frame.gap
            if self._hideable.search(text):
                return self._tokens(gap + text)
            if self._before_ids is None:
                self._before_ids = self._tokenize(before)
            asked, both = self._before_ids, self._tokenize(before + gap + text)
        else:
            before, gap = _plain(messages), " "
            asked, both = self._tokens(before), self._tokens(before + gap + text)
        if both[: len(asked)] == asked:
            return both[len(asked) :]
        return self._tokens(gap + text)

    def _asked(self, messages: Sequence[Message], example: Example) -> Rendered:
        """What comes before the last answer, and which answers in it are trained."""
        answers = any(m.role == "assistant" for m in messages)
        if self.train_on != "assistant" or not answers:
            ids = self.prompt(messages)
            return Rendered(ids, [False] * len(ids))
        turns = self._turns(messages) if self.has_template and not self.has_encoder else None
        if turns is None:
            why = "chat template does not exist"
            if self.has_encoder:
                why = "encoder reads all but the last answer"
            elif self.has_template:
                why = "chat template rewrites earlier turns"
            raise DataError(
                f"{example.origin}: the model's {why}, so not every answer can be trained. Use "
                "`train.train_on: completion`."
            )
        return turns

    def _turns(self, messages: Sequence[Message]) -> Rendered | None:
        """A conversation up to its next answer, turn by turn: answers as they were trained.

        None where the template shows an earlier turn otherwise than it was when it was new
        (cuts white space or reasoning out of it); such a conversation has to be taken as a whole.
        """
        ids: list[int] = []
        trained: list[bool] = []
        done = ""
        answers = [i for i, m in enumerate(messages) if m.role == "assistant" and i > 0]
        for i in [*answers, len(messages)]:
            text = self._template(messages[:i], generation_prompt=True)
            if not text.startswith(done):
                return None
            asked = self._tokenize(text[len(done) :], after=self._frame.stop if done else "")
            ids, trained = ids + asked, trained + [False] * len(asked)
            if i == len(messages):
                break
            answer = [*self.completion(messages[:i], messages[i].content), self.stop_id]
            ids, trained = ids + answer, trained + [messages[i].weight != 0] * len(answer)
            if not self._frame.stop:
                return None
            shown = self._hide(messages[i].content)
            done = text + self._frame.gap + shown + self._frame.rest + self._frame.stop
        return Rendered(ids, trained)

    # --- templates and tokens -------------------------------------------------------------

    def _template(self, messages: Sequence[Message], *, generation_prompt: bool) -> str:
        if generation_prompt and (shown := self._shown.get(tuple(messages))) is not None:
            return shown
        turns = [{"role": m.role, "content": self._hide(m.content)} for m in messages]
        return self._apply(turns, generation_prompt)

    def _apply(self, turns: list[dict[str, str]], generation_prompt: bool) -> str:
        try:
            text: str = self.tokenizer.apply_chat_template(
                turns, tokenize=False, add_generation_prompt=generation_prompt
            )
        except Exception as error:
            # Templates raise on role orders they do not know; jinja2 has no common base to catch.
            raise DataError(
                f"the model's chat template refuses this conversation: {error}"
            ) from None
        return text

    def _hide(self, text: str) -> str:
        return self._hideable.sub(
            lambda m: f"{_STAND_IN_START}{self._hidden_names.index(m.group())}{_STAND_IN_END}", text
        )

    def _reveal(self, text: str) -> str:
        return _STAND_IN.sub(lambda m: self._hidden_names[int(m.group(1))], text)

    def _tokenize(self, text: str, *, after: str = "") -> list[int]:
        """Tokenise a rendered template: its special tokens are special, revealed ones are text.

        Args:
            text: what a template made of hidden texts.
            after: the special token it stands behind, which is not part of what is returned.
        """
        text = after + text
        matches = list(self._marker.finditer(text))
        special = [self._markers[match.group()] for match in matches]
        if not _STAND_IN.search(text):
            # As the tokenizer itself does it, with its rules about spaces at special tokens.
            ids = self._encoded(text, split=False)
            if [i for i in ids if i in self._marker_ids] == special:
                return ids[1:] if after else ids
        ids, end = [], 0
        for match, marker in zip(matches, special, strict=True):
            ids += [*self._tokens(self._reveal(text[end : match.start()])), marker]
            end = match.end()
        ids += self._tokens(self._reveal(text[end:]))
        return ids[1:] if after else ids

    def _tokens(self, text: str) -> list[int]:
        """Tokenise ordinary text, whatever it looks like."""
        ids: list[int] = []
        start = 0
        # Tokenizers can be told to take special tokens as text, but not added ones that are not
        # declared special, nor those that are words to them: these are cut after one character.
        cuts = [m.start() + 1 for m in self._unsplit.finditer(text)] if self._unsplit else []
        for end in [*cuts, len(text)]:
            if piece := text[start:end]:
                ids += self._encoded(piece, split=True)
            start = end
        return ids

    def _encoded(self, text: str, *, split: bool) -> list[int]:
        ahead = self._ahead.get((text, split))
        if ahead is not None:
            return list(ahead)
        ids: list[int] = self.tokenizer.encode(
            text, add_special_tokens=False, split_special_tokens=split
        )
        return ids

    def _find_markers(self) -> dict[str, int]:
        """Tokens that mean something to a conversation.

        All special ones, and those that the template sets between the turns: not every tokenizer
        declares them special.
        """
        added = {
            str(t): (int(i), t.special) for i, t in self.tokenizer.added_tokens_decoder.items()
        }
        sample = ""
        if self.has_template:
            turns = [(m.role, m.content) for m in (*_SAMPLE, _SAMPLE[0])]
            sample = self._apply([{"role": r, "content": c} for r, c in turns], False)
        undeclared = {t for t, (_, special) in added.items()
                      if not special and _MARKUP.match(t) and t in sample}  # fmt: skip
        # The vocabulary of T5's tokenizers has the special tokens as words, too.
        specials = [t for t, (_, special) in added.items() if special] or [self.tokenizer.eos_token]
        found = self.tokenizer(specials, add_special_tokens=False, split_special_tokens=True)
        words = {t for t, ids in zip(specials, found["input_ids"], strict=True)
                 if t in added and added[t][0] in ids}  # fmt: skip
        unsplit = sorted(undeclared | words, key=len, reverse=True)
        self._unsplit = re.compile("|".join(map(re.escape, unsplit))) if unsplit else None
        markers = {t: i for t, (i, special) in added.items() if special or t in undeclared}
        self._marker_ids = frozenset(markers.values())
        return markers

    def _find_frame(self) -> _Frame:
        """What the template puts around an answer, found on a sample conversation."""
        asked = self._template(_SAMPLE[:1], generation_prompt=True)
        whole = self._template(_SAMPLE, generation_prompt=False)
        question, answer = (m.content for m in _SAMPLE)
        at = whole.rfind(answer)
        if at < 0:
            raise ModelError("the model's chat template leaves the assistant's answer out.")
        gap = whole[len(asked) : at] if whole.startswith(asked) else ""
        stop = self._marker.search(whole, at)
        return _Frame(
            before=asked.rpartition(question)[2],
            gap="" if gap.strip() else gap,
            rest=whole[at + len(answer) : stop.start()] if stop else "",
            stop=stop.group() if stop else "",
        )

    def _begin(self) -> list[int]:
        """The begin-of-sequence token, where the tokenizer adds one by itself."""
        bos: int | None = self.tokenizer.bos_token_id
        added = self.tokenizer.encode("")
        return [bos] if bos is not None and bos != self.tokenizer.eos_token_id and (
            added[:1] == [bos]
        ) else []  # fmt: skip


@contextlib.contextmanager
def _all_cores() -> Iterator[None]:
    """Let the tokenizer use threads; elsewhere it must not, since processes are forked."""
    name = "TOKENIZERS_PARALLELISM"
    before = os.environ.get(name)
    os.environ[name] = "true"
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before


def _plain(messages: Sequence[Message]) -> str:
    return "\n\n".join(m.content for m in messages)
