"""llama.cpp's server in a process of its own; `backends/llamacpp.py` starts it.

It reads its settings as one line of JSON from standard input, says where it listens in one line of
standard output, and ends when standard input does: whoever started it is gone then, even by a
kill -9.
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any


def main() -> None:
    """Serve until standard input ends."""
    settings = json.loads(sys.stdin.readline())
    # What llama.cpp prints is for people; the address is the only line on standard output.
    said = os.dup(1)
    os.dup2(2, 1)
    try:
        server = _server(settings)
    except RuntimeError:
        sys.exit(1)  # llama.cpp has said what is wrong
    os.write(said, json.dumps({"address": server.listening_address}).encode() + b"\n")
    sys.stdin.read()
    os._exit(0)


def _server(settings: dict[str, Any]) -> Any:
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = settings["model"]
    params.hostnames = ["127.0.0.1"]
    params.port = 0
    params.api_keys = [settings["key"]]
    params.ui = False
    params.verbosity = 1  # errors
    params.warmup = False
    params.n_parallel = settings["n_parallel"]
    # The context is shared out evenly among the sequences.
    params.n_ctx = settings["n_ctx"] * settings["n_parallel"]
    threads = settings["n_threads"] or os.cpu_count() or 1
    params.cpuparams.n_threads = threads
    params.cpuparams_batch.n_threads = threads
    adapters = []
    for path in settings["lora"]:
        adapter = xllamacpp.CommonAdapterLoraInfo()
        adapter.path, adapter.scale = path, 0.0  # each request says which takes part
        adapters.append(adapter)
    params.lora_adapters = adapters
    return xllamacpp.Server(params)


if __name__ == "__main__":
    main()
