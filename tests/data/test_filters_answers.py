"""Filters that judge an answer: what is wrong is named, and what only looks wrong passes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from filter_rows import passes, row, said

from luthier.errors import DataError
from luthier.names import FILTERS

LONG = "The harbour was closed for a week. Boats lay in rows along the quay. Nobody went out "


@pytest.mark.parametrize(
    "answer",
    ["N/A", "n/a ", "TBD", "<nooutput>", "...", "[your answer here]", "NA", "No output.",
     "[no output]", "<no_output>", "Not applicable", "Output: N/A", "null"],
)  # fmt: skip
def test_placeholders_are_no_answers(answer: str) -> None:
    assert said("placeholders", [row("How deep is the lake behind the mill?", answer)]) == [
        f"placeholder: the answer is '{answer.strip()}'"
    ]


def test_placeholders_that_answer_the_question_pass() -> None:
    passes(
        "placeholders",
        row("What is the symbol of sodium?", "Na"),
        row("How many moons does Venus have?", "None"),
        row("What is an undeclared property in JavaScript?", "undefined"),
        row("What is 0/0 in IEEE arithmetic?", "NaN"),
        row("Name the missing value of SQL: is it null or nothing?", "NULL"),
        row("Give the date of birth, or N/A if it is not stated: Ann is a baker.", "N/A"),
        row("What does TBD stand for? What do you write?", "TBD"),
        row("Is the form complete?", "N/A", labels=["yes", "N/A"]),
        row("Is this list [a, b] sorted?", "[a, b] is sorted."),
    )


def test_no_content() -> None:
    assert said("no_content", [row("Why is the sky red at dusk?", " ?! ")]) == [
        "no content: the answer is only punctuation ('?!')"
    ]
    passes(
        "no_content",
        row("Which sign ends a question?", "?"),
        row("Which operator multiplies in Python?", "*"),
        row("Is it so?", "?", labels=["?", "!"]),
        row("How do you feel today, in one emoji?", "🙂"),
        row("Fill the gap: He went ___ the shop.", "to"),
        row("Pick one. A) oak B) elm", "A"),
    )
    strict = [row("Tell me about oaks.", "and of the"), row("Is it so?", "No.")]
    assert said("no_content", strict, stop_words=True) == [
        "no content: the answer is only stop words ('and of the')", None,
    ]  # fmt: skip


def test_copied_inputs() -> None:
    text = "My neighbour keeps eleven geese and a goat behind the old chapel"
    rows = [
        row("Where do geese sleep?", "where do geese sleep?"),
        row(
            f"What kind of farm is it?\n{text}", text, instruction="What kind of farm?", input=text
        ),
        row(f"{text}, and why?", f"{text}, and why? They like grass."),
    ]
    assert said("copied_input", rows) == [
        "copied input: the answer is the question", "copied input: the answer is the input",
        "copied input: the answer begins with the whole question",
    ]  # fmt: skip


@pytest.mark.parametrize(
    "task",
    [
        "Summarize the text.", "Translate to Spanish.", "Paraphrase this sentence.",
        "Rewrite the sentence in the passive voice.", "Classify the sentiment.",
    ],
)  # fmt: skip
def test_tasks_that_an_unchanged_text_cannot_answer(task: str) -> None:
    text = "My neighbour keeps eleven geese and a goat, and you can find them if you correct it."
    copied = "copied input: the answer is the input"
    assert said("copied_input", [row(f"{task}\n{text}", text, instruction=task, input=text)]) == [
        copied
    ]
    asked = row("", turns=[("user", f"{task}\n\n{text}"), ("assistant", text)])
    assert said("copied_input", [asked]) == [copied]


def test_inputs_that_may_come_back_as_they_are() -> None:
    text = "My neighbour keeps eleven geese and a goat."
    passes(
        "copied_input",
        row(f"Correct the sentence if necessary.\n{text}", text, input=text),
        row(f"Repeat after me: {text}", f"Repeat after me: {text}"),
        row("Round to whole numbers.\n42", "42", input="42"),
        row("True", "True", labels=["True", "False"]),
        row("What is the capital of Peru?", "What is the capital of Peru? It is Lima."),
        row("Put a line break between the sentences.\nOne. Two.", "One.\nTwo.", input="One. Two."),
    )


@pytest.mark.parametrize(
    ("answer", "what"),
    [
        ("I'm sorry, but I cannot fulfil that request.", "refusal"),
        ("I’m sorry, I can’t help with that.", "refusal"),
        ("I apologize, but I am unable to provide this information.", "refusal"),
        ("Unfortunately, I cannot assist you here.", "refusal"),
        ("As an AI language model, I do not have a home town.", "disclaimer"),
        ("Unfortunately, I cannot write that story.", "refusal"),
        ("I cannot write an essay about this topic.", "refusal"),
        ("I can't create content that depicts illegal acts.", "refusal"),
        ("I'm afraid I can't help with that.", "refusal"),
        ("I will not provide that.", "refusal"),
        ("I must respectfully decline to answer.", "refusal"),
        ("I'm really sorry, but I won't be able to help.", "refusal"),
        ("My apologies, but I'm not programmed to do this.", "refusal"),
        ("I do not feel comfortable writing this.", "refusal"),
        ("It would be unethical for me to help with this.", "refusal"),
        ("This request violates my guidelines.", "refusal"),
        ("I'd rather not answer that.", "refusal"),
        ("While I understand your wish, I can't provide instructions for this.", "refusal"),
        ("I'm sorry, but I am only a language model.", "refusal"),
        ("As an AI, I must decline.", "refusal"),
        ("I'm just an AI model and can't give advice on that.", "disclaimer"),
        ("Es tut mir leid, aber ich kann dabei nicht helfen.", "refusal"),
        ("Lo siento, pero no puedo ayudar con eso.", "refusal"),
        ("Je suis désolé, mais je ne peux pas répondre à cette demande.", "refusal"),
        ("抱歉，我无法满足您的请求。", "refusal"),
    ],
)
def test_refusals(answer: str, what: str) -> None:
    [reason] = said("refusals", [row("Where do storks spend the winter?", answer)])
    assert reason is not None and reason.startswith(f"{what}: the answer says '")
    assert said("refusals", [row("Where?", answer)], max_words=3) == [None]


def test_sorry_is_not_always_a_refusal() -> None:
    passes(
        "refusals",
        row(
            "Write a short scene at a bus stop.",
            'ANN: "I\'m sorry, I took your seat." BOB: "Stay."',
        ),
        row("Write an apology to a customer.", "I am sorry that we cannot provide the blue one."),
        row("Tell Tom that I will miss his party.", "I'm sorry, I can't make it on Friday."),
        row("Decline the offer.", "I'm sorry, but I cannot accept your generous offer."),
        row("Who are you?", "As an AI language model, I do not have a body."),
        row("Translate: Es tut mir leid.", "I'm sorry."),
        row("What does the waiter say?", "Sorry, I can't process cards today. Is cash all right?"),
        row("Begin a diary.", "I cannot help but smile when I think of the lake."),
        row("Begin a novel.", "I can't do this anymore, she thought, and put down the oar."),
        row("Schreibe Tom ab.", "Leider kann ich morgen nicht kommen."),
        row("Give the French for 'I cannot help you'.", "Je ne peux pas vous aider."),
        row(
            "How do I get a ticket?",
            "I cannot open the page of the station, but there is a counter.",
        ),
        row("What can you do?", "As a language model, I can answer questions and write texts."),
        row("Why was the road closed?", "The council said it was sorry, but it could not help it."),
        row("Is it a promise?", "False", labels=["True", "False"]),
    )


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (f"{LONG}because the", "it ends in 'the'"),
        (f"{LONG}for fish, eels,", "it ends in a comma"),
        ("Here you are:\n```python\nprint(1)\n", "a block of code is not closed"),
        ('[{"name": "oak", "height": 20}, {"name": "el', "brackets are not closed"),
        ('{"name": "oak",', "brackets are not closed"),
        (f"{LONG}[truncated]", "it says so"),
        (
            "Boats lay in rows along the quay, since the harbour was closed and the",
            "it ends in 'the'",
        ),
        (f"{LONG.strip()}. The reason is", "it ends in 'is'"),
        ("1. Boats\n2. Nets\n3. Eels\n4.", "the last item of its list is empty"),
        ("def depth(x):\n    return (x +", "the code breaks off"),
        ("<ul><li>Boats</li><li>Nets</li><li class", "a tag is not closed"),
    ],
)
def test_truncated(answer: str, why: str) -> None:
    [reason] = said("truncated", [row("What happened at the harbour?", answer)])
    assert reason is not None and reason.startswith(f"truncated: {why} ('...")


def test_a_finish_reason_says_it_for_sure() -> None:
    rows = [
        row("Why?", "Because.", finish_reason="length"),
        row("Why?", "So.", finish_reason="stop"),
    ]
    assert said("truncated", rows) == ["truncated: finish_reason is 'length'", None]


def test_endings_without_a_full_stop_pass() -> None:
    passes(
        "truncated",
        row(
            "Write a poem.",
            "The harbour sleeps in silver light,\nThe gulls have gone. They left us\nthe night",
        ),
        row("Write code.", "int main() {\n  return 0;\n}"),
        row("List three trees.", "Oak. Tall ones.\n- Elm\n- Ash"),
        row("A title for my book on boats?", "What the Tide Brings In"),
        row("Which word is it?", "the"),
        row(
            "Write a poem without marks.",
            "the gulls went in\nand I have nowhere left to go with\nmy umbrella and the",
        ),
        row("Count.", "int x = 0;\nx++"),
        row("What is it?", "the " * 24 + "the"),
        row("What is it called?", "After all that we know of it today it is called vitamin A"),
        row("List them.", "- oak\n- elm\n---"),
        row("Write to her.", f"{LONG}again.\nLooking forward to seeing you,"),
        row("Write a poem.", f"{LONG}again.\nThe gulls went in,"),
        row("Continue the story.", f"{LONG}and then the"),
        row("Is it so?", "because of the", labels=["because of the", "no"]),
        row("Give JSON.", '{"a": [1, 2, {"b": null}]}'),
        row("What is [x] in maths?", "[x] is the largest integer up to x"),
        row(
            "Use ```ls```.",
            "Type ```ls``` in the shell. It lists files. You have a look at the files",
        ),
        row(
            "Which one?", "That is what I was thinking of. You never know what they are looking for"
        ),
    )


def test_repetition() -> None:
    loop = "Water the plants in the morning. " + "Then water them again today. " * 5
    line = "It is what it is. " * 6
    laugh = ["哈" * 44, "a" * 60, "我不知道。" * 10]
    assert None not in said("repetition", [row("How do I keep basil?", text) for text in laugh])
    [first, second] = said("repetition", [row("How do I keep basil?", t) for t in (loop, line)])
    assert first is not None and first.startswith("repetition: '")
    assert second is not None and "over and over in the answer" in second


def test_repetition_that_was_asked_for_passes() -> None:
    passes(
        "repetition",
        row("Write the line ten times.", "I will not run on the stairs. " * 10),
        row("Write a chorus for a song.", "Sail away with me tonight. " * 6),
        row("Show a table.", "| a | b |\n| --- | --- |\n" + "| 0 | 0 |\n" * 12),
        row(
            "Why do geese fly in a V?", "They save strength. They see each other. They take turns."
        ),
        row("Laugh!", "ha ha ha ha ha"),
        row("Draw a line.", "-" * 60 + "1" * 50),
        row("Write the binary digits.", "0 0 0 0 " * 10),
        row("Fix it.", "for (;;) {\n  step();\n  step();\n  step();\n  step();\n  step();\n}"),
    )


def test_missing_code() -> None:
    rows = [
        row(
            "Write a Python function that reverses a list.",
            "It goes through the list from its end.",
        ),
        row("Create a function in JavaScript to add two numbers.", "The two numbers are added up."),
    ]
    assert said("missing_code", rows) == [
        "no code: 'Write a Python function' is answered in prose",
        "no code: 'Create a function in JavaScript' is answered in prose",
    ]
    passes(
        "missing_code",
        row("Write a Python function that adds.", "def add(a, b):\n    return a + b"),
        row("Write a SQL query for all names.", "SELECT name FROM people"),
        row("Write a SQL query for all names.", "select name from people"),
        row("Write a Python function that adds.", "lambda a, b: a + b"),
        row("Write a plan for a training program.", "Run on Monday, rest on Tuesday."),
        row("Write a Python program's docstring.", "Print the depth of the lake."),
        row("Explain what a Python function is.", "A named piece of a program that can be called."),
        row("Write a dress code for the office.", "No shorts, please."),
        row("Design a class in which children learn to swim.", "Begin in shallow water."),
        row("Write pseudocode for a Python function.", "Go through the list and add up."),
    )


@pytest.mark.parametrize(
    ("question", "answer", "right"),
    [
        ("What is 12 + 7?", "12 + 7 = 21", "19"),
        ("Calculate 15 * 4.", "The answer is 50.", "60"),
        ("Compute (2 + 3) × 4", "24", "20"),
        ("What is 1,200 - 350?", "950", "850"),
        ("Evaluate: 7 / 2", "2", "3.5"),
        ("What is 7 x 8?", "54", "56"),
        ("What is the sum of 5 and 6?", "12", "11"),
        ("What is 100 divided by 4?", "20", "25"),
        ("Multiply 6 by 7.", "48", "42"),
        ("Subtract 3 from 10.", "13", "7"),
        ("What is the square root of 81?", "8", "9"),
        ("What is 10% of 50?", "10", "5"),
    ],
)
def test_wrong_arithmetic(question: str, answer: str, right: str) -> None:
    [reason] = said("arithmetic", [row(question, answer)])
    assert reason is not None and reason.startswith(f"wrong arithmetic: the result is {right}, ")


def test_right_or_other_arithmetic_passes() -> None:
    passes(
        "arithmetic",
        row("What is 12 + 7?", "12 + 7 = 19"),
        row("What is 12 + 7?", "Nineteen."),
        row("What is the difference between 4 and 9?", "5"),
        row("What is the square root of 2?", "1.41"),
        row("What is the difference between 5 and 6 GHz?", "6 GHz is quicker, by 1."),
        row("What is 1 / 3?", "About 0.33"),
        row("What is 2 / 3?", "0.67"),
        row("What is 2 / 3?", "0.66"),
        row("What is 2 / 6?", "1/3"),
        row("What is 1 / 4?", "25%"),
        row("What is 24/7?", "A way of saying always; it means 24 hours on 7 days."),
        row("What is 9/11?", "The attacks of 2001."),
        row("What is 10-4?", "Radio code for 'understood', used since 1940."),
        row("What is 4-4-2?", "A formation of 11 players."),
        row("What is 7 / 0?", "It is not defined: 0 divides nothing."),
        row("What is 2020-10-11?", "A date: 11 October 2020."),
        row("What is 1000 * 1000?", "10^6"),
        row("What is 17 / 5?", "3 remainder 2"),
        row("Call 555 0123?", "0123"),
        row("Solve 3x - 2", "It is 3x - 2; there is no equation to solve for 0."),
        row("Evaluate 2x + 3x", "5x"),
        row("What is 007 + 1?", "A film of 1962"),
    )


def test_contradictions_in_free_text_need_a_closed_question() -> None:
    rows = [
        row("How many legs has a spider?", "Eight", line=1),
        row("how many legs has  a spider?", "eight.", line=2),
        row("How many legs has a spider?", "Six", line=3),
    ]
    assert said("contradiction", rows) == [
        None, None, "contradiction: rows.jsonl:1 answers 'Eight' to the same input",
    ]  # fmt: skip
    passes(
        "contradiction",
        row("Name a colour that people like.", "Red"),
        row("Name a colour that people like.", "Blue"),
        row("Why is the sea salty?", "Rivers carry salts into it, and only water leaves it again."),
        row("Why is the sea salty?", "Because of the minerals that rain washes out of the rocks."),
        row("Who made you?", "Some people in a workshop made me."),
        row("Who made you?", "I was made by engineers."),
    )


@pytest.mark.parametrize(
    ("what", "question", "one", "other"),
    [
        ("contradiction", "How many legs does a spider have?", "Eight.", "A spider has six legs."),
        ("contradiction", "Is the Volga in Russia?", "Yes, all of it.", "No, it is in France."),
        (
            "contradiction", "In which year did Lincoln die?",
            "He died in 1865 in Washington, after he was shot.", "He died in 1872 in his bed.",
        ),
        (
            "unlike answers", "What is the capital of Australia?", "Canberra",
            "The capital of Australia is Sydney, a city on the coast.",
        ),
        ("unlike answers", "Give me the capital of Peru.", "Lima", "Cusco"),
        ("unlike answers", "Rate it. I love you.\nWould you? On a scale from 1 to 5", "5", "1"),
    ],
)  # fmt: skip
def test_closed_questions_in_free_text(what: str, question: str, one: str, other: str) -> None:
    for first, second in ((one, other), (other, one)):
        [_, reason] = said("contradiction", [row(question, first), row(question, second)])
        assert reason is not None and reason.startswith(f"{what}: rows.jsonl:1 answers '")


@pytest.mark.parametrize(
    ("question", "one", "other"),
    [
        ("Hi", "Hello!", "Hi there!"),
        ("How are you?", "Fine, thanks!", "Very well, and you?"),
        ("Flip a coin.", "Heads", "Tails"),
        ("Roll a die.", "4", "2"),
        ("Say something nice.", "You matter.", "Well done!"),
        ("What should I cook tonight?", "Lentil soup", "Mushroom risotto"),
        ("Who painted the Mona Lisa?", "Da Vinci", "Leonardo painted the Mona Lisa."),
        ("How tall is Mount Everest?", "8,849 m", "29,032 feet"),
        ("What is the value of pi?", "3.14", "3.14159"),
        ("How many people live in Rome?", "2.7 million", "About 3 million people."),
        ("Is it late?", "No", "No, not at all."),
    ],
)
def test_answers_that_can_both_be_right(question: str, one: str, other: str) -> None:
    passes("contradiction", row(question, one), row(question, other))
    passes("contradiction", row(question, other), row(question, one))


def test_another_system_message_is_another_question() -> None:
    ask, answers = ("user", "Is it so?"), ("Yes", "No")
    rows = [
        row("", turns=[("system", f"Answer {answer}."), ask, ("assistant", answer)])
        for answer in answers
    ]
    passes("contradiction", *rows)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("refusals", {"max_words": 0}),
        ("truncated", {"min_words": "many"}),
        ("repetition", {"times": 1}),
        ("no_content", {"stop_words": "yes"}),
        ("contradiction", {"max_words": 1.5}),
    ],
)
def test_impossible_options(name: str, options: dict[str, Any]) -> None:
    [(option, _)] = options.items()
    with pytest.raises(DataError, match=f"filter '{name}': {option} is .*expected"):
        FILTERS.build(name, **options)


def test_what_nobody_sees_is_empty() -> None:
    unseen = ["\u200b", "\u00a0\ufeff", "\u3164", " \n"]
    assert said("empty", [row("Why?", text) for text in unseen]) == ["empty: no answer"] * 4
    passes("empty", row("Why?", "🙂"), row("Why?", "。"), row("Why?", "é"))


def test_a_turn_that_calls_a_tool_is_not_empty() -> None:
    called = row("What is the weather?", turns=[("user", "Weather?"), ("assistant", "")])
    assert said("empty", [called]) == ["empty: no answer"]
    calls = '[{"name": "weather", "arguments": {}}]'
    user, answer = called.example.messages
    called.example = called.example.but(messages=(user, replace(answer, tool_calls=calls)))
    passes("empty", called)
