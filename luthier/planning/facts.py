"""`Facts`: everything a check may look at, in one frozen record."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from luthier.artifacts import DataStats
from luthier.hardware import Hardware, Precision
from luthier.launch import ALONE, Processes
from luthier.recipe import Recipe
from luthier.training.config import TrainConfig


@dataclass(frozen=True)
class Lever:
    """One change of the recipe and the peak memory it leads to."""

    change: str
    """As in a recipe, e.g. `train.gradient_checkpointing: true`."""
    total_bytes: int


@dataclass(frozen=True)
class Facts:
    """The recipe, the data, the model and the machine, as far as they are known."""

    recipe: Recipe
    hardware: Hardware
    precision: Precision
    total_steps: int
    warmup_steps: int
    train_rows: int | None
    """null: the data stage has not run."""
    vocabulary: int
    """Rows of the embedding matrix."""
    context: int | None
    """Positions the model was made for (`max_position_embeddings`); null: no limit is stated."""
    total_parameters: int
    trainable_parameters: int
    total_bytes: int
    available_bytes: int
    has_encoder: bool = False
    """The model is an encoder-decoder (`luthier.seq2seq`)."""
    kept_bytes: int = 0
    """Freed blocks that the C library may hold on to beside `total_bytes`."""
    data: DataStats | None = None
    test_columns: frozenset[str] = frozenset()
    """Columns of the test rows; empty where they are not known."""
    levers: tuple[Lever, ...] = ()
    """Tried only when memory does not suffice; the one that saves most first."""
    label_ids: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    """Tokens of each label as answered; empty without a tokenizer or labels."""
    pad_id: int | None = None
    """Padding token the tokenizer comes with; null: it has none, or no tokenizer was opened."""
    eos_id: int | None = None
    installed: frozenset[str] = frozenset()
    """Optional packages that are installed."""
    processes: Processes = ALONE
    """Those that are going to train together."""

    @property
    def train(self) -> TrainConfig:
        """The recipe's `train` section."""
        return self.recipe.train

    def rows(self, split: str) -> int | None:
        """Rows of a split; null where the data stage has not run."""
        if self.data is None:
            return None
        return next((s.rows for name, s in self.data.splits.items() if name == split), 0)
