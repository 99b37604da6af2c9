"""lab.yaml text → Topology, or every mistake in it with its line and column."""

from __future__ import annotations

import os
import stat

from orchestrator.errors import TopologyError
from orchestrator.garbage import no_collection
from orchestrator.model.topology import EngineChoice, Topology

_ENGINES: dict[str, EngineChoice] = {
    "auto": "auto",
    "namespaces": "namespaces",
    "docker": "docker",
    "fake": "fake",
}


def read_file(path: str) -> Topology:
    """The topology of a lab file. Raises TopologyError with all that is wrong with it."""
    from orchestrator.read.nodes import MOST_BYTES

    try:
        if not stat.S_ISREG(os.stat(path).st_mode):
            raise TopologyError((f"{path}:1:1: this is no file",))
        with open(path, "rb") as file:
            text = file.read(MOST_BYTES + 1)
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or str(error)
        raise TopologyError((f"{path}:1:1: the lab file cannot be read: {why}",)) from error
    return read_text(text, path, os.path.dirname(os.path.abspath(path)))


@no_collection()
def read_text(text: bytes, path: str, folder: str) -> Topology:
    """As `read_file`, of text that is there already. `path` is what diagnostics call it."""
    from orchestrator.read.build import Draft, text_of
    from orchestrator.read.check import check
    from orchestrator.read.findings import Findings, raise_if_any
    from orchestrator.read.hosts import HostReader
    from orchestrator.read.impaired import read_impaired
    from orchestrator.read.included import LabFile, included
    from orchestrator.read.machines import read_machines
    from orchestrator.read.nodes import START, Mapping, Scalar, compose
    from orchestrator.read.people import Written
    from orchestrator.read.scenarios import ScenarioReader
    from orchestrator.read.schema import LAB
    from orchestrator.read.words import Source

    findings = Findings(path)
    root = compose(text, findings)
    if root is None or (isinstance(root, Scalar) and root.nothing):
        if not findings:
            findings.add(root or START, "the file is empty", "a lab needs `name`, `networks` and `hosts`")
        raise TopologyError(findings.diagnostics())
    kept = check(root, LAB, "a lab file", findings)
    if not isinstance(root, Mapping) or not isinstance(kept, Mapping):
        raise TopologyError(findings.diagnostics())
    draft = Draft(root, kept, findings)
    reader = HostReader(draft, folder)
    hosts = [reader.host(one) for one in draft.members.values() if not one.router]
    source = Source(text.decode("utf-8-sig"))
    impaired = read_impaired(kept, draft, source)
    spread = read_machines(root, kept, draft)
    others, digest = included(kept, findings, path, folder, text)
    files = [LabFile("", kept, source, findings), *others]
    scenarios = ScenarioReader(Written(draft), folder).read(files)
    raise_if_any([file.findings for file in files])
    name, engine = text_of(kept, "name"), text_of(kept, "engine")
    return Topology(
        name=name.text if name else "",
        engine=_ENGINES[engine.text] if engine else "auto",
        networks=draft.networks(),
        routers=draft.routers(),
        hosts=tuple(host for host in hosts if host is not None),
        scenarios=scenarios,
        impaired=impaired,
        machines=spread.machines,
        placing=spread.placing,
        fabric=spread.fabric,
        path=os.path.abspath(path),
        folder=os.path.realpath(folder),
        digest=digest,
        included=tuple(file.name for file in others),
    )
