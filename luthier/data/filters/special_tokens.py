"""Rejects rows with chat markup in their text, such as <|im_end|>, [INST] or </s>."""

from __future__ import annotations

import re

from luthier.data.candidate import Candidate, Filter

_MARKUP = re.compile(
    r"<\|[A-Za-z0-9_]{1,40}\|>|</?s>|\[/?INST\]|<</?SYS>>|<(?:start|end)_of_turn>|<(?:bos|eos|pad)>"
)


def build() -> Filter:
    """No options.

    The renderer never lets such text act as a token; it is still a sign of rows that were scraped
    together with somebody's template.
    """

    def special_tokens(row: Candidate) -> str | None:
        for text in row.texts:
            match = _MARKUP.search(text)
            if match:
                return f"chat markup: {match.group()} in the text"
        return None

    return special_tokens
