"""One of several processes that train together: `python -m luthier.training.worker RUN RUNS`.

`luthier.launch` starts it and reads its one JSON object: nothing, or what went wrong.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import threading
import traceback
from pathlib import Path
from typing import Any

from luthier.console import flush
from luthier.errors import LuthierError, RunError
from luthier.run import Run


def main(run: str, runs: str) -> int:
    """Train a run as this process; returns the exit code."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    said: dict[str, Any] = {}
    code = 0
    try:
        with contextlib.redirect_stdout(sys.stderr):
            from luthier.training.train import train

            train(Run(Path(run)), runs=Path(runs))
    except LuthierError as error:
        said = {"error": str(error), "kind": type(error).__name__}
        code = error.exit_code
    except KeyboardInterrupt:
        code = 130
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        said = {"error": f"{where}{error.strerror or error}.", "kind": "RunError"}
        code = RunError.exit_code
    except Exception:
        traceback.print_exc()
        code = 1
    if said:
        print(json.dumps(said))
    return code


def _end_with_parent() -> None:
    """Standard input ends when the parent does, and nobody may write a run that nobody holds."""
    while sys.stdin.buffer.read(4096):
        pass
    os._exit(1)


if __name__ == "__main__":
    status = main(*sys.argv[1:3])
    flush()
    # Tearing down what connects to a process that is gone may never end.
    os._exit(status)
