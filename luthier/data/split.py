"""Shares rows out to train, validation, calibration and test.

Rows that resemble each other (see `all_pairs.py`) go together, so that nothing the model is tested
on was nearly seen in training. Groups are ordered by a hash of the seed and their rows' ids and
fill the test, calibration and validation shares in that order, label by label: the same rows
always come out the same, whatever their order in the file, and appended rows move few others.
"""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from luthier.data.all_pairs import Corpus, Union
from luthier.data.config import SplitConfig
from luthier.data.shingles import BLOCK, Hashes, Numbers
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
    corpus = Corpus(config.near_duplicates)
    rest = iter(questions)
    while block := list(islice(rest, BLOCK)):
        corpus.add(block)
        advance(len(block))
    same = corpus.same
    claimed = _claimed(rows, same, corpus)
    left = np.ones(len(rows), bool)
    left[list(claimed)] = False
    kept = np.flatnonzero(left).astype(np.int32)
    classes = _connected(rows, kept, same, corpus)
    del corpus, same  # the larger part of what is in memory
    ids, ranks = np.empty(len(rows), np.uint64), np.empty(len(rows), np.uint64)
    fixed = np.zeros(len(rows), bool)
    labels: list[str] = []
    chosen: list[Split] = []
    for i, row in enumerate(rows):
        ids[i], ranks[i] = int(row.id, 16), int(content_id([seed, row.id]), 16)
        fixed[i] = row.split is not None
        labels.append(row.label or "")
        chosen.append(row.split or "train")
    groups = _Groups(classes, kept, ids[kept], ranks[kept])
    del ids, ranks
    # A group that touches a row fixed to train follows it; others are never touched.
    free = array("i", groups.without(fixed).tobytes())
    _fill(labels, groups, free, kept, chosen, config)
    names: list[str | None] = [None] * len(rows)
    for members in groups.several():
        name = min(rows[i].id for i in members)
        for i in members:
            names[i] = name
    return Shared(chosen, names, claimed)


def _claimed(rows: Sequence[Head], same: Numbers, corpus: Corpus) -> dict[int, str]:
    """Rows that resemble a row which a source reserved for a higher split."""
    owners: dict[tuple[int, Split], int] = {}
    for i, row in enumerate(rows):
        if row.split in FILLED:
            owners.setdefault((int(same[i]), row.split), i)
    claimed: dict[int, str] = {}
    if not owners:
        return claimed
    owned = np.zeros(int(same.max()) + 1, bool)
    owned[[c for c, _ in owners]] = True
    neighbours: dict[int, dict[int, float]] = {}
    for pairs in corpus.pairs(lambda ones, others: owned[ones] | owned[others]):
        for a, b, similarity in zip(*(x.tolist() for x in pairs), strict=True):
            neighbours.setdefault(a, {})[b] = similarity
            neighbours.setdefault(b, {})[a] = similarity
    for i, row in enumerate(rows):
        rank = FILLED.index(row.split) if row.split in FILLED else len(FILLED)
        near = [(int(same[i]), 1.0), *sorted(neighbours.get(int(same[i]), {}).items())]
        for split in FILLED[:rank]:
            hits = [(s, owners[c, split]) for c, s in near if (c, split) in owners]
            if hits:
                similarity, owner = max(hits, key=lambda hit: hit[0])
                how = "the same as" if similarity == 1 else f"{similarity:.2f} similar to"
                claimed[i] = f"also in {split}: the input is {how} {rows[owner].origin}"
                break
    return claimed


class _Groups:
    """Rows that stay together, group behind group, in the order in which splits are filled."""

    def __init__(self, classes: Numbers, rows: Numbers, ids: Hashes, ranks: Hashes) -> None:
        """Sort the groups by the rank of one of their rows, that with the lowest id.

        By the lowest of their ranks, large groups would come before small ones, and splits that
        are filled first would be made of them.

        Args:
            classes: what says which rows stay together: they have the same number.
            rows: the rows.
            ids: their ids, different for each.
            ranks: what decides on their order, different for each.
        """
        by_id = np.lexsort((ids, classes))
        first = by_id[np.flatnonzero(np.diff(classes[by_id], prepend=-1))]
        of_class = np.zeros(int(classes.max(initial=-1)) + 1, np.uint64)
        of_class[classes[first]] = ranks[first]
        of_row = of_class[classes]
        order = np.argsort(of_row, kind="stable")
        starts = np.flatnonzero(np.diff(of_row[order], prepend=~of_row[order[:1]]))
        self._rows = array("i", rows[order].astype(np.int32).tobytes())
        self._ends = array("i", np.append(starts, len(rows)).astype(np.int32).tobytes())

    def __len__(self) -> int:
        return len(self._ends) - 1

    def __getitem__(self, group: int) -> array[int]:
        return self._rows[self._ends[group] : self._ends[group + 1]]

    def without(self, marked: NDArray[np.bool_]) -> Numbers:
        """Groups that have none of the rows that are marked."""
        begins = np.frombuffer(self._ends, np.int32)[:-1]
        rows = np.frombuffer(self._rows, np.int32)
        if not len(begins):
            return begins
        return np.flatnonzero(~np.logical_or.reduceat(marked[rows], begins)).astype(np.int32)

    def several(self) -> Iterator[array[int]]:
        """Groups of more than one row."""
        return (g for g in map(self.__getitem__, range(len(self))) if len(g) > 1)


def _connected(rows: Sequence[Head], kept: Numbers, same: Numbers, corpus: Corpus) -> Numbers:
    """A number for each row, the same for those that must stay together.

    Near-duplicates of near-duplicates belong together, and so do families.
    """
    union = Union(int(same.max(initial=-1)) + 1)
    first: dict[str, int] = {}
    for i in map(int, kept):
        if (family := rows[i].family) is not None:
            union.join(first.setdefault(family, int(same[i])), int(same[i]))
    # A rejected row connects nothing.
    alive = np.zeros(len(union.parent), bool)
    alive[same[kept]] = True
    for pairs in corpus.pairs(
        lambda a, b: alive[a] & alive[b] & (union.roots(a) != union.roots(b))
    ):
        for a, b in zip(pairs.ones.tolist(), pairs.others.tolist(), strict=True):
            union.join(a, b)
    return union.roots(same[kept])


def _fill(
    labels: Sequence[str],
    groups: _Groups,
    free: Sequence[int],
    kept: Numbers,
    chosen: list[Split],
    config: SplitConfig,
) -> None:
    """Fill the shares with whole groups; what is left stays in train."""

    def counted(group: int) -> Counter[str]:
        return Counter(labels[i] for i in groups[group])

    strata = Counter(labels[i] for group in free for i in groups[group])
    shares: dict[Split, float] = {split: getattr(config, split) or 0.0 for split in FILLED}
    room = _quotas(strata, shares)
    # A label's last rows are not taken out of train.
    trained = Counter(labels[i] for i in map(int, kept) if chosen[i] == "train")

    def place(group: int, split: Split, counts: Counter[str]) -> None:
        for i in groups[group]:
            chosen[i] = split
        trained.subtract(counts)

    def spare(counts: Counter[str]) -> bool:
        return all(trained[label] > count for label, count in counts.items())

    most = {split: max(1, int(LARGE * sum(room[split].values()))) for split in FILLED}
    left = array("i")
    for group in free:
        if not any(any(room[split].values()) for split in FILLED):
            break  # what is left is for train, however many rows that are
        counts = counted(group)
        for split in FILLED:
            fits = all(room[split][label] >= n for label, n in counts.items())
            if fits and counts.total() <= most[split] and spare(counts):
                place(group, split, counts)
                room[split].subtract(counts)
                break
        else:
            left.append(group)
    # Where groups were too large or did not fit label by label, meet the number of rows at least.
    by_size = sorted(left, key=lambda group: len(groups[group]))
    for split in FILLED:
        short = sum(room[split].values())
        for group in by_size:
            if not short:
                break
            counts = counted(group)
            if counts.total() <= short and chosen[groups[group][0]] == "train" and spare(counts):
                place(group, split, counts)
                short -= counts.total()


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
