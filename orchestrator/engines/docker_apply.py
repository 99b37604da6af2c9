"""Carrying out the changes of an `up`: the daemon's container, networks and hosts in parallel.

Each host is adopted by the daemon as soon as it is there. Starting containers is the Engine's own work and
takes nearly all of the time.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from functools import partial
from typing import Any

from orchestrator.engines import docker_daemon as daemon
from orchestrator.engines import docker_hosts as hosts
from orchestrator.engines import docker_images as images
from orchestrator.engines import docker_networks as networks
from orchestrator.engines import docker_objects as objects
from orchestrator.engines.base import Progress, counted
from orchestrator.engines.docker_client import THREADS, Docker, each
from orchestrator.engines.docker_places import place_of
from orchestrator.engines.docker_remove import remove_container, remove_network
from orchestrator.model.plan import Change, LabKey, Plan, PlannedHost
from orchestrator.wire import Channel, Message

Opener = Callable[[LabKey], Channel | None]


class Apply:
    """One `apply`. A failure leaves what was made; it carries labels."""

    def __init__(
        self, docker: Docker, plan: Plan, changes: Sequence[Change], progress: Progress, opener: Opener
    ) -> None:
        self._docker, self._plan, self._say, self._open = docker, plan, progress, opener
        self._subjects: dict[str, set[str]] = {}
        for change in changes:
            self._subjects.setdefault(change.action, set()).add(change.subject)
        self._images = hosts.Images(docker)
        self._pool = ThreadPoolExecutor(THREADS, "docker")

    def carry_out(self) -> Channel:
        """All of it; a channel to the daemon."""
        channel = self._open(self._plan.key)
        try:
            self._remove(channel)
            new = self._to_make("make-host", self._plan.hosts)
            self._prepare_images(new, with_daemon=channel is None)
            return self._make(new, channel)
        except BaseException:
            if channel is not None:
                channel.close()
            raise
        finally:
            self._pool.shutdown(cancel_futures=True)

    def _to_make(self, action: str, planned: Sequence[Any]) -> list[Any]:
        names = self._subjects.get(action, set())
        return [one for one in planned if one.name in names]

    def _remove(self, channel: Channel | None) -> None:
        gone = {kind: self._subjects.get(f"remove-{kind}", set()) for kind in ("host", "network")}
        if any(gone.values()) and channel is not None:
            channel.call("remove", hosts=sorted(gone["host"]), networks=sorted(gone["network"]))
        key = self._plan.key
        if gone["host"]:
            found = self._docker.labelled(objects.of_lab(key, "host"))
            each(partial(remove_container, self._docker, one["Id"]) for one in _named(found, gone["host"]))
        if gone["network"]:
            found = self._docker.networks(objects.of_lab(key, "network"))
            each(partial(remove_network, self._docker, one["Id"]) for one in _named(found, gone["network"]))

    def _prepare_images(self, new: Sequence[PlannedHost], with_daemon: bool) -> None:
        wanted = dict.fromkeys(hosts.image_of(host) for host in new)
        own = [name for name in wanted if name in images.RECIPES]
        own += [images.DAEMON] if with_daemon else []
        if not self._docker.machine.is_local:
            from orchestrator.engines.docker_transfer import bring

            bring(self._docker, [*wanted, *own], self._say)
        images.ensure(self._docker, own, self._say)
        for name in wanted:
            self._images.fetch(name)

    def _make(self, new: Sequence[PlannedHost], channel: Channel | None) -> Channel:
        """The daemon beside the networks, then hosts; those that run already are adopted by a new daemon."""
        starting = None if channel else self._start_daemon()
        try:
            bridges = self._make_networks()
            old = self._running() if starting else []
            work = [self._pool.submit(self._make_host, host) for host in new]
            work += [self._pool.submit(self._adoption, host) for host in old if host not in new]
            if work:
                self._say(f"starting {counted(new, 'container')}")
            channel = channel or _result(starting)
            self._adopt(channel, work, bridges)
        except BaseException:
            self._pool.shutdown(cancel_futures=True)
            if starting is not None and channel is None and starting.exception() is None:
                starting.result().close()
            raise
        return channel

    def _start_daemon(self) -> Future[Channel]:
        """The folder of its socket is there before anything is asked of the Engine: a command that is killed
        right then leaves something that can be found.
        """
        place = place_of(self._docker.machine)
        shared = place.make(self._docker, self._plan.key)
        return self._pool.submit(daemon.start, self._docker, self._plan.key, place, shared)

    def _make_networks(self) -> list[str]:
        """Those that are to be made; the bridges of all closed ones, made now or there before."""
        key = self._plan.key
        new = self._to_make("make-network", self._plan.networks)
        there = {
            objects.labels_of(one)[objects.NAME]: one["Id"]
            for one in self._docker.networks(objects.of_lab(key, "network"))
        }
        new = [network for network in new if network.name not in there]
        networks.refuse_overlaps(self._docker, key, new)
        if new:
            self._say(f"making {counted(new, 'network')}")
        made = [self._pool.submit(networks.make, self._docker, key, network) for network in new]
        ids = there | {network.name: _result(one) for network, one in zip(new, made, strict=True)}
        closed = [one for one in self._plan.networks if not one.internet and one.name in ids]
        return [objects.bridge_of(ids[network.name], network.vni) for network in closed]

    def _running(self) -> list[PlannedHost]:
        found = self._docker.labelled(objects.of_lab(self._plan.key, "host"))
        names = {objects.labels_of(one)[objects.NAME] for one in found if one.get("State") == "running"}
        return [host for host in self._plan.hosts if host.name in names]

    def _make_host(self, host: PlannedHost) -> Message:
        hosts.make(self._docker, self._plan, host, self._images)
        return self._adoption(host)

    def _adoption(self, host: PlannedHost) -> Message:
        return hosts.adoption(self._docker, self._plan, host, self._images)

    def _adopt(self, channel: Channel, work: Sequence[Future[Message]], bridges: Sequence[str]) -> None:
        """Tell the daemon of hosts as they come; all that have come by then at once."""
        channel.call("adopt", hosts=[], bridges=list(bridges))
        waiting = set(work)
        while waiting:
            done, waiting = wait(waiting, return_when=FIRST_COMPLETED)
            channel.call("adopt", hosts=[_result(one) for one in done], bridges=[])


def _named(found: Sequence[dict[str, Any]], names: set[str]) -> list[dict[str, Any]]:
    return [one for one in found if objects.labels_of(one).get(objects.NAME) in names]


def _result(future: Future[Any] | None) -> Any:
    assert future is not None
    return future.result()
