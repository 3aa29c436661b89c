"""The nodes: daemons that share directories, and workers that take recordings of a bucket."""

import glob
import os
import signal
import subprocess
import threading

import cluster
import network
import postgres_server

CLOCKS = glob.glob("/usr/lib/*/faketime/libfaketimeMT.so.1")
# The wall clock alone: the monotonic one is set by nobody, and times of files are those of the disk.
HOUR_AHEAD = {"LD_PRELOAD": CLOCKS[0] if CLOCKS else "", "FAKETIME": "+1h", "FAKETIME_DONT_FAKE_MONOTONIC": "1", "NO_FAKE_STAT": "1"}

DAEMON = """state_dir = "{state}"
[watch]
settle = "2s"
quiet = "4s"
orphan_grace = "2s"
orphan_after = "10s"
rescan = "3s"
{roots}
[finish]
jobs = 2
[fleet]
database = "{database}"
password_file = "{password}"
name = "{name}"
[[deliver.target]]
name = "store"
url = "s3://vods/streams"
endpoint = "{endpoint}"
stall_timeout = "5s"
[retain]
delete_local = "delivered"
[pictures]
poster = false
"""
ROOT = '[[watch.root]]\npath = "{path}"\nshared = true\n{more}'
WORKER = """state_dir = "{state}"
[fleet]
database = "{database}"
password_file = "{password}"
name = "{name}"
[pictures]
poster = false
"""


class Node:
    """A process that is started again whenever it ends."""

    def __init__(self, prove, number, name, config, command):
        self.prove, self.name, self.command = prove, name, command
        self.directory = os.path.join(prove.scratch, name)
        os.makedirs(self.directory)
        self.network = network.Network(number) if network.is_isolated() else None
        self.host = self.network.address if self.network else "127.0.0.1"
        # Half of the nodes reach the servers through poolers.
        self.relays = [cluster.Relay(way.port, self.host) for way in (prove.cluster.servers, prove.poolers)[number % 2]]
        hosts = ",".join(f"{self.host}:{relay.port}" for relay in self.relays)
        password = os.path.join(self.directory, "password")
        with open(password, "w") as file:
            file.write(postgres_server.PASSWORD)
        os.chmod(password, 0o600)
        database = f"postgres://{postgres_server.USER}@{hosts}/postgres?target_session_attrs=read-write&sslmode=disable"
        self.config = os.path.join(self.directory, "config.toml")
        with open(self.config, "w") as file:
            file.write(config(database=database, password=password, name=name, state=os.path.join(self.directory, "state"), host=self.host))
        self.log, self.process, self.lock = os.path.join(self.directory, "log"), None, threading.Lock()
        self.clock = {}

    def around(self):
        """What runs the program: each becomes the next one."""
        without_leases = ["setpriv", "--bounding-set=-lease", "--inh-caps=-lease"] if self.prove.are_leases_denied else []
        return [*(self.network.around() if self.network else []), *without_leases]

    def environment(self):
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("AFTERCAST_", "AWS_"))}
        return {**kept, **self.prove.bucket_environment(self.host), "TZ": "UTC", "HOME": self.directory, "RUST_BACKTRACE": "1"}

    def start(self):
        with self.lock, open(self.log, "ab") as log:
            command = [*self.around(), self.prove.binary, "--config", self.config, *self.command]
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self.directory,
                                            env={**self.environment(), **self.clock})

    def start_if_ended(self):
        """Starts it again; what it was ended by."""
        code = self.process.poll()
        if code is not None:
            self.start()
        return code

    def send(self, kind):
        if self.process.poll() is None:
            self.process.send_signal(kind)

    def end(self, kind=signal.SIGTERM):
        self.send(signal.SIGCONT)
        self.send(kind)
        try:
            self.process.wait(timeout=60)
        except subprocess.TimeoutExpired:
            self.prove.fault(f"{self.name} did not end within 60 s")
            self.process.kill()
            self.process.wait()

    def cut(self, is_cut):
        """Nothing passes between the node and the database."""
        for relay in self.relays:
            (relay.is_cut.set if is_cut else relay.is_cut.clear)()

    def ask(self, *arguments, timeout=120):
        """What a command says; nothing if it fails."""
        try:
            done = subprocess.run([self.prove.binary, "--config", self.config, *arguments], capture_output=True, text=True, timeout=timeout,
                                  env=self.environment(), cwd=self.directory)
        except subprocess.TimeoutExpired:
            return None
        return done.stdout if done.returncode == 0 else None


def daemon(prove, number):
    """A node that shares all directories; the first of each has the first right there."""

    def config(host, **more):
        roots = []
        for n, path in enumerate(prove.shares.of_node(number)):
            roots.append(ROOT.format(path=path, more="first_right = true\n" if n == number else ""))
        return DAEMON.format(roots="".join(roots), endpoint=f"http://{host}:{prove.store_port}", **more)

    return Node(prove, number, f"node{number}", config, ["watch"])


def worker(prove, number):
    return Node(prove, prove.options.nodes + number, f"worker{number}", lambda host, **more: WORKER.format(**more), ["work"])
