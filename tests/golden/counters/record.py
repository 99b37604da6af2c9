"""Records this kernel's counters and what nstat(8) says of them, as the texts beside this file.

    python3 tests/golden/counters/record.py          (as root; in a network namespace of its own)

What happens before: an accept queue of 1 + 1 overflows once, one connect is refused, three datagrams are
sent over IPv4 to a socket that reads them and one over IPv6 to a port that nobody has.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).parent


def act() -> list[socket.socket]:
    listener = socket.socket()
    listener.bind(("127.0.0.1", 80))
    listener.listen(1)
    clients = [socket.socket() for _ in range(4)]
    for client in clients[:2]:
        client.connect(("127.0.0.1", 80))
    clients[2].setblocking(False)
    clients[2].connect_ex(("127.0.0.1", 80))
    clients[3].connect_ex(("127.0.0.1", 81))
    reader = socket.socket(type=socket.SOCK_DGRAM)
    reader.bind(("127.0.0.1", 53))
    for text in (b"one", b"two", b"three"):
        socket.socket(type=socket.SOCK_DGRAM).sendto(text, ("127.0.0.1", 53))
        reader.recv(10)
    socket.socket(socket.AF_INET6, socket.SOCK_DGRAM).sendto(b"nobody", ("::1", 53))
    return [listener, *clients, reader]


def main() -> None:
    if sys.argv[1:] != ["inside"]:
        os.execvp("unshare", ["unshare", "--net", sys.executable, __file__, "inside"])
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    held = act()
    time.sleep(0.2)  # what lo carries is through, and the second SYN (after 1 s) has not been sent
    for name in ("netstat", "snmp", "snmp6"):
        (HERE / f"{name}.txt").write_bytes(Path(f"/proc/self/net/{name}").read_bytes())
    (HERE / "nstat.txt").write_bytes(
        subprocess.run(["nstat", "-azs"], check=True, capture_output=True).stdout
    )
    assert held


if __name__ == "__main__":
    main()
