"""`python -m orchestrator.daemon ENGINE OWNER NAME …`: become the daemon of a lab.

namespaces: descriptor 0 is the first client's channel (the lease: the lab ends with it until `commit`), 1
and 2 take what goes wrong before the daemon answers: the last line is a JSON error of wire.error_message.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import socket
import sys
from collections.abc import Sequence
from typing import NoReturn


def main(arguments: Sequence[str]) -> NoReturn:
    """Dispatch to the engine's start; never returns."""
    engine = arguments[0] if arguments else ""
    if engine == "namespaces" and len(arguments) == 3:
        _namespaces(arguments[1], arguments[2])
    if engine == "docker":
        from orchestrator.daemon import enter

        sys.exit(enter.main(arguments[1:]))
    print("usage: python -m orchestrator.daemon ENGINE OWNER NAME …", file=sys.stderr)
    sys.exit(2)


def _namespaces(owner: str, name: str) -> NoReturn:
    from orchestrator import wire

    try:
        lease = socket.socket(fileno=os.dup(0))
        _run_namespaces(owner, name, lease)
    except BaseException as error:
        print(json.dumps(wire.error_message(error)), file=sys.stderr, flush=True)
    finally:
        os._exit(3)


def _run_namespaces(owner: str, name: str, lease: socket.socket) -> None:
    gc.disable()  # what is imported is no garbage; zygote and server enable it when they begin to serve
    from orchestrator.daemon import process, world

    world.enter()
    maker, listener = world.build(_import_server)
    process.stdio_to_null()
    gc.enable()
    from orchestrator.daemon import serve

    serve.serve(maker, listener, lease, engine="namespaces", owner=owner, name=name)


def _import_server() -> None:
    """asyncio imports ssl where it is there (5 ms, 1 MiB) and does without where it is not."""
    sys.modules["ssl"] = None  # type: ignore[assignment]  # to import it is an ImportError now
    importlib.import_module("orchestrator.daemon.serve")
    del sys.modules["ssl"]


if __name__ == "__main__":
    main(sys.argv[1:])
