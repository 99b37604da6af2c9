"""Hosts: containers whose first process only keeps them alive; the agent does the rest."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from orchestrator import errors
from orchestrator.engines import docker_images as images
from orchestrator.engines import docker_objects as objects
from orchestrator.engines import docker_pause
from orchestrator.engines.docker_client import Docker, translated
from orchestrator.model.plan import Interface, Plan, PlannedHost
from orchestrator.wire import Message

PIDS, MEMORY = 1024, 1 << 30  # processes and bytes of a host, unless the file says otherwise
_PAUSE = "/.lab-pause"
_OWN_PAUSE = "/usr/libexec/lab-pause"  # see images/host
_ENDPOINT_MAC = (1, 44)  # from this API version on an endpoint takes a MAC address, and create many endpoints


class Images:
    """The images of a plan's hosts: there before any host is made, and what each says about its program."""

    def __init__(self, docker: Docker) -> None:
        self._docker = docker
        self._known: dict[str, dict[str, Any]] = {}

    def fetch(self, name: str) -> None:
        """Have the Engine pull a foreign image that it has not. Raises ImageNotFound."""
        if name not in images.RECIPES and not images.has(self._docker, name):
            images.pull(self._docker, name)

    def config(self, name: str) -> dict[str, Any]:
        """Its configuration: Env, User, WorkingDir, Entrypoint, Cmd, and `ours` with it."""
        if name not in self._known:
            with translated(f"image {name}"):
                found = self._docker.api.inspect_image(name)
            config = found.get("Config") or {}
            ours = (config.get("Labels") or {}).get(images.KIND_LABEL) == "image"
            self._known[name] = {**config, "ours": ours}
        return self._known[name]


def image_of(host: PlannedHost) -> str:
    """The image that a host is made from."""
    return host.image or images.HOST


def make(docker: Docker, plan: Plan, host: PlannedHost, known: Images) -> None:
    """Create and start the container of a host."""
    config = known.config(image_of(host))
    links = host.interfaces
    at_once = links if docker.api_version >= _ENDPOINT_MAC else links[:1]
    name = objects.name_of(plan.key, host.name)
    with translated(f"host {host.name} cannot be made"):
        settings = _settings(plan, host, config["ours"])
        settings["NetworkingConfig"] = {
            "EndpointsConfig": {objects.name_of(plan.key, i.network): _endpoint(i) for i in at_once}
        }
        container = docker.api.create_container_from_config(settings, name)["Id"]
        for link in links[len(at_once) :]:
            network = objects.name_of(plan.key, link.network)
            docker.api.connect_container_to_network(container, network, ipv4_address=link.address)
        if not config["ours"]:
            pause = docker_pause.program(docker.architecture)
            docker.api.put_archive(container, "/", images.pack({_PAUSE[1:]: pause}, (_PAUSE[1:],)))
        docker.api.start(container)


def _endpoint(link: Interface) -> dict[str, Any]:
    endpoint: dict[str, Any] = {"MacAddress": link.mac}
    if link.address:
        endpoint["IPAMConfig"] = {"IPv4Address": link.address}
    return endpoint


def _settings(plan: Plan, host: PlannedHost, ours: bool) -> dict[str, Any]:
    """The body of `POST /containers/create`."""
    settings: dict[str, Any] = {
        "Image": image_of(host),
        "Hostname": host.name,
        "Labels": objects.labels(plan.key, "host", host.name, host),
        "Entrypoint": [_OWN_PAUSE if ours else _PAUSE],
        "Cmd": [],
        "User": "0:0",
        "WorkingDir": "/",
        "StopSignal": "SIGKILL",  # there is nothing to be said to it
        "Healthcheck": {"Test": ["NONE"]},
        "HostConfig": _host_settings(plan, host),
    }
    if host.interfaces:
        settings["MacAddress"] = host.interfaces[0].mac  # before API 1.44 the first endpoint's
    return settings


def _host_settings(plan: Plan, host: PlannedHost) -> dict[str, Any]:
    limits = host.resources
    networks = [objects.name_of(plan.key, link.network) for link in host.interfaces]
    settings: dict[str, Any] = {
        "NetworkMode": networks[0] if networks else "none",
        "PidsLimit": limits.pids or PIDS,
        "Memory": limits.memory or MEMORY,
        "LogConfig": {"Type": "none"},
    }
    if not _is_open(plan, host):
        settings["Dns"] = ["127.0.0.1"]  # Docker's resolver asks nobody then: no question leaves the lab
    if limits.cpus:
        settings["NanoCpus"] = int(limits.cpus * 1e9)
    return settings


def _is_open(plan: Plan, host: PlannedHost) -> bool:
    """Whether it has a way to the internet: a default route, where the file opens a network of its domain."""
    domains = {network.domain for network in plan.networks if network.internet}
    here = {network.domain for network in plan.networks for i in host.interfaces if i.network == network.name}
    return not domains.isdisjoint(here) and any(route.destination == "default" for route in host.routes)


def adoption(docker: Docker, plan: Plan, host: PlannedHost, known: Images) -> Message:
    """What the daemon is told about a running host. Raises EngineError where it has ended."""
    name = objects.name_of(plan.key, host.name)
    with translated(f"host {host.name} cannot be looked at"):
        found = docker.api.inspect_container(name)
    state = found["State"]
    if not state.get("Pid"):
        raise errors.EngineError(
            f"host {host.name} ended as soon as it was started: {state.get('Error') or state.get('Status')}",
            f"`docker inspect {name}` says more",
        )
    endpoints = found["NetworkSettings"]["Networks"]
    macs = {
        i.network: endpoints.get(objects.name_of(plan.key, i.network), {}).get("MacAddress", "")
        for i in host.interfaces
    }
    start = start_of(known.config(image_of(host)), host)
    return {"spec": msgspec.to_builtins(host), "pid": state["Pid"], "macs": macs, "start": start}


def start_of(config: Mapping[str, Any], host: PlannedHost) -> Message:
    """How a program of this host is started: what its image says, and the host's own environment on top.

    `argv` is the image's own program; that of our images only keeps the container alive, and is none.
    """
    env = dict(entry.split("=", 1) for entry in config.get("Env") or () if "=" in entry)
    argv = [] if config["ours"] else [*(config.get("Entrypoint") or ()), *(config.get("Cmd") or ())]
    user, cwd = config.get("User") or "", config.get("WorkingDir") or ""
    return {"env": {**env, **host.env}, "user": user, "cwd": cwd, "argv": argv}
