"""What paramiko has no public call for, in one place: on the inside of its Transport.

A channel to a unix socket of the other side is OpenSSH's own extension (PROTOCOL, 2.4):
"direct-streamlocal@openssh.com". sshd does not count such channels against MaxSessions. The heartbeat is a
global request that it must answer, with success or failure (RFC 4254, 4): paramiko's own keepalive asks for
no answer, and notices nothing.
"""

from __future__ import annotations

import threading
import time
from typing import Any

_CHANNEL_OPEN = bytes([90])  # RFC 4254, 9
_GLOBAL_REQUEST = bytes([80])
_KEEPALIVE = "keepalive@openssh.com"
WINDOW = 4 << 20  # bytes that the other side may send before we have taken any


def open_unix_socket(transport: Any, path: str, seconds: float) -> Any:
    """A paramiko.Channel to a unix socket there. Raises ConnectionRefusedError where the other side cannot
    connect to it, SSHException where the line is dead, TimeoutError.
    """
    from paramiko import Channel, Message

    message = Message()
    with transport.lock:
        size = transport._sanitize_packet_size(None)
        number = transport._next_channel()
        message.add_byte(_CHANNEL_OPEN)
        message.add_string("direct-streamlocal@openssh.com")
        for value in (number, WINDOW, size):
            message.add_int(value)
        message.add_string(path)
        message.add_string("")  # reserved
        message.add_int(0)
        channel: Any = Channel(number)
        transport._channels.put(number, channel)
        transport.channel_events[number] = event = threading.Event()
        transport.channels_seen[number] = True
        channel._set_transport(transport)
        channel._set_window(WINDOW, size)
    transport._send_user_message(message)
    return _opened(transport, number, event, path, seconds)


def _opened(transport: Any, number: int, event: threading.Event, path: str, seconds: float) -> Any:
    from paramiko import ChannelException, SSHException

    deadline = time.monotonic() + seconds
    while not event.wait(0.1) and transport.active:
        if time.monotonic() > deadline:
            raise TimeoutError(f"{path} was not opened within {seconds:.0f} s")
    channel = transport._channels.get(number) if transport.active else None
    if channel is not None:
        return channel
    error = transport.get_exception() or SSHException("the line is dead")
    if transport.active and isinstance(error, ChannelException):
        raise ConnectionRefusedError(path) from error
    raise error


def wait_until_closed(channel: Any, seconds: float) -> None:
    """Until the other side has closed a channel that we have closed, and forgotten it."""
    transport = channel.get_transport()
    deadline = time.monotonic() + seconds
    while transport._channels.get(channel.get_id()) is channel and transport.active:
        if time.monotonic() > deadline:
            return
        time.sleep(0.002)  # paramiko says nothing when it forgets one


def ask_whether_alive(transport: Any) -> threading.Event:
    """Send a heartbeat; what is given is set as soon as its answer is there. One at a time."""
    from paramiko import Message

    transport.completion_event = answered = threading.Event()
    message = Message()
    message.add_byte(_GLOBAL_REQUEST)
    message.add_string(_KEEPALIVE)
    message.add_boolean(True)
    transport._send_user_message(message)
    return answered
