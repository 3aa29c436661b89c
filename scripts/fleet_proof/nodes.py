"""The nodes: daemons that share directories, and workers that take recordings of a bucket."""

import os
import signal
import subprocess
import threading

import cluster
import postgres_server

DAEMON = """state_dir = "{state}"
[watch]
settle = "0s"
quiet = "2s"
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

    def __init__(self, prove, name, config, command):
        self.prove, self.name, self.command = prove, name, command
        self.directory = os.path.join(prove.scratch, name)
        os.makedirs(self.directory)
        self.relays = [cluster.Relay(server.port) for server in prove.cluster.servers]
        hosts = ",".join(f"127.0.0.1:{relay.port}" for relay in self.relays)
        password = os.path.join(self.directory, "password")
        with open(password, "w") as file:
            file.write(postgres_server.PASSWORD)
        os.chmod(password, 0o600)
        database = f"postgres://{postgres_server.USER}@{hosts}/postgres?target_session_attrs=read-write"
        self.config = os.path.join(self.directory, "config.toml")
        with open(self.config, "w") as file:
            file.write(config(self.directory, database=database, password=password, name=name, state=os.path.join(self.directory, "state")))
        self.log, self.process, self.lock = os.path.join(self.directory, "log"), None, threading.Lock()
        self.environment = {}

    def around(self):
        """What runs the program: nothing, or a program that shows it another time."""
        return []

    def start(self):
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("AFTERCAST_", "AWS_"))}
        environment = {**kept, "AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_REGION": "us-east-1", "TZ": "UTC",
                       "HOME": self.directory, "RUST_BACKTRACE": "1", **self.prove.bucket_environment, **self.environment}
        with self.lock, open(self.log, "ab") as log:
            self.process = subprocess.Popen([self.prove.binary, "--config", self.config, *self.command], stdin=subprocess.DEVNULL, stdout=log,
                                            stderr=log, cwd=self.directory, env=environment)

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
        for relay in self.relays:
            (relay.is_cut.set if is_cut else relay.is_cut.clear)()

    def ask(self, *arguments, timeout=120):
        """What a command says; nothing if it fails."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("AFTERCAST_", "AWS_"))}
        try:
            done = subprocess.run([self.prove.binary, "--config", self.config, *arguments], capture_output=True, text=True, timeout=timeout,
                                  env={**kept, **self.prove.bucket_environment}, cwd=self.directory)
        except subprocess.TimeoutExpired:
            return None
        return done.stdout if done.returncode == 0 else None


def daemon(prove, number):
    """A node that shares all directories; the first of each has the first right there."""

    def config(directory, **more):
        roots = []
        for n, path in enumerate(prove.roots_of(number)):
            roots.append(ROOT.format(path=path, more="first_right = true\n" if n == number else ""))
        return DAEMON.format(roots="".join(roots), endpoint=prove.endpoint, **more)

    return Node(prove, f"node{number}", config, ["watch"])


def worker(prove, number):
    return Node(prove, f"worker{number}", lambda directory, **more: WORKER.format(**more), ["work"])
