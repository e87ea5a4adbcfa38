"""How a command ends: one result, an exit code, and a sentence instead of a traceback.

Nothing heavy is imported before something went wrong, so that `--help` is instant.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import json
import os
import sys
import traceback
from collections.abc import Callable
from typing import Any

import typer

Result = dict[str, Any]
SOFTWARE = 70
"""`EX_SOFTWARE` of sysexits.h: the program is wrong, not what it was given."""


class SaidNo(Exception):
    """A command did its work and the answer is no; carries the command's result."""

    def __init__(self, result: Result) -> None:
        super().__init__()
        self.result = result


def guarded(command: Callable[..., Result]) -> Callable[..., None]:
    """Print the result of a command as JSON if asked, and turn errors into exit codes."""

    @functools.wraps(command)
    def wrapper(*args: Any, **options: Any) -> None:
        as_json = options.get("as_json", False)
        # What a library prints must not stand beside the one object.
        aside = contextlib.redirect_stdout(sys.stderr) if as_json else contextlib.nullcontext()
        try:
            with aside:
                result, code = _outcome(command, args, options)
            if as_json:
                print_json(result)
            sys.stdout.flush()
        except BrokenPipeError:
            # The reader of our output went away (`luthier ... | head`): nobody is left to tell.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            code = 0
        if code:
            raise typer.Exit(code)

    return wrapper


def _outcome(
    command: Callable[..., Result], args: tuple[Any, ...], options: dict[str, Any]
) -> tuple[Result, int]:
    """The result of a command, or what went wrong as one, and the exit code."""
    from luthier.errors import LuthierError, RecipeError

    try:
        return command(*args, **options), 0
    except SaidNo as no:
        return no.result, 1
    except LuthierError as error:
        said: Result = {"error": str(error), "kind": type(error).__name__}
        if isinstance(error, RecipeError):
            said["problems"] = [vars(problem) for problem in error.problems]
        code = error.exit_code
    except KeyboardInterrupt:
        said = {"error": "stopped; repeat the command to go on", "kind": "Stopped"}
        code = 130
    except BrokenPipeError:
        raise
    except Exception as error:
        if reason := _reason_of_the_machine(error):
            said = {"error": f"{reason}. Mend that and repeat the command.", "kind": "OSError"}
            code = 2
        else:
            traceback.print_exc()
            short = "".join(traceback.format_exception_only(error)).strip()
            said = {"error": f"a mistake of luthier's own: {short}", "kind": "InternalError"}
            code = SOFTWARE
    from luthier.console import say

    say(said["error"], style="red")
    return said, code


def _reason_of_the_machine(error: Exception) -> str | None:
    """What no mistake in the program can cause: a disk that is full, a file that is not ours."""
    if isinstance(error, OSError) and error.errno in _OF_THE_MACHINE:
        return f"{error.filename}: {error.strerror}" if error.filename else str(error.strerror)
    # Libraries written in Rust raise bare exceptions that carry the system's words alone.
    full = os.strerror(errno.ENOSPC)
    return full if full in str(error) else None


_OF_THE_MACHINE = (
    errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM,
)  # fmt: skip


def print_json(result: Result) -> None:
    """Print the one object of `--json`."""
    # JSON has no NaN and no infinities; readers choke on them.
    plain = json.loads(json.dumps(result, default=str), parse_constant=lambda name: None)
    print(json.dumps(plain, ensure_ascii=False))
