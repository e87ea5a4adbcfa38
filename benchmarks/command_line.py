"""How fast the command line answers: `luthier --help`, median of ten processes.

python benchmarks/command_line.py
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time


def main() -> None:
    for arguments in (["--help"], ["--version"], ["run", "--help"]):
        seconds = []
        for _ in range(10):
            started = time.perf_counter()
            subprocess.run(
                [sys.executable, "-m", "luthier", *arguments], check=True, stdout=subprocess.DEVNULL
            )
            seconds.append(time.perf_counter() - started)
        print(f"luthier {' '.join(arguments)}: {statistics.median(seconds) * 1000:.0f} ms")


if __name__ == "__main__":
    main()
