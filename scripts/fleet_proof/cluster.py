"""PostgreSQL as a primary and its standby, and what is between them and the nodes: poolers and relays."""

import os
import select
import shutil
import signal
import socket
import subprocess
import threading
import time

import postgres_server
from postgres_server import Server

POOLER = """[databases]
* = host=127.0.0.1 port={server}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = scram-sha-256
auth_file = {users}
pool_mode = transaction
default_pool_size = 4
server_login_retry = 1
max_client_conn = 500
"""


class Cluster:
    """A primary and a standby, which may take each other's place. The kind of each standby is drawn from `standbys`: `synchronous`
    confirms each transaction, `asynchronous` does not, and `lagging` lacks the last seconds when it takes over."""

    def __init__(self, scratch, standbys, random):
        self.lock, self.standbys, self.random = threading.RLock(), standbys, random
        self.primary, self.standby = Server(scratch, "one"), Server(scratch, "two")
        self.servers = (self.primary, self.standby)
        self.primary.init()
        with open(os.path.join(self.primary.data, "pg_hba.conf"), "a") as file:
            file.write("host replication all 127.0.0.1/32 scram-sha-256\n")
        self.primary.start()
        self.attach()

    def attach(self):
        """Adds a standby to the primary; a synchronous one confirms each transaction."""
        self.kind = self.random.choice(self.standbys)
        self.standby.follow(self.primary)
        self.standby.start()
        if self.kind == "synchronous":
            self.primary.sql("ALTER SYSTEM SET synchronous_standby_names = 'standby'")
            self.primary.sql("SELECT pg_reload_conf()")

    def crash(self):
        with self.lock:
            self.primary.stop_immediately()
            time.sleep(2)
            self.primary.start()

    def fail_over(self):
        """The primary is lost with its disk, the standby takes over, and a new standby is made. Says of which kind the
        old one was. A standby that lags lacks some seconds."""
        with self.lock:
            kind, receivers = self.kind, self.receivers() if self.kind == "lagging" else []
            self.signal(receivers, signal.SIGSTOP)
            time.sleep(self.random.uniform(1, 4) if receivers else 0)
            self.primary.stop_immediately()
            # It ends before it reads what has arrived meanwhile.
            self.signal(receivers, signal.SIGTERM)
            self.signal(receivers, signal.SIGCONT)
            self.primary, self.standby = self.standby, self.primary
            # What the old primary demanded is in the copy, too.
            self.primary.run("pg_ctl", "promote", "-D", self.primary.data)
            self.primary.sql("ALTER SYSTEM RESET synchronous_standby_names")
            self.primary.sql("SELECT pg_reload_conf()")
            self.attach()
        return kind

    def receivers(self):
        """Processes of the standby that receive what the primary writes."""
        command = ["pgrep", "-P", str(self.standby.process.pid), "-f", "walreceiver"]
        return [int(pid) for pid in subprocess.run(command, capture_output=True, text=True).stdout.split()]

    @staticmethod
    def signal(processes, kind):
        for process in processes:
            os.kill(process, kind)

    def sql(self, text):
        with self.lock:
            return self.primary.sql(text)

    def end(self):
        for server in self.servers:
            server.stop_immediately()


class Pooler:
    """pgbouncer before one server: it pools transactions."""

    PROGRAM = shutil.which("pgbouncer", path=os.environ.get("PATH", "") + ":/usr/sbin")

    def __init__(self, scratch, server):
        self.port = postgres_server.free_port()
        directory = os.path.join(scratch, f"pooler-{self.port}")
        os.makedirs(directory)
        users, config = os.path.join(directory, "users"), os.path.join(directory, "pgbouncer.ini")
        with open(users, "w") as file:
            file.write(f'"{postgres_server.USER}" "{postgres_server.PASSWORD}"\n')
        with open(config, "w") as file:
            file.write(POOLER.format(server=server.port, port=self.port, users=users))
        with open(os.path.join(directory, "log"), "wb") as log:
            self.process = subprocess.Popen([self.PROGRAM, config], cwd=directory, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                            **server.as_user())

    def end(self):
        self.process.kill()
        self.process.wait()


class Relay:
    """Forwards connections; while it is cut, nothing arrives and nobody is told."""

    def __init__(self, to, host):
        self.to, self.is_cut = to, threading.Event()
        self.listener = socket.create_server((host, 0))
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
