"""Shares rows out to train, validation, calibration and test.

Rows that resemble each other (see `near.py`) go together, so that nothing the model is tested on
was nearly seen in training. Groups are ordered by a hash of the seed and their rows' ids and fill
the test, calibration and validation shares in that order, label by label: the same rows always
come out the same, whatever their order in the file, and appended rows move few others.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from luthier.data.config import SplitConfig
from luthier.data.near import Union, resemblance
from luthier.data.rows import Reject
from luthier.example import Example, Split, content_id

FILLED: tuple[Split, ...] = ("test", "calibration", "validation")
"""Splits in the order they are filled, and in which they keep a row that two of them claim."""
LARGE = 0.1
"""Share of a split beyond which one group would be most of what the split says; such groups go
to train unless the shares cannot be met without them."""


class Shared(NamedTuple):
    """Rows with their split and group, and rows that must not be trained on."""

    examples: list[Example]
    rejects: list[Reject]


def share_out(
    examples: Sequence[Example],
    questions: Sequence[str],
    *,
    config: SplitConfig,
    seed: int,
    advance: Callable[[int], None] = lambda n: None,
) -> Shared:
    """Give every row a split.

    Args:
        examples: rows; `split` is None where the shares decide, or what their source says.
        questions: what each row asks, without the template's words; compared for resemblance.
        config: shares and the similarity from which rows stay together.
        seed: chooses among the possible sharings.
        advance: told of every row that has been compared.

    Returns:
        Rows in their original order with `split` and `group` set; and rows of lower splits that
        resemble a row which its source put into a higher one (reason `also in test: ...`).
    """
    found = resemblance(questions, config.near_duplicates, advance)
    neighbours: dict[int, list[tuple[int, float]]] = {}
    for a, b, similarity in found.pairs:
        neighbours.setdefault(a, []).append((b, similarity))
        neighbours.setdefault(b, []).append((a, similarity))
    rejects = _claimed(examples, found.same, neighbours)
    kept = [i for i in range(len(examples)) if i not in rejects]
    groups = _groups(kept, found.same, found.pairs)
    fixed = {i: examples[i].split for i in kept if examples[i].split is not None}
    free = [g for g in groups if not any(i in fixed for i in g)]
    chosen = {i: split or "train" for i, split in fixed.items()}
    for group in groups:
        for i in group:
            # A group that touches a row fixed to train follows it; others are never touched.
            chosen.setdefault(i, "train")
    _fill(examples, free, chosen, config, seed)
    named = {i: min(examples[j].id for j in g) for g in groups if len(g) > 1 for i in g}
    rows = [examples[i].but(split=chosen[i], group=named.get(i)) for i in kept]
    return Shared(rows, [rejects[i] for i in sorted(rejects)])


def _claimed(
    examples: Sequence[Example],
    same: Sequence[int],
    neighbours: Mapping[int, list[tuple[int, float]]],
) -> dict[int, Reject]:
    """Rows that resemble a row which a source reserved for a higher split."""
    owners: dict[tuple[int, Split], int] = {}
    for i, example in enumerate(examples):
        if example.split in FILLED:
            owners.setdefault((same[i], example.split), i)
    rejects = {}
    for i, example in enumerate(examples):
        rank = FILLED.index(example.split) if example.split in FILLED else len(FILLED)
        near = [(same[i], 1.0), *neighbours.get(same[i], [])]
        for split in FILLED[:rank]:
            hits = [(s, owners[c, split]) for c, s in near if (c, split) in owners]
            if hits:
                similarity, owner = max(hits, key=lambda hit: hit[0])
                how = "the same as" if similarity == 1 else f"{similarity:.2f} similar to"
                reason = f"also in {split}: the input is {how} {examples[owner].origin}"
                rejects[i] = Reject(example.origin, reason, dict(example.fields))
                break
    return rejects


def _groups(
    kept: Sequence[int], same: Sequence[int], pairs: Sequence[tuple[int, int, float]]
) -> list[list[int]]:
    """Connected rows: near-duplicates of near-duplicates belong together."""
    union = Union(max(same, default=-1) + 1)
    alive = {same[i] for i in kept}
    for a, b, _ in pairs:
        # A rejected row connects nothing.
        if a in alive and b in alive:
            union.join(a, b)
    members: dict[int, list[int]] = {}
    for i in kept:
        members.setdefault(union.find(same[i]), []).append(i)
    return list(members.values())


def _fill(
    examples: Sequence[Example],
    groups: list[list[int]],
    chosen: dict[int, Split],
    config: SplitConfig,
    seed: int,
) -> None:
    """Fill the shares with whole groups; what is left stays in train."""

    def rank(group: list[int]) -> str:
        return min(content_id([seed, examples[i].id]) for i in group)

    def labels(group: list[int]) -> Counter[str]:
        return Counter(examples[i].label or "" for i in group)

    ordered = sorted(groups, key=rank)
    strata: Counter[str] = Counter()
    for group in ordered:
        strata += labels(group)
    shares: dict[Split, float] = {split: getattr(config, split) or 0.0 for split in FILLED}
    room = _quotas(strata, shares)
    # A label's last rows are not taken out of train.
    trained = Counter(examples[i].label or "" for i, split in chosen.items() if split == "train")

    def place(group: list[int], split: Split, counts: Counter[str]) -> None:
        for i in group:
            chosen[i] = split
        trained.subtract(counts)

    def spare(counts: Counter[str]) -> bool:
        return all(trained[label] > count for label, count in counts.items())

    most = {split: max(1, int(LARGE * sum(room[split].values()))) for split in FILLED}
    left = []
    for group in ordered:
        counts = labels(group)
        for split in FILLED:
            fits = all(room[split][label] >= n for label, n in counts.items())
            if fits and len(group) <= most[split] and spare(counts):
                place(group, split, counts)
                room[split].subtract(counts)
                break
        else:
            left.append(group)
    # Where groups were too large or did not fit label by label, meet the number of rows at least.
    left.sort(key=len)  # the smallest first, in the hash's order among equals
    for split in FILLED:
        short = sum(room[split].values())
        for group in left:
            counts = labels(group)
            if len(group) <= short and chosen[group[0]] == "train" and spare(counts):
                place(group, split, counts)
                short -= len(group)


def _quotas(strata: Mapping[str, int], shares: Mapping[Split, float]) -> dict[Split, Counter[str]]:
    """Rows per split and label: each split's total is exact, each label's within one row."""
    room: dict[Split, Counter[str]] = {split: Counter() for split in shares}
    before = 0
    for label in sorted(strata):
        after = before + strata[label]
        for split, share in shares.items():
            room[split][label] = int(share * after + 0.5) - int(share * before + 0.5)
        before = after
    return room
