"""Run inside a host by bench/collect.py: holds N connections, as their server or as their client.

    flood.py server PORT N | flood.py client ADDRESS PORT N

A process holds at most about 19,000 (a common limit of open files), so there are several of them.
Writes "ready" when all are open, then sleeps.
"""

import resource
import socket
import sys
import time

hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
held = []
if sys.argv[1] == "server":
    port, count = int(sys.argv[2]), int(sys.argv[3])
    listening = socket.create_server(("0.0.0.0", port), backlog=4096)
    print("listening", flush=True)
    while len(held) < count:
        held.append(listening.accept()[0])
else:
    address, port, count = sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
    while len(held) < count:
        held.append(socket.create_connection((address, port), timeout=60))
print("ready", flush=True)
time.sleep(86400)
