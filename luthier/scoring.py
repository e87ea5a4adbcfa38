"""How likely a model finds an answer: the labels of a closed set, or reference answers.

K labels cost little more than one pass over the prompt:

* the longest token prefix that many prompts share (instruction, few-shot examples) is run once
  and its keys and values are seen by every row of every batch;
* the inner nodes of the labels' token trie stand behind each prompt in the *same* pass, under an
  attention mask that shows a node the prompt and its own ancestors only;
* rows are padded on the left, so the positions whose logits are needed come last and the model's
  own head (with whatever scaling or capping it does) runs at those positions only.

Models whose attention or cache is of another kind (sliding windows, recurrent states, ALiBi,
flash attention) are scored in plain right-padded batches; the numbers are the same. An encoder
reads each prompt once, and the decoder says the labels one after another (`seq2seq.py`).
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from luthier import model as models
from luthier import seq2seq
from luthier.chat import Rendered, Renderer
from luthier.errors import ModelError
from luthier.example import Message
from luthier.out_of_memory import BatchSize, announce
from luthier.prefix_cache import Prefix, attention_mask, can_share, families

LOGITS_BYTES = 2**28
"""Most float32 logits held at once; a batch is made smaller rather than exceed it."""

Floats = npt.NDArray[np.float64]


def label_scores(
    model: Any,
    renderer: Renderer,
    prompts: Sequence[Sequence[Message]],
    labels: Sequence[str],
    batch_size: int = 16,
    *,
    progress: Callable[[int], Any] | None = None,
    smaller: Callable[[int], Any] = announce,
) -> Floats:
    """Score every label as the answer to every prompt.

    A score is the sum of the log-probabilities (over the whole vocabulary) of the label's
    tokens. Where a label's tokens begin another label's, its stop token is scored too, so that
    the labels are always disjoint events. No length normalisation: it over-corrects towards
    long answers (Oostermeijer 2026), and probabilities over the label set need none.

    Args:
        model: a causal language model or an encoder-decoder in eval mode, with or without adapters.
        renderer: turns messages into tokens as in training.
        prompts: conversations that end where the answer starts.
        labels: the closed label set, distinct.
        batch_size: rows scored at a time.
        progress: called with the number of rows just scored.
        smaller: called with the new number of rows where batches do not fit into memory.

    Returns:
        (prompts, labels) float64 log-likelihoods in nats, rows in input order.

    Raises:
        ModelError: two labels become the same tokens, so the model cannot tell them apart.
    """
    ids = [renderer.prompt(messages) for messages in prompts]
    scores = np.empty((len(ids), len(labels)))
    size = BatchSize(batch_size, smaller)
    for answers, rows in _by_tokenization(renderer, prompts, labels).items():
        trie = _Trie.of(answers, renderer.stop_id, labels)
        asked = [ids[row] for row in rows]
        for members, edges in _edge_scores(model, asked, trie, renderer.pad_id, size):
            scores[[rows[m] for m in members]] = edges @ trie.paths.T
            if progress is not None:
                progress(len(members))
    return scores


class AnswerScores(NamedTuple):
    """How likely the model finds given answers."""

    log_likelihood: Floats
    """(rows,) sum over the answer's tokens, nats."""
    tokens: npt.NDArray[np.int64]
    """(rows,) how many tokens those are."""


def answer_scores(
    model: Any,
    renderer: Renderer,
    rows: Sequence[Rendered],
    batch_size: int = 16,
    *,
    progress: Callable[[int], Any] | None = None,
) -> AnswerScores:
    """Score the trained tokens of rendered rows (each row its own answer, stop token included).

    Args:
        model: a causal language model or an encoder-decoder in eval mode.
        renderer: gives the padding token.
        rows: token ids and which of them count; a first token has no context and is not scored.
        batch_size: rows scored at a time.
        progress: called with the number of rows just scored.
    """
    if seq2seq.has_encoder(model):
        return _encoded_answer_scores(model, renderer.pad_id, rows, BatchSize(batch_size), progress)
    targets = [
        [at for at in range(1, len(row.input_ids)) if row.trained[at]] for row in rows
    ]  # fmt: skip
    scores = np.zeros(len(rows))
    scored = [i for i, at in enumerate(targets) if at]
    # The logits that predict a token stand one position before it; the last token predicts none.
    inputs = [rows[i].input_ids[: targets[i][-1]] for i in scored]
    keep = [len(ids) + 1 - targets[i][0] for i, ids in zip(scored, inputs, strict=True)]
    size = BatchSize(batch_size)
    for members, logits in _logits(model, inputs, keep, renderer.pad_id, size):
        for member, row_logits in zip(members, logits, strict=True):
            row, width, end = scored[member], len(row_logits), targets[scored[member]][-1]
            at = torch.tensor(targets[row], device=row_logits.device)
            expected = torch.tensor([rows[row].input_ids[t] for t in targets[row]])
            picked = row_logits[at - 1 - (end - width)].float()
            found = picked.gather(1, expected.to(at.device)[:, None])[:, 0] - picked.logsumexp(1)
            scores[row] = found.double().sum().item()
        if progress is not None:
            progress(len(members))
    return AnswerScores(scores, np.array([len(at) for at in targets], dtype=np.int64))


# --- the labels as a trie ----------------------------------------------------------------------


@dataclass(frozen=True)
class _Trie:
    """The labels' tokens as a tree.

    Node 0 stands for the prompt. Leaves are no nodes: nothing is ever predicted from them.
    """

    tokens: list[int]
    """Of nodes 1, 2, ...: the token that leads to the node."""
    parents: list[int]
    """Of nodes 1, 2, ...: the node before it; always a smaller number."""
    edges: list[tuple[int, int]]
    """(node, token predicted from it)."""
    paths: Floats
    """(labels, edges): 1 where the label's way through the tree takes the edge."""

    @classmethod
    def of(cls, answers: Sequence[Sequence[int]], stop_id: int, labels: Sequence[str]) -> _Trie:
        ways = [
            (*answer, stop_id) if _begins_another(answer, answers) else tuple(answer)
            for answer in answers
        ]
        for i, way in enumerate(ways):
            if way in ways[:i]:
                raise ModelError(
                    f"the labels '{labels[ways.index(way)]}' and '{labels[i]}' become the same "
                    "tokens for this model, so it cannot tell them apart. Rename one of them."
                )
        nodes: dict[tuple[int, ...], int] = {(): 0}
        edges: dict[tuple[int, int], int] = {}
        taken: list[list[int]] = []
        for way in ways:
            steps = []
            for end in range(len(way)):
                node = nodes.setdefault(way[:end], len(nodes))
                steps.append(edges.setdefault((node, way[end]), len(edges)))
            taken.append(steps)
        paths = np.zeros((len(ways), len(edges)))
        for label, steps in enumerate(taken):
            paths[label, steps] = 1
        inner = [way for way in nodes if way]
        return cls(
            [way[-1] for way in inner], [nodes[way[:-1]] for way in inner], list(edges), paths
        )

    def way_to(self, node: int) -> list[int]:
        """Nodes from the first below the root down to `node`."""
        way: list[int] = []
        while node:
            way.insert(0, node)
            node = self.parents[node - 1]
        return way

    def sees(self) -> npt.NDArray[np.bool_]:
        """(nodes - 1, nodes - 1): whether a node attends to another: itself and its ancestors."""
        seen = np.zeros((len(self.tokens), len(self.tokens)), dtype=bool)
        for node in range(1, len(self.tokens) + 1):
            seen[node - 1, [n - 1 for n in self.way_to(node)]] = True
        return seen

    def branches(self) -> Iterator[tuple[list[int], list[int], list[tuple[int, int]]]]:
        """From the root to each node that has no nodes below it; one without tokens if it is alone.

        Yields:
            the tokens on the way, the edges that leave it, and those with places on the way in the
            place of nodes.
        """
        ends = set(range(len(self.tokens) + 1)) - set(self.parents)
        for end in sorted(ends):
            way = self.way_to(end)
            nodes = [0, *way]
            here = [e for e, (node, _) in enumerate(self.edges) if node in nodes]
            placed = [(nodes.index(self.edges[e][0]), self.edges[e][1]) for e in here]
            yield [self.tokens[node - 1] for node in way], here, placed


def _begins_another(answer: Sequence[int], answers: Sequence[Sequence[int]]) -> bool:
    size = len(answer)
    return any(len(o) > size and list(o[:size]) == list(answer) for o in answers)


def _by_tokenization(
    renderer: Renderer, prompts: Sequence[Sequence[Message]], labels: Sequence[str]
) -> dict[tuple[tuple[int, ...], ...], list[int]]:
    """Rows by the labels' tokens: without a chat template these depend on the prompt's end."""
    found: dict[tuple[tuple[int, ...], ...], list[int]] = {}
    answers: tuple[tuple[int, ...], ...] | None = None
    for row, messages in enumerate(prompts):
        if answers is None or not (renderer.has_template or renderer.has_encoder):
            answers = tuple(tuple(renderer.completion(messages, label)) for label in labels)
        found.setdefault(answers, []).append(row)
    return found


def _edge_scores(
    model: Any, asked: list[list[int]], trie: _Trie, pad_id: int, size: BatchSize
) -> Iterator[tuple[Sequence[int], Floats]]:
    """Yield (rows, log-probabilities (rows, edges) of the trie's edges)."""
    if seq2seq.has_encoder(model):
        yield from _encoded_edge_scores(model, asked, trie, pad_id, size)
        return
    if can_share(model):
        for rows, logits in _logits(model, asked, [1] * len(asked), pad_id, size, trie):
            yield rows, _at_edges(torch.stack(logits), trie.edges)
        return
    # Without tree attention each branch is run by itself, behind the whole prompt.
    found = np.empty((len(asked), len(trie.edges)))
    for tail, here, edges in trie.branches():
        longer = [ids + tail for ids in asked]
        keep = [len(tail) + 1] * len(asked)
        for rows, logits in _logits(model, longer, keep, pad_id, size):
            found[np.ix_(rows, here)] = _at_edges(torch.stack(logits), edges)
    yield list(range(len(asked))), found


def _at_edges(logits: torch.Tensor, edges: Sequence[tuple[int, int]]) -> Floats:
    """(rows, nodes, vocabulary) logits -> (rows, edges) log-probabilities."""
    logits = logits.float()
    nodes = torch.tensor([node for node, _ in edges], device=logits.device)
    tokens = torch.tensor([token for _, token in edges], device=logits.device)
    found: Floats = (
        (logits[:, nodes, tokens] - logits.logsumexp(-1)[:, nodes]).double().cpu().numpy()
    )
    return found


# --- with an encoder ---------------------------------------------------------------------------


def _encoded_edge_scores(
    model: Any, asked: list[list[int]], trie: _Trie, pad_id: int, size: BatchSize
) -> Iterator[tuple[Sequence[int], Floats]]:
    """The same where an encoder reads the prompts.

    T5 tells how far tokens are apart by their places in a row, so nodes of different branches
    cannot stand behind one another: each branch is an answer of its own to the prompts read once.
    """
    branches = list(trie.branches())
    longest = max(len(tail) for tail, _, _ in branches)

    def run(rows: Sequence[int]) -> Floats:
        found = np.empty((len(rows), len(trie.edges)))
        with torch.inference_mode():
            answering = seq2seq.Answering(model, [asked[row] for row in rows], pad_id)
            for tail, here, edges in branches:
                logits = models.logits(model, answering.states([tail] * len(rows)))
                found[:, here] = _at_edges(logits, edges)
        return found

    everyone, keep = range(len(asked)), [1] * len(asked)
    for rows in _batches(everyone, asked, keep, longest, size, model.config):
        yield from size.run(rows, run)


def _encoded_answer_scores(
    model: Any,
    pad_id: int,
    rows: Sequence[Rendered],
    size: BatchSize,
    progress: Callable[[int], Any] | None,
) -> AnswerScores:
    """`answer_scores` where an encoder reads what comes before the answers."""
    pairs = {i: seq2seq.take_apart(*row) for i, row in enumerate(rows) if any(row.trained)}
    scores, tokens = np.zeros(len(rows)), np.zeros(len(rows), dtype=np.int64)

    def run(members: Sequence[int]) -> list[float]:
        answers = [pairs[member].answer for member in members]
        with torch.inference_mode():
            answering = seq2seq.Answering(model, [pairs[m].asked for m in members], pad_id)
            said, _ = seq2seq.padded(answers, pad_id)
            logits = models.logits(model, answering.states(said[:, :-1].tolist()))
            likely = logits.float().log_softmax(-1)
            picked = likely.gather(2, said.to(likely.device)[:, :, None])[:, :, 0].double()
        return [float(row[: len(a)].sum()) for row, a in zip(picked, answers, strict=True)]

    inputs = [[*pairs[i].asked, *pairs[i].answer] if i in pairs else [] for i in range(len(rows))]
    keep = [len(pairs[i].answer) if i in pairs else 0 for i in range(len(rows))]
    for batch in _batches(pairs, inputs, keep, 0, size, model.config):
        for members, found in size.run(batch, run):
            scores[list(members)], tokens[list(members)] = found, [keep[m] for m in members]
            if progress is not None:
                progress(len(members))
    return AnswerScores(scores, tokens)


# --- batches -----------------------------------------------------------------------------------


def _logits(
    model: Any,
    inputs: Sequence[Sequence[int]],
    keep: Sequence[int],
    pad_id: int,
    size: BatchSize,
    trie: _Trie | None = None,
) -> Iterator[tuple[Sequence[int], list[torch.Tensor]]]:
    """Run all inputs, batched by length.

    Args:
        model: a causal language model.
        inputs: token ids of each row.
        keep: how many of a row's last positions need logits.
        pad_id: fills up shorter rows.
        size: rows a batch, at most; fewer where they do not fit into memory.
        trie: further nodes behind every row; their logits follow those of the row.

    Yields:
        rows, and for each of them (keep + nodes, vocabulary) logits.
    """
    trees = can_share(model)
    nodes = len(trie.tokens) if trie else 0
    groups = families(inputs, keep) if trees else [(0, list(range(len(inputs))))]
    for shared, members in groups:
        prefix = Prefix(model, inputs[members[0]][:shared]) if shared else None

        def run(rows: Sequence[int], shared: int = shared, prefix: Any = prefix) -> Any:
            suffixes = [inputs[row][shared:] for row in rows]
            kept = [keep[row] for row in rows]
            with torch.inference_mode():
                if trees:
                    return _run_trees(model, suffixes, kept, pad_id, trie, prefix)
                return _run_plain(model, suffixes, kept, pad_id)

        for rows in _batches(members, inputs, keep, nodes, size, model.config):
            yield from size.run(rows, run)


def _batches(
    members: Iterable[int],
    inputs: Sequence[Sequence[int]],
    keep: Sequence[int],
    nodes: int,
    size: BatchSize,
    config: Any,
) -> Iterator[list[int]]:
    """Rows of similar length together, the longest first: what does not fit fails at once."""
    row_bytes = 4 * config.get_text_config(decoder=True).vocab_size
    batch: list[int] = []
    most = 0
    for row in sorted(members, key=lambda r: len(inputs[r]), reverse=True):
        most = max(most, keep[row] + nodes)
        if batch and (
            len(batch) >= size.rows or (len(batch) + 1) * most * row_bytes > LOGITS_BYTES
        ):
            yield batch
            batch, most = [], keep[row] + nodes
        batch.append(row)
    if batch:
        yield batch


# --- passes through the model ------------------------------------------------------------------


def _run_trees(
    model: Any,
    suffixes: Sequence[Sequence[int]],
    keep: Sequence[int],
    pad_id: int,
    trie: _Trie | None,
    prefix: Prefix | None,
) -> list[torch.Tensor]:
    """Left-padded rows behind a shared prefix, each with the trie's nodes after its end.

    What position sees what, for a prefix of 2, two pads, three tokens, and nodes A, B under A:

                 prefix   pads   suffix   A B
        token 3   1 1     0 0    1 1 1    0 0
        A         1 1     0 0    1 1 1    1 0
        B         1 1     0 0    1 1 1    1 1
    """
    nodes = trie.tokens if trie else []
    lengths = torch.tensor([len(s) for s in suffixes])
    width, extra = int(lengths.max()), len(nodes)
    pads = width - lengths
    ids = torch.tensor(
        [[pad_id] * (width - len(suffix)) + [*suffix, *nodes] for suffix in suffixes]
    )
    at = torch.arange(width)
    inner = torch.zeros(width + extra, width + extra, dtype=torch.bool)
    inner[:width, :width] = at[:, None] >= at[None, :]
    inner[width:, :width] = True
    depths: list[int] = []
    if trie and extra:
        inner[width:, width:] = torch.from_numpy(trie.sees())
        depths = [len(trie.way_to(node)) for node in range(1, extra + 1)]
    real = torch.arange(width + extra)[None, :] >= pads[:, None]
    sees = inner[None] & real[:, None, :]
    sees |= torch.eye(width + extra, dtype=torch.bool)  # a pad sees itself: no row is empty
    positions = torch.cat(
        [
            (at[None, :] - pads[:, None]).clamp(min=0),
            (lengths[:, None] - 1) + torch.tensor(depths, dtype=torch.long)[None, :],
        ],
        dim=1,
    )
    ids, sees, positions = (part.to(model.device) for part in (ids, sees, positions))
    if prefix is None:
        mask = attention_mask(model, sees)
        hidden = models.hidden_states(
            model, input_ids=ids, attention_mask=mask, position_ids=positions
        )
    else:
        hidden = prefix.hidden_states(model, ids, sees, positions + len(prefix.ids))
    # Gathered first: the head then takes one product, and none of what nobody asked for.
    ends = [row[width - k :] for row, k in zip(hidden, keep, strict=True)]
    logits = models.logits(model, torch.cat(ends))
    return list(logits.split([k + extra for k in keep]))


def _run_plain(
    model: Any, inputs: Sequence[Sequence[int]], keep: Sequence[int], pad_id: int
) -> list[torch.Tensor]:
    """Right-padded rows, no cache: what any causal model understands."""
    width = max(map(len, inputs))
    ids = torch.tensor([[*row, *[pad_id] * (width - len(row))] for row in inputs])
    mask = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in inputs])
    first = min(len(row) - k for row, k in zip(inputs, keep, strict=True))
    options: dict[str, Any] = {}
    if "logits_to_keep" in _arguments(model):
        options["logits_to_keep"] = width - first
    logits = model(
        input_ids=ids.to(model.device), attention_mask=mask.to(model.device), use_cache=False,
        **options,
    ).logits[:, first - width :]  # fmt: skip
    return [
        row_logits[len(row) - k - first : len(row) - first]
        for row_logits, row, k in zip(logits, inputs, keep, strict=True)
    ]


def _arguments(model: Any) -> set[str]:
    causal = model.get_base_model() if hasattr(model, "peft_config") else model
    return set(inspect.signature(causal.forward).parameters)
