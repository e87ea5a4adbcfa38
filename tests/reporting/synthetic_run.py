"""A plausible run folder, made through the artifacts API: numbers come from simulated answers."""

from __future__ import annotations

import csv
import math
import random
from dataclasses import dataclass
from pathlib import Path

from luthier import recipe as recipes
from luthier.artifacts import (
    Calibration,
    DataStats,
    Decision,
    Estimate,
    Evaluation,
    Finding,
    LabelScores,
    MemoryPart,
    Plan,
    ReliabilityBin,
    SplitStats,
    SystemResult,
    TokenCounts,
    TrainSummary,
)
from luthier.made_with import MadeWith
from luthier.run import Run

HOSTILE = "<script>document.title='owned'</script>"
STEPS = 318
ROWS = 467

RECIPE = """\
# Which sentences are promises? The smallest recipe that answers it.
name: {name}
model: smollm2-135m-instruct          # alias, hub id, local folder
task:
  kind: classification
  labels: ["True", "False"]
data:
  sources:
    - {{path: promises.csv, input: sentence, output: label}}
    - {{path: parliament_1997-2019.jsonl, input: text, output: is_promise}}
  template: [promise_instruction_first, promise]
  filters: [{{use: empty}}, {{use: exact_duplicates}}, {{use: length, max_tokens: 256}}]
train:
  learning_rate: 3e-4
  lr_scheduler_type: cosine
  warmup_ratio: 0.03
  num_train_epochs: 3
  gradient_accumulation_steps: 2
  label_smoothing_factor: 0.1
  label_smoothing_over: classes
  lora: {{r: 16, lora_alpha: 32, lora_dropout: 0.05}}
evaluate: {{slice_by: origin, baselines: [majority, tfidf, zero_shot, few_shot]}}
"""

SUBJECTS = ["We", "A Labour government", "The next administration", "This party", "My government"]
ACTS = [
    "will build 400 new clinics before the next election",
    "will abolish tuition fees for first degrees from September",
    "shall legislate for a statutory right to flexible work",
    "will raise the basic pension to 152 pounds a week",
    "will require every water company to publish its leakage figures each quarter",
]
VAGUE = [
    "believes that every child deserves the best possible start in life",
    "will work towards making this country a better place for all who live in it",
    "expects its partners to raise tariffs on steel next year",
    "has always stood with those who work hard and play by the rules",
    "will continue to give attention to the needs of rural communities, particularly in the north",
]
TAILS = [
    "",
    ", so that no family is left behind",
    ", as set out in the 2004 white paper",
    ", because people can no longer wait",
    ", building on the 40 million already committed to it",
]


@dataclass(frozen=True)
class Answer:
    """One simulated test row."""

    text: str
    gold: str
    origin: str
    score: dict[str, float]
    """Log-odds of True by system."""

    def predicted(self, system: str) -> str:
        return "True" if self.score[system] > 0 else "False"


def simulated(rows: int = ROWS, seed: int = 11) -> list[Answer]:
    """Answers of five systems of different strength on the same rows."""
    draw = random.Random(seed)
    strength = {"tuned": 1.15, "tfidf": 0.8, "few_shot": 0.45, "zero_shot": 0.25}
    answers = []
    for i in range(rows):
        gold = draw.random() < 0.46
        sentence = f"{draw.choice(SUBJECTS)} {draw.choice(ACTS if gold else VAGUE)}"
        shared = draw.gauss(0, 0.9)
        score = {
            name: (power if gold else -power) + 0.8 * shared + draw.gauss(0, 1.0)
            for name, power in strength.items()
        }
        origin = draw.choice(["manifesto", "manifesto", "debate", "budget speech", "press release"])
        text = f"{sentence}{draw.choice(TAILS)}."
        answers.append(Answer(text, str(gold), origin, {**score, "majority": -0.1 - i * 1e-9}))
    return answers


def wilson(right: int, rows: int) -> Estimate:
    """Share with its 95 % Wilson interval."""
    share, z = right / rows, 1.96
    middle = (share + z * z / (2 * rows)) / (1 + z * z / rows)
    reach = z / (1 + z * z / rows) * math.sqrt(share * (1 - share) / rows + z * z / (4 * rows**2))
    return Estimate(value=share, low=middle - reach, high=middle + reach)


def auroc(answers: list[Answer], system: str) -> Estimate:
    """Area under the ROC curve with a Hanley-McNeil interval."""
    up = [a.score[system] for a in answers if a.gold == "True"]
    down = [a.score[system] for a in answers if a.gold == "False"]
    area = sum((u > d) + 0.5 * (u == d) for u in up for d in down) / (len(up) * len(down))
    spread = 1.96 * math.sqrt(area * (1 - area) / (2 * min(len(up), len(down))))
    return Estimate(value=area, low=max(0.0, area - spread), high=min(1.0, area + spread))


def system(answers: list[Answer], name: str, describe: str) -> SystemResult:
    """A system with its metrics, and its difference to the tuned model."""
    labels = ["True", "False"]
    confusion = [
        [sum(a.gold == g and a.predicted(name) == p for a in answers) for p in labels]
        for g in labels
    ]
    right = confusion[0][0] + confusion[1][1]
    scores = {}
    for i, label in enumerate(labels):
        guessed, gold = confusion[0][i] + confusion[1][i], sum(confusion[i])
        precision = confusion[i][i] / guessed if guessed else 0.0
        recall = confusion[i][i] / gold
        f1 = 2 * precision * recall / (precision + recall) if precision + recall else 0.0
        scores[label] = LabelScores(precision=precision, recall=recall, f1=f1, support=gold)
    macro = sum(s.f1 for s in scores.values()) / 2
    accuracy, area = wilson(right, len(answers)), auroc(answers, name)
    metrics = {
        "auroc": area,
        "accuracy": accuracy,
        "macro_f1": Estimate(value=macro, low=macro - 0.04, high=macro + 0.04),
    }
    difference = p_value = None
    if name != "tuned":
        gap = auroc(answers, "tuned").value - area.value
        difference = Estimate(value=gap, low=gap - 0.045, high=gap + 0.045)
        p_value = math.exp(-80 * max(0.0, gap))
    return SystemResult(
        name=name, describe=describe, metrics=metrics, labels=scores, confusion=confusion,
        seconds=41.7 if name != "majority" else 0.0, difference=difference, p_value=p_value,
    )  # fmt: skip


def bins(sharpness: float) -> list[ReliabilityBin]:
    """Reliability bins; sharpness 1 is perfect, above it overconfident."""
    made = []
    for i, rows in enumerate([24, 31, 52, 88, 272]):
        confidence = 0.55 + 0.1 * i
        accuracy = min(0.99, 0.5 + (confidence - 0.5) / sharpness)
        spread = 1.96 * math.sqrt(accuracy * (1 - accuracy) / rows)
        made.append(
            ReliabilityBin(
                confidence=confidence, accuracy=accuracy, rows=rows,
                low=max(0.0, accuracy - spread), high=min(1.0, accuracy + spread),
            )
        )  # fmt: skip
    return made


def learning_rate(step: int) -> float:
    """Cosine with 3 % warm-up."""
    warm = STEPS * 0.03
    if step < warm:
        return 3e-4 * step / warm
    return 1.5e-4 * (1 + math.cos(math.pi * (step - warm) / (STEPS - warm)))


@dataclass(frozen=True)
class Folder:
    """Makes a run folder up to a stage."""

    root: Path

    def make(self, until: str = "evaluate", name: str = "promises", sentence: str = "") -> Run:
        """Make the folder; `sentence` becomes a confident mistake and a sample row."""
        path = self.root / f"{name}.yaml"
        path.write_text(RECIPE.format(name=name), encoding="utf-8")
        run = Run.create(recipes.load(path), self.root / "runs")
        stages = {"data": data, "plan": plan, "train": train, "evaluate": evaluate}
        for stage, work in stages.items():
            if until == "recipe":
                break
            with run.stage(stage, "f" * 32):  # type: ignore[arg-type]
                work(run, sentence)
            if stage == until:
                break
        return run


def data(run: Run, sentence: str) -> None:
    """2,431 rows read, 149 rejected."""
    draw = random.Random(3)
    sizes = {"train": 1358, "validation": 229, "calibration": 228, "test": ROWS}
    splits = {}
    for split, rows in sizes.items():
        lengths = sorted(round(draw.gauss(104, 17) + draw.expovariate(0.08)) for _ in range(rows))
        edges = range(lengths[0] // 8 * 8, lengths[-1] + 1, 8)
        splits[split] = SplitStats(
            rows=rows,
            labels={"True": round(rows * 0.46), "False": rows - round(rows * 0.46)},
            tokens=TokenCounts(
                min=lengths[0], median=lengths[rows // 2], mean=sum(lengths) / rows,
                p95=lengths[int(rows * 0.95)], max=lengths[-1], total=sum(lengths),
                trained=2 * rows,
                histogram=[(e, sum(e <= n < e + 8 for n in lengths)) for e in edges],
            ),
        )  # fmt: skip
    shown = [sentence] if sentence else []
    shown += [
        "We will build 10,000 kilometres of subway lines in the next ten years.",
        "We will work toward making Canada a better place.",
    ]
    DataStats(
        rows_read={"promises.csv": 1912, "parliament_1997-2019.jsonl": 519},
        rows_rejected={"exact_duplicates": 96, "length": 44, "empty": 9},
        splits=splits,  # type: ignore[arg-type]
        templates={"promise_instruction_first": 1150, "promise": 1132},
        samples=[
            {
                "id": f"{i:016x}",
                "prompt": "A promise is tangible, specific, and an action that the government has "
                "the agency to make.\nReply 'True' if the input is a promise, 'False' if not.\n\n"
                f"Input: {text}\nOutput:",
                "completion": "False" if i else "True",
            }
            for i, text in enumerate(shown)
        ],
    ).save(run)


def plan(run: Run, sentence: str) -> None:
    """A laptop without a GPU."""
    memory = [
        MemoryPart(part="weights", bytes=538_060_032, how="134,515,008 parameters x 4 B"),
        MemoryPart(part="frozen weights in bfloat16", bytes=212_336_640,
                   how="106,168,320 parameters of linear layers x 2 B"),
        MemoryPart(part="adapters", bytes=19_537_920, how="4,884,480 parameters x 4 B"),
        MemoryPart(part="gradients", bytes=19_537_920, how="4,884,480 parameters x 4 B"),
        MemoryPart(part="optimizer", bytes=39_075_840, how="4,884,480 parameters x 8 B (AdamW)"),
        MemoryPart(part="activations", bytes=903_000_000,
                   how="30 layers x 8 rows x 112 tokens x 33.6 kB"),
        MemoryPart(part="logits", bytes=3_145_728, how="16 labelled positions x 49,152 x 4 B"),
    ]  # fmt: skip
    Plan(
        device="cpu (AMD EPYC 7B13, 2 cores)",
        precision="frozen_bf16",
        decisions=[
            Decision(key="train.precision", value="frozen_bf16",
                     why="this CPU multiplies bfloat16 natively (AMX), and keeping adapters and "
                     "norms in fp32 learns as fast as fp32."),
            Decision(key="train.eval_steps", value=106, why="once an epoch."),
            Decision(key="train.save_steps", value=106, why="with every validation."),
        ],
        findings=[
            Finding(check="few_trained_tokens", severity="warning",
                    what="only 1.9 % of the tokens carry loss.",
                    why="completions are one word; most of the time is spent on prompts.",
                    fix="Use a template whose instruction comes first, so that it is shared."),
            Finding(check="smoothing_over_classes", severity="note",
                    what="label smoothing is spread over the two labels only.",
                    why="it then calibrates the confidence of the label.", fix=""),
        ],
        memory=memory,
        total_bytes=sum(part.bytes for part in memory),
        available_bytes=6_900_000_000,
        fits=True,
        trainable_parameters=4_884_480,
        total_parameters=139_399_488,
        train_rows=1358,
        batches_per_epoch=212,
        total_steps=STEPS,
        tokens_per_epoch=159_322,
        seconds=1410.0,
        schedule=[(s, learning_rate(s)) for s in range(STEPS + 1)],
    ).save(run)  # fmt: skip


def train(run: Run, sentence: str) -> None:
    """Three epochs, killed once and resumed."""
    train_events(run, 1, 141)
    run.event("stage_started", stage="train")
    run.event("resumed", step=106, checkpoint="train/checkpoints/step-106")
    train_events(run, 107, STEPS)
    TrainSummary(
        kind="adapter", weights="train/adapter", base_model="smollm2-135m-instruct",
        precision="frozen_bf16", steps=STEPS, epochs=3.0, best_step=212, best_metric=0.2884,
        stopped_early=False, seconds=1322.4, examples=4074, tokens=477_966, trained_tokens=8148,
        peak_bytes=1_661_000_000, trainable_parameters=4_884_480, total_parameters=139_399_488,
    ).save(run)  # fmt: skip
    MadeWith.now(run, Plan.load(run)).save(run)


def train_events(run: Run, first: int, last: int) -> None:
    """Events of optimizer steps `first` to `last`."""
    draw = random.Random(first)
    for step in range(first, last + 1):
        tokens = draw.randint(1700, 2000)
        loss = 0.31 + 1.9 * math.exp(-step / 14) + 0.35 * math.exp(-step / 120)
        run.event(
            "step", step=step, loss=max(0.2, loss + draw.gauss(0, 0.06)), lr=learning_rate(step),
            grad_norm=0.5 + 2.5 * math.exp(-step / 30) + draw.expovariate(4), examples=16,
            tokens=tokens, trained_tokens=32, seconds=tokens / draw.gauss(361, 22),
            peak_bytes=1_661_000_000,
        )  # fmt: skip
        if step == 97:
            run.event("nonfinite", step=97, what="gradient norm", skipped=True)
        if step % 53 == 0:
            late = step / STEPS
            loss, accuracy = 0.288 + abs(late - 0.66) * 0.4, 0.86 - abs(late - 0.7) / 5
            metrics = {"loss": loss, "accuracy": accuracy}
            run.event("validation", step=step, metrics=metrics)
        if step % 106 == 0:
            run.event("checkpoint", step=step, path=f"train/checkpoints/step-{step}", seconds=0.41)


def evaluate(run: Run, sentence: str) -> None:
    """The tuned model against four baselines."""
    answers = simulated()
    if sentence:
        score = {**answers[0].score, "tuned": 9.0}
        answers[0] = Answer(sentence, "False", "manifesto", score)
    systems = [
        system(answers, "tuned", "smollm2-135m-instruct with the trained adapter"),
        system(answers, "tfidf", "TF-IDF of words and pairs, logistic regression"),
        system(answers, "few_shot", "the base model, shown 4 training rows"),
        system(answers, "zero_shot", "the base model, asked with the same template"),
        system(answers, "majority", "always the commonest training label"),
    ]
    origins = sorted({a.origin for a in answers})
    slices = {}
    for origin in origins:
        part = [a for a in answers if a.origin == origin]
        slices[origin] = {"auroc": auroc(part, "tuned"), "rows": Estimate(value=len(part))}
    Evaluation(
        task="classification",
        labels=["True", "False"],
        main_metric="auroc",
        rows=len(answers),
        systems=systems,
        calibration=Calibration(
            temperature=1.62, rows=228,
            before={"ece": 0.094, "brier": 0.171, "nll": 0.583, "ece_noise_floor": 0.031},
            after={"ece": 0.027, "brier": 0.158, "nll": 0.488, "ece_noise_floor": 0.033},
            bins_before=bins(1.45), bins_after=bins(1.03),
        ),
        slices=slices,
        notes=["The calibration split has 228 rows; the temperature is known to about 10 %."],
    ).save(run)  # fmt: skip
    with open(run.path / "evaluate/predictions.csv", "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "origin", "input", "gold", "predicted", "confidence", "tfidf"])
        for i, a in enumerate(answers):
            confidence = 1 / (1 + math.exp(-abs(a.score["tuned"])))
            writer.writerow(
                [f"{i:016x}", f"promises.csv:{i + 2}", a.text, a.gold, a.predicted("tuned"),
                 f"{confidence:.6f}", a.predicted("tfidf")]
            )  # fmt: skip
