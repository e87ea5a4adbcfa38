"""Forms of data that an input is complicated with, each shown on two prompts.

Forms are those of the paper (arXiv 2304.12244, appendix: XML, SQL, Python, HTML, shell, JSON);
prompts and data are ours.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Shown:
    """A prompt before and after."""

    given: str
    rewritten: str


@dataclass(frozen=True, slots=True)
class DataFormat:
    """A form of data."""

    name: str
    """What the model is told."""
    shown: tuple[Shown, Shown]


DATA_FORMATS = {
    "xml": DataFormat(
        "XML",
        (
            Shown(
                "Which of my plants need water?",
                "Which of these plants were watered more than five days ago, and by whom?\n"
                '<plants today="12">\n  <plant name="fern" watered="4" by="Ola"/>\n'
                '  <plant name="basil" watered="10" by="Jun"/>\n</plants>',
            ),
            Shown(
                "How do I rename an element?",
                "How do I rename every 'ship' to 'vessel' here and keep the attributes?\n"
                '<fleet><ship id="7">Auk</ship><ship id="9" sold="yes">Tern</ship></fleet>',
            ),
        ),
    ),
    "sql": DataFormat(
        "an SQL database",
        (
            Shown(
                "Who borrowed the most books?",
                "Which SQL query finds the three readers with the most loans that are not back?\n"
                "CREATE TABLE loan (reader TEXT, book INTEGER, back DATE);\n"
                "INSERT INTO loan VALUES ('Ira', 3, NULL), ('Ira', 5, '2024-05-02'), "
                "('Bo', 8, NULL);",
            ),
            Shown(
                "Find orders without a customer.",
                "Write a query for the orders whose customer is missing, oldest first.\n"
                "CREATE TABLE customer (id INTEGER);\n"
                "CREATE TABLE orders (id INTEGER, customer INTEGER, placed DATE);",
            ),
        ),
    ),
    "python": DataFormat(
        "Python code",
        (
            Shown(
                "Why is my average wrong?",
                "Why does this return 2 for [1, 2, 4], and how does it return 2.33?\n"
                "def average(xs):\n    return sum(xs) // len(xs)",
            ),
            Shown(
                "How can I make a loop faster?",
                "How can this find common names without comparing all pairs?\n"
                "def common(a, b):\n    return [x for x in a for y in b if x == y]",
            ),
        ),
    ),
    "html": DataFormat(
        "an HTML page",
        (
            Shown(
                "How do I put a picture beside a text?",
                "How do I put the picture to the left of both paragraphs without changing the "
                "text?\n<div><img src='owl.png'><p>Owls hear well.</p><p>They fly silently.</p>"
                "</div>",
            ),
            Shown(
                "Make my form easier to use.",
                "What keeps people who use a screen reader from filling in this form?\n"
                "<form>Name <input id='n'> <div onclick='send()'>Send</div></form>",
            ),
        ),
    ),
    "shell": DataFormat(
        "a shell command",
        (
            Shown(
                "How do I delete old logs?",
                "What does this delete besides logs older than a week, and how do I prevent it?\n"
                "find /var/log/app -mtime +7 -exec rm -r {} +",
            ),
            Shown(
                "Count the files in a folder.",
                "Why does this count one file too many, and how does it count subfolders apart?\n"
                "ls -la photos | wc -l",
            ),
        ),
    ),
    "json": DataFormat(
        "JSON",
        (
            Shown(
                "Which train should I take?",
                "Which of these trains is in Turin before 11:00 with the fewest changes?\n"
                '[{"train": "R4", "arrives": "10:52", "changes": 2}, '
                '{"train": "IC9", "arrives": "11:03", "changes": 0}]',
            ),
            Shown(
                "Add up my expenses.",
                "Add up the expenses by person and say who owes whom how much.\n"
                '{"paid": [["Lea", 41.5], ["Sam", 12], ["Lea", 6.5]], "shared_by": 2}',
            ),
        ),
    ),
}
"""By the name that rows carry."""
