"""Machines looked at side by side before anything is made on them: all that is wrong at once, with each cure.

Nothing is changed on a machine. The ways between them are tried by sending (machines/paths.py), for an
interface says nothing of what lies behind it.
"""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Literal

import msgspec

from orchestrator.engines import docker_images as images
from orchestrator.engines import docker_objects as objects
from orchestrator.engines.docker_client import Docker, translated
from orchestrator.engines.docker_transfer import lacking
from orchestrator.errors import LabError, MachineError
from orchestrator.machines import readings
from orchestrator.machines.base import Machine
from orchestrator.machines.paths import Tried, Way, try_paths
from orchestrator.machines.readings import Readings
from orchestrator.model.machine_checks import Finding, MachineReport, State
from orchestrator.model.machines import VXLAN_PORT, Capacity, Fleet
from orchestrator.model.plan import PlannedNetwork

PORT = VXLAN_PORT
_API = (1, 40)  # of Docker Engine 19.03: what is asked of an Engine is there since then
_MEMORY, _DISK = 256 << 20, 1 << 30  # bytes below which a machine is said to be short
_CLOCK = 1.0  # seconds
_LEAST_MTU = 1330  # 1,280 of IPv6 (RFC 8200) and the 50 bytes of VXLAN
_GIB = 1 << 30


def look(
    machines: Sequence[Machine],
    *,
    wanted: Sequence[str] = (),
    addresses: Mapping[str, str] = {},
    port: int = PORT,
) -> list[MachineReport]:
    """A report of each, in their order. `wanted`: images besides the lab's own. `addresses`: where machines
    reach each other, for those whose file says so.
    """
    names = [*dict.fromkeys((images.HOST, images.DAEMON, *wanted))]
    looks = [_Look(machine, names, port) for machine in machines]
    with ThreadPoolExecutor(len(machines) + 1) as pool:
        there = [one for one, reached in zip(looks, pool.map(_Look.reach, looks), strict=True) if reached]
        known = _addresses(there, addresses)
        trying = pool.submit(try_paths, [one.machine for one in there], known, port)
        list(pool.map(_Look.at_all, there))
        tried = trying.result()
    reports = [one.report(known.get(one.machine.name)) for one in looks]
    holders = [one.holder for one in looks]
    reports = [_with_paths(one, tried, known, held) for one, held in zip(reports, holders, strict=True)]
    return _compared(reports, looks)


def _addresses(looks: Sequence[_Look], given: Mapping[str, str]) -> dict[str, str]:
    """Where each is reached by the others; this computer at the address from which it reaches them."""
    known = {one.machine.name: a for one in looks if (a := given.get(one.machine.name) or one.address)}
    for one in looks:
        if one.machine.is_local and one.machine.name not in known and known:
            with contextlib.suppress(OSError):
                known[one.machine.name] = own_address(next(iter(known.values())))
    return known


def own_address(towards: str) -> str:
    """Of this computer, on the way to another: connect(2) of a UDP socket only looks up the route."""
    with socket.socket(socket.AF_INET6 if ":" in towards else socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.connect((towards, 9))
        return str(sock.getsockname()[0])


def fleet(reports: Sequence[MachineReport]) -> Fleet:
    """What a plan is made with."""
    swarms = {report.swarm for report in reports}
    return Fleet(
        capacities={report.name: report.capacity for report in reports},
        swarm=len(swarms) == 1 and swarms != {""},
    )


class _Look:
    """One machine, asked for all that it can say by itself."""

    def __init__(self, machine: Machine, wanted: Sequence[str], port: int) -> None:
        self.machine, self._wanted, self._port = machine, wanted, port
        self.address: str | None = None
        self.identity = ""  # the Engine's own id
        self._read: Readings | None = None
        self._clock: tuple[float, float] | None = None
        self._version, self._swarm, self._hosts, self._daemons = "", "", 0, 0
        self._networks: list[PlannedNetwork] = []  # of labs, that may span machines
        self._findings: list[Finding] = []

    @property
    def holder(self) -> Literal["fabric", "program"]:
        """Whose the fabric's port is, where it is in use. proc(5) does not say: the sockets of the kernel's
        own VXLANs look like any other. They are seen themselves, or are in the namespace of a lab's daemon.
        """
        stands = self._read is not None and self._port in self._read.vxlan
        return "fabric" if stands or self._daemons else "program"

    def reach(self) -> bool:
        """Whether it can be reached."""
        about = "this computer" if self.machine.is_local else "reachable over SSH"
        try:
            self.address = self.machine.facts().address
            self._add(about, "ok", self.address or "")
        except LabError as error:
            self._failed(about, error)
            return False
        return True

    def at_all(self) -> None:
        """All that it can say by itself; what cannot be asked is said."""
        root = "/var/lib/docker"
        try:
            root = self._look_at_engine()
        except LabError as error:
            self._failed("a Docker Engine answers", error)
        try:
            self._look_at_system(root)
        except (MachineError, ValueError) as error:
            self._add("memory, disk, clock", "unknown", str(error).splitlines()[0])

    def report(self, address: str | None) -> MachineReport:
        """What is known by now."""
        read = self._read
        wrapping = 70 if ":" in (address or "") else 50  # bytes, as in plan/spanning.py
        known = [one.mtu + wrapping for one in self._networks if one.mtu is not None]
        return MachineReport(
            name=self.machine.name,
            url=self.machine.url,
            findings=tuple(self._findings),
            engine=self._version,
            swarm=self._swarm,
            capacity=Capacity(
                memory_free=read.memory_free if read else None,
                cpus=read.cpus if read else None,
                hosts=self._hosts,
                mtu=min(known, default=Capacity().mtu),  # unless the ways are tried
                address=address,
                vnis=tuple(one.vni for one in self._networks if one.vni is not None),
            ),
            disk_free=read.disk_free if read else None,
            clock=self._clock[0] if self._clock else None,
            clock_error=self._clock[1] if self._clock else None,
        )

    def _add(self, what: str, state: State, detail: str = "", cure: str = "") -> None:
        self._findings.append(Finding(what=what, state=state, detail=detail, cure=cure))

    def _failed(self, what: str, error: LabError) -> None:
        self._add(what, "wrong", error.message, error.hint)

    def _look_at_engine(self) -> str:
        """Docker's folder there."""
        docker = Docker(self.machine)
        self._version = docker.version
        with translated("the Engine says nothing of itself"):
            info: dict[str, Any] = docker.api.info()
        self.identity = str(info.get("ID") or "")
        old = docker.api_version < _API
        cure = "install Docker Engine 20.10 or later" if old else ""
        self._add("a Docker Engine answers", "wrong" if old else "ok", docker.version, cure)
        for finding in engine_findings(info):
            self._findings.append(finding)
        self._swarm = swarm_of(info.get("Swarm") or {})
        self._hosts = len(docker.labelled([f"{objects.KIND}=host"]))
        self._daemons = len(docker.labelled([f"{objects.KIND}=daemon"]))
        self._networks = fabric_networks(docker.networks([f"{objects.KIND}=network"]))
        absent = lacking(docker, self._wanted)
        detail = f"{', '.join(absent)} will be sent" if absent else "they are there"
        self._add("its images", "note" if absent else "ok", detail)
        return str(info.get("DockerRootDir") or "/var/lib/docker")

    def _look_at_system(self, root: str) -> None:
        before = time.time()
        ended = self.machine.run(["sh", "-s", "--", root], readings.SCRIPT)
        after = time.time()
        self._read = readings.parse(ended.out.decode(errors="replace"))
        if self._read.clock is not None:
            self._clock = self._read.clock - (before + after) / 2, (after - before) / 2
        self._findings += [*system_findings(self._read), *clock_findings(self._clock)]


def fabric_networks(found: Sequence[Mapping[str, Any]]) -> list[PlannedNetwork]:
    """Of Docker's networks those of labs on machines, whoever's they are."""
    networks = []
    for one in found:
        with contextlib.suppress(msgspec.DecodeError):  # of another version
            spec = msgspec.json.decode(objects.labels_of(one).get(objects.SPEC, ""), type=PlannedNetwork)
            networks += [spec] if spec.vni is not None else []
    return networks


def swarm_of(said: Mapping[str, Any]) -> str:
    """A name of the swarm that an Engine is in, the same on all of its nodes; "" where it is in none. The
    swarm's own id is known to managers alone; who they are is known to all.
    """
    if said.get("LocalNodeState") != "active":
        return ""
    return min((str(one.get("NodeID")) for one in said.get("RemoteManagers") or ()), default="")


def engine_findings(info: Mapping[str, Any]) -> list[Finding]:
    """What keeps an Engine from taking part, by what it says of itself."""
    found = []
    if "Docker Desktop" in str(info.get("OperatingSystem")):
        found.append(
            Finding(
                what="its networks are on the machine itself",
                state="wrong",
                detail="Docker Desktop runs in a virtual machine that other machines do not reach",
                cure="use a Linux computer, or a Docker Engine inside WSL 2 with mirrored networking",
            )
        )
    if str(info.get("OSType")) != "linux":
        cure = "use a Linux computer"
        found.append(Finding(what="it runs Linux containers", state="wrong", detail="it does not", cure=cure))
    if "name=rootless" in (info.get("SecurityOptions") or ()):
        found.append(
            Finding(
                what="its networks are on the machine itself",
                state="wrong",
                detail="a rootless Engine's networks are in a namespace of its own",
                cure="use the system's Docker Engine",
            )
        )
    return found


def system_findings(read: Readings) -> list[Finding]:
    """Free memory and disk."""
    found = []
    for what, free, least in (
        ("free memory", read.memory_free, _MEMORY),
        ("free disk", read.disk_free, _DISK),
    ):
        if free is None:
            found.append(Finding(what=what, state="unknown", detail="it could not be read"))
            continue
        short = free < least
        cure = f"a lab needs at least {least / _GIB:.2g} GiB there" if short else ""
        found.append(
            Finding(what=what, state="wrong" if short else "ok", detail=f"{free / _GIB:.1f} GiB", cure=cure)
        )
    return found


def clock_findings(clock: tuple[float, float] | None) -> list[Finding]:
    """Labs put times on one clock whatever it says; files' dates and certificates go by it."""
    if clock is None:
        return [Finding(what="clock", state="unknown", detail="its date knows no fractions of a second")]
    offset, error = clock
    detail = f"{offset:+.3f} s from this computer's (±{error * 1000:.0f} ms)"
    if abs(offset) - error > _CLOCK:
        return [
            Finding(what="clock", state="note", detail=detail, cure="`sudo timedatectl set-ntp true` there")
        ]
    return [Finding(what="clock", state="ok", detail=detail)]


def _with_paths(report: MachineReport, tried: Tried, known: Mapping[str, str], holder: str) -> MachineReport:
    """The report with what the ways from this machine have shown. One to a machine that could not try is
    unknown.
    """
    mine = {
        to: way
        for (start, to), way in tried.ways.items()
        if start == report.name and not tried.bound.get(to, "-")
    }
    findings = [*report.findings, *_port_findings(report.name, tried, holder)]
    findings += [
        Finding(what=f"way to {to}", state="unknown", detail=f"{to} could not try")
        for start, to in tried.ways
        if start == report.name and to not in mine
    ]
    findings += [one for to, way in mine.items() for one in way_findings(to, known.get(to, to), way)]
    passed = [way.mtu for way in mine.values() if way.mtu is not None]
    mtu = min(passed, default=report.capacity.mtu)
    capacity = msgspec.structs.replace(report.capacity, mtu=mtu)
    return msgspec.structs.replace(report, findings=tuple(findings), capacity=capacity)


def _port_findings(name: str, tried: Tried, holder: str) -> list[Finding]:
    what = "the fabric's UDP port"
    if name in tried.unknown:
        cure = "`sudo apt-get install python3-minimal` there, to have it tried"
        return [Finding(what=what, state="unknown", detail=tried.unknown[name], cure=cure)]
    if (why := tried.bound.get(name)) is None:
        return []
    if not why:
        return [Finding(what=what, state="ok", detail="it is free")]
    if why == "EADDRINUSE" and holder == "fabric":
        return [Finding(what=what, state="note", detail="a fabric uses it already: the ways are not tried")]
    if why == "EADDRINUSE":
        cure = "`sudo ss -ulpn` there names it: end it"
        return [Finding(what=what, state="wrong", detail="a program holds it", cure=cure)]
    return [Finding(what=what, state="wrong", detail=f"it cannot be had: {why}")]


def way_findings(to: str, address: str, way: Way) -> list[Finding]:
    """Of one way."""
    what = f"way to {to}"
    if way.mtu is None:
        reached = way.rtt is not None
        detail = "no packet of 576 bytes passes" if reached else f"nothing comes back from {address}"
        cure = "let UDP pass between the machines, on this port, both ways; or give the machine's `address`"
        return [Finding(what=what, state="wrong", detail=detail, cure=cure)]
    detail = f"{way.mtu} bytes pass" + (f" in {way.rtt * 1000:.1f} ms" if way.rtt is not None else "")
    if way.mtu < _LEAST_MTU:
        cure = f"IPv6 needs {_LEAST_MTU} below a fabric"
        return [Finding(what=what, state="note", detail=detail, cure=cure)]
    if way.mtu < way.interface:
        detail += f", and the interface takes {way.interface}: larger ones vanish; networks are made for that"
        return [Finding(what=what, state="note", detail=detail)]
    return [Finding(what=what, state="ok", detail=detail)]


def _compared(reports: Sequence[MachineReport], looks: Sequence[_Look]) -> list[MachineReport]:
    """What only shows when machines stand side by side: one Engine under two names, and swarms."""
    first: dict[str, str] = {}
    swarms = {report.swarm for report in reports if report.engine}
    found = []
    for report, seen in zip(reports, looks, strict=True):
        more: list[Finding] = []
        if seen.identity and (other := first.setdefault(seen.identity, report.name)) != report.name:
            cure = "name each machine once"
            more.append(
                Finding(what="it is a machine of its own", state="wrong", detail=f"it is {other}", cure=cure)
            )
        if report.engine:
            more.append(_swarm_finding(report.swarm, swarms))
        found.append(msgspec.structs.replace(report, findings=(*report.findings, *more)))
    return found


def _swarm_finding(mine: str, swarms: set[str]) -> Finding:
    if not mine:
        return Finding(what="swarm", state="ok", detail="it is in none")
    if len(swarms) == 1:
        return Finding(what="swarm", state="ok", detail="all of them are in one")
    return Finding(what="swarm", state="note", detail="it is in one that not all of them are in: vxlan it is")
