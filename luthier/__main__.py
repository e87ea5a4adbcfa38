"""`python -m luthier` is the `luthier` command."""

from luthier.cli import app

app(prog_name="luthier")
