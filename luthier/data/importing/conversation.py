"""Turns of a conversation, under the many names that data sets give them, become checked messages.

Roles: `human` and `prompter` are the user, `gpt`, `bot` and `model` the assistant, `function_call`
an assistant that calls tools, `observation` and `function` what a tool answers. Nothing is mended:
a conversation that does not hold together is refused with the message that is wrong, unless `trim`
says that a beginning without a question and an end without an answer may be cut off.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from luthier.as_written import WrittenFloat, json_text
from luthier.data.rows import Reject, Row, kind_of
from luthier.example import Message, Role

ROLES: dict[str, Role] = {
    "system": "system", "developer": "system",
    "user": "user", "human": "user", "prompter": "user",
    "assistant": "assistant", "gpt": "assistant", "bot": "assistant", "chatgpt": "assistant",
    "model": "assistant", "bing": "assistant", "bard": "assistant", "ai": "assistant",
    "chatbot": "assistant",
    "gpt4": "assistant", "gpt-4": "assistant", "gpt-3.5": "assistant", "claude": "assistant",
    "function_call": "assistant", "tool_call": "assistant",
    "tool": "tool", "function": "tool", "observation": "tool", "tool_response": "tool",
}  # fmt: skip
"""What data sets call those who speak, and the role that is theirs."""
_CALLING = ("function_call", "tool_call")
"""Roles whose text is the calls themselves, as JSON."""
WEIGHTS = ("loss_weight", "weight", "train", "loss")
"""Keys of a turn that say whether, or how much, it is trained."""
_KNOWN = "system, user, assistant, tool"


class Keys(NamedTuple):
    """Under which keys a turn says who speaks and what."""

    speaker: tuple[str, ...]
    said: tuple[str, ...]


OPENAI = Keys(("role",), ("content",))
ANY = Keys(("from", "role", "speaker"), ("value", "content", "text"))


class Unfit(Exception):
    """A row that cannot be used; its text is the reason, `what: details`."""


class Conversation(NamedTuple):
    """Messages that hold together."""

    messages: tuple[Message, ...]
    trimmed: list[str]
    """Turns that were cut off, as in `message 1 (assistant)`."""


def attempt(row: Row, make: Callable[[Row], Row]) -> Row | Reject:
    """What `make` makes of a row, or the row as a reject where it says that it is unfit."""
    try:
        return make(row)
    except Unfit as error:
        return Reject(row.origin, str(error), row.fields)


def conversation(
    value: Any,
    *,
    keys: Keys = OPENAI,
    alternating: bool = False,
    trim: bool = False,
    answered: bool = True,
) -> Conversation:
    """Read and check a list of turns.

    Args:
        value: the list, or JSON text of one (CSV, and many Parquet files).
        keys: of its turns.
        alternating: whether user and assistant must take turns and say something, as in ShareGPT.
        trim: cut off what stands before the first question and after the last answer.
        answered: whether it must end with an answer; else a question may be the last.

    Raises:
        Unfit: it is no conversation that ends with an answer; names the message that is wrong.
    """
    turns = turns_of(value)
    numbered = list(enumerate(messages_of(turns, keys), 1))
    return checked(numbered, alternating=alternating, trim=trim, answered=answered)


def turns_of(value: Any) -> list[Any]:
    """The list of turns that a field holds.

    Raises:
        Unfit: it holds something else, or none.
    """
    if isinstance(value, str):
        try:
            value = json.loads(value, parse_float=WrittenFloat)
        except (ValueError, RecursionError):
            raise _broken("expected a list of messages, found a text") from None
    if not isinstance(value, list) or not value:
        found = "an empty list" if value == [] else kind_of(value)
        raise _broken(f"expected a list of messages, found {found}")
    return value


def first_turn(value: Any) -> Any:
    """The first of the turns in a column, which may hold them as a text of JSON; None: none."""
    if isinstance(value, str) and value.lstrip().startswith("["):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            return None
    return value[0] if isinstance(value, list) and value else None


def messages_of(turns: Sequence[Any], keys: Keys = OPENAI) -> list[Message]:
    """Read turns one by one, without judging their order.

    What tools answer comes in the order of the calls, where ids say which answer is whose: the
    messages have none.

    Raises:
        Unfit: one of them cannot be read.
    """
    messages = [_message(turn, number, keys) for number, turn in enumerate(turns, 1)]
    return _with_answers(turns, messages)


def checked(
    numbered: Sequence[tuple[int, Message]],
    *,
    alternating: bool = False,
    trim: bool | None = None,
    answered: bool = True,
) -> Conversation:
    """Judge the order of messages, each with its number in the file.

    Args:
        numbered: the messages.
        alternating: as in `conversation`.
        trim: as in `conversation`; None: the format has no such option, and none is advised.
        answered: as in `conversation`.

    Raises:
        Unfit: it is no conversation that ends with an answer; names the message that is wrong, and
            the option that would mend it.
    """
    try:
        return _judged(numbered, alternating, bool(trim), answered)
    except Unfit as error:
        if trim is False and _holds_trimmed(numbered, alternating):
            raise Unfit(f"{error} (format option trim: true cuts that off)") from None
        raise


def _holds_trimmed(numbered: Sequence[tuple[int, Message]], alternating: bool) -> bool:
    try:
        _judged(numbered, alternating, True, True)
    except Unfit:
        return False
    return True


def _judged(
    numbered: Sequence[tuple[int, Message]], alternating: bool, trim: bool, answered: bool
) -> Conversation:
    trimmed: list[str] = []
    if alternating:
        numbered = [(n, m) for n, m in numbered if m.role != "system" or m.content.strip()]
    if trim:
        numbered, trimmed = _trimmed(numbered)
    if not numbered:
        raise _broken("nobody says anything in it")
    for number, message in numbered[1:]:
        if message.role == "system":
            raise _broken(f"message {number} is from system, which may only come first")
    messages = [m for _, m in numbered]
    asks = messages[-1].role == "user" and not answered
    if messages[-1].role != "assistant" and not asks:
        raise _broken(f"the last message is from {messages[-1].role}, expected assistant")
    if not asks and all(m.role == "system" for m in messages[:-1]):
        raise _broken("nothing is asked before the answer")
    number, first = next((n, m) for n, m in numbered if m.role != "system")
    if first.role == "tool":
        raise _broken(
            f"message {number}: role 'tool' is none of system, user, who begin a conversation"
        )
    if alternating:
        _require_turns(numbered)
    return Conversation(tuple(messages), trimmed)


def tools_of(fields: Mapping[str, Any]) -> str | None:
    """JSON list of the tools that a row defines; None: none.

    They stand in `tools`, or as bare functions in `functions`, from which OpenAI made the tools of
    type `function`.

    Raises:
        Unfit: what stands there is no list.
    """
    for name in ("tools", "functions"):
        value = given = fields.get(name)
        if isinstance(value, str) and value.strip():
            try:
                value = json.loads(value, parse_float=WrittenFloat)
            except (ValueError, RecursionError):
                raise Unfit(f"not tools: '{name}' holds a text that is not JSON") from None
        if not value:
            continue
        if not isinstance(value, list):
            raise Unfit(f"not tools: '{name}' holds {kind_of(value)}, expected a list")
        if name == "functions":
            value = [_as_tool(each) for each in value]
        elif isinstance(given, str):
            return given
        return json_text(value)
    return None


def _as_tool(function: Any) -> Any:
    bare = isinstance(function, dict) and "name" in function and "function" not in function
    return {"type": "function", "function": function} if bare else function


def _broken(what: str) -> Unfit:
    return Unfit(f"not a conversation: {what}")


# --- one message -------------------------------------------------------------------------------


def _message(turn: Any, number: int, keys: Keys) -> Message:
    if not isinstance(turn, dict):
        wanted = f"{{{keys.speaker[0]}, {keys.said[0]}}}"
        raise _broken(f"message {number} is {kind_of(turn)}, expected {wanted}")
    speaker = _key(turn, keys.speaker, number)
    said = turn[speaker]
    known = ROLES.get(said.strip().casefold()) if isinstance(said, str) else None
    if known is None:
        raise _broken(f"message {number}: role {said!r} is none of {_KNOWN}")
    calls = _calls(turn, number) if known == "assistant" else None
    content = ""
    if calls is None or any(turn.get(name) is not None for name in keys.said):
        content = _content(turn[_key(turn, keys.said, number)], number, known)
    if said.strip().casefold() in _CALLING:
        if calls is None:
            calls = _listed_calls(content, number)
        content = ""
    name = turn.get("name")
    if name is not None and not isinstance(name, str):
        raise _broken(f"message {number}: name is {kind_of(name)}, expected text")
    return Message(known, content, name or None, calls, _weight(turn, number))


def _key(turn: Mapping[str, Any], names: Sequence[str], number: int) -> str:
    for name in names:
        if name in turn:
            return name
    listed = ", ".join(map(str, turn)) or "nothing"
    raise _broken(f"message {number} has no '{names[0]}' (it has {listed})")


def _content(content: Any, number: int, role: Role) -> str:
    if isinstance(content, str):
        return content
    if role == "tool" and isinstance(content, dict):
        return json_text(content)
    if not isinstance(content, list):
        raise _broken(f"message {number}: content is {kind_of(content)}, expected text")
    return parts_of(content, f"message {number}")


def parts_of(content: Sequence[Any], where: str) -> str:
    """The text of content that comes in parts, such as {type: text, text: ...}.

    Raises:
        Unfit: one of them is no text; says where.
    """
    parts = []
    for part in content:
        text = part
        if isinstance(part, dict):
            if part.get("type", "text") != "text":
                raise _broken(f"{where} has a part of type {part['type']!r}, not text")
            text = part.get("text", part.get("value"))
        if not isinstance(text, str):
            raise _broken(f"{where} has a part that is {kind_of(text)}, not text")
        parts.append(text)
    return "".join(parts)


def _weight(turn: Mapping[str, Any], number: int) -> float | None:
    for name in WEIGHTS:
        value = turn.get(name)
        if value is None:
            continue
        if not isinstance(value, (bool, int, float)):
            raise _broken(f"message {number}: {name} is {kind_of(value)}, expected a number")
        return float(value)
    return None


# --- tools -------------------------------------------------------------------------------------


def _calls(turn: Mapping[str, Any], number: int) -> str | None:
    """The calls of a turn, in OpenAI's form (`tool_calls`, formerly `function_call`) or our own."""
    given = turn.get("tool_calls") or turn.get("function_call")
    return _listed_calls(given, number) if given else None


def _listed_calls(given: Any, number: int) -> str:
    if isinstance(given, str):
        try:
            given = json.loads(given, parse_float=WrittenFloat)
        except (ValueError, RecursionError):
            raise _broken(f"message {number} calls tools, but its text is not JSON") from None
    listed = given if isinstance(given, list) else [given]
    calls = []
    for place, each in enumerate(listed, 1):
        where = f"message {number} calls tools, but call {place}"
        call = each.get("function", each) if isinstance(each, dict) else each
        if not isinstance(call, dict) or not isinstance(call.get("name"), str):
            raise _broken(f"{where} has no name")
        calls.append({"name": call["name"], "arguments": _arguments(call, where)})
    if not calls:
        raise _broken(f"message {number} calls tools, but names none")
    return json_text(calls)


def _arguments(call: Mapping[str, Any], where: str) -> Any:
    value = call.get("arguments", call.get("parameters"))
    if isinstance(value, str) and value.strip():
        try:
            value = json.loads(value, parse_float=WrittenFloat)
        except (ValueError, RecursionError):
            raise _broken(f"{where} ('{call['name']}') has arguments that are not JSON") from None
    if not value and not isinstance(value, (int, float, bool)):
        return {}
    if not isinstance(value, dict):
        raise _broken(f"{where} ('{call['name']}') has {kind_of(value)} for arguments")
    return value


def _with_answers(turns: Sequence[Any], messages: list[Message]) -> list[Message]:
    """Say which tool an answer is from, by id or else by place, and put answers in order."""
    known: dict[str, str] = {}
    done = list(messages)
    for place, message in enumerate(messages):
        if not message.tool_calls:
            continue
        names = [call["name"] for call in json.loads(message.tool_calls)]
        ids = ids_of(turns[place], len(names))
        known |= dict(zip(ids, names, strict=False))
        end = place + 1
        while end < len(messages) and messages[end].role == "tool":
            end += 1
        answers = range(place + 1, end)
        asked = [str(turns[number].get("tool_call_id", "")) for number in answers]
        for at, number in enumerate(answers):
            name = messages[number].name or known.get(asked[at])
            if name is None and len(answers) == len(names):
                name = names[at]
            done[number] = replace(messages[number], name=name)
        if ids and answers and all(asked):
            _require_answers(ids, asked, place + 1)
        if len(set(asked)) == len(asked) and set(asked) <= set(ids):
            order = sorted(range(len(asked)), key=lambda at: ids.index(asked[at]))
            done[place + 1 : end] = [done[place + 1 + at] for at in order]
    return done


def _require_answers(ids: Sequence[str], asked: Sequence[str], number: int) -> None:
    """Raise unless the answers are those to the calls: by place alone they would be mixed up."""
    if strange := [each for each in asked if each not in ids]:
        raise _broken(
            f"tool_call_id '{strange[0]}' after message {number} is no call of it "
            f"(it has {', '.join(ids)})"
        )
    if missing := [each for each in ids if each not in asked]:
        raise _broken(f"message {number} calls tools, but '{missing[0]}' is never answered")


def ids_of(turn: Mapping[str, Any], count: int) -> list[str]:
    """The ids of the calls of a turn; none unless each has its own."""
    given = turn.get("tool_calls")
    if not isinstance(given, list):
        return []
    ids = [str(call["id"]) for call in given if isinstance(call, dict) and call.get("id")]
    return ids if len(set(ids)) == count else []


# --- order -------------------------------------------------------------------------------------


def _trimmed(
    numbered: Sequence[tuple[int, Message]],
) -> tuple[list[tuple[int, Message]], list[str]]:
    roles = [m.role for _, m in numbered]
    first = next((i for i, role in enumerate(roles) if role == "user"), len(roles))
    last = max((i for i, role in enumerate(roles) if role == "assistant"), default=-1)
    kept, cut = [], []
    for i, (number, message) in enumerate(numbered):
        if (i >= first or message.role == "system") and i <= last:
            kept.append((number, message))
        else:
            cut.append(f"message {number} ({message.role})")
    return kept, cut


_FOLLOWS: dict[Role, tuple[Role, ...]] = {
    "system": ("user",), "user": ("assistant",), "assistant": ("user", "tool"),
    "tool": ("assistant", "tool"),
}  # fmt: skip


def _require_turns(numbered: Sequence[tuple[int, Message]]) -> None:
    """Raise unless user and assistant take turns, and say something in each."""
    before: Role = "system"
    for number, message in numbered:
        if not message.content.strip() and not message.tool_calls:
            raise _broken(f"message {number} ({message.role}) is empty")
        allowed = _FOLLOWS[before]
        if message.role not in allowed and not (before == "system" == message.role):
            after = f" after {before}" if before != "system" else ""
            expected = " or ".join(role for role in allowed if role != "tool")
            raise _broken(f"message {number} is from {message.role}{after}, expected {expected}")
        before = message.role
