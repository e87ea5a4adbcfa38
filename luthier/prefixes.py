"""Which rows share the start of their prompts, found from the tokens alone."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, field

MIN_PREFIX = 8
"""Tokens; a shorter prefix is not worth a group."""
MIN_GAIN = 0.1
"""Share of all tokens that a finer grouping must save: batches of one kind of row are less random,
which is a price too."""


@dataclass(frozen=True)
class Prefixes:
    """A partition of the rows."""

    group_of: list[int]
    """Row -> group."""
    lengths: list[int]
    """Group -> tokens all its rows start with, none of them trained."""


@dataclass
class _Node:
    """Rows, next to each other in lexicographic order, that share `length` tokens."""

    length: int
    start: int
    stop: int
    children: list[_Node] = field(default_factory=list)


def find_prefixes(prompts: Sequence[Sequence[int]], batch_size: int) -> Prefixes:
    """Group rows so that batches of a group compute the fewest tokens.

    Rows are sorted, which puts those with long common prefixes next to each other; the tree of
    common prefixes is then cut where grouping saves most: n rows that share p tokens need them
    ceil(n / batch_size) times instead of n times.

    Args:
        prompts: the tokens of each row that may be shared.
        batch_size: rows of a batch.
    """
    if not prompts:
        return Prefixes([], [])
    order = sorted(range(len(prompts)), key=lambda i: list(prompts[i]))
    common = [_common(prompts[a], prompts[b]) for a, b in itertools.pairwise(order)]
    root = _tree(common, len(order))
    tokens = sum(len(prompt) for prompt in prompts)
    chosen = [root]
    finer = _best(root, batch_size)
    if _saved(finer, batch_size) > _saved(chosen, batch_size) + MIN_GAIN * tokens:
        chosen = finer
    group_of = [0] * len(prompts)
    lengths: list[int] = []
    inside = 0
    rest: list[int] = []
    for node in sorted(chosen, key=lambda n: n.start):
        rest += order[inside : node.start]
        inside = node.stop
        for row in order[node.start : node.stop]:
            group_of[row] = len(lengths)
        lengths.append(node.length if node.length >= MIN_PREFIX else 0)
    rest += order[inside:]
    if rest:  # rows that share nothing with enough others share what all do
        for row in rest:
            group_of[row] = len(lengths)
        lengths.append(root.length if root.length >= MIN_PREFIX else 0)
    return Prefixes(group_of, lengths)


def _common(a: Sequence[int], b: Sequence[int]) -> int:
    return next(
        (i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b))
    )


def _tree(common: Sequence[int], count: int) -> _Node:
    """The intervals of rows with common prefixes, nested (a suffix array's LCP intervals)."""
    stack = [_Node(0, 0, count)]
    for at, length in enumerate(common):
        start = at
        while stack[-1].length > length:
            done = stack.pop()
            done.stop = at + 1
            start = done.start
            if stack[-1].length >= length:
                stack[-1].children.append(done)
            else:
                stack.append(_Node(length, start, count, [done]))
        if stack[-1].length < length:
            stack.append(_Node(length, start, count))
    while len(stack) > 1:
        done = stack.pop()
        stack[-1].children.append(done)
    root = stack[0]
    if len(root.children) == 1 and (root.children[0].start, root.children[0].stop) == (0, count):
        return root.children[0]
    return root


def _best(root: _Node, batch_size: int) -> list[_Node]:
    """The antichain of nodes that saves most."""
    # Children before parents, without recursion: prompts may nest thousands deep.
    order, pending = [], [root]
    while pending:
        node = pending.pop()
        order.append(node)
        pending += node.children
    best: dict[int, tuple[int, bool]] = {}
    for node in reversed(order):
        own = _saved([node], batch_size)
        below = sum(best[id(child)][0] for child in node.children)
        best[id(node)] = (max(own, below), own >= below)
    chosen, pending = [], [root]
    while pending:
        node = pending.pop()
        if best[id(node)][1]:
            chosen.append(node)
        else:
            pending += node.children
    return [node for node in chosen if _saved([node], batch_size)]


def _saved(nodes: Sequence[_Node], batch_size: int) -> int:
    """Tokens that need not be computed in an epoch."""
    return sum(
        node.length * ((n := node.stop - node.start) - math.ceil(n / batch_size))
        for node in nodes
        if node.length >= MIN_PREFIX
    )
