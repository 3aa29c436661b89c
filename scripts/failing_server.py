"""Servers that fail during bad phases in the ways of a real object store: errors, delays, and answers and connections that are lost."""

import os
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

FAILURES = ("500", "503 SlowDown", "dropped before", "dropped after", "500 after", "slow")


class FailingHandler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 60

    def log_message(self, *_):
        pass

    def answer(self, status, body=b"", headers=None, length=None):
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body) if length is None else length))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def refuse(self, status, code, headers=None):
        self.answer(status, f"<Error><Code>{code}</Code><Message>{code}</Message></Error>".encode(), headers)

    def drop(self):
        self.close_connection = True
        self.connection.shutdown(2)

    def body(self):
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def execute_or_fail(self, failing, share, name, execute):
        """Executes a request, which answers it, unless `failing` draws a failure; failures are counted under a name."""
        failure = failing.roulette(FAILURES, share)
        if failure:
            failing.tally.count(f"{name} {failure}")
        if failure == "500":
            return self.refuse(500, "InternalError")
        if failure == "503 SlowDown":
            return self.refuse(503, "SlowDown", {"Retry-After": "1"})
        if failure == "slow":
            time.sleep(failing.random.uniform(0.2, 1.5))
        if failure == "dropped before":
            return self.drop()
        if failure in ("dropped after", "500 after"):
            # The request is executed, but the answer is lost.
            written, self.wfile = self.wfile, open(os.devnull, "wb")
            execute()
            self.wfile.close()
            self.wfile = written
            return self.drop() if failure == "dropped after" else self.refuse(500, "InternalError")
        return execute()


class FailingServer(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request, client_address):
        pass
