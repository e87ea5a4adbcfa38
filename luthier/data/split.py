"""Shares rows out to train, validation, calibration and test.

Rows that resemble each other (see `near.py`) go together, so that nothing the model is tested on
was nearly seen in training. Groups are ordered by a hash of the seed and their rows' ids and fill
the test, calibration and validation shares in that order, label by label: the same rows always
come out the same, whatever their order in the file, and appended rows move few others.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

from luthier.data.config import SplitConfig
from luthier.data.near import Union, resemblance
from luthier.example import Origin, Split, content_id

FILLED: tuple[Split, ...] = ("test", "calibration", "validation")
"""Splits in the order they are filled, and in which they keep a row that two of them claim."""
LARGE = 0.1
"""Share of a split beyond which one group would be most of what the split says; such groups go
to train unless the shares cannot be met without them."""


class Head(NamedTuple):
    """What of a row decides on its split; all that is kept of it in memory."""

    id: str
    origin: Origin
    label: str | None = None
    split: Split | None = None
    """What its source says; None: the shares decide."""
    family: str | None = None
    """Value of the column `data.split.group_by`: rows of one family stay together."""


class Shared(NamedTuple):
    """The split and the group of every row, and rows that must not be trained on."""

    splits: list[Split]
    groups: list[str | None]
    """Name of the group of resembling rows; None: the row stands alone."""
    claimed: dict[int, str]
    """Rows that are left out, and why; their split means nothing."""


def share_out(
    rows: Sequence[Head],
    questions: Iterable[str],
    *,
    config: SplitConfig,
    seed: int,
    advance: Callable[[int], None] = lambda n: None,
) -> Shared:
    """Give every row a split.

    Args:
        rows: what is known of them.
        questions: what each row asks, without the template's words; compared for resemblance.
        config: shares and the similarity from which rows stay together.
        seed: chooses among the possible sharings.
        advance: told of every row that has been compared.

    Returns:
        Splits and groups in the order of the rows; left out are rows of lower splits that resemble
        a row which its source put into a higher one (reason `also in test: ...`).
    """
    found = resemblance(questions, config.near_duplicates, advance)
    neighbours: dict[int, list[tuple[int, float]]] = {}
    for a, b, similarity in found.pairs:
        neighbours.setdefault(a, []).append((b, similarity))
        neighbours.setdefault(b, []).append((a, similarity))
    claimed = _claimed(rows, found.same, neighbours)
    kept = [i for i in range(len(rows)) if i not in claimed]
    groups = _groups(kept, found.same, found.pairs, [row.family for row in rows])
    free = [g for g in groups if not any(rows[i].split for i in g)]
    chosen: list[Split] = [row.split or "train" for row in rows]
    # A group that touches a row fixed to train follows it; others are never touched.
    _fill(rows, free, kept, chosen, config, seed)
    names: list[str | None] = [None] * len(rows)
    for group in groups:
        if len(group) > 1:
            name = min(rows[i].id for i in group)
            for i in group:
                names[i] = name
    return Shared(chosen, names, claimed)


def _claimed(
    rows: Sequence[Head],
    same: Sequence[int],
    neighbours: Mapping[int, list[tuple[int, float]]],
) -> dict[int, str]:
    """Rows that resemble a row which a source reserved for a higher split."""
    owners: dict[tuple[int, Split], int] = {}
    for i, row in enumerate(rows):
        if row.split in FILLED:
            owners.setdefault((same[i], row.split), i)
    claimed: dict[int, str] = {}
    if not owners:
        return claimed
    for i, row in enumerate(rows):
        rank = FILLED.index(row.split) if row.split in FILLED else len(FILLED)
        near = [(same[i], 1.0), *neighbours.get(same[i], [])]
        for split in FILLED[:rank]:
            hits = [(s, owners[c, split]) for c, s in near if (c, split) in owners]
            if hits:
                similarity, owner = max(hits, key=lambda hit: hit[0])
                how = "the same as" if similarity == 1 else f"{similarity:.2f} similar to"
                claimed[i] = f"also in {split}: the input is {how} {rows[owner].origin}"
                break
    return claimed


def _groups(
    kept: Sequence[int],
    same: Sequence[int],
    pairs: Sequence[tuple[int, int, float]],
    families: Sequence[str | None],
) -> list[list[int]]:
    """Connected rows: near-duplicates of near-duplicates belong together, and so do families."""
    union = Union(max(same, default=-1) + 1)
    alive = {same[i] for i in kept}
    first: dict[str, int] = {}
    for i in kept:
        if (family := families[i]) is not None:
            union.join(first.setdefault(family, same[i]), same[i])
    for a, b, _ in pairs:
        # A rejected row connects nothing.
        if a in alive and b in alive:
            union.join(a, b)
    members: dict[int, list[int]] = {}
    for i in kept:
        members.setdefault(union.find(same[i]), []).append(i)
    return list(members.values())


def _fill(
    rows: Sequence[Head],
    groups: list[list[int]],
    kept: Sequence[int],
    chosen: list[Split],
    config: SplitConfig,
    seed: int,
) -> None:
    """Fill the shares with whole groups; what is left stays in train."""

    def rank(group: list[int]) -> str:
        return min(content_id([seed, rows[i].id]) for i in group)

    def labels(group: list[int]) -> Counter[str]:
        return Counter(rows[i].label or "" for i in group)

    ordered = sorted(groups, key=rank)
    strata: Counter[str] = Counter()
    for group in ordered:
        strata += labels(group)
    shares: dict[Split, float] = {split: getattr(config, split) or 0.0 for split in FILLED}
    room = _quotas(strata, shares)
    # A label's last rows are not taken out of train.
    trained = Counter(rows[i].label or "" for i in kept if chosen[i] == "train")

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
