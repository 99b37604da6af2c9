#!/bin/sh
# What a machine does when it starts: its keys, sshd, and then the Docker Engine.
set -eu

# dockerd sets net.ipv4.ip_forward and the like, and makes cgroups: without `privileged` both are mounted read-only.
mount -o remount,bind,rw /proc/sys
for point in $(awk '$5 ~ "^/sys/fs/cgroup" {print $5}' /proc/self/mountinfo); do
    mount -o remount,bind,rw "$point"
done
if [ -f /sys/fs/cgroup/cgroup.controllers ]; then
    # cgroups(7), "no internal processes": a group that has children holds no process
    mkdir -p /sys/fs/cgroup/init
    xargs -rn1 </sys/fs/cgroup/cgroup.procs >/sys/fs/cgroup/init/cgroup.procs || true
    sed 's/ / +/g; s/^/+/' /sys/fs/cgroup/cgroup.controllers >/sys/fs/cgroup/cgroup.subtree_control
fi

umask 077
# The key that opens every machine: the first one makes it.
exec 9>/keys/.lock
flock 9
[ -s /keys/id_ed25519 ] || ssh-keygen -q -t ed25519 -N '' -C lab-machines -f /keys/id_ed25519
exec 9>&-
mkdir -p /run/sshd /root/.ssh
install -m 600 /keys/id_ed25519.pub /root/.ssh/authorized_keys
# The machine's own key stays with its volume: a machine made anew is the same to those who know it.
mkdir -p /var/lib/docker/ssh
[ -s /var/lib/docker/ssh/host_key ] || ssh-keygen -q -t ed25519 -N '' -C "$(hostname)" -f /var/lib/docker/ssh/host_key
/usr/sbin/sshd -o HostKey=/var/lib/docker/ssh/host_key -o PasswordAuthentication=no

# A machine that was stopped hard has left these, and the numbers may be others' by now.
rm -f /run/docker.pid /run/docker/containerd/containerd.pid
umask 022
# The Engine's own bridge takes the MTU of the network below, whatever that is.
exec dockerd --mtu "$(cat /sys/class/net/eth0/mtu)" >/var/log/dockerd.log 2>&1
