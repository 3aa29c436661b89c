"""PostgreSQL as a primary and its standby, and the relays through which the nodes reach them."""

import glob
import os
import pwd
import select
import shutil
import signal
import socket
import subprocess
import threading
import time

USER, PASSWORD = "aftercast", "prove"


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Server:
    """One server with a directory and a port of its own, as an unprivileged user."""

    def __init__(self, scratch, name):
        self.bin = max(glob.glob("/usr/lib/postgresql/*/bin"))
        self.user = pwd.getpwnam("nobody") if os.geteuid() == 0 else None
        self.directory, self.port, self.process = os.path.join(scratch, name), free_port(), None
        self.data = os.path.join(self.directory, "data")
        self.clear()

    def clear(self):
        shutil.rmtree(self.directory, ignore_errors=True)
        os.makedirs(self.directory)
        if self.user:
            os.chown(self.directory, self.user.pw_uid, self.user.pw_gid)

    def popen(self, program, *arguments):
        as_user = {"user": self.user.pw_uid, "group": self.user.pw_gid, "extra_groups": []} if self.user else {}
        with open(os.path.join(os.path.dirname(self.directory), "postgres.log"), "ab") as log:
            return subprocess.Popen([os.path.join(self.bin, program), *arguments], cwd=self.directory, stdout=log, stderr=log,
                                    env={**os.environ, "PGPASSWORD": PASSWORD}, **as_user)

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


class Cluster:
    """A primary and a standby, which may take each other's place."""

    def __init__(self, scratch, is_synchronous):
        self.lock, self.is_synchronous = threading.RLock(), is_synchronous
        self.primary, self.standby = Server(scratch, "one"), Server(scratch, "two")
        self.servers = (self.primary, self.standby)
        self.primary.init()
        with open(os.path.join(self.primary.data, "pg_hba.conf"), "a") as file:
            file.write("host replication all 127.0.0.1/32 scram-sha-256\n")
        self.primary.start()
        self.attach()

    def attach(self):
        """Adds a standby to the primary; a synchronous one confirms each transaction."""
        self.standby.follow(self.primary)
        self.standby.start()
        if self.is_synchronous:
            self.primary.sql("ALTER SYSTEM SET synchronous_standby_names = 'standby'")
            self.primary.sql("SELECT pg_reload_conf()")

    def crash(self):
        with self.lock:
            self.primary.stop_immediately()
            time.sleep(2)
            self.primary.start()

    def fail_over(self):
        """The primary is lost with its disk, the standby takes over, and a new standby is made."""
        with self.lock:
            self.primary.stop_immediately()
            self.primary, self.standby = self.standby, self.primary
            # What the old primary demanded is in the copy, too.
            self.primary.run("pg_ctl", "promote", "-D", self.primary.data)
            if self.is_synchronous:
                self.primary.sql("ALTER SYSTEM RESET synchronous_standby_names")
                self.primary.sql("SELECT pg_reload_conf()")
            self.attach()

    def sql(self, text):
        with self.lock:
            return self.primary.sql(text)

    def end(self):
        for server in self.servers:
            server.stop_immediately()


class Relay:
    """Forwards connections; while it is cut, nothing arrives and nobody is told."""

    def __init__(self, to):
        self.to, self.is_cut = to, threading.Event()
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            client, _ = self.listener.accept()
            threading.Thread(target=self.serve, args=(client,), daemon=True).start()

    def serve(self, client):
        try:
            with client:
                while self.is_cut.is_set():
                    time.sleep(0.2)
                with socket.create_connection(("127.0.0.1", self.to)) as server:
                    self.forward(client, server)
        except OSError:  # Either side has gone.
            pass

    def forward(self, client, server):
        other = {client: server, server: client}
        while True:
            if self.is_cut.is_set():
                time.sleep(0.2)
                continue
            for source in select.select(list(other), [], [], 0.2)[0]:
                data = source.recv(1 << 16)
                if not data:
                    return
                while self.is_cut.is_set():
                    time.sleep(0.2)
                other[source].sendall(data)
