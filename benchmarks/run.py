"""Run every benchmark in this folder, one after another; training and precision take hours.

python benchmarks/run.py
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path


def main() -> None:
    here = Path(__file__)
    for script in sorted(p for p in here.parent.glob("*.py") if p != here):
        print(f"\n== {script.stem}", flush=True)
        subprocess.run([sys.executable, str(script)], check=True)


if __name__ == "__main__":
    main()
