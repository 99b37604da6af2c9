"""A router's masquerading: one nftables rule in its network namespace, made over netlink by pyroute2.

Whatever leaves through the interface on the network that `nat` names gets that interface's address, IPv4 and
IPv6. pyroute2 takes 0.16 s and 22 MB to import, so it is imported only where a lab has such a router.
"""

from __future__ import annotations

import fcntl
import socket
import struct
from typing import Any

from orchestrator import errors
from orchestrator.daemon import within
from orchestrator.daemon.hosts import Host
from orchestrator.daemon.maker import Spec

_TABLE = "lab"
_INET = 1  # NFPROTO_INET (linux/netfilter.h): IPv4 and IPv6 in one table; nat in it since Linux 5.2
_SRCNAT = 100  # NF_IP_PRI_NAT_SRC (linux/netfilter_ipv4.h)
_OIFNAME, _EQUAL = 7, 0  # NFT_META_OIFNAME, NFT_CMP_EQ (linux/netfilter/nf_tables.h)
_IFNAMSIZ = 16
_SIOCGIFADDR = 0x8915  # netdevice(7)


def preload() -> None:
    """Import what NAT needs now. Raises EngineError where pyroute2 is missing."""
    try:
        from pyroute2.nftables import main
    except ImportError as error:
        raise errors.EngineError(f"NAT needs pyroute2: {error}") from error
    assert main


def configure(host: Host) -> None:
    """The router masquerades as its spec says; idempotent. Blocks: called in a thread."""
    network = host.spec.get("nat")
    if not network and not host.masquerades:
        return
    preload()
    try:
        within.network(host.proc, lambda: _apply(host.spec, str(network) if network else None))
    except Exception as error:  # NetlinkError is no OSError in every version of pyroute2
        raise errors.EngineError(
            f"router {host.name}: NAT: {error}", "the kernel needs nf_tables with nft_masq"
        ) from error
    host.masquerades = bool(network)


def _apply(spec: Spec, network: str | None) -> None:
    from pyroute2.nftables.main import NFTables

    with NFTables(nfgen_family=_INET) as nft:
        _remove(nft)
        if network:
            _add(nft, _device(spec, network))


def _remove(nft: Any) -> None:
    """The table of an earlier time, if there is one; connections that are translated already stay so."""
    names = [table.get_attr("NFTA_TABLE_NAME") for table in nft.get_tables()]
    if _TABLE in names:
        nft.table("del", name=_TABLE)


def _add(nft: Any, device: str) -> None:
    from pyroute2.nftables.expressions import genex

    name = {"attrs": [("NFTA_DATA_VALUE", device.encode().ljust(_IFNAMSIZ, b"\0"))]}
    leaves_here = genex("cmp", {"SREG": 1, "OP": _EQUAL, "DATA": name})
    rule = [genex("meta", {"KEY": _OIFNAME, "DREG": 1}), leaves_here, genex("masq", {})]
    nft.table("add", name=_TABLE)
    nft.chain("add", table=_TABLE, name="nat", hook="postrouting", type="nat", priority=_SRCNAT)
    nft.rule("add", table=_TABLE, chain="nat", expressions=(rule,))


def _device(spec: Spec, network: str) -> str:
    """The interface on that network: by its address, for not every engine lets one choose the name."""
    interface = next((i for i in spec["interfaces"] if i["network"] == network), None)
    if interface is None:
        raise errors.EngineError(f"router {spec['name']} is not on network {network}")
    wanted = interface.get("address")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        for _, name in socket.if_nameindex():
            if wanted and _address(sock, name) == wanted:
                return name
    return str(interface["device"])


def _address(sock: socket.socket, name: str) -> str | None:
    try:
        answer = fcntl.ioctl(sock, _SIOCGIFADDR, struct.pack("16s24x", name.encode()))
    except OSError:
        return None
    return socket.inet_ntoa(answer[20:24])
