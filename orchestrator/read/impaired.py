"""What a lab file declares of links and cuts → Impaired."""

from __future__ import annotations

from orchestrator.model.impairments import LINK_KEYS, CutSpec, Impaired, LinkSpec
from orchestrator.read import impairments
from orchestrator.read.build import Draft, text_of
from orchestrator.read.findings import shown
from orchestrator.read.nodes import Mapping, Scalar, Sequence
from orchestrator.read.people import Written
from orchestrator.read.words import Reading, Source, Word


def read_impaired(kept: Mapping, draft: Draft, source: Source) -> Impaired:
    """All of the well-formed part of a file; what is wrong with it is in the findings."""
    links: list[LinkSpec] = []
    networks = kept.get("networks")
    for key, node in networks.entries if isinstance(networks, Mapping) else ():
        if isinstance(node, Mapping) and (values := _values(node, draft)):
            links.append(LinkSpec(host=key.text, values=values, text=key.text))
    for one in draft.members.values():
        given = one.node.get("links")
        for network, record in given.entries if isinstance(given, Mapping) else ():
            if network.text not in one.on():
                hint = draft.findings.meant(network.text, one.on())
                text = f"{shown(one.name)} is not on network {shown(network.text)}"
                draft.findings.add(network, text, hint)
            elif isinstance(record, Mapping) and (values := _values(record, draft)):
                text = f"{one.name}:{network.text}"
                links.append(LinkSpec(host=one.name, network=network.text, values=values, text=text))
    return Impaired(links=tuple(links), cuts=tuple(_cuts(kept, draft, source)))


def _values(record: Mapping, draft: Draft) -> dict[str, float]:
    found: dict[str, float] = {}
    for key in LINK_KEYS:
        scalar = text_of(record, key)
        if scalar is not None:
            word = Word(scalar.line, scalar.column, scalar.text)
            value = impairments.setting(key, word, draft.findings)
            if value is not None:
                found[key] = value
    return found


def _cuts(kept: Mapping, draft: Draft, source: Source) -> list[CutSpec]:
    node = kept.get("cuts")
    items = [one for one in node.items if isinstance(one, Scalar)] if isinstance(node, Sequence) else []
    reading, ends = Reading(source, draft.findings, {}), Written(draft).ends() if items else None
    found = []
    for item in items:
        words = reading.words(item)
        if words and ends is not None:
            cut = impairments.cut(words, ends, draft.findings, item.text)
            if cut is not None and cut.seconds is not None:
                draft.findings.add(item, "what the file declares lasts as long as the lab", "leave `for` out")
            elif cut is not None:
                found.append(cut)
    return found
