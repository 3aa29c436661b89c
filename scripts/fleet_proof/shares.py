"""The shared directories: as the ingest server sees them, and as each node does, on mounts of its own where that is allowed."""

import contextlib
import os
import re
import shutil
import subprocess
import threading
import time

COUNT = 3
SERVER = """volume posix
  type storage/posix
  option directory {brick}
end-volume
volume locks
  type features/locks
  subvolumes posix
end-volume
volume server
  type protocol/server
  option transport-type tcp
  option transport.socket.bind-address 127.0.0.1
  option transport.socket.listen-port {port}
  option auth.addr.locks.allow 127.0.0.1
  subvolumes locks
end-volume
"""
CLIENT = """volume client
  type protocol/client
  option transport-type tcp
  option remote-host 127.0.0.1
  option transport.socket.remote-port {port}
  option remote-subvolume locks
end-volume
"""


def made(path):
    os.makedirs(path, exist_ok=True)
    return path


class Plain:
    """One directory for all nodes."""

    name, has_mounts = "one directory for all nodes", False

    def __init__(self, scratch):
        self.scratch = scratch
        self.top = self.here()
        self.shares = [made(os.path.join(self.top, f"share{n}")) for n in range(COUNT)]

    def here(self):
        """Where the ingest server sees them."""
        return made(os.path.join(self.scratch, "ingest"))

    def mount_point(self, number):
        return made(os.path.join(self.scratch, f"mount{number}"))

    def of_node(self, _number):
        return self.shares

    def opened(self, path):
        """Makes a file whose writer takes its time, below a share; as its server does, beside the node with the first right."""
        return open(os.path.join(self.top, path), "wb")

    def end(self):
        pass


class Bound(Plain):
    """One directory, mounted for each node. No node gets leases there, as on a network file system: the files are another user's."""

    name, has_mounts = "bind mounts of one directory, without leases", True

    def of_node(self, number):
        if not os.path.ismount(self.mount_point(number)):
            self.mount(number)
        return [os.path.join(self.mount_point(number), f"share{n}") for n in range(COUNT)]

    def mount(self, number):
        subprocess.run(["mount", "--bind", self.top, self.mount_point(number)], check=True)

    def unmount(self, number):
        return subprocess.run(["umount", "-l", self.mount_point(number)], capture_output=True).returncode == 0

    @classmethod
    def is_allowed(cls, scratch):
        """Whether a directory can be mounted elsewhere: root in a container may not."""
        one, other = made(os.path.join(scratch, "tried/one")), made(os.path.join(scratch, "tried/other"))
        if subprocess.run(["mount", "--bind", one, other], capture_output=True).returncode:
            return False
        subprocess.run(["umount", other], check=True)
        return True

    def end(self):
        for name in os.listdir(self.scratch):
            if name.startswith("mount"):
                self.unmount(int(name[5:]))


class Gluster(Bound):
    """A GlusterFS volume over FUSE; each node and the ingest server have a client of their own."""

    name = "GlusterFS over FUSE"

    def __init__(self, scratch, port):
        self.directory, self.clients = made(os.path.join(scratch, "gluster")), {}
        for name, text in (("server", SERVER), ("client", CLIENT)):
            with open(self.path(f"{name}.vol"), "w") as file:
                file.write(text.format(brick=made(os.path.join(scratch, "brick")), port=port))
        self.server, self.lock = self.popen("glusterfsd", "server"), threading.Lock()
        super().__init__(scratch)

    def path(self, name):
        return os.path.join(self.directory, name)

    def popen(self, program, kind, *more):
        command = [program, "-N", "-f", self.path(f"{kind}.vol"), f"--log-file={self.path(kind)}.log", *more]
        if program == "glusterfsd":
            command += ["-p", self.path("server.pid")]
        return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def client(self, at):
        """Mounts the volume; a client that came before the server did is started again."""
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            client = self.popen("glusterfs", "client", at)
            while client.poll() is None and time.monotonic() < deadline:
                if os.path.ismount(at) and self.answers(at):
                    return client
                time.sleep(0.05)
            subprocess.run(["umount", "-l", at], capture_output=True)
        raise RuntimeError(f"GlusterFS cannot be mounted; see {self.directory}")

    @staticmethod
    def answers(at):
        try:
            os.listdir(at)
            return True
        except OSError:
            return False

    def here(self):
        at = super().here()
        self.clients["ingest"] = self.client(at)
        return at

    def mount(self, number):
        self.clients[number] = self.client(self.mount_point(number))

    def unmount(self, number):
        """The client ends when nobody has a file open there."""
        with self.lock:
            return super().unmount(number)

    def opened(self, path):
        """On the mount of the node with the first right, which sees who has what open there."""
        at = self.mount_point(re.match(r"share(\d+)", path)[1])
        while True:
            # A directory that has just been made by another client may not be there yet.
            with self.lock, contextlib.suppress(OSError):
                if os.path.ismount(at):
                    return open(os.path.join(at, path), "wb")
            time.sleep(0.2)

    @classmethod
    def is_allowed(cls, scratch):
        return bool(shutil.which("glusterfs") and shutil.which("glusterfsd")) and os.path.exists("/dev/fuse") and super().is_allowed(scratch)

    def end(self):
        super().end()
        subprocess.run(["umount", "-l", self.top], capture_output=True)
        for process in (*self.clients.values(), self.server):
            process.kill()
            process.wait()
