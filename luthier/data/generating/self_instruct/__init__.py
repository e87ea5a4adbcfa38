"""Self-Instruct (Y. Wang et al., arXiv 2212.10560): a model writes tasks from a few of ours.

    seeds.py         the tasks that people wrote
    prompts.py       the words that the model is asked with
    instructions.py  an answer -> new instructions, each with the rule against it if there is one
    pool.py          which tasks a prompt shows; what is novel
    instances.py     an answer -> inputs and outputs of a task, likewise
    settings.py      every number, with its source
    steps.py         the order of it all

With `compat: original` what is taken and what is left out is what the code of the paper
(github.com/yizhongw/self-instruct) decides on the same answers; `docs/generation.md` lists where
luthier does otherwise by default, and why.
"""
