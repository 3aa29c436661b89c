"""The attacks on the program and its root while recordings are written: kills, failing calls, other processes, unmounts."""

import json
import os
import random
import signal
import subprocess
import threading
import time

CONFIG = """state_dir = "{state}"
[watch]
roots = ["{root}"]
settle = "0s"
quiet = "1s"
orphan_grace = "2s"
orphan_after = "20s"
rescan = "1s"
[finish]
splice = "{splice}"
jobs = 2
[[deliver.target]]
name = "store"
url = "s3://vods/streams"
endpoint = "{endpoint}"
part_size = "5MiB"
stall_timeout = "3s"
[retain]
delete_local = "{delete_local}"
"""


class Program:
    """The binary with one state directory and configuration."""

    def __init__(self, prove, name, has_config=True):
        self.prove, self.has_config = prove, has_config
        self.directory = os.path.join(prove.scratch, name)
        os.makedirs(self.directory)
        self.config = os.path.join(self.directory, "config.toml")
        self.log = os.path.join(self.directory, "log")
        open(self.log, "w").close()
        if has_config:
            self.configure("auto", "delivered")

    def configure(self, splice, delete_local):
        with open(self.config, "w") as file:
            file.write(CONFIG.format(state=os.path.join(self.directory, "state"), root=self.prove.root, splice=splice,
                                     endpoint=self.prove.endpoint, delete_local=delete_local))

    def environment(self, more=None):
        # Settings of the user who runs this must not have an effect.
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("AFTERCAST_", "AWS_"))}
        return {**kept, "AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_REGION": "us-east-1", "TZ": "UTC",
                "HOME": self.directory, "XDG_STATE_HOME": self.directory, "RUST_BACKTRACE": "1", **(more or {})}

    def start(self, arguments, more=None, around=()):
        command = [*around, self.prove.binary, *(["--config", self.config] if self.has_config else []), *arguments]
        with open(self.log, "ab") as log:
            log.write(f"\n===== {time.time():.3f} {' '.join(command)} {more or ''}\n".encode())
            log.flush()
            process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self.directory,
                                       env=self.environment(more))
        self.prove.processes.append(process)
        return process

    def rebuild(self):
        """Rebuilds the catalogue, as the program advises, if failing writes have damaged it; returns whether that was needed."""
        with open(self.log, "rb") as log:
            log.seek(max(0, os.path.getsize(self.log) - 2000))
            said = log.read().rpartition(b"=====")[2]
        if b"is damaged" not in said:
            return False
        began = time.time()
        if self.ask("catalog", "rebuild") is None:
            self.prove.fault("catalog rebuild failed")
        self.prove.tally.count("catalogue damaged by failing calls, rebuilt")
        # The journal is lost, as if another state directory had taken over.
        self.prove.takeovers.append((began - 15, time.time() + 5))
        return True

    def ask(self, *arguments, timeout=120):
        """The output of a command; empty if it fails."""
        try:
            done = subprocess.run([self.prove.binary, "--config", self.config, *arguments], capture_output=True, text=True,
                                  timeout=timeout, env=self.environment(), cwd=self.directory)
        except subprocess.TimeoutExpired:
            return None
        return done.stdout if done.returncode == 0 else None


def end(process, prove, name, kind):
    """Ends a process by a signal. A SIGTERM without effect is noted and followed by SIGKILL."""
    if process.poll() is not None:
        return
    process.send_signal(kind)
    try:
        process.wait(timeout=30)
    except subprocess.TimeoutExpired:
        prove.note(f"{name} did not end within 30 s of SIGTERM")
        process.kill()
        process.wait()


class Attack(threading.Thread):
    """An attack that is repeated until the time is over."""

    def __init__(self, prove):
        super().__init__(daemon=True)
        self.prove = prove
        self.random = random.Random(f"{prove.seed}/{type(self).__name__}")

    def run(self):
        while not self.prove.is_over.is_set():
            try:
                self.once()
            except Exception as error:  # An error of the test itself must not look like a run without attacks.
                self.prove.fault(f"{type(self).__name__}: {error!r}")
                return

    def pause(self, shortest, longest):
        self.prove.is_over.wait(self.random.uniform(shortest, longest))


class Kills(Attack):
    """The daemon, started repeatedly and ended at random moments and after random operations, with failing calls."""

    def once(self):
        prove, program, choose = self.prove, self.prove.daemon, self.random
        program.configure(choose.choice(("auto", "insert_range", "copy_range", "copy")),
                          choose.choice(("delivered", "delivered", "2s", "6s")))
        more, around = {}, ()
        how = choose.choices(("SIGKILL", "SIGTERM", "operation"), (5, 2, 3))[0]
        if how == "operation":
            more["AFTERCAST_KILL_AFTER"] = str(int(2 ** choose.uniform(0, 9)))
        if prove.inject and choose.random() < 0.5:
            where = choose.choice((prove.root, prove.root, os.path.join(program.directory, "state"),
                                   f"{prove.root}:{os.path.join(program.directory, 'state')}"))
            # A database with failing writes is soon damaged and then rebuilt; this should not happen in every run.
            rate = choose.choice((20, 60, 200) if where == prove.root else (200, 1000))
            around = (prove.inject, str(rate), str(choose.getrandbits(32)), prove.injected, where, "--")
        process = program.start(["watch"], more=more, around=around)
        life_s = choose.choice((choose.uniform(0.1, 2), choose.uniform(2, 15)))
        deadline = time.monotonic() + (15 if how == "operation" else life_s)
        while time.monotonic() < deadline and process.poll() is None and not prove.is_over.is_set():
            time.sleep(0.02)
        code = process.poll()
        if code is None and not prove.is_over.is_set():
            prove.tally.count("SIGTERM" if how == "SIGTERM" else "SIGKILL")
        elif code == -signal.SIGKILL:
            prove.tally.count("SIGKILL after an operation")
        elif code is not None:
            prove.tally.count(f"daemon ended by itself, exit code {code}")
            program.rebuild()
        end(process, prove, "watch", signal.SIGTERM if how == "SIGTERM" or prove.is_over.is_set() else signal.SIGKILL)
        self.pause(0, 1.5)


class Others(Attack):
    """A second daemon with its own state directory, and commands without any configuration."""

    def once(self):
        prove, choose = self.prove, self.random
        # At times the daemon runs alone for long enough that it must have caused any duplicate itself.
        self.pause(*choose.choice(((1, 8), (1, 8), (20, 40))))
        if prove.is_over.is_set():
            return
        kind = choose.choice(("watch", "recover", "process"))
        if kind == "watch":
            prove.second.configure(choose.choice(("auto", "insert_range", "copy")), "delivered")
            process = prove.second.start(["watch"])
        else:
            process = prove.typed.start([kind, prove.root])
        prove.tally.count(f"second process: {kind}")
        deadline = time.monotonic() + choose.uniform(0.3, 12)
        owned = []
        while time.monotonic() < deadline and process.poll() is None:
            if self.owner() == process.pid:
                owned.append(time.time())
            time.sleep(0.02)
        if owned:
            prove.tally.count(f"second process: {kind}, took the root over")
            prove.takeovers.append((owned[0] - 1, time.time() + 1))
        if process.poll() is None:
            prove.tally.count(f"second process: {kind}, killed")
        else:
            prove.tally.count(f"second process: {kind}, exit code {process.returncode}")
        end(process, prove, kind, signal.SIGKILL)


    def owner(self):
        """The process that owns the root."""
        try:
            with open(os.path.join(self.prove.root, ".aftercast-root")) as file:
                return json.load(file).get("pid")
        except (OSError, ValueError):
            return None


class Unmounts(Attack):
    """Unmounts the root's disk while all processes use it, and mounts it again."""

    def once(self):
        self.pause(8, 25)
        if self.prove.is_over.is_set():
            return
        self.prove.disk.unmount()
        self.prove.tally.count("umount -l and mount")
        self.pause(0.2, 4)
        self.prove.disk.mount()


class Weather(Attack):
    """The store alternates between failures or false reports and correct answers. Sometimes it loses an object."""

    def once(self):
        self.prove.store.is_bad = self.random.random() < 0.6
        until = time.monotonic() + self.random.uniform(2, 10)
        while time.monotonic() < until and not self.prove.is_over.is_set():
            self.pause(1, 4)
            if self.random.random() < 0.3 and not self.prove.is_over.is_set():
                self.prove.store.lose_one()


class Disk:
    """A separate ext4 for the root, on a loop device; without root privileges a plain directory."""

    def __init__(self, scratch, root):
        self.root, self.loop = root, None
        os.makedirs(root)
        image = os.path.join(scratch, "disk.img")
        try:
            if os.geteuid() != 0:
                raise PermissionError("needs root for loop devices")
            with open(image, "wb") as file:
                file.truncate(4 << 30)
            self.call("mkfs.ext4", "-q", "-F", image)
            # The same device every time, so that files still open after `umount -l` are in the file system that is mounted next.
            self.loop = self.call("losetup", "--find", "--show", image).strip()
            self.mount()
            self.why_not = None
        except (OSError, subprocess.CalledProcessError) as error:
            self.detach()
            self.why_not = str(getattr(error, "stderr", None) or error).strip()

    @staticmethod
    def call(*command):
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout

    def mount(self):
        self.call("mount", self.loop, self.root)

    def unmount(self):
        self.call("umount", "-l", self.root)

    def detach(self):
        if self.loop:
            subprocess.run(["umount", "-l", self.root], capture_output=True)
            subprocess.run(["losetup", "-d", self.loop], capture_output=True)
            self.loop = None
