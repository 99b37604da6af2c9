"""Records lines of this computer's nginx and logger(1), each with the real time before and after it was
written, as the file beside this one.

    python3 tests/golden/stamps/record.py

Once as UTC and once in a zone whose offset is no whole hour. nginx's error log has a client that says nothing
(client_header_timeout) and a file that is not there.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).parent
ZONES = {"UTC": 0, "Asia/Kathmandu": 20700}
CONF = """
daemon off; master_process off; pid nginx.pid; error_log error.log info;
events {{}}
http {{
  log_format msec '$remote_addr $msec "$request" $status';
  log_format iso '$time_iso8601 $remote_addr "$request" $status';
  access_log msec.log msec; access_log iso.log iso; access_log combined.log combined;
  client_body_temp_path t; proxy_temp_path t; fastcgi_temp_path t; uwsgi_temp_path t; scgi_temp_path t;
  client_header_timeout 300ms;
  server {{ listen 127.0.0.1:{port}; location / {{ return 200 "ok\\n"; }} location /gone {{ root .; }} }}
}}
"""


def connected(port: int) -> socket.socket:
    while True:
        try:
            return socket.create_connection(("127.0.0.1", port))
        except ConnectionRefusedError:
            time.sleep(0.01)


def of_nginx(folder: Path, zone: str) -> list[tuple[str, int, int]]:
    """Lines, each between two times."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    (folder / "nginx.conf").write_text(CONF.format(port=port))
    argv = ["nginx", "-p", str(folder), "-e", "error.log", "-c", "nginx.conf"]
    nginx = subprocess.Popen(argv, env=os.environ | {"TZ": zone})
    connected(port).close()
    time.sleep(0.2)
    for log in folder.glob("*.log"):
        os.truncate(log, 0)
    found: list[tuple[str, int, int]] = []
    for request in (b"GET / HTTP/1.0\r\n\r\n", b"GET /gone HTTP/1.0\r\n\r\n", b""):
        before = time.time_ns()
        with connected(port) as client:
            client.sendall(request)
            while client.recv(4096):
                pass
        time.sleep(0.1)
        after = time.time_ns()
        for log in sorted(folder.glob("*.log")):
            found += [(line, before, after) for line in log.read_text().splitlines()]
            os.truncate(log, 0)
    nginx.send_signal(signal.SIGTERM)
    nginx.wait()
    return found


def of_logger(zone: str) -> tuple[str, int, int]:
    with socket.socket(type=socket.SOCK_DGRAM) as syslog:
        syslog.bind(("127.0.0.1", 0))
        where = ["--udp", "--server", "127.0.0.1", "--port", str(syslog.getsockname()[1])]
        before = time.time_ns()
        subprocess.run(["logger", "--rfc5424", *where, "hello"], check=True, env=os.environ | {"TZ": zone})
        return syslog.recv(4096).decode(), before, time.time_ns()


def main() -> None:
    found = []
    for zone, ahead in ZONES.items():
        with tempfile.TemporaryDirectory() as folder:
            os.mkdir(f"{folder}/t")
            lines = [*of_nginx(Path(folder), zone), of_logger(zone)]
        found += [
            {"zone": ahead, "before": before, "after": after, "line": line} for line, before, after in lines
        ]
    text = ",\n".join(json.dumps(one) for one in found)
    (HERE / "lines.json").write_text(f"[\n{text}\n]\n")


if __name__ == "__main__":
    main()
