"""The daemon's container: its code, its rights, and the ways to its socket.

The socket's folder is bind-mounted from the user's runtime folder where the Engine is on this computer.
Where it is not (Docker Desktop, an Engine elsewhere) the client goes through an exec of the Docker API, see
daemon/bridge.py.
"""

from __future__ import annotations

import importlib.machinery
import importlib.util
import io
import marshal
import socket
import struct
import sys
import time
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator import errors
from orchestrator.engines import docker_images as images
from orchestrator.engines import docker_objects as objects
from orchestrator.engines.docker_client import Docker, is_gone, translated
from orchestrator.machines import folders
from orchestrator.model.plan import LabKey
from orchestrator.wire import Channel, Stream, StreamChannel

if TYPE_CHECKING:
    from orchestrator.engines.docker_places import Place

READY_SECONDS = 30.0
_UNSHARED_SECONDS = 1.5  # with no socket by then, the folder may not be shared, and the bridge is tried too
_HELLO_SECONDS = 10.0
_SEEN_SECONDS = 2.0  # until Docker has noticed the end of a container's process
_PLACE = "/run/lab"
_KIND = "docker"  # of folders for sockets
SOCKET = "daemon.sock"
_PATH_LIMIT = 107  # sun_path, unix(7)
# docs/security.md says what each is for; from AUDIT_WRITE on it is Docker's default set, which agents get
# back
CAPABILITIES = (
    *("SYS_ADMIN", "SYS_PTRACE", "NET_ADMIN", "NET_RAW", "DAC_READ_SEARCH", "SYS_CHROOT", "SETPCAP", "KILL"),
    *("AUDIT_WRITE", "CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "MKNOD", "NET_BIND_SERVICE", "SETFCAP"),
    *("SETGID", "SETUID"),
)
_IMAGE_MAGIC = (3495).to_bytes(
    2, "little"
) + b"\r\n"  # of bookworm's Python, 3.11: importlib.util.MAGIC_NUMBER
_UNCHECKED = (1).to_bytes(4, "little") + bytes(8)  # a .pyc that is never compared with a source (PEP 552)
_MAIN = """import sys
if sys.argv[1:2] == ["bridge"]:
    from orchestrator.daemon.bridge import main
    main()
else:
    from orchestrator.daemon.__main__ import main
    main(sys.argv[1:])
"""


def archive() -> bytes:
    """/lab.pyz: what the daemon and its agents are made of, of the client's own version."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_STORED) as file:
        file.writestr("__main__.py", _MAIN)
        for path, name in _modules():
            file.writestr(*_compiled(path, name))
    return packed.getvalue()


def _modules() -> list[tuple[Path, str]]:
    """(path, file name in the archive) of every module that runs there."""
    root = Path(__file__).parents[1]
    found = [root / name for name in ("__init__.py", "errors.py", "wire.py")]
    for package in ("agent", "daemon"):
        found += sorted((root / package).rglob("*.py"))
    return [(path, path.relative_to(root.parent).as_posix()) for path in found]


def _compiled(path: Path, name: str) -> tuple[str, bytes]:
    """The module as bytecode where our Python is of the image's version (a quarter of the time to import)."""
    if importlib.util.MAGIC_NUMBER != _IMAGE_MAGIC:
        return name, path.read_bytes()
    module = name.removesuffix(".py").replace("/", ".").removesuffix(".__init__")
    code = importlib.machinery.SourceFileLoader(module, str(path)).get_code(module)
    return f"{name}c", _IMAGE_MAGIC + _UNCHECKED + marshal.dumps(code)


def runtime_folder(key: LabKey) -> Path | None:
    """The folder on this computer for a lab's socket, not made yet; None where there is none to be had."""
    if sys.platform != "linux":
        return None
    name = f"{objects.prefix(key)}"
    for base in folders.bases(_KIND):
        if len(str(base / name / SOCKET)) < _PATH_LIMIT:
            return base / name
    return None


def remove_folder(folder: Path | None) -> None:
    """Remove the socket and its folder, and those above when they are empty. Only what is this user's."""
    if folder is None or sys.platform != "linux" or not folders.is_private(folder):
        return
    for name in (SOCKET, f"{SOCKET}.new"):
        (folder / name).unlink(missing_ok=True)
    folders.remove_empty(folder)


def left_folders(owner: str) -> list[str]:
    """Names of this user's labs that have a runtime folder."""
    found: set[str] = set()
    if sys.platform == "linux":
        start = objects.prefix(LabKey(owner=owner, name=""))
        for base in folders.bases(_KIND):
            if folders.is_private(base):
                found |= {p.name.removeprefix(start) for p in base.iterdir() if p.name.startswith(start)}
    return sorted(found)


def start(docker: Docker, key: LabKey, place: Place, shared: str | None) -> Channel:
    """Create and start the daemon's container, and wait until it answers. `shared`: the folder of `place`
    that was made for its socket.
    """
    with translated("the lab's daemon cannot be started"):
        container = _create(docker, key, shared)
        docker.api.put_archive(container, "/", images.pack({"lab.pyz": archive()}))
        docker.api.start(container)
    return _await(docker, key, container, place, shared)


def shared_folder(docker: Docker, key: LabKey) -> Path | None:
    """Make the folder for the socket, where there can be one. It is there before anything is asked of the
    Engine: a command killed right then leaves something that can be found.
    """
    folder = runtime_folder(key) if docker.is_here else None
    if folder is None or not folders.make_private(folder):
        return None
    (folder / SOCKET).unlink(missing_ok=True)
    return folder


def _create(docker: Docker, key: LabKey, shared: str | None) -> str:
    settings = _settings(docker, key, shared)
    made = docker.api.create_container_from_config(settings, objects.daemon_name(key))
    return str(made["Id"])


def _settings(docker: Docker, key: LabKey, shared: str | None) -> dict[str, Any]:
    uid, gid, _ = docker.machine.facts()
    labels = objects.labels(key, "daemon", key.name, None) | {objects.SOCKET: shared or ""}
    return {
        "Image": images.DAEMON,
        "Cmd": ["python3", "-s", "-B", "/lab.pyz", "docker", key.owner, key.name, str(uid), str(gid)],
        "Hostname": "lab-daemon",
        "Labels": labels,
        "StopSignal": "SIGKILL",
        "HostConfig": {
            "NetworkMode": "none",
            "PidMode": "host",
            "CgroupnsMode": "host",
            "CapDrop": ["ALL"],
            "CapAdd": list(CAPABILITIES),
            "SecurityOpt": ["apparmor=unconfined", "label=disable"],
            "ReadonlyPaths": [],  # sysctls of hosts are written through /proc/sys
            "MaskedPaths": [],
            "LogConfig": {"Type": "json-file", "Config": {"max-size": "1m", "max-file": "1"}},
            "Mounts": _mounts(shared),
        },
    }


def _mounts(shared: str | None) -> list[dict[str, Any]]:
    """The cgroups, for agents to join their host's; and the socket's folder."""
    mounts: list[dict[str, Any]] = [{"Type": "bind", "Source": "/sys/fs/cgroup", "Target": "/sys/fs/cgroup"}]
    if shared is not None:
        mounts.append({"Type": "bind", "Source": shared, "Target": _PLACE})
    else:
        mounts.append({"Type": "tmpfs", "Target": _PLACE, "TmpfsOptions": {"Mode": 0o700}})
    return mounts


def _await(docker: Docker, key: LabKey, container: str, place: Place, shared: str | None) -> Channel:
    """A channel as soon as the daemon listens. Raises DaemonError with what it said when it ended."""
    began = time.monotonic()
    while time.monotonic() - began < READY_SECONDS:
        if channel := place.open(shared):
            return channel
        if shared is None or time.monotonic() - began > _UNSHARED_SECONDS:
            _refuse_ended(docker, container)
            if channel := open_bridge(docker, container, READY_SECONDS):
                return channel
        time.sleep(0.005)
    raise errors.DaemonError(f"the daemon of lab {key.name} does not answer after {READY_SECONDS:.0f} s")


def _refuse_ended(docker: Docker, container: str) -> None:
    with translated("the lab's daemon cannot be looked at"):
        if docker.api.inspect_container(container)["State"].get("Running"):
            return
        said = docker.api.logs(container, tail=5).decode(errors="replace").strip()
    raise errors.DaemonError(f"the lab's daemon ended as soon as it was started:\n  {said}")


def open_socket(folder: Path | None) -> Channel | None:
    """A channel by the shared socket, if someone listens on it; the folder must be this user's alone."""
    if folder is None or not folders.is_private(folder):
        return None
    sock = socket.socket(socket.AF_UNIX)
    try:
        sock.connect(str(folder / SOCKET))
    except OSError:
        sock.close()
        return None
    return channel(sock)


def channel(stream: Stream) -> Channel:
    """The client's side of a connection."""
    return StreamChannel(stream)


def open_bridge(docker: Docker, container: str, seconds: float = _HELLO_SECONDS) -> Channel | None:
    """A channel through an exec in the daemon's container; None where the daemon does not listen (yet, or any
    more). Raises DaemonError for one that listens and does not answer.
    """
    try:
        with translated("the lab's daemon cannot be reached"):
            made = docker.api.exec_create(container, ["python3", "/lab.pyz", "bridge"], stdin=True)
            opened = channel(Bridge(docker.api.exec_start(made["Id"], socket=True)))
    except errors.EngineError as error:
        if is_gone(error) or not _runs(docker, container):
            return None
        raise
    try:
        opened.hello(seconds)
    except errors.DaemonError as error:
        opened.close()
        if isinstance(error, errors.DaemonGone) or not _runs(docker, container):
            return None
        if isinstance(error, errors.ProtocolError) and _has_ended(docker, made["Id"]):
            return None
        raise
    return opened


def _runs(docker: Docker, container: str) -> bool:
    """Whether the container runs. Docker may take a moment to see that its process has ended: then what was
    asked of it failed, and it still says that it runs.
    """
    deadline = time.monotonic() + _SEEN_SECONDS
    while time.monotonic() < deadline:
        try:
            with translated("the lab's daemon cannot be looked at"):
                if not docker.api.inspect_container(container)["State"].get("Running"):
                    return False
        except errors.EngineError as error:
            if is_gone(error):
                return False
            raise
        time.sleep(0.05)
    return True


def _has_ended(docker: Docker, bridge: str) -> bool:
    """Whether the bridge's process is over: what was read was Docker's own word on why it could not start."""
    try:
        with translated("the way to the lab's daemon cannot be looked at"):
            return docker.api.exec_inspect(bridge)["ExitCode"] is not None
    except errors.EngineError as error:
        if is_gone(error):
            return True
        raise


class Bridge(Stream):
    """The streams of an exec: stdin as it is, stdout and stderr in Docker's frames of 8 bytes and content."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream  # closing it closes the response that holds the connection
        self._sock = getattr(stream, "_sock", stream)
        self._buffer = bytearray()
        self._left = 0  # bytes of the frame at hand that are still to come
        self._wanted = True  # whether that frame is stdout

    def settimeout(self, seconds: float | None, /) -> None:
        """Seconds to wait for the other side: an exec whose container ends meanwhile may never end."""
        self._sock.settimeout(seconds)

    def sendall(self, data: bytes, /) -> None:
        """To the daemon."""
        self._sock.sendall(data)

    def recv(self, size: int, /) -> bytes:
        """From the daemon; b"" at the end."""
        while True:
            if not self._left and not self._next_frame():
                return b""
            if not self._buffer and not self._more():
                return b""
            piece = bytes(self._buffer[: min(size, self._left)])
            del self._buffer[: len(piece)]
            self._left -= len(piece)
            if self._wanted:
                return piece

    def _next_frame(self) -> bool:
        """Docker Engine API, ContainerAttach: stream type, three zeros, length."""
        while len(self._buffer) < 8:
            if not self._more():
                return False
        kind, self._left = struct.unpack(">BxxxI", self._buffer[:8])
        del self._buffer[:8]
        self._wanted = kind == 1
        return True

    def _more(self) -> bool:
        piece = self._sock.recv(1 << 18)
        self._buffer += piece
        return bool(piece)

    def shutdown(self, how: int, /) -> None:
        """Wake whoever reads; a named pipe of Windows has nothing of the kind."""
        if hasattr(self._sock, "shutdown"):
            self._sock.shutdown(how)

    def close(self) -> None:
        """End the exec."""
        self._sock.close()
        self._stream.close()
