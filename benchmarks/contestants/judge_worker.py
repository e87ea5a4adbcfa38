"""One judge for the adapters of all contestants: opened in fp32 on the same base, same test rows.

The job: {"run": luthier's run folder (its data), "model": folder, "adapter": folder}.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from contestants.protocol import Lines, read_job
from luthier.artifacts import load_examples
from luthier.chat import Renderer
from luthier.model import open_model, open_tokenizer
from luthier.recipe import ModelSection
from luthier.run import Run
from luthier.scoring import answer_scores, label_scores


def main() -> None:
    job = read_job()
    out = Lines(job["out"])
    run = Run(Path(job["run"]))
    section = ModelSection(name=job["model"])
    model = open_model(section, adapter=Path(job["adapter"]))
    renderer = Renderer(open_tokenizer(section), run.recipe.train.train_on)
    watched = [renderer.render(e) for e in load_examples(run, "validation")]
    found = answer_scores(model, renderer, watched)
    out.write("judged", validation_loss=-found.log_likelihood.sum() / found.tokens.sum())
    tested, labels = load_examples(run, "test"), run.recipe.labels
    if labels and tested:
        from sklearn.metrics import roc_auc_score

        scores = label_scores(model, renderer, [e.prompt for e in tested], labels)
        gold = np.array([labels.index(str(e.label)) for e in tested])
        at = labels.index(run.recipe.positive)
        out.write(
            "tested",
            rows=len(tested),
            accuracy=float((scores.argmax(-1) == gold).mean()),
            auroc=float(roc_auc_score(gold == at, scores[:, at] - scores[:, 1 - at])),
        )


if __name__ == "__main__":
    main()
