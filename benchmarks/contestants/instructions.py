"""Tasks with long instructions, in the style of Super-NaturalInstructions.

A task is a definition with positive and negative examples and their explanations, and instances
(Wang et al. 2022, arXiv:2204.07705, section 3). All of them are about authored sentences of
`luthier/datasets/promises.csv`: its three columns of labels are three tasks, the numbers in a
sentence the fourth.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

Row = Mapping[str, str]
_NUMBER = re.compile(r"\d[\d,.]*\d|\d")


@dataclass(frozen=True)
class Shown:
    """An example inside an instruction."""

    input: str
    output: str
    explanation: str


@dataclass(frozen=True)
class Task:
    """A task and how the answer to a row is found."""

    name: str
    definition: str
    positive: tuple[Shown, ...]
    negative: tuple[Shown, ...]
    answer: Callable[[Row], str]

    def prompt(self, text: str) -> str:
        """The whole instruction with an instance."""
        parts = [f"Definition: {self.definition}"]
        for kind, examples in (("Positive", self.positive), ("Negative", self.negative)):
            parts += [
                f"{kind} Example {number} -\nInput: {shown.input}\nOutput: {shown.output}\n"
                f"Explanation: {shown.explanation}"
                for number, shown in enumerate(examples, start=1)
            ]
        parts.append(f"Now complete the following example -\nInput: {text}\nOutput:")
        return "\n\n".join(parts)


PROMISE = Task(
    name="is it a promise",
    definition=(
        "In this task you are given one sentence from a manifesto, a speech, a budget or a "
        "parliamentary record. Decide whether it is a political promise. It is one when it "
        "commits the speaker's government, or the party once it is in government, to an act that "
        "is tangible and specific and that the government has the agency to carry out, so that a "
        "reader could check later whether it was done. Aims without an act, forecasts, reports of "
        "what was done, opinions, attacks on others and what others are expected to do are no "
        "promises. Answer with True or False and nothing else."
    ),
    positive=(
        Shown(
            "We will open forty new dental clinics in rural counties before the end of 2027.",
            "True",
            "The act is named, it has a number and a date, and a government can do it by itself.",
        ),
        Shown(
            "Our schools are the pride of this region, and they deserve the best.",
            "False",
            "It praises and wishes, but commits nobody to any act.",
        ),
        Shown(
            "Abolish the fee for registering a small charity.",
            "True",
            "It has no subject and no date, but the act is specific and can be checked.",
        ),
    ),
    negative=(
        Shown(
            "We expect our neighbours to lower their tariffs next spring.",
            "True",
            "Wrong: it is about what others will do; the speaker has no agency there.",
        ),
        Shown(
            "From April every pensioner will travel free on local buses.",
            "Yes, this is a promise.",
            "The judgement is right, but the answer has to be True or False and nothing else.",
        ),
    ),
    answer=lambda row: row["label"],
)

KIND = Task(
    name="what kind of statement",
    definition=(
        "In this task you are given one sentence from political life. Name the kind of statement "
        "it is, with exactly one of these names: promise (an act the government commits itself "
        "to), vague (an aim without an act), past_accomplishment (done or under way already), "
        "prediction (a forecast about the world), expectation (a hope about others or about "
        "results), opinion (a judgement or an argument), attack (on opponents or their plans), "
        "third_party (somebody else's promise or demand), conditional (only if others act first), "
        "procedural (thanks, agenda, points of order), question, other (plain facts and "
        "ceremony)."
    ),
    positive=(
        Shown(
            "Last year we resurfaced two hundred miles of country road.",
            "past_accomplishment",
            "It reports what has been done; nothing is left to be carried out.",
        ),
        Shown(
            "Madam Speaker, I now turn to the second part of my statement.",
            "procedural",
            "It only says what the speaker is about to speak of.",
        ),
        Shown(
            "By 2040 half of all jobs in the valley will be in services.",
            "prediction",
            "It foretells how the world will be, and no government decides that.",
        ),
    ),
    negative=(
        Shown(
            "The party opposite would close every library in the county.",
            "prediction",
            "Wrong: it speaks of opponents and their plans, so it is an attack.",
        ),
        Shown(
            "We shall strive for a fairer and greener economy.",
            "promise",
            "Wrong: no act is named that could be checked, so it is vague.",
        ),
    ),
    answer=lambda row: row["category"],
)

SOURCE = Task(
    name="where it could stand",
    definition=(
        "In this task you are given one sentence from political life. Say in which kind of "
        "document or on which occasion it could stand, with exactly one of these names: "
        "manifesto, throne_speech (a head of state reads the government's programme), "
        "budget_speech, parliament (the record of a sitting), international (to an assembly of "
        "states), debate (between candidates), local (a council or a mayor), coalition_agreement, "
        "rally, mandate_letter (a head of government instructs a minister), press. Look at who "
        "speaks, at whom the sentence addresses, and at the form: headings and bare verbs stand "
        "in manifestos, the first person singular in debates and rallies, and sums of money in "
        "budgets."
    ),
    positive=(
        Shown(
            "My Government will bring forward a bill on the safety of bridges.",
            "throne_speech",
            "A head of state speaks of 'my Government' and announces a bill.",
        ),
        Shown(
            "As Minister, you will review the grant formula and report to me by June.",
            "mandate_letter",
            "A minister is addressed and told what to do by whom the minister answers to.",
        ),
        Shown(
            "The council shall repair the footbridge at Mill Lane.",
            "local",
            "A council speaks about a single footbridge.",
        ),
    ),
    negative=(
        Shown(
            "The two parties agree to raise the basic allowance in two steps.",
            "manifesto",
            "Wrong: two parties agree on something, so it is a coalition_agreement.",
        ),
        Shown(
            "Mr President, my delegation welcomes the report of the Secretary-General.",
            "the United Nations",
            "The occasion is guessed well, but the name has to be international.",
        ),
    ),
    answer=lambda row: row["style"],
)

NUMBERS = Task(
    name="which numbers stand in it",
    definition=(
        "In this task you are given one sentence from political life. Write down every number "
        "that stands in it in digits, in the order in which they stand there and exactly as they "
        "are written, with the commas and points inside them, but without currency signs, per "
        "cent signs, units or words around them. Put a comma and a space between two numbers. A "
        "year is a number; so is a number that is part of a name, such as that of a road or a "
        "law. Numbers that are written in words, such as 'forty' or 'a third', do not count. If "
        "no number stands in the sentence in digits, answer with the word none. Do not add, "
        "convert or round anything, and do not explain your answer."
    ),
    positive=(
        Shown(
            "We will spend £1,250 on each of the 300 schools by 2026.",
            "1,250, 300, 2026",
            "Three numbers in their order, the comma kept and the pound sign left out.",
        ),
        Shown(
            "Two in three families will pay less tax.",
            "none",
            "Both numbers are written in words.",
        ),
        Shown(
            "The A66 will be widened over 18.5 kilometres.",
            "66, 18.5",
            "The number in the name of the road counts too.",
        ),
    ),
    negative=(
        Shown(
            "Growth was 2.4% in 2019.",
            "2.4%, 2019",
            "Wrong: the per cent sign must be left out, so the answer is 2.4, 2019.",
        ),
        Shown(
            "In 1998 the fund held £40 million.",
            "1998, 40,000,000",
            "Wrong: numbers are not converted; the second one is 40.",
        ),
    ),
    answer=lambda row: ", ".join(_NUMBER.findall(row["sentence"])) or "none",
)

TASKS = (PROMISE, KIND, SOURCE, NUMBERS)
