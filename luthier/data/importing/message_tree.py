"""Trees of messages (OpenAssistant): built from nested replies or from parents, and walked."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from luthier.data.importing.conversation import Unfit, checked
from luthier.data.rows import Reject, Row, kind_of
from luthier.example import Message, Origin, Role, Terms

_IDS = ("message_id", "user_message_id")
_PARENTS = ("parent_id", "parent_message_id")
_ROLES: dict[str, Role] = {"prompter": "user", "user": "user", "assistant": "assistant"}
_UNNAMED = "a model that the data does not name"


@dataclass
class Node:
    """One message of a tree."""

    origin: Origin
    id: str
    role: Role
    text: str
    meta: dict[str, Any]
    """All that is said of the message, but for its text and its replies."""
    parent: Node | None = None
    replies: list[Node] = field(default_factory=list)

    @property
    def tree(self) -> str:
        """Id of the tree: what the message says, else that of its first message."""
        node = self
        while node.parent is not None:
            node = node.parent
        return str(self.meta.get("message_tree_id") or node.id)

    @property
    def rank(self) -> float | None:
        """0 is the best reply; None: nobody ranked it."""
        rank = self.meta.get("rank")
        return float(rank) if isinstance(rank, (int, float)) else None

    @property
    def refusal(self) -> str:
        """Why the message must not be used; empty: it may."""
        if self.meta.get("deleted") is True:
            return f"deleted: message {self.id}"
        if self.meta.get("review_result") is False:
            return f"refused in review: message {self.id}"
        if not self.text.strip():
            return f"empty: message {self.id} says nothing"
        if self.parent is None and self.role != "user":
            return f"not a conversation: message {self.id}, the first, is from {self.role}"
        if self.parent is not None and self.parent.role == self.role:
            return f"not a conversation: message {self.id} from {self.role} answers one of its own"
        return ""

    @property
    def usable(self) -> list[Node]:
        """The replies that may be used, best first: by rank, those without one after them."""
        allowed = [reply for reply in self.replies if not reply.refusal]
        return sorted(allowed, key=lambda n: float("inf") if n.rank is None else n.rank)

    def path(self) -> list[Node]:
        """The messages from the first one to this."""
        nodes, node = [self], self
        while node.parent is not None:
            node = node.parent
            nodes.append(node)
        return nodes[::-1]

    def below(self) -> Iterator[Node]:
        """This message and all under it, but for what is under refused ones."""
        waiting = [self]
        while waiting:
            node = waiting.pop()
            yield node
            if not node.refusal:
                waiting += reversed(node.replies)

    def refused(self) -> Iterator[Reject]:
        """A reject for each message that must not be used; its text is not repeated."""
        for node in self.below():
            if node.refusal:
                hanging = _count(node) - 1
                more = f", with {hanging} under it" if hanging else ""
                fields = {"message_tree_id": node.tree, **node.meta}
                yield Reject(node.origin, f"{node.refusal}{more}", fields)


def _count(node: Node) -> int:
    count, waiting = 0, [node]
    while waiting:
        count += 1
        waiting += waiting.pop().replies
    return count


# --- building ----------------------------------------------------------------------------------


def tree_nodes(row: Row) -> tuple[Node, list[Reject]]:
    """The root of a record that is a tree (`prompt`) or a thread; and its messages that are none.

    Raises:
        Unfit: its first message is none.
    """
    fields = row.fields
    if "thread" in fields:
        thread = fields["thread"]
        if not isinstance(thread, list) or not thread:
            raise Unfit(f"wrong type: 'thread' holds {kind_of(thread)}, expected messages")
        nodes = [_node(row.origin, message) for message in thread]
        for upper, lower in pairwise(nodes):
            lower.parent = upper
            upper.replies.append(lower)
        return nodes[0], []
    root = _node(row.origin, fields["prompt"])
    root.meta.setdefault("message_tree_id", fields.get("message_tree_id") or root.id)
    rejects: list[Reject] = []
    waiting: list[tuple[Node, Any]] = [(root, fields["prompt"])]
    while waiting:
        node, message = waiting.pop()
        for reply in message.get("replies") or ():
            try:
                child = _node(row.origin, reply)
            except Unfit as error:
                about = reply if isinstance(reply, dict) else {"reply": reply}
                rejects.append(Reject(row.origin, str(error), about))
                continue
            child.parent = node
            node.replies.append(child)
            waiting.append((child, reply))
    return root, rejects


class Forest:
    """Messages that name their parents, in any order; held in memory by id."""

    def __init__(self) -> None:
        self.nodes: dict[str, Node] = {}
        self.roots: list[Node] = []

    def add(self, row: Row) -> Reject | None:
        """Take a message in; a reject where it is none, or its id was there before."""
        try:
            node = _node(row.origin, row.fields)
        except Unfit as error:
            return Reject(row.origin, str(error), row.fields)
        if node.id in self.nodes:
            first = self.nodes[node.id].origin
            return Reject(row.origin, f"repeated id: '{node.id}' is that of {first}", row.fields)
        self.nodes[node.id] = node
        return None

    def link(self) -> Iterator[Reject]:
        """Hang every message on its parent; yields those that hang on nothing."""
        lost = {}
        for node in self.nodes.values():
            above = next((node.meta[n] for n in _PARENTS if node.meta.get(n) is not None), None)
            if above is None:
                self.roots.append(node)
            elif (parent := self.nodes.get(str(above))) is None:
                lost[node.id] = f"orphan: its parent '{above}' is not in this file"
            else:
                node.parent = parent
                parent.replies.append(node)
        reached = {n.id for root in self.roots for n in _all_below(root)}
        for node in self.nodes.values():
            if node.id not in reached:
                reason = lost.get(node.id, "orphan: it hangs on a message without its beginning")
                yield Reject(node.origin, reason, {**node.meta, "text": node.text})


def _all_below(root: Node) -> Iterator[Node]:
    waiting = [root]
    while waiting:
        node = waiting.pop()
        yield node
        waiting += node.replies


def _node(origin: Origin, message: Any) -> Node:
    if not isinstance(message, Mapping):
        raise Unfit(f"not a message: found {kind_of(message)}, expected an object")
    said = message.get("role")
    role = _ROLES.get(said) if isinstance(said, str) else None
    known = next((message[n] for n in _IDS if message.get(n) is not None), None)
    text = message.get("text")
    if known is None:
        listed = ", ".join(map(str, message)) or "nothing"
        raise Unfit(f"not a message: no 'message_id' (it has {listed})")
    if role is None:
        raise Unfit(f"not a message: role {said!r} is none of prompter, assistant")
    if not isinstance(text, str):
        raise Unfit(f"not a message: text is {kind_of(text)}, expected text")
    meta = {k: v for k, v in message.items() if k not in ("text", "replies")}
    return Node(origin, str(known), role, text, meta)


# --- walking -----------------------------------------------------------------------------------


def path_ends(root: Node, *, every: bool) -> list[Node]:
    """The answers at which paths end: that of the best path, or of every one.

    Args:
        root: of the tree.
        every: all answers under which there is no other answer; else only the one at the end of
            the best-ranked (else first) replies.
    """
    if not every:
        last, node = None, root
        while True:
            last = node if node.role == "assistant" else last
            if not node.usable:
                return [last] if last is not None else []
            node = node.usable[0]
    order = [n for n in root.below() if not n.refusal]
    answered: set[int] = set()
    ends = []
    for node in reversed(order):
        if node.role == "assistant":
            if id(node) not in answered:
                ends.append(node)
            answered.add(id(node))
        if id(node) in answered and node.parent is not None:
            answered.add(id(node.parent))
    return ends[::-1]


def unanswered(root: Node) -> Iterator[Node]:
    """The questions under which there is no answer that may be used."""
    return (n for n in root.below() if not n.refusal and n.role == "user" and not n.usable)


def pairs_of(root: Node) -> Iterator[tuple[Node, Node]]:
    """Every two ranked answers to one question: the better one, then the worse."""
    for node in root.below():
        if node.refusal or node.role != "user":
            continue
        ranked = [n for n in node.usable if n.role == "assistant" and n.rank is not None]
        for place, better in enumerate(ranked):
            for worse in ranked[place + 1 :]:
                if better.rank != worse.rank:
                    yield better, worse


def path_row(end: Node, known: Mapping[str, Any], worse: Node | None = None) -> Row | Reject:
    """The row of a path.

    Args:
        end: the answer it leads to.
        known: what the tree says.
        worse: another answer to the same question, ranked lower.
    """
    nodes = end.path()
    fields: dict[str, Any] = {**known, "nodes": [node.meta for node in nodes]}
    if worse is not None:
        fields |= {
            "rejected": worse.text, "chosen_rank": end.meta["rank"],
            "rejected_rank": worse.meta["rank"],
        }  # fmt: skip
    turns = [(n, Message(node.role, node.text)) for n, node in enumerate(nodes, 1)]
    try:
        messages = checked(turns, alternating=True).messages
    except Unfit as error:
        return Reject(end.origin, str(error), fields)
    models = [n.meta.get("model_name") for n in nodes if n.meta.get("synthetic") is True]
    terms = None
    if models:
        terms = Terms(generator=", ".join(dict.fromkeys(str(m or _UNNAMED) for m in models)))
    return Row(end.origin, fields, messages, terms=terms)
