"""What the model is asked with: the layout is that of Self-Instruct, the words and tasks are ours.

As in the paper (tables 5 to 8) a prompt lists solved examples and breaks off where the model is to
go on: after a number, after "Is it classification?", after a task. As many examples are shown as in
the authors' templates: 31 tasks for whether they are classification (12 are), 11 for input-first
and 16 for output-first instances. The end of a prompt is all that differs between tasks, so a
server runs what is before it once.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache

TASKS = "Here is a list of different tasks to be done, each in one or two sentences:\n"
CLASSIFICATION_TASKS = (
    "Here is a list of different classification tasks to be done. Where possible each names the "
    "labels to choose from:\n"
)
CHAT_TASKS = (
    "\n\nGo on with the list up to number {last}. Write one task a line, each line beginning with "
    "its number, and nothing else."
)
CHAT_KIND = " (answer Yes or No)"
CHAT_INSTANCES = (
    "\nWrite what comes next, in the layout of the tasks above and without any other words."
)


def instructions_prompt(shown: Sequence[str], *, classification: bool, chat: bool = False) -> str:
    """Asks for more instructions like some (paper, table 5).

    Args:
        shown: instructions, in the order in which they are listed.
        classification: whether tasks of classification are wanted.
        chat: whether a chat model is asked, which has to be told to go on.
    """
    prompt = CLASSIFICATION_TASKS if classification else TASKS
    for number, instruction in enumerate(shown, 1):
        line = re.sub(r"\s+", " ", instruction).strip().rstrip(":")
        prompt += f"{number}. {line}\n"
    # The stop string before `2 * shown` is what ends the list.
    last = 2 * len(shown) - 1
    return prompt + f"{len(shown) + 1}." + (CHAT_TASKS.format(last=last) if chat else "")


def kind_prompt(instruction: str, *, chat: bool = False) -> str:
    """Asks whether a task is classification (paper, table 6)."""
    asked = f"{_kinds()}Task: {instruction.strip()}\nIs it classification?"
    return asked + (CHAT_KIND if chat else "")


def instances_prompt(instruction: str, *, classification: bool, chat: bool = False) -> str:
    """Asks for instances: the input first, or for classification the output (tables 7 and 8)."""
    shown = _output_first() if classification else _input_first()
    return f"{shown}Task: {instruction.strip()}\n" + (CHAT_INSTANCES if chat else "")


@cache
def _kinds() -> str:
    shown = "".join(
        f"Task: {task}\nIs it classification? {'Yes' if closed else 'No'}\n\n"
        for task, closed in KINDS
    )
    return f"Is the answer to each of these tasks one of a few fixed labels?\n\n{shown}"


@cache
def _input_first() -> str:
    head = (
        "Each task below is followed by examples of it: an input where the task needs one, and the "
        "output. Several examples are better than one.\n\n"
    )
    return head + "".join(f"Task: {task}\n{examples}\n\n" for task, examples in INPUT_FIRST)


@cache
def _output_first() -> str:
    head = (
        "Each classification task below is followed by its class labels, and under each label "
        "stands an input that it is right for. Where a task needs no input, there are only "
        "labels.\n\n"
    )
    shown = "".join(
        f"Task: {task}\n"
        + "".join(
            f"Class label: {label}\n" + (f"{given}\n" if given else "") for label, given in examples
        )
        + "\n"
        for task, examples in OUTPUT_FIRST
    )
    return head + shown


KINDS: tuple[tuple[str, bool], ...] = (
    ("Say whether a hotel guest who wrote this review would come again.", True),
    ("Tell me about a teacher who changed the way you think.", False),
    ("Fill the gaps in the letter with names and dates that make sense.", False),
    ("Is this headline true, made up, or impossible to tell? Use what you know.", True),
    ("Give the number of the house in the address.", False),
    ("Decide if a comment under a video is an insult.", True),
    ("Go through the speech and point out where the speaker exaggerates.", False),
    ("Which of the numbered lines is the shortest? Answer with its number.", True),
    ("Find the word in the sentence that is out of date.", False),
    ("Put these rivers in order, the longest first.", False),
    (
        "Here is a recipe. List all courses that it is fit for, from starter, soup, main course, "
        "dessert and drink, separated by commas.",
        True,
    ),
    ("Explain to a beginner how this knot is tied.", False),
    ("Pick the heaviest animal among those named.", True),
    ("Name five primes between 200 and 300.", False),
    ("Does the graph's caption agree with the paragraph? Say agree or disagree.", True),
    ("Work out a weekly meal plan for a family of four.", False),
    (
        "If the argument has a gap, describe it in a sentence; if it has none, write sound.",
        False,
    ),
    ("What does this proverb mean, and when would you use it?", False),
    ("Is there a train journey under six hours that passes both a lake and the sea?", False),
    ("Choose the right answer, A, B, C or D, to the quiz question.", True),
    ("Judge if the conclusion follows from the two statements.", True),
    ("How can neighbours settle a quarrel about noise?", False),
    ("What helps against a bad night's sleep?", False),
    ("Say which of the three prices is the lowest. Give the price only.", True),
    ("Write a word for every blank so that the poem rhymes.", False),
    ("Turn these notes into a speech of thanks.", False),
    ("Name the tense of the verb in the sentence.", True),
    ("Write a function that reverses the words of a line.", False),
    ("Compare two product descriptions: same product, yes or no?", True),
    ("Complete the comparison: day is to night as summer is to what?", False),
    ("From the coins given, list every way to pay the exact sum.", False),
)
"""Tasks, and whether they are classification."""

INPUT_FIRST: tuple[tuple[str, str], ...] = (
    (
        "What should be packed for a day's walk in the mountains?",
        "Output:\n- Water\n- Bread, nuts and fruit\n- A rain jacket\n- A warm pullover\n- Plasters",
    ),
    (
        "List all the animals in the text, separated by commas.",
        "Example 1\nText: When the ferry reached the island, gulls followed it into the harbour. A "
        "grey cat sat on the wall and watched the fishermen, who paid it with a herring. Behind "
        "the church two goats stood on the roof of a shed, and nobody seemed to wonder.\n"
        "Output: gulls, cat, herring, goats",
    ),
    ("How many minutes are two and a half hours?", "Output: 2.5 hours x 60 = 150 minutes"),
    (
        "Put the words in alphabetical order.",
        "Example 1\nWords: pear, fig, lemon, apple\nOutput: apple, fig, lemon, pear\n"
        "Example 2\nWords: violin, oboe, drum, cello, harp\n"
        "Output: cello, drum, harp, oboe, violin",
    ),
    (
        "Say the same thing more politely.",
        "Example 1\nSentence: Your report is late again and half of it is wrong.\n"
        "Output: The report reached us after the deadline once more, and several figures in it "
        "need to be corrected.\n"
        "Example 2\nSentence: Stop talking, I can't hear a thing.\n"
        "Output: Would you mind speaking a little more quietly? I find it hard to hear.",
    ),
    (
        "Answer the question about the paragraph and show how you worked it out.",
        "Example 1\nParagraph: The village library lent 4,120 books last year, 310 more than the "
        "year before. Children took 1,480 of them, most during the summer months.\n"
        "Question: How many books did grown-ups borrow last year?\n"
        "Output: Of the 4,120 books, children borrowed 1,480. 4,120 - 1,480 = 2,640, so grown-ups "
        "borrowed 2,640 books.",
    ),
    (
        "Solve the exercise in Python.",
        "Example 1\nExercise: Given a list of temperatures, return the largest rise from one day "
        "to the next, or 0 if it never got warmer.\n"
        "Output:\ndef largest_rise(temperatures):\n    best = 0\n"
        "    for before, after in zip(temperatures, temperatures[1:]):\n"
        "        best = max(best, after - before)\n    return best",
    ),
    (
        "Find the number that is missing from the sum, step by step.",
        "Example 1\nSum: 7 + ? = 19\nOutput: ? = 19 - 7, so ? = 12\n"
        "Example 2\nSum: 3 x ? - 4 = 20\nOutput: 3 x ? = 24, so ? = 8",
    ),
    (
        "Write a shell command that counts the lines of all text documents in a folder.",
        "Output: cat *.txt | wc -l",
    ),
    (
        "Which of these was invented first?",
        "Example 1\nInventions: telephone, wheel, printing press, radio\nOutput: wheel\n"
        "Example 2\nInventions: bicycle, aeroplane, television\nOutput: bicycle",
    ),
    (
        "Write a short message that cancels a dinner because of a cold.",
        "Output: Dear Maya,\nI am so sorry, but I have caught a cold and do not want to pass it on "
        "to everyone tonight. Please start without me and give the others my love. Could we try "
        "again next week?\nYours, Tom",
    ),
)
"""Tasks with examples, as they are shown."""

OUTPUT_FIRST: tuple[tuple[str, tuple[tuple[str, str], ...]], ...] = (
    (
        "Tell how the writer feels about the concert: pleased, annoyed or undecided.",
        (
            ("undecided", "Text: The band was superb, but we stood in the rain for two hours."),
            ("pleased", "Text: I have not sung along like that for years. What a night!"),
            ("annoyed", "Text: Half the songs were cut short and nobody said why."),
        ),
    ),
    (
        'Read the exchange at the counter and say whether the problem was solved. Answer "Solved" '
        'or "Open".',
        (
            (
                "Solved",
                "Exchange:\n- Clerk: Here is your new ticket, it is valid until midnight.\n"
                "- Passenger: Perfect, that is all I needed.",
            ),
            (
                "Open",
                "Exchange:\n- Clerk: The person in charge is back on Monday.\n"
                "- Passenger: But my train leaves tomorrow.",
            ),
        ),
    ),
    (
        "From what somebody says about holidays, tell whether they prefer the town or the country.",
        (
            ("Town", "Statement: Give me museums, cafés and a tram at every corner."),
            ("Country", "Statement: I need a hill to climb and no phone signal."),
        ),
    ),
    (
        "Is this message an invitation or not?",
        (
            ("Invitation", "Message: We are grilling on Saturday at six, bring a salad!"),
            ("No invitation", "Message: The grill is in the shed, under the blue sheet."),
        ),
    ),
    (
        "Find out if the post gives medical advice.",
        (
            ("Medical advice", "Post: Take two of these tablets each morning and skip the syrup."),
            ("No medical advice", "Post: The new chemist's shop opens next to the bakery."),
        ),
    ),
    (
        'Does the notice back up the rumour? Say "Backed up" or "Not backed up".',
        (
            (
                "Not backed up",
                "Notice: The swimming pool stays closed in May while its roof is mended. It is to "
                "open again on the first of June.\nRumour: The swimming pool will be pulled down.",
            ),
            (
                "Backed up",
                "Notice: After the council's vote the old swimming pool will make way for a school "
                "next spring.\nRumour: The swimming pool will be pulled down.",
            ),
        ),
    ),
    (
        "Answer the question with the letter of the right choice.",
        (
            ("B", "Question: Which planet is nearest to the sun?\nA. Venus\nB. Mercury\nC. Mars"),
            ("A", "Question: What do bees collect?\nA) Nectar\nB) Sand\nC) Milk"),
            ("C", "Question: How many sides has a hexagon?\nA) Four\nB) Five\nC) Six"),
        ),
    ),
    (
        "Check whether the brackets of the line of code match. Say true if they do, else false.",
        (
            ("false", "Code: total = (price + tax * (1 - rate)"),
            ("true", "Code: names = [n.strip() for n in (first, last)]"),
        ),
    ),
    (
        "Name every sense that the sentence speaks to, from Sight, Sound and Smell, separated by "
        "commas.",
        (
            ("Sight", "Sentence: The whole bay turned red as the sun went down."),
            ("Sound", "Sentence: Somewhere a door slammed."),
            ("Sound, Smell", "Sentence: The coffee hissed in the pot and filled the kitchen."),
        ),
    ),
    (
        "Given a plant's place, its watering and the look of its leaves, say if it is in danger.",
        (
            (
                "In danger",
                "Place: a dark corridor\nWatering: every day\nLeaves: yellow and soft",
            ),
            (
                "Not in danger",
                "Place: a bright window\nWatering: once a week\nLeaves: green and firm",
            ),
        ),
    ),
    (
        "Say whether an advertisement suits the page that it is shown on.",
        (
            ("Suits", "Advertisement: Running shoes, light as a feather\nPage: Marathon results"),
            ("Does not suit", "Advertisement: Winter tyres\nPage: How to bake bread"),
        ),
    ),
    (
        "Answer yes if the sentence tells where something happened, otherwise no.",
        (
            ("yes", "Sentence: They met on the steps of the town hall."),
            ("no", "Sentence: They met again after eleven years."),
        ),
    ),
    ("Which is the longest river in Africa?", (("The Nile", ""),)),
    (
        "Sort shapes into flat and solid ones by their description.",
        (
            ("Flat", "Description: three straight sides that meet in three corners"),
            ("Solid", "Description: six equal square faces"),
        ),
    ),
    (
        "Give the last word of the sentence.",
        (
            ("bell", "Sentence: At noon rings the bell"),
            ("snow", "Sentence: We walked home in snow"),
        ),
    ),
    (
        "Which of these is not a kitchen tool? (a) whisk (b) ladle (c) chisel (d) grater",
        (("(c)", ""),),
    ),
)
"""Tasks with labels and an input for each, empty where the task needs none."""
