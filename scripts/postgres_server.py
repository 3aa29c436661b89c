"""A PostgreSQL server for proofs and measurements."""

import glob
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import time

USER, PASSWORD = "aftercast", "prove"


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Server:
    """One server with a directory and a port of its own, as an unprivileged user."""

    def __init__(self, scratch, name):
        self.bin = max(glob.glob("/usr/lib/postgresql/*/bin"), default=None) or sys.exit("PostgreSQL is not installed")
        self.user = pwd.getpwnam("nobody") if os.geteuid() == 0 else None
        self.directory, self.port, self.process = os.path.join(scratch, name), free_port(), None
        self.data = os.path.join(self.directory, "data")
        self.clear()

    def clear(self):
        shutil.rmtree(self.directory, ignore_errors=True)
        os.makedirs(self.directory)
        if self.user:
            os.chown(self.directory, self.user.pw_uid, self.user.pw_gid)

    def as_user(self):
        """What has a program run as the user of the server."""
        return {"user": self.user.pw_uid, "group": self.user.pw_gid, "extra_groups": []} if self.user else {}

    def popen(self, program, *arguments):
        with open(os.path.join(os.path.dirname(self.directory), "postgres.log"), "ab") as log:
            return subprocess.Popen([os.path.join(self.bin, program), *arguments], cwd=self.directory, stdout=log, stderr=log,
                                    env={**os.environ, "PGPASSWORD": PASSWORD}, **self.as_user())

    def run(self, program, *arguments):
        if self.popen(program, *arguments).wait():
            raise RuntimeError(f"{program} failed; see postgres.log")

    def init(self):
        password = os.path.join(self.directory, "password")
        with open(password, "w") as file:
            file.write(PASSWORD)
        os.chmod(password, 0o644)
        self.run("initdb", "--auth=scram-sha-256", "--encoding=UTF8", "--locale=C", f"--username={USER}", f"--pwfile={password}", "-D", self.data)

    def follow(self, primary):
        """Becomes a standby of a primary, from a fresh copy of it."""
        self.clear()
        address = f"host=127.0.0.1 port={primary.port} user={USER} password={PASSWORD} application_name=standby"
        self.run("pg_basebackup", "-D", self.data, "-R", "-X", "stream", "-c", "fast", "-d", address)

    def start(self, *settings):
        options = [part for setting in (f"port={self.port}", "listen_addresses=127.0.0.1", f"unix_socket_directories={self.directory}", *settings)
                   for part in ("-c", setting)]
        self.process = self.popen("postgres", "-D", self.data, *options)
        while self.popen("pg_isready", "-q", "-h", "127.0.0.1", "-p", str(self.port)).wait():
            if self.process.poll() is not None:
                raise RuntimeError("PostgreSQL ended; see postgres.log")
            time.sleep(0.1)

    def stop_immediately(self):
        if self.process and self.process.poll() is None:
            self.process.send_signal(signal.SIGQUIT)
            self.process.wait()

    def sql(self, text):
        command = ["psql", "-XqAt", "-v", "ON_ERROR_STOP=1", "-h", "127.0.0.1", "-p", str(self.port), "-U", USER, "-d", "postgres", "-c", text]
        done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "PGPASSWORD": PASSWORD})
        if done.returncode:
            raise RuntimeError(done.stderr.strip())
        return done.stdout.strip()
