"""Near-duplicates: measured exactly, and none is missed."""

from __future__ import annotations

import random
import re
import string
from collections.abc import Callable, Iterable, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from luthier.chat import Rendered
from luthier.data import all_pairs, near, stored, tables
from luthier.data.all_pairs import Corpus, Union
from luthier.data.candidate import Candidate
from luthier.data.config import SplitConfig
from luthier.data.filters.near_duplicates import build
from luthier.data.minhash import MISS, Signer, banding
from luthier.data.near import NearIndex
from luthier.data.places import Places
from luthier.data.shingles import BLOCK, shingle_sets, shingles
from luthier.data.shingles import jaccard as measured
from luthier.data.split import Head, share_out
from luthier.errors import RunError
from luthier.example import Example, Message, Origin, content_id

WORDS = list("abcdefghijklmnopq")


class Resemblance(NamedTuple):
    """Which texts say the same, and which nearly."""

    same: list[int]
    """Per text the number of its class: texts of one class have the same shingles."""
    pairs: list[tuple[int, int, float]]
    """Pairs of classes at or above the threshold, with their similarity."""


def resemblance(
    texts: Iterable[str], similarity: float, advance: Callable[[int], None] = lambda n: None
) -> Resemblance:
    """Find all near-duplicates among texts.

    Args:
        texts: the texts.
        similarity: threshold, in (0, 1].
        advance: told after some texts how many more are done.
    """
    corpus = Corpus(similarity)
    rest = iter(texts)
    while block := list(islice(rest, BLOCK)):
        corpus.add(block)
        advance(len(block))
    found = {
        (one, other): alike
        for pairs in corpus.pairs()
        for one, other, alike in zip(*(x.tolist() for x in pairs), strict=True)
    }
    return Resemblance(
        corpus.same.tolist(), [(*pair, alike) for pair, alike in sorted(found.items())]
    )


def grams(text: str) -> set[tuple[str, ...]]:
    words = re.findall(r"\w+", text.lower())
    if len(words) < 3:
        return {tuple(words)}
    return {tuple(words[i : i + 3]) for i in range(len(words) - 2)}


def jaccard(a: str, b: str) -> float:
    return len(grams(a) & grams(b)) / len(grams(a) | grams(b))


def vocabulary(chance: random.Random, count: int = 5000) -> list[str]:
    return ["".join(chance.choices(string.ascii_lowercase, k=7)) for _ in range(count)]


def planted(chance: random.Random, pairs: int, similarity: tuple[float, float]) -> list[str]:
    """Texts of ordinary length, every second one a copy that is so much like the one before it."""
    words = vocabulary(chance)
    low, high = similarity
    texts: list[str] = []
    while len(texts) < 2 * pairs:
        size = chance.randint(30, 120)
        text = chance.choices(words, k=size)
        copy = list(text)
        for place in chance.sample(range(size), chance.randint(1, size // 12)):
            copy[place] = chance.choice(words)
        if low <= jaccard(" ".join(text), " ".join(copy)) <= high:
            texts += [" ".join(text), " ".join(copy)]
    return texts


# --- shingles ----------------------------------------------------------------------------------


def test_case_and_punctuation_do_not_count_and_order_does() -> None:
    same = [shingles(t).tolist() for t in ("We will BUILD, clinics!", "we will build clinics")]
    assert same[0] == same[1] and len(same[0]) == 2
    assert shingles("clinics build will we").tolist() != same[0]
    assert len(shingles("one two")) == len(shingles("?!")) == len(shingles("")) == 1
    assert shingles("?!").tolist() != shingles("!!").tolist()
    assert len(shingles("我们将建造")) == 3


def test_vowel_signs_and_accents_make_words() -> None:
    assert shingles("हिन्दी").tolist() != shingles("हन्दी").tolist()
    assert shingles("caf\u00e9 au lait").tolist() == shingles("CAFE\u0301 au lait").tolist()
    assert shingles("cafe au lait").tolist() != shingles("caf\u00e9 au lait").tolist()
    assert len(shingles("\u0e44\u0e17\u0e22\u0e44\u0e17\u0e22")) == 3, "no spaces between words"


def test_a_text_is_the_same_in_any_company() -> None:
    texts = [
        "a",
        "",
        "We will build ten clinics",
        "?!",
        "x " * 300_000,
        "été 我们 go",
        "y" * 600_000,
    ]
    sets = shingle_sets(texts)
    assert [s.tolist() for s in sets.each()] == [shingles(t).tolist() for t in texts]


def test_texts_of_different_scopes_share_nothing() -> None:
    text = "We will build ten clinics"
    one, other, again = shingle_sets([text] * 3, [1, 2, 1]).each()
    assert not set(one.tolist()) & set(other.tolist()) and one.tolist() == again.tolist()


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.text("abc ", max_size=40), st.text("abc ", max_size=40)), min_size=1))
def test_similarity_is_measured_exactly(pairs: list[tuple[str, str]]) -> None:
    found = measured([shingles(a) for a, _ in pairs], [shingles(b) for _, b in pairs])
    for (a, b), similarity in zip(pairs, found.tolist(), strict=True):
        if a.strip() and b.strip():
            assert similarity == jaccard(a, b)


# --- signatures --------------------------------------------------------------------------------


@pytest.mark.parametrize("similarity", [0.1, 0.3, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 1.0])
def test_bands_miss_a_pair_at_the_threshold_once_in_a_million(similarity: float) -> None:
    bands, rows = banding(similarity)
    assert bands * rows <= 256
    assert (1 - min(similarity**rows, 1 - 1e-9)) ** bands <= MISS


@pytest.mark.parametrize("similarity", [0.6, 0.8])
def test_signatures_agree_as_often_as_sets_do(similarity: float) -> None:
    """Bands agree with s^r, independently of each other, and sketches with s + (1 - s) / 4."""
    signer = Signer(similarity)
    random = np.random.default_rng(3)
    pairs, common, own = 2000, 48, 6
    sets = []
    for _ in range(pairs):
        values = random.integers(0, 2**32, common + 2 * own, dtype=np.uint32)
        sets += [values[: common + own], values[own:]]
    begins = np.arange(0, 2 * pairs * (common + own), common + own)
    keys, sketches = signer.sign(np.concatenate(sets), begins)
    share = common / (common + 2 * own)
    agreed = (keys[0::2] == keys[1::2]).sum(axis=1)
    chance = share**signer.rows
    assert agreed.mean() / signer.bands == pytest.approx(chance, abs=0.01)
    spread = np.sqrt(signer.bands * chance * (1 - chance))
    assert agreed.std() == pytest.approx(spread, rel=0.1)
    assert agreed.min() > 0
    lanes = np.bitwise_count(
        (d := sketches[0::2] ^ sketches[1::2])
        & ~(d >> np.uint64(1))
        & np.uint64(0x5555555555555555)
    )
    assert lanes.shape == (pairs, 2)
    assert signer.alike(sketches[0::2], sketches[1::2]).all()
    assert signer.alike(sketches[0::2], np.roll(sketches[1::2], 1, axis=0)).mean() < 0.1


# --- finding -----------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from([0.3, 0.5, 0.6, 0.8, 1.0]))
def test_exactly_the_near_duplicates_are_found(seed: int, similarity: float) -> None:
    chance = random.Random(seed)
    texts: list[str] = []
    for _ in range(25):
        if texts and chance.random() < 0.6:
            words = chance.choice(texts).split()
            words[chance.randrange(len(words))] = chance.choice(WORDS)
        else:
            words = chance.choices(WORDS, k=chance.randint(1, 14))
        texts.append(" ".join(words))
    found = resemblance(texts, similarity)
    pairs = {(a, b): s for a, b, s in found.pairs}
    index = NearIndex(similarity)
    for j, entry in enumerate(index.entries(texts)):
        near_by = dict(index.similar(entry))
        for i in range(j):
            a, b = sorted((found.same[i], found.same[j]))
            expected = jaccard(texts[i], texts[j])
            assert (a == b) == (grams(texts[i]) == grams(texts[j]))
            assert near_by.get(i) == (expected if expected >= similarity else None)
            if a != b:
                assert ((a, b) in pairs) == (expected >= similarity), (texts[i], texts[j])
                assert pairs.get((a, b), expected) == pytest.approx(expected)
        index.add(entry)
    assert len(index) == len(texts)


def kept(
    texts: Sequence[str], block: int, similarity: float = 0.8
) -> list[list[tuple[int, float]]]:
    """What each text resembles among the kept ones before it; those that resemble none are kept."""
    index = NearIndex(similarity)
    found = []
    for start in range(0, len(texts), block):
        for entry in index.entries(texts[start : start + block]):
            found.append(index.similar(entry))
            if not found[-1]:
                index.add(entry)
    return found


def test_planted_near_duplicates_are_found_and_nothing_else() -> None:
    chance = random.Random(5)
    texts = planted(chance, 1500, (0.8, 0.84)) + planted(chance, 500, (0.7, 0.795))
    order = list(range(len(texts)))
    chance.shuffle(order)
    place = {number: at for at, number in enumerate(order)}
    found = kept([texts[i] for i in order], 256)
    for number in range(0, 3000, 2):
        later = max(place[number], place[number + 1])
        assert len(found[later]) == 1 and found[later][0][1] >= 0.8, texts[number]
    assert sum(map(bool, found)) == 1500


def test_blocks_and_tables_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = planted(random.Random(7), 150, (0.75, 0.9))
    expected = kept(texts, 1)
    assert sum(map(bool, expected)) > 50
    monkeypatch.setattr(near, "BLOCK", 16)  # tables are made and merged all the time
    monkeypatch.setattr(stored, "_WAITING", 100)  # and shingles written
    for block in (1, 7, 16):
        assert kept(texts, block) == expected
    for largest in (16 * 27, 40 * 27):  # and go to disk
        monkeypatch.setattr(tables, "_LARGEST", largest)
        monkeypatch.setattr(tables, "_PAGE", 8)
        assert kept(texts, 16) == expected


def test_all_pairs_are_those_of_one_text_after_another(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = planted(random.Random(9), 60, (0.5, 0.9)) + ["a b c d e"] * 3
    index = NearIndex(0.6)
    expected = []
    for number, text in enumerate(texts[:-2]):
        entry = index.entry(text)
        expected += [(other, number, s) for other, s in index.similar(entry)]
        index.add(entry)
    assert len(expected) > 40
    for largest in (1 << 24, 0):
        monkeypatch.setattr(all_pairs, "_MOST_PAIRS", largest)
        found = resemblance(texts, 0.6)
        assert found.pairs == sorted(expected)
        assert found.same == [*range(121), 120, 120]


def test_pairs_that_are_not_wanted_are_not_measured() -> None:
    corpus = Corpus(0.6)
    corpus.add(["a b c d e f", "a b c d e g", "a b c d e h"])
    corpus.add(["a b c d e i"])
    every = [(a, b) for p in corpus.pairs() for a, b in zip(p.ones, p.others, strict=True)]
    assert sorted(every) == [(0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3)]
    union = Union(4)
    measured = 0
    for pairs in corpus.pairs(lambda a, b: union.roots(a) != union.roots(b)):
        measured += len(pairs.ones)
        for a, b in zip(pairs.ones.tolist(), pairs.others.tolist(), strict=True):
            union.join(a, b)
    assert measured < 6 and set(union.roots(np.arange(4)).tolist()) == {union.find(0)}


def test_texts_that_merely_begin_alike_are_not_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    chance = random.Random(17)
    words = vocabulary(chance)
    start = "rewrite the following sentence so that it"
    own = [chance.choices(words, k=chance.randint(8, 30)) for _ in range(3000)]
    copies = [[*text[:-1], "other"] for text in own[:20]]
    measured = 0
    resembling = stored.StoredShingles.resembling

    def counted(self: Any, sets: Any, ones: Any, numbers: Any) -> Any:
        nonlocal measured
        measured += len(ones)
        return resembling(self, sets, ones, numbers)

    monkeypatch.setattr(stored.StoredShingles, "resembling", counted)
    found = resemblance([f"{start} {' '.join(text)}" for text in [*own, *copies]], 0.6)
    assert [(a, b) for a, b, _ in found.pairs] == [(i, 3000 + i) for i in range(20)]
    assert measured < 100


def test_neither_parts_nor_shared_counts_change_what_is_found(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    texts = [*planted(random.Random(19), 100, (0.5, 0.9)), "a b c", "a b c d", "?!", ""]
    expected = resemblance(texts, 0.6)
    assert len(expected.pairs) > 50
    monkeypatch.setattr(all_pairs, "_PART", 50)
    assert resemblance(texts, 0.6) == expected
    monkeypatch.setattr(all_pairs, "_MOST_CELLS", 2)  # nothing is known of which are rare
    assert resemblance(texts, 0.6) == expected


def test_progress_is_told_of_every_text() -> None:
    told: list[int] = []
    found = resemblance(["a b c d", "A b c d!", "x"], 0.8, told.append)
    assert found.same == [0, 0, 1] and sum(told) == 3
    assert resemblance([], 0.8) == ([], [])


def test_union() -> None:
    union = Union(5)
    union.join(0, 1)
    union.join(3, 4)
    union.join(1, 4)
    assert len({union.find(i) for i in (0, 1, 3, 4)}) == 1 and union.find(2) == 2
    assert union.roots(np.arange(5)).tolist() == [union.find(i) for i in range(5)]


def test_memory_does_not_grow_with_the_texts(tmp_path: Path) -> None:
    """Eight bytes a band in tables, sixteen of sketch, eight of place; the shingles are on disk."""
    index = NearIndex(0.8, tmp_path)
    chance = random.Random(1)
    words = vocabulary(chance)
    for _ in range(3):
        for entry in index.entries([" ".join(chance.choices(words, k=400)) for _ in range(1024)]):
            index.add(entry)
    index.entry("sorts the latest texts in")
    assert sum(map(len, index._tables._parts)) == 3072 * banding(0.8)[0]
    assert index._kept.file.size > 0.75 * 3072 * 398 * 8
    assert list(tmp_path.iterdir()) == [], "a file without a name leaves nothing behind"


def test_a_folder_that_takes_no_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "gone").touch()
    index = NearIndex(0.8, tmp_path / "gone")
    texts = [" ".join(random.Random(i).choices(WORDS, k=100)) for i in range(1024)]
    with pytest.raises(RunError, match=r"gone"):
        for _ in range(4):
            for entry in index.entries([f"{t} {i}" for i, t in enumerate(texts)]):
                index.add(entry)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**9), st.sampled_from([8, 60, 1 << 24]))
def test_tables_find_every_entry_of_a_key(seed: int, largest: int) -> None:
    random = np.random.default_rng(seed)
    keys = random.integers(0, 2**36, 40, dtype=np.uint64)[random.integers(0, 40, 300)]
    entries = (keys << np.uint64(28)) | np.arange(300, dtype=np.uint64)
    before = tables._LARGEST, tables._PAGE
    tables._LARGEST, tables._PAGE = largest, 4
    try:
        table = tables.Tables()
        for part in np.split(entries, np.sort(random.integers(0, 301, 20))):
            if len(part):
                table.put(part)
    finally:
        tables._LARGEST = before[0]
    wanted = random.choice(keys, 30)
    wanted[::3] += np.uint64(1)
    found = table.matches(np.sort((wanted << np.uint64(28)) | np.arange(30, dtype=np.uint64)))
    tables._PAGE = before[1]
    pairs = [(int(p) >> 28, int(p) & ((1 << 28) - 1)) for p in found]
    assert pairs == [(o, n) for o in range(30) for n in range(300) if wanted[o] == keys[n]]
    assert (largest == 1 << 24) == (not table._sealed)


# --- in the dataset ----------------------------------------------------------------------------


def candidates(texts: Sequence[str], labels: Sequence[str | None]) -> list[Candidate]:
    found = []
    for number, (text, label) in enumerate(zip(texts, labels, strict=True), 1):
        messages = (Message("user", text), Message("assistant", label or ""))
        origin = Origin("r.jsonl", number)
        example = Example(content_id([number]), origin, label=label, messages=messages)
        found.append(Candidate(example, text, label or "", [], lambda e: Rendered([1], [True])))
    return found


def test_the_filter_judges_prepared_rows_as_others() -> None:
    chance = random.Random(11)
    texts = planted(chance, 80, (0.75, 0.9))
    labels = [chance.choice(["a", "b", None]) for _ in range(80) for _ in range(2)]
    rows = candidates(texts, [labels[i // 2 * 2] if i % 3 else labels[i] for i in range(160)])

    def judged(block: int) -> list[str | None]:
        judge = build()
        reasons = []
        for start in range(0, len(rows), block or len(rows)):
            part = rows[start : start + (block or len(rows))]
            if block:
                judge.prepare(part)
            for row in part:
                reasons.append(judge(row))
                if reasons[-1] is None:
                    judge.remember(row)
        return reasons

    alone = judged(0)
    assert 20 < sum(map(bool, alone)) < 80
    assert judged(1) == judged(50) == judged(2000) == alone


def test_no_planted_pair_straddles_a_split() -> None:
    texts = planted(random.Random(13), 400, (0.6, 0.95))
    rows = [Head(content_id([i]), Origin("r.jsonl", i)) for i in range(1, len(texts) + 1)]
    config = SplitConfig(validation=0.2, calibration=0.1, test=0.2)
    shared = share_out(rows, texts, config=config, seed=1)
    assert shared.splits[0::2] == shared.splits[1::2] and len(set(shared.splits)) == 4


def test_places_are_kept_in_few_bytes() -> None:
    places = Places()
    origins = [Origin("a.csv", 2), Origin("b.json", 1 << 40, "row"), Origin("a.csv", 3, "row")]
    for origin in [*origins, origins[0]]:
        places.append(origin)
    assert len(places) == 4 and [places[i] for i in range(4)] == [*origins, origins[0]]
