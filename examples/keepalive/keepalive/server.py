"""An HTTP/1.1 service with an idle timeout and a graceful end. Standard library only, one file.

    python3 server.py [--port 8080] [--idle SECONDS]

`GET /` answers at once, `GET /slow` after a second and a half, whatever else 404. A connection on which no
request has come for `--idle` seconds is closed. On SIGTERM nothing new is accepted, idle connections are
closed at once, requests under way are answered with `Connection: close`, and the service ends with exit
code 0.
"""

from __future__ import annotations

import argparse
import asyncio
import signal

SLOW = 1.5  # seconds that /slow takes
MOST_HEADER = 8192  # bytes of a request's header
ANSWERS = {"/": (200, b"hello\n", 0.0), "/slow": (200, b"at last\n", SLOW)}
REASONS = {200: "OK", 400: "Bad Request", 404: "Not Found"}


class Service:
    """Its connections, and whether it is ending."""

    def __init__(self, idle: float) -> None:
        self.idle = idle
        self.ending = asyncio.Event()
        self.connections: set[asyncio.Task[None]] = set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, to its end."""
        task = asyncio.current_task()
        assert task is not None
        self.connections.add(task)
        try:
            while await self.answer(reader, writer):
                pass
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass  # the client is gone, or talks no HTTP
        finally:
            self.connections.discard(task)
            writer.close()

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Wait for one request and answer it; whether the connection is kept."""
        header = await self.request(reader)
        if header is None:
            return False
        words = header.split(b"\r\n", 1)[0].split()
        if len(words) != 3 or words[0] != b"GET":
            code, body, seconds, last = 400, b"", 0.0, True
        else:
            code, body, seconds = ANSWERS.get(words[1].decode("latin-1"), (404, b"", 0.0))
            last = b"connection: close" in header.lower()
        await asyncio.sleep(seconds)
        last = last or self.ending.is_set()
        writer.write(
            b"HTTP/1.1 %d %s\r\nContent-Length: %d\r\nConnection: %s\r\n\r\n%s"
            % (code, REASONS[code].encode(), len(body), b"close" if last else b"keep-alive", body)
        )
        await writer.drain()
        return not last

    async def request(self, reader: asyncio.StreamReader) -> bytes | None:
        """A request's header; None where none has come in time, or the service is ending."""
        reading = asyncio.ensure_future(reader.readuntil(b"\r\n\r\n"))
        ending = asyncio.ensure_future(self.ending.wait())
        done, _ = await asyncio.wait(
            (reading, ending), timeout=self.idle, return_when=asyncio.FIRST_COMPLETED
        )
        ending.cancel()
        if reading in done:
            return reading.result()
        reading.cancel()
        return None


async def run(port: int, idle: float) -> None:
    """Until SIGTERM."""
    service = Service(idle)
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, service.ending.set)
    server = await asyncio.start_server(service.serve, "0.0.0.0", port, limit=MOST_HEADER)
    await service.ending.wait()
    server.close()
    await asyncio.gather(*service.connections, return_exceptions=True)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, default=8080)
    parser.add_argument("--idle", type=float, default=60.0)
    arguments = parser.parse_args()
    asyncio.run(run(arguments.port, arguments.idle))


if __name__ == "__main__":
    main()
