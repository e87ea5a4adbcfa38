"""The pool of tasks: which of them a prompt shows, and which new ones are unlike all of it."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from luthier.data.generating.self_instruct.seeds import Task
from luthier.data.generating.self_instruct.settings import Settings
from luthier.data.novelty import NoveltyPool
from luthier.errors import DataError


@dataclass
class TaskPool:
    """Seeds and the tasks that were taken in since."""

    settings: Settings
    seeds: Sequence[Task]
    taken: list[Task] = field(default_factory=list)
    """What the model wrote, in the order in which it was taken in."""

    def __post_init__(self) -> None:
        if self.settings.original and self.settings.classification_share == 1:
            # --use_clf_seed_tasks_only: the others are not even compared with.
            self.seeds = [seed for seed in self.seeds if seed.is_classification]
        for closed in (False, True):
            self._require_enough(closed)
        # rouge_score sees a-z and 0-9 only; by default words of every script are compared.
        self.novelty = NoveltyPool(self.settings.threshold, unicode=not self.settings.original)
        self._texts = [seed.instruction for seed in self.seeds]
        for text in self._texts:
            self.novelty.add(self.novelty.read(text))

    def shown(self, chance: random.Random, machine: Sequence[Task], closed: bool) -> list[Task]:
        """The tasks that a prompt shows, in random order.

        Two of the model's and six of people's; while the model has fewer, people's in their place.

        Args:
            chance: where randomness comes from.
            machine: tasks of the model that may be shown.
            closed: only classification.
        """
        settings = self.settings
        found = chance.sample(list(machine), min(settings.num_machine, len(machine)))
        human = self._human(closed)
        found += chance.sample(human, settings.num_human + settings.num_machine - len(found))
        chance.shuffle(found)
        return found

    def like(self, instruction: str) -> tuple[str | None, dict[str, Any]]:
        """The task that an instruction is too much like, as `rule: details`; else what it is like.

        Returns:
            The reason to leave it out, or None and `most_similar` and `avg_similarity_score` as
            the original stores them.
        """
        words = self.novelty.read(instruction)
        closest = self.novelty.closest(words)
        if closest is not None:
            said = f"ROUGE-L {closest.score:.2f} with '{self._texts[closest.number]}'"
            return f"not novel: {said}", {}
        found = self.novelty.scores(words)
        assert found is not None, "there are seeds"
        # By their texts, as in the original: of texts that come twice one is listed.
        most = {self._texts[number]: score for number, score in found.most_similar}
        self.novelty.add(words)
        self._texts.append(instruction)
        return None, {"most_similar": most, "avg_similarity_score": found.average}

    def _human(self, closed: bool) -> list[Task]:
        return [seed for seed in self.seeds if seed.is_classification or not closed]

    def _require_enough(self, closed: bool) -> None:
        asked = self.settings.classification_share
        if asked == 0 if closed else asked == 1:
            return
        needed = self.settings.num_human + self.settings.num_machine
        found = len(self._human(closed))
        if found < needed:
            kind = "classification tasks (is_classification: true)" if closed else "tasks"
            raise DataError(
                f"generator 'self_instruct': a prompt shows {needed} seed tasks (num_human + "
                f"num_machine) while the model has written none, and seeds has {found} {kind}. "
                "Add some, or show fewer."
            )
