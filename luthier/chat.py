"""The one renderer: messages -> token ids, and which of them are trained.

Training, scoring, prediction and export all come through here, so they cannot disagree about
the template. Two promises:

* Text that a user wrote never becomes a role token. Special-token strings inside a message are
  hidden while the chat template runs and are tokenised as ordinary text afterwards.
* Prompt and answer are tokenised separately and joined, so the prompt a model is asked with is,
  id for id, the prompt it was trained on.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

from luthier.errors import DataError, ModelError
from luthier.example import Example, Message

TrainOn = Literal["completion", "assistant", "all"]
# Private-use characters stand in for special tokens inside user text while a template runs.
_STAND_IN_START, _STAND_IN_END = "\uf8f0", "\uf8f1"


class Rendered(NamedTuple):
    """A row as the model sees it."""

    input_ids: list[int]
    trained: list[bool]
    """Same length: whether the token is a target of the loss."""


class Renderer:
    """Renders for one tokenizer. Models without a chat template get plain text: the prompt, a
    space, the answer, the end-of-sequence token.

    Args:
        tokenizer: a `transformers` fast tokenizer; its pad token must differ from its stop token.
        train_on: `completion` trains the last answer, `assistant` every answer, `all` every token.
    """

    def __init__(self, tokenizer: Any, train_on: TrainOn = "completion") -> None:
        self.tokenizer = tokenizer
        self.train_on = train_on
        self.has_template = bool(tokenizer.chat_template)
        specials = {str(t): i for i, t in tokenizer.added_tokens_decoder.items() if t.special}
        self._special_ids = {text: int(i) for text, i in specials.items()}
        pattern = "|".join(re.escape(t) for t in sorted(specials, key=len, reverse=True))
        self._specials = re.compile(pattern) if pattern else None
        if tokenizer.eos_token_id is None:
            raise ModelError("the tokenizer has no end-of-sequence token, so no answer could end.")
        self.stop_id: int = self._find_stop_id()
        self.pad_id: int = tokenizer.pad_token_id
        if self.pad_id is None or self.pad_id == self.stop_id:
            raise ModelError(
                "the tokenizer's pad token is missing or equals the stop token "
                f"({tokenizer.pad_token!r}); the model would never learn to stop."
            )

    def render(self, example: Example) -> Rendered:
        """Render a whole row.

        Raises:
            DataError: the row has nothing to learn, or the chat template rewrites earlier turns.
        """
        if example.text is not None and not example.messages:
            ids = self._begin() + self._tokens(example.text) + [self.stop_id]
            return Rendered(ids, [True] * len(ids))
        if not example.messages or example.messages[-1].role != "assistant":
            raise DataError(f"{example.origin}: the last message must be the assistant's answer.")
        ids, trained = self._turns(example)
        if self.train_on == "all":
            trained = [True] * len(ids)
        return Rendered(ids, trained)

    def prompt(self, messages: Sequence[Message]) -> list[int]:
        """Token ids up to where the assistant's answer starts."""
        if self.has_template:
            return self._tokenize(self._template(messages, generation_prompt=True))
        return self._begin() + self._tokens(_plain(messages))

    def completion(self, messages: Sequence[Message], text: str) -> list[int]:
        """Token ids of an answer to `messages` as it is trained, without the stop token."""
        if self.has_template:
            return self._tokens(text)
        # A sentencepiece or BPE tokenizer marks the word boundary on the answer's first token:
        # tokenise prompt and answer as one string and split at the boundary.
        asked = self._tokens(_plain(messages))
        both = self._tokens(_plain(messages) + " " + text)
        if both[: len(asked)] == asked:
            return both[len(asked) :]
        return self._tokens(" " + text)

    def _turns(self, example: Example) -> tuple[list[int], list[bool]]:
        ids: list[int] = []
        trained: list[bool] = []
        messages = example.messages
        answers = [i for i, m in enumerate(messages) if m.role == "assistant"]
        if self.train_on == "completion":
            answers = answers[-1:]
        for i in answers:
            prompt = self.prompt(messages[:i])
            if ids and prompt[: len(ids)] != ids:
                raise DataError(
                    f"{example.origin}: the model's chat template rewrites earlier turns, so not "
                    "every answer can be trained. Use `train.train_on: completion`."
                )
            answer = [*self.completion(messages[:i], messages[i].content), self.stop_id]
            trained += [False] * (len(prompt) - len(ids)) + [True] * len(answer)
            ids = prompt + answer
        return ids, trained

    # --- templates and tokens -------------------------------------------------------------

    def _template(self, messages: Sequence[Message], *, generation_prompt: bool) -> str:
        turns = [{"role": m.role, "content": self._hide(m.content)} for m in messages]
        try:
            text: str = self.tokenizer.apply_chat_template(
                turns, tokenize=False, add_generation_prompt=generation_prompt
            )
        except Exception as error:
            # Templates raise on role orders they do not know; jinja2 has no common base to catch.
            raise DataError(f"the model's chat template refuses this conversation: {error}") from None
        return text

    def _hide(self, text: str) -> str:
        if self._specials is None:
            return text
        names = list(self._special_ids)
        return self._specials.sub(
            lambda m: f"{_STAND_IN_START}{names.index(m.group())}{_STAND_IN_END}", text
        )

    def _reveal(self, text: str) -> str:
        names = list(self._special_ids)
        return re.sub(
            f"{_STAND_IN_START}(\\d+){_STAND_IN_END}",
            lambda m: names[int(m.group(1))] if int(m.group(1)) < len(names) else m.group(),
            text,
        )

    def _tokenize(self, text: str) -> list[int]:
        """Tokenise a rendered template: its special tokens are special, revealed ones are text."""
        if self._specials is None:
            return self._tokens(self._reveal(text))
        ids: list[int] = []
        end = 0
        for match in self._specials.finditer(text):
            ids += self._tokens(self._reveal(text[end : match.start()]))
            ids.append(self._special_ids[match.group()])
            end = match.end()
        return ids + self._tokens(self._reveal(text[end:]))

    def _tokens(self, text: str) -> list[int]:
        if not text:
            return []
        ids: list[int] = self.tokenizer.encode(
            text, add_special_tokens=False, split_special_tokens=True
        )
        return ids

    def _begin(self) -> list[int]:
        """The begin-of-sequence token, where the tokenizer adds one by itself."""
        bos: int | None = self.tokenizer.bos_token_id
        added = self.tokenizer.encode("")
        return [bos] if bos is not None and bos != self.tokenizer.eos_token_id and (
            added[:1] == [bos]
        ) else []  # fmt: skip

    def _find_stop_id(self) -> int:
        """The token the template puts right after an answer; eos for models without template."""
        eos: int = self.tokenizer.eos_token_id
        if not self.has_template or self._specials is None:
            return eos
        turn = [Message("user", "question"), Message("assistant", "answer")]
        rendered = self._template(turn, generation_prompt=False)
        tail = rendered[rendered.rindex("answer") + len("answer") :]
        match = self._specials.search(tail)
        return self._special_ids[match.group()] if match else eos


def _plain(messages: Sequence[Message]) -> str:
    return "\n\n".join(m.content for m in messages)
