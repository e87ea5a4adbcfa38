"""Filters that judge the texts of a row: signs, markup, encodings, prompts, pictures and pages."""

from __future__ import annotations

import pytest
from filter_rows import passes, row, said

from luthier.errors import DataError
from luthier.names import FILTERS


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("a\x07b", "U+0007 (bell)"),
        ("a\x1b[31mb", "U+001B (escape)"),
        ("a\x0cb", "U+000C (form feed)"),
        ("zero\u200bwidth", "U+200B (zero width space)"),
        ("a\u202eb", "U+202E (right-to-left override)"),
        ("icon \ue0b0", "U+E0B0 (private use)"),
        ("mark\ufeff", "U+FEFF (zero width no-break space)"),
        ("soft\u00adhyphen", "U+00AD (soft hyphen)"),
        ("hidden\U000e0041\U000e0042", "U+E0041 (tag latin capital letter a)"),
    ],
)
def test_control_characters(text: str, name: str) -> None:
    assert said("control_characters", [row(text), row("Fine?", text)]) == [
        f"control character: {name} in the input",
        f"control character: {name} in the answer",
    ]


def test_signs_that_belong_to_a_language_pass() -> None:
    passes(
        "control_characters",
        row("A family: 👨‍👩‍👧, and a flag: 🏴󠁧󠁢󠁥󠁮󠁧󠁿"),
        row("می‌خواهم"),
        row("שלום\u200f!"),
        row("tab\there\r\nand a line, non-breaking\u00a0space"),
    )


def test_stray_escapes() -> None:
    rows = [
        row("Name two trees.", r"Oak is one.\nElm is another.\nBoth are tall."),
        row("Spell it.", r"caf\u00e9 and na\u00efve"),
        row("Name two trees.", r"Oak is one.\nElm is another."),
        row("Who spoke?", r"He said \"it rains\" and left."),
    ]
    assert said("stray_escapes", rows) == [
        r"stray escapes: 2 such as '\n' in the answer",
        r"stray escapes: 2 such as '\u00e9' in the answer",
        r"stray escapes: 1 such as '\n' in the answer",
        r"""stray escapes: 1 such as '\"' in the answer""",
    ]
    passes(
        "stray_escapes",
        row("What is the gradient?", r"It is \nabla f, and \theta is its angle, or \nu and \rho."),
        row("How do I print a line break in Python?", r"Write \n, as in print('a\nB\nC')."),
        row("Where is it?", r"In C:\new\Notes or \\server\Readme"),
        row("Say it.", r"Only one\nHere."),
        row("Who was it?", r"Schr\"odinger and M\"uller"),
        row("What?", "Use `\\n\\n` and `\\n`."),
    )


@pytest.mark.parametrize(
    "text",
    [
        "the cafÃ© is open",
        "donâ€™t go",
        "price: Â£20",
        "smile ðŸ˜€",
        "Ð¿Ñ€Ð¸Ð²ÐµÑ‚",
        "天空".encode().decode("cp1252"),
        "don\u00ef\u00bf\u00bdt go",
        "lost \ufffd sign",
        "I don?t know, it?s late",
        "ï»¿first column",
    ],
)
def test_encoding_damage(text: str) -> None:
    [reason] = said("encoding_damage", [row("What do you see?", text)])
    assert reason is not None and reason.startswith("encoding damage: ")


def test_accents_and_capitals_are_no_damage() -> None:
    passes(
        "encoding_damage",
        row("«IRMû e «MAÇÃ» são palavras, SÃO Paulo também."),
        row("„Das macht Spaß“, sagte er. Âge, château, Ângela."),
        row("Why does é look like Ã© after decoding as Latin-1?"),
        row("really?s", "Is it?So be it. Who?t"),
        row("See https://a.example/page?s=1 and /b?d=2 and x?t=3"),
        row("Что это?"),
    )


def test_html_leftovers() -> None:
    rows = [
        row("Who wrote it?", "Ann &amp; Bob"),
        row("Who?", "<p>Ann</p>"),
        row("Name two.", "Ann<br>Bob<br/>"),
    ]
    assert said("html_leftovers", rows) == [
        "HTML: '&amp;' in the answer",
        "HTML: '<p>' in the answer",
        "HTML: '<br>' in the answer",
    ]
    passes(
        "html_leftovers",
        row("How do I write a paragraph in HTML?", "<p>Like this.</p>"),
        row("Is 3 < 4 and b > a?", "Yes: a <b and c> d, R&D; AT&T"),
        row("Give a table.", "| a | b |\n|---|---|\n| one<br>two<br>three | four |"),
        row("What does it print?", "```\n<div><p>x</p></div>\n```"),
        row("Escape the ampersand.", "&amp;"),
    )


@pytest.mark.parametrize(
    "markup",
    [
        "<think>",
        "</tool_call>",
        "[MASK]",
        "<mask>",
        "<sep>",
        "<extra_id_0>",
        "<0x0A>",
        "[PAD]",
        "ĠtheĠend",
        "<｜User｜>",
    ],
)
def test_tokenizer_signs(markup: str) -> None:
    [reason] = said("special_tokens", [row(f"a {markup} b")])
    assert reason is not None and reason.startswith(f"chat markup: {markup} ")


def test_what_looks_like_tokens_passes() -> None:
    passes(
        "special_tokens",
        row("Strike it: <s>old</s> <b>new</b>"),
        row("Fill in the <mask> with a word."),
        row("if (a < s > b) [INSTANT]"),
        row("snake_case and ▁ alone"),
        row("Malta: Ġgantija is a temple"),
        row("Why is it so?", "<think>Storks fly.</think> They fly."),
        row("What does <unk> stand for in a tokenizer?", "<unk> is an unknown word."),
    )


@pytest.mark.parametrize(
    "answer",
    [
        "Rivers end in the sea.\n\n##\n18. Instruction: Name a lake.\n18. Output: Garda",
        "Rivers end in the sea.\n7. Instruction: Name a lake.",
        "Rivers end in the sea.\n\nInstruction: Name a lake.\nOutput: Garda",
        "Rivers end in the sea.\n\n### Task:\nName a lake.\n### Response:\nGarda",
        "Rivers end in the sea.\nTask 2: Name a lake.\nOutput: Garda",
        "Rivers end in the sea.\n20. Name a lake.\nInput: <noinput>\nOutput: Garda",
        "Rivers end in the sea.\n\nQuestion: Where do lakes end?\nAnswer: On their shore.",
    ],
)
def test_merged_instructions(answer: str) -> None:
    [reason] = said("merged_instructions", [row("Where do rivers end?", answer)])
    assert reason is not None and reason.startswith("merged instructions: another ")


@pytest.mark.parametrize(
    "question",
    [
        "Name three lakes.\n\n10. Instruction: Write a poem.",
        "Name three lakes.\n###\nInstruction: Write a poem.",
    ],
)
def test_instructions_merged_into_the_question(question: str) -> None:
    [reason] = said("merged_instructions", [row(question, "Garda, Como, Iseo")])
    assert reason == "merged instructions: another numbered task in the input"


def test_instructions_that_belong_there_pass() -> None:
    passes(
        "merged_instructions",
        row(
            "Plan a lesson.",
            "Task 1: Sing.\nTask 2: Read.\nInstructions: in pairs.\nOutput: a song.",
        ),
        row("How is it built?", "1. Instruction: saw the boards.\n2. Instruction: nail them."),
        row("Write a quiz.", "Where do rivers end?\nQuestion: Where is Garda?\nAnswer: In Italy."),
        row("How do I bake bread?", "Ingredients:\n- flour\nInstructions:\n1. Knead.\n2. Bake."),
        row(
            "Write three tasks for my class.", "1. Instruction: Draw a map.\n2. Instruction: Sing."
        ),
        row("Show it.", "```\n##\n18. Instruction: x\n```"),
        row("What is the input?", "## Heading\n\nInput: a number\nOutput: its square"),
        row("When is it due?", "Task: due on Monday."),
        row("Write the minutes.", "Task: fix the gate.\nOwner: Ada.\n\nOutput: a gate that shuts."),
    )


def test_prompt_leaks() -> None:
    rows = [
        row("Why is the sky red at dusk?", "#Rewritten Prompt#: Why is the sky red?"),
        row("### Instruction:\nName a tree.\n\n### Response:", "Oak"),
        row("Below is an instruction that describes a task. Name a tree.", "Oak"),
        row("Greet {name} on the first day.", "Hello!"),
        row("Who are you?", "I am {{ bot_name }}."),
        row("Why do geese fly south?", "For food.\n\nHuman: And storks?\nAssistant: Too."),
        row(
            "",
            "",
            turns=[
                ("system", "You are a gardener who never speaks of roses at all."),
                ("user", "Hello"),
                ("assistant", "You are a gardener who never speaks of roses at all. Hello."),
            ],
        ),
    ]
    assert said("prompt_leaks", rows) == [
        "prompt words: '#Rewritten Prompt#' in the answer",
        "prompt words: '### Instruction:' in the input",
        "prompt words: 'Below is an instruction that describes a task' in the input",
        "prompt words: '{name}' in the input",
        "prompt words: '{{ bot_name }}' in the answer",
        "role name: 'Human:' in the answer",
        "prompt words: the answer repeats the system message 'You are a gardener who never "
        "speaks o...'",
    ]
    assert said("prompt_leaks", [row("a", "MY HEADING: b")], words=["my heading"]) == [
        "prompt words: 'MY HEADING' in the answer"
    ]


def test_prompts_that_are_the_topic_pass() -> None:
    passes(
        "prompt_leaks",
        row("Write a story based on the given prompt: a lost key.", "He lost it."),
        row("Which prompt does Alpaca use?", "### Instruction:\n{instruction}\n\n### Response:"),
        row("Print a greeting in Python.", 'print(f"Hello {name}")'),
        row("Use a template.", "Dear {name}, ..."),
        row("Write a dialogue.", "Human: Hi.\nAssistant: Hello."),
        row("What is a set?", "The set {input, output} or {a, b}, or {x}."),
        row("Who asked?", "A human: the first one."),
        row("How do I write it?", "```\n### Instruction:\n```"),
    )


def test_alternation() -> None:
    user, bot = ("user", "Hello"), ("assistant", "Hi")
    rows = [
        row("", turns=[user, user, bot]),
        row("", turns=[user, bot, bot]),
        row("", turns=[("system", "s"), bot, user, bot]),
        row("", turns=[("system", "s"), user, bot]),
        row("", turns=[user, bot, ("user", "Bye"), bot]),
        row("a", "b"),
        row("", turns=[user, bot, ("tool", "1"), ("tool", "2"), bot]),
    ]
    assert said("alternation", rows) == [
        "alternation: messages 1 and 2 are both from user",
        "alternation: messages 2 and 3 are both from assistant",
        "alternation: message 2, the first, is from the assistant",
        None,
        None,
        None,
        None,
    ]


@pytest.mark.parametrize(
    "question",
    [
        "Summarize this article: https://news.example/storks",
        "What is the video at www.films.example/7 about? Tell me.",
        "Describe the attached photo.",
        "What colour is the car in this picture?",
        "Based on the chart below, which year was best?",
        "Read the enclosed document and list its points.",
        "Summarise the document I uploaded.",
        "What does the graph show?",
        "Analyze the data in the attached CSV file.",
        "Please review my attached resume.",
        "Watch the video and answer: who wins?",
        "Click the link and tell me the price.",
        "Read the file storks.docx and find the date.",
    ],
)
def test_missing_attachments(question: str) -> None:
    [reason] = said("missing_attachments", [row(question, "It is about storks that fly south.")])
    assert reason is not None and reason.startswith("nothing to look at: the input asks about '")


def test_attachments_that_are_there_or_only_mentioned_pass() -> None:
    article = (
        "Storks leave in August. They fly by day and rest in trees at night, follow rivers and "
        "coasts, and cross the sea where it is narrow, most of them at Gibraltar."
    )
    passes(
        "missing_attachments",
        row(f"Summarize this article: https://news.example/storks\n{article}"),
        row("Which part of https://a.example/b?c=1 is the domain?"),
        row("Is http://shop.example a valid URL? Explain."),
        row("Write Python code that reads https://a.example/data.csv."),
        row("Write an email that mentions the attached document."),
        row('What does "see attached" mean in an e-mail?'),
        row("Summarize the page https://a.example.", "I cannot open links, but you can paste it."),
        row("Based on this chart:\nyear | sales\n2001 | 5\n2002 | 9\nwhich year was best?"),
        row("Describe this picture: a boy with a red kite on a hill"),
        row(
            "Say what it shows.\nthe attached photo",
            instruction="Say what it shows.",
            input="the attached photo of a boy",
        ),
        row("Should I attach files to mails?"),
        row("What is https://?"),
        row("Look at the graph of y = x^2. Where is its minimum?"),
        row("Watch the film Casablanca and enjoy it."),
        row("How do I read storks.csv in pandas?"),
        row("Who grows old in the picture of Dorian Gray?"),
        row("Is the attached photo mentioned?", "True", labels=["True", "False"]),
    )


def test_media_requests() -> None:
    rows = [
        row("Generate an image of a fox in the snow."),
        row("Please draw a fox."),
        row("Can you create a short video about bees?"),
        row("Create a picture where a dog sleeps."),
        row("Make a video explaining photosynthesis."),
        row("Create a logo for my bakery.", "Here it is."),
        row("Create a pie chart of the market shares.", "Here is the pie chart."),
        row("Plot the function sin(x)."),
        row("Take a photo of the moon."),
        row("Compose a piece of music in C minor and play it."),
    ]
    assert None not in said("media_requests", rows)
    assert said("media_requests", rows[:3]) == [
        "asks for media: 'Generate an image' in the input",
        "asks for media: 'Please draw a fox' in the input",
        "asks for media: 'Can you create a short video' in the input",
    ]
    passes(
        "media_requests",
        row("Draw a conclusion from the text."),
        row("Write Python code to draw a circle."),
        row("Draw a fox in ASCII."),
        row("Create a table of the picture sizes."),
        row("Describe a painting of a fox."),
        row("Generate an image of a fox.", "<svg><circle r='4'/></svg>"),
        row("Generate an image of a fox.", "I cannot make images, but here is a description."),
        row("How do I make a video of my garden?"),
        row("Who could draw a horse in one line?"),
        row("Write a caption for a photo of my cat."),
        row("Design a video game character."),
        row("Create some video marketing strategies."),
        row("Make a photo editing checklist."),
        row("Give me some audio book recommendations."),
        row(
            "Paint a picture of life in a village of herons.",
            "Before dawn a bell rings. Smoke rises from the roofs, and geese cross the lane.",
        ),
        row(
            "Sketch the plot of a thriller.", "A ferryman finds a letter. Whoever reads it is gone."
        ),
        row("Create a map of the customer's wishes.", "They want it cheap, then quick, " * 4),
    )


def test_own_words_are_a_list_of_texts() -> None:
    with pytest.raises(DataError, match=r"words is 'prompt', expected a list of texts"):
        FILTERS.build("prompt_leaks", words="prompt")
