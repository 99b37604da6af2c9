"""Steps that break the network on purpose: asked of the daemon, believed only when probes have seen it."""

from __future__ import annotations

from typing import Any, NamedTuple, assert_never

from orchestrator.errors import DaemonError, DaemonGone, EngineError
from orchestrator.model.impairments import who
from orchestrator.model.plan import Plan
from orchestrator.model.runs import Verdict
from orchestrator.model.steps import Cut, Dns, Heal, Impair, Link
from orchestrator.requests import Requests

MOST_SAID = 3  # ways that are told of


class Came(NamedTuple):
    """What came of it. `unknown`: it could not be made here, or not be seen."""

    verdict: Verdict
    why: str = ""


def impair(requests: Requests, plan: Plan, step: Impair) -> Came:
    """Carry it out. What is made here ends with the channel. Raises LabError where the lab is gone."""
    match step:
        case Cut():
            op, arguments = "cut", step.spec.request(plan)
        case Link():
            op, arguments = step.spec.request(plan)
        case Dns():
            op, arguments = "answer", step.spec.request(plan)
        case Heal():
            op, arguments = "heal", _healed(plan, step)
        case _:
            assert_never(step)
    try:
        answer = requests.call(op, scoped=True, **arguments)
    except DaemonGone:
        raise
    except (DaemonError, EngineError) as error:
        return Came("unknown", f"it cannot be made here: {error.message}")
    doubts = doubtful(answer)
    return Came("unknown", f"it could not be verified: {doubts}") if doubts else Came("pass")


def _healed(plan: Plan, step: Heal) -> dict[str, Any]:
    ends = {"from": step.one, "to": step.other}
    return {key: who(plan, name) for key, name in ends.items() if name is not None}


def not_in_force(seen: dict[str, Any], plan: Plan) -> str:
    """Why what the lab file declares is not known to be so; nothing where it is."""
    declared = [one for one in seen.get("impairments", []) if one.get("declared")]
    wanted = len(plan.impaired.links) + len(plan.impaired.cuts)
    if len(declared) < wanted:
        return "what the file declares of links and cuts is not in force (`lab up` puts it back)"
    for one in declared:
        if why := one.get("failed") or doubtful(one):
            return f"{one.get('text')}, which the file declares, is not known to be so: {why}"
    return ""


def doubtful(answer: dict[str, Any]) -> str:
    """What an answer says is not as it should be, way by way; nothing where all of it was seen."""
    if "verified" in answer and not answer["verified"]:
        return "there is no way that could be probed"
    words = [one for one in answer.get("verified", []) if not one.get("verified")]
    said = list(dict.fromkeys(f"{one.get('way')}: {one.get('why')}" for one in words))
    more = f" … and {len(said) - MOST_SAID} more" if len(said) > MOST_SAID else ""
    return "; ".join(said[:MOST_SAID]) + more
