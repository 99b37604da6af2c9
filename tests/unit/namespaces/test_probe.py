"""What a refusal means: reasons and cures for kernels that are not at hand here."""

from __future__ import annotations

import errno

import pytest

from orchestrator.engines.namespaces_probe import Facts, Refused, diagnose

APPARMOR = {"kernel.apparmor_restrict_unprivileged_userns": "1"}
USER, PROC = "user namespace", "/proc"


@pytest.mark.parametrize(
    ("what", "number", "facts", "reason", "cure"),
    [
        (USER, errno.EPERM, Facts(2, {}, True), "seccomp", "seccomp=unconfined"),
        (USER, errno.EPERM, Facts(0, {"kernel.unprivileged_userns_clone": "0"}, False), "clone=0", "sysctl"),
        (USER, errno.EPERM, Facts(0, APPARMOR, False), "AppArmor", "restrict_unprivileged_userns=0"),
        (USER, errno.EPERM, Facts(0, {}, False), "chroot", "chroot"),
        (USER, errno.EINVAL, Facts(0, {}, False), "CONFIG_USER_NS", "docker"),
        (
            USER,
            errno.ENOSPC,
            Facts(0, {"user.max_user_namespaces": "0"}, False),
            "forbids",
            "max_user_namespaces=",
        ),
        (
            "other namespaces",
            errno.ENOSPC,
            Facts(0, {"user.max_net_namespaces": "0"}, True),
            "net",
            "max_net",
        ),
        ("ids", errno.EPERM, Facts(0, APPARMOR, False), "AppArmor", "sudo"),
        ("private mounts", errno.EACCES, Facts(0, APPARMOR, False), "AppArmor", "sudo"),
        (PROC, errno.EPERM, Facts(0, {}, True), "masked", "systempaths=unconfined"),
        ("overlay", errno.ENODEV, Facts(0, {}, True), "overlay", "modprobe -a overlay"),
        ("bridge and veth", errno.EOPNOTSUPP, Facts(0, {}, True), "bridge", "modprobe -a bridge veth"),
        ("read-only view of /usr", errno.ENOSYS, Facts(0, {}, False), "too old", "5.12"),
    ],
)
def test_a_refusal_names_its_cure(what: str, number: int, facts: Facts, reason: str, cure: str) -> None:
    said = diagnose(Refused(what, number, "the text"), facts)
    assert reason in said[0]
    assert cure in said[1]
    assert "\n" not in "".join(said)


def test_apparmors_sysctl_is_not_blamed_for_root() -> None:
    reason, _ = diagnose(Refused("overlay", errno.EPERM, "the text"), Facts(0, APPARMOR, True))
    assert "AppArmor" not in reason
