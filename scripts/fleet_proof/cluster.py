"""PostgreSQL as a primary and its standby, and the relays through which the nodes reach them."""

import os
import select
import socket
import threading
import time

from postgres_server import Server


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
