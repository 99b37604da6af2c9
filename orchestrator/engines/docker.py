"""The docker engine: hosts are containers, networks are bridges, and the daemon is a container beside
them.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Sequence
from functools import cached_property
from typing import Any, Literal

from orchestrator import errors
from orchestrator.engines import docker_daemon as daemon
from orchestrator.engines import docker_objects as objects
from orchestrator.engines.base import Check, Found, Probe, Progress
from orchestrator.engines.docker_client import Docker
from orchestrator.engines.docker_places import Place, place_of
from orchestrator.machines.base import Machine
from orchestrator.machines.local import LocalMachine
from orchestrator.model.plan import Change, LabKey, Plan
from orchestrator.wire import Channel

_FIND_SECONDS = 5.0  # that `find` waits for the answer of one daemon


class DockerEngine:
    """See base.Engine. Nothing is asked of Docker before it is needed."""

    name = "docker"

    def __init__(self, machine: Machine | None = None) -> None:
        """`machine`: where the Engine is, if not on this computer."""
        self.machine = machine or LocalMachine()

    @cached_property
    def _docker(self) -> Docker:
        return Docker(self.machine)

    @cached_property
    def _place(self) -> Place:
        return place_of(self.machine)

    def probe(self, thorough: bool = False) -> Probe:
        """See base.Engine."""
        try:
            docker = self._docker
        except errors.EngineUnavailable as error:
            check = Check(what="a Docker Engine answers", ok=False, detail=error.message, cure=error.hint)
            return Probe(
                engine=self.name, works=False, reason=error.message, cure=error.hint, checks=(check,)
            )
        checks = [Check(what="a Docker Engine answers", ok=True, detail=docker.version), *_checks(docker)]
        bad = next((check for check in checks if not check.ok), None)
        reason = f"Docker Engine {docker.version} answers" if bad is None else bad.detail
        cure = bad.cure if bad else ""
        return Probe(engine=self.name, works=bad is None, reason=reason, cure=cure, checks=tuple(checks))

    def find(self, owner: str) -> Sequence[Found]:
        """See base.Engine."""
        docker = self._docker
        containers = docker.labelled([f"{objects.OWNER}={owner}"])
        networks = docker.networks([f"{objects.OWNER}={owner}"])
        names = {objects.key_of(one).name for one in (*containers, *networks)} | {*self._place.left(owner)}
        return [self._found(LabKey(owner=owner, name=n), containers, networks) for n in sorted(names)]

    def _found(
        self, key: LabKey, containers: Iterable[dict[str, Any]], networks: Iterable[dict[str, Any]]
    ) -> Found:
        mine = [one for one in containers if objects.key_of(one) == key]
        hosts = sum(objects.labels_of(one).get(objects.KIND) == "host" for one in mine)
        joined = sum(objects.key_of(one) == key for one in networks)
        what = f"{hosts} host{'' if hosts == 1 else 's'}, {joined} network{'' if joined == 1 else 's'}"
        state = self._state(key) if len(mine) > hosts else "incomplete"
        return Found(key=key, engine=self.name, state=state, what=what)

    def _state(self, key: LabKey) -> Literal["running", "silent", "incomplete"]:
        """Running: its daemon answers, and `up` has got to its last step."""
        try:
            if channel := self.open(key):
                with channel:
                    running = channel.hello(_FIND_SECONDS).get("state") == "running"
                    return "running" if running else "incomplete"
        except errors.DaemonSilent:
            return "silent"
        except errors.DaemonError:
            pass
        return "incomplete"

    def open(self, key: LabKey) -> Channel | None:
        """See base.Engine. By the socket first: that needs nothing of Docker."""
        if channel := self._place.open(self._place.folder(key)):
            return channel
        for container in self._docker.labelled(objects.of_lab(key, "daemon")):
            if container.get("State") != "running":
                continue
            folder = objects.labels_of(container).get(objects.SOCKET)
            if folder and (channel := self._place.open(folder)):
                return channel
            return daemon.open_bridge(self._docker, container["Id"])
        return None

    def apply(self, plan: Plan, changes: Sequence[Change], progress: Progress) -> Channel:
        """See base.Engine."""
        from orchestrator.engines.docker_apply import Apply

        return Apply(self._docker, plan, changes, progress, self.open).carry_out()

    def remove(self, key: LabKey, progress: Progress) -> None:
        """See base.Engine."""
        from orchestrator.engines.docker_remove import remove_lab

        remove_lab(self._docker, key, progress, self._state(key) == "running")

    def taken(self) -> Sequence[str]:
        """Subnets that the plan is not to choose."""
        from orchestrator.engines import docker_networks

        return docker_networks.taken(self._docker)

    def build_images(self, names: Sequence[str], progress: Progress) -> Sequence[str]:
        """Build these images of ours (all, where none is named) if they are out of date; their names."""
        from orchestrator.engines import docker_images as images

        wanted = tuple(names) or images.all_names()
        for name in wanted:
            if name not in images.RECIPES:
                raise errors.UsageError(
                    f"there is no image {name} of ours", f"there are {', '.join(images.RECIPES)}"
                )
        images.ensure(self._docker, wanted, progress)
        return images.in_order(wanted)


def _checks(docker: Docker) -> list[Check]:
    return [_linux(docker), _images(docker)]


def _linux(docker: Docker) -> Check:
    what = "it runs Linux containers"
    if docker.system == "linux":
        return Check(what=what, ok=True)
    detail = f"the Docker Engine runs containers of {docker.system}"
    return Check(what=what, ok=False, detail=detail, cure="switch Docker Desktop to Linux containers")


def _images(docker: Docker) -> Check:
    """Are the images there, or is there something to build them from?"""
    from orchestrator.engines import docker_images as images

    what = "its images are there or can be built"
    ways: tuple[tuple[str, Callable[[], bool]], ...] = (
        ("they are there", lambda: {images.HOST, images.DAEMON} <= set(images.contents(docker))),
        (f"from {images.BASE}", lambda: images.has(docker, images.BASE)),
        (f"from {images.OWN_BASE}", lambda: images.has(docker, images.OWN_BASE)),
        ("by mmdebstrap", lambda: shutil.which("mmdebstrap") is not None),
        (f"from {images.BASE}, to be pulled", lambda: images.can_be_pulled(docker, images.BASE)),
    )
    for detail, works in ways:
        if works():
            return Check(what=what, ok=True, detail=detail)
    detail = f"its images cannot be built: {images.BASE} cannot be pulled and mmdebstrap is missing"
    return Check(what=what, ok=False, detail=detail, cure="`sudo apt-get install mmdebstrap`")
