"""Every error that lab raises on purpose.

    LabError                      exit   what it means
    ├── TopologyError              2     lab.yaml (or another input) is wrong; carries its diagnostics
    ├── UsageError                 2     the command line asks for something that cannot be
    │   └── NoSuchLab              2     no running lab of that name
    ├── PlanError                  2     the file is right and cannot be built (no free subnet, a full one …)
    ├── EngineError                3     an engine refused
    │   ├── EngineUnavailable      3     … because it does not work here; the hint is the cure
    │   ├── ImageNotFound          3     … because an image is neither there nor can be had
    │   └── SubnetInUse            3     … because a foreign network stands in the way
    ├── MachineError               3     a computer refused
    │   ├── MachineUnreachable     3     … it does not answer, or the line to it is dead
    │   ├── HostKeyUnknown         3     … nobody has said that it is the one that it says it is
    │   ├── HostKeyChanged         3     … it is another one than it was before
    │   ├── LoginRefused           3     … it does not let this user in
    │   └── CommandFailed          3
    ├── DaemonError                3     the daemon of a lab is gone, or speaks another version
    │   ├── DaemonGone             3     … its channel has ended
    │   ├── DaemonSilent           3     … it is there, and does not answer in time
    │   └── ProtocolError          3     bytes that are no frame, or one beyond its bounds
    ├── AgentError                 3     an agent refused what it was told
    │   ├── PathError              2     a path on a host is not there, or is not what it was named as
    │   └── AgentGone              3     … or is gone, or does not answer
    └── ObservationError           3     what was to be seen could not be seen

Foreign exceptions are translated where they enter (`raise … from`). A failed expectation is data, not an
exception. Teardown goes on past a failure and raises an ExceptionGroup of these.
"""

from __future__ import annotations

from typing import ClassVar


class LabError(Exception):
    """The root. `message` says what is wrong and where, `hint` what to do about it (may be empty)."""

    exit_code: ClassVar[int] = 3

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}\n  {self.hint}" if self.hint else self.message


class TopologyError(LabError):
    """Bad input. `diagnostics` are whole lines `FILE:LINE:COLUMN: what is wrong`, all of them at once."""

    exit_code = 2

    def __init__(self, diagnostics: tuple[str, ...]) -> None:
        super().__init__("\n".join(diagnostics))
        self.diagnostics = diagnostics


class UsageError(LabError):
    """The command line asks for something that cannot be."""

    exit_code = 2


class NoSuchLab(UsageError):
    """No running lab of that name belongs to this user."""


class PlanError(LabError):
    """The file is right, and what it describes cannot be built."""

    exit_code = 2


class EngineError(LabError):
    """An engine refused."""


class EngineUnavailable(EngineError):
    """The engine does not work here; the hint is the cure."""


class ImageNotFound(EngineError):
    """An image is neither there nor can be had."""


class SubnetInUse(EngineError):
    """A network that is not ours stands in the way; it is named."""


class MachineError(LabError):
    """A computer refused."""


class MachineUnreachable(MachineError):
    """A computer does not answer, or the line to it is dead."""


class HostKeyUnknown(MachineError):
    """The key of a computer is not among the known ones: it is not trusted on first use."""


class HostKeyChanged(MachineError):
    """The key of a computer is another one than the known one."""


class LoginRefused(MachineError):
    """A computer does not let this user in by the keys or the password that there are."""


class CommandFailed(MachineError):
    """A program that lab needs ended with an error; its last lines are in the message."""


class DaemonError(LabError):
    """The daemon of a lab is gone, or speaks another version."""


class DaemonGone(DaemonError):
    """The channel to the daemon of a lab has ended, or cannot be written to any more."""


class DaemonSilent(DaemonError):
    """The daemon of a lab is there, and does not answer in time: it is stopped, or very busy."""


class ProtocolError(DaemonError):
    """Bytes that are no frame, or a frame beyond its bounds."""


class AgentError(LabError):
    """An agent refused what it was told."""


class AgentGone(AgentError):
    """An agent is gone, or does not answer."""


class PathError(AgentError):
    """A path on a host is not there, or is not what it was named as: a folder, a device, a link's loop."""

    exit_code = 2


class ObservationError(LabError):
    """What was to be seen could not be seen."""
