"""Mininet's side of bench/hosts.py: N hosts on one Linux bridge. Run by the system's Python, as root.

Prints seconds until all hosts are ready, and seconds to take them down.
"""

import sys
import time

from mininet.log import setLogLevel  # type: ignore[import-not-found]
from mininet.net import Mininet  # type: ignore[import-not-found]
from mininet.nodelib import LinuxBridge  # type: ignore[import-not-found]
from mininet.topo import SingleSwitchTopo  # type: ignore[import-not-found]

setLogLevel("error")
began = time.monotonic()
net = Mininet(
    topo=SingleSwitchTopo(int(sys.argv[1])), switch=LinuxBridge, controller=None, ipBase="10.0.0.0/16"
)
net.start()
ready = time.monotonic()
net.stop()
print(ready - began, time.monotonic() - ready)
