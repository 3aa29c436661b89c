"""A network for each node, whose cable can be pulled. All of it lies in the network of the proof itself, which reaches nothing else."""

import os
import subprocess

ISOLATED = "PROVE_FLEET_ISOLATED"


def isolate(arguments):
    """Goes on in namespaces of its own (network, mounts, processes), where that is allowed: whatever is left ends with them."""
    if os.environ.get(ISOLATED) or subprocess.run(["unshare", "--net", "--mount", "--pid", "--fork", "true"], capture_output=True).returncode:
        return
    environment = {**os.environ, ISOLATED: "1"}
    os.execvpe("unshare", ["unshare", "--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", *arguments], environment)


def is_isolated():
    return bool(os.environ.get(ISOLATED))


def ip(*arguments):
    subprocess.run(["ip", *arguments], check=True)


class Network:
    """One node's network, connected to that of the servers by one cable."""

    def __init__(self, number):
        self.link, peer, self.address = f"node{number}", f"peer{number}", f"10.77.{number}.1"
        # A network lives as long as a process in it.
        self.holder = subprocess.Popen(["unshare", "--net", "sleep", "infinity"], stdin=subprocess.DEVNULL)
        self.path = f"/proc/{self.holder.pid}/ns/net"
        while os.readlink(self.path) == os.readlink("/proc/self/ns/net"):
            pass
        ip("link", "add", self.link, "type", "veth", "peer", "name", peer, "netns", str(self.holder.pid))
        ip("addr", "add", f"{self.address}/30", "dev", self.link)
        ip("link", "set", self.link, "up")
        for arguments in (["link", "set", "lo", "up"], ["addr", "add", f"10.77.{number}.2/30", "dev", peer], ["link", "set", peer, "up"]):
            subprocess.run([*self.around(), "ip", *arguments], check=True)

    def around(self):
        """What runs a program there. It becomes that program, with its process id."""
        return ["nsenter", f"--net={self.path}"]

    def cut(self, is_cut):
        ip("link", "set", self.link, "down" if is_cut else "up")
