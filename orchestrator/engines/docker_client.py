"""The Docker Engine's API: a client for each thread, and its errors in our words.

`docker` takes 0.4 s to import and is imported only when a client is made. One client used by many threads
has a race in its pool of unix sockets, hence one each.
"""

from __future__ import annotations

import contextlib
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor, as_completed
from typing import Any, TypeVar

from orchestrator import errors
from orchestrator.machines.base import Machine
from orchestrator.machines.local import LocalMachine

T = TypeVar("T")
Filters = Mapping[str, Any]
THREADS = 8  # starts under way at once: more gain nothing, the Engine itself is busy
_ASKED = threading.local()  # `machine`: whose Engine this thread has asked last
_SECONDS = 120  # an Engine that does not answer for so long hangs
_CURES = {
    "PermissionError": "let your user talk to it: `sudo usermod -aG docker $USER`, then log in again",
    "FileNotFoundError": "install and start it: `sudo apt-get install docker.io`",
    "ConnectionRefusedError": "start it: `sudo systemctl start docker`",
}


class Docker:
    """One Docker Engine, of this computer or another machine. Raises EngineUnavailable where none answers."""

    def __init__(self, machine: Machine | None = None) -> None:
        self.machine = machine or LocalMachine()
        self._local = threading.local()
        self._url = self.machine.docker_url()
        self._version: dict[str, Any] = self._ask_version()

    def _ask_version(self) -> dict[str, Any]:
        import docker

        try:
            client = docker.APIClient(base_url=self._url, timeout=_SECONDS, **_tls(self._url))
            version: dict[str, Any] = client.version(api_version=False)
            client.close()
        except Exception as error:  # docker, requests, urllib3 and OSError, nested in one another
            self.machine.check()
            raise unavailable(error) from error
        return version

    @property
    def api(self) -> Any:
        """This thread's docker.APIClient (its type hints have gaps, so none are taken)."""
        _ASKED.machine = self.machine
        client = getattr(self._local, "client", None)
        if client is None:
            import docker

            client = docker.APIClient(
                base_url=self._url, version=self._version["ApiVersion"], timeout=_SECONDS, **_tls(self._url)
            )
            self._local.client = client
        return client

    @property
    def version(self) -> str:
        """The Engine's own version, "20.10.24"."""
        return str(self._version.get("Version", "?"))

    @property
    def api_version(self) -> tuple[int, int]:
        """(1, 41)"""
        major, minor = str(self._version["ApiVersion"]).split(".")
        return int(major), int(minor)

    @property
    def architecture(self) -> str:
        """As `uname -m` says it: "x86_64", "aarch64"."""
        arch = str(self._version.get("Arch", ""))
        return {"amd64": "x86_64", "arm64": "aarch64"}.get(arch, arch)

    @property
    def system(self) -> str:
        """ "linux" or "windows": what its containers are."""
        return str(self._version.get("Os", "linux"))

    @property
    def is_here(self) -> bool:
        """Whether the Engine seems to share this computer's files: a unix socket of Linux."""
        here = self.machine.is_local and sys.platform == "linux"
        return here and (self._url or "").startswith(("unix://", "http+unix://"))

    def labelled(self, labels: Iterable[str]) -> list[dict[str, Any]]:
        """All containers, stopped ones too, with these labels ("key" or "key=value")."""
        with translated("the containers cannot be listed"):
            found: list[dict[str, Any]] = self.api.containers(all=True, filters={"label": list(labels)})
            return found

    def networks(self, labels: Iterable[str] = ()) -> list[dict[str, Any]]:
        """All networks with these labels."""
        with translated("the networks cannot be listed"):
            filters = {"label": list(labels)} if labels else None
            found: list[dict[str, Any]] = self.api.networks(filters=filters)
            return found

    def attached(self, network: str) -> int:
        """How many containers a network has."""
        with translated("a network cannot be looked at"):
            return len(self.api.inspect_network(network).get("Containers") or ())


def _tls(url: str | None) -> dict[str, Any]:
    """DOCKER_TLS_VERIFY and DOCKER_CERT_PATH, for a tcp:// address."""
    if not (url or "").startswith("tcp://"):
        return {}
    from docker.utils import kwargs_from_env

    return {k: v for k, v in kwargs_from_env().items() if k == "tls"}


def unavailable(error: Exception) -> errors.EngineUnavailable:
    """Why no Engine answers, from the innermost error."""
    text, cure = str(error), "is a Docker Engine running? `docker version` says more"
    for name, known in _CURES.items():
        if name in repr(error) or name in text:
            reason = {
                "PermissionError": "this user may not talk to the Docker Engine",
                "FileNotFoundError": "there is no Docker Engine",
                "ConnectionRefusedError": "the Docker Engine does not run",
            }[name]
            return errors.EngineUnavailable(reason, known)
    return errors.EngineUnavailable(f"the Docker Engine does not answer: {text[:200]}", cure)


@contextlib.contextmanager
def translated(about: str) -> Iterator[None]:
    """Docker's errors become EngineErrors that say what was being done."""
    import docker.errors
    import requests

    _ASKED.machine = None
    try:
        yield
        if asked := _ASKED.machine:
            asked.check()  # an answer in pieces ends with the line as if it was complete
    except docker.errors.ImageNotFound as error:
        raise errors.ImageNotFound(
            f"{about}: {_said(error)}", "`docker pull` it, or correct its name"
        ) from error
    except docker.errors.APIError as error:
        raise errors.EngineError(f"{about}: {_said(error)}") from error
    except (docker.errors.DockerException, requests.exceptions.RequestException, OSError) as error:
        if asked := _ASKED.machine:
            asked.check()  # a dead line is the machine's, not its Engine's
        raise errors.EngineError(f"{about}: the Docker Engine does not answer: {error}") from error


def _said(error: Any) -> str:
    return str(error.explanation or error)


def is_gone(error: BaseException) -> bool:
    """Whether an EngineError says that the object is not there (404), is being removed or has ended (409,
    500).
    """
    status = getattr(getattr(error.__cause__, "response", None), "status_code", None)
    return status in (404, 409) or "is not running" in str(error)


def each(work: Iterable[Callable[[], T]], threads: int = THREADS) -> list[T]:
    """Do all of it in parallel; results in no order. Goes on past failures, then raises the first one."""
    failures: list[errors.LabError] = []
    results: list[T] = []
    with ThreadPoolExecutor(threads) as pool:
        for future in as_completed([pool.submit(call) for call in work]):
            try:
                results.append(future.result())
            except errors.LabError as error:
                failures.append(error)
    if failures:
        raise failures[0] if len(failures) == 1 else ExceptionGroup("several things failed", failures)
    return results
