"""The way to a real store, on which three in ten requests fail in bad phases: in the ways of nothing_lost/store.py, without its lies."""

import http.client
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

DROPPED = ("connection", "keep-alive", "transfer-encoding", "content-length", "server", "date")


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 60

    def log_message(self, *_):
        pass

    def answer(self, status, headers, body, length=None):
        self.send_response_only(status)
        for name, value in headers:
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body) if length is None else length))
        self.end_headers()
        self.wfile.write(body)

    def refuse(self, status, code, *headers):
        body = b"" if self.command == "HEAD" else f"<Error><Code>{code}</Code><Message>{code}</Message></Error>".encode()
        self.answer(status, headers, body)

    def drop(self):
        self.close_connection = True
        self.connection.shutdown(2)

    def forwarded(self, body):
        """The answer of the store. The signature covers the name by which the client calls it."""
        store = http.client.HTTPConnection("127.0.0.1", self.server.to, timeout=60)
        try:
            store.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
            for name, value in self.headers.items():
                store.putheader(name, value)
            store.endheaders(body)
            answer = store.getresponse()
            read = answer.read()
            headers = [(name, value) for name, value in answer.getheaders() if name.lower() not in DROPPED]
            length = answer.getheader("Content-Length") if self.command == "HEAD" else None
            return answer.status, [*headers, ("Date", answer.getheader("Date") or self.date_time_string())], read, length
        finally:
            store.close()

    def handle_one(self):
        failing, body = self.server.failing, self.rfile.read(int(self.headers.get("Content-Length") or 0))
        failure = failing.roulette(self.server.kinds, self.server.share)
        if failure:
            failing.tally.count(f"bucket {failure}")
        if failure == "500":
            return self.refuse(500, "InternalError")
        if failure == "503 SlowDown":
            return self.refuse(503, "SlowDown", ("Retry-After", "1"))
        if failure == "dropped before":
            return self.drop()
        if failure == "slow":
            time.sleep(failing.random.uniform(0.2, 1.5))
        try:
            answer = self.forwarded(body)
        except OSError:
            return self.drop()
        if failure == "dropped after":
            return self.drop()
        if failure == "500 after":
            return self.refuse(500, "InternalError")
        return self.answer(*answer)

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = handle_one


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request, client_address):
        pass


def serve(host, to, failing, kinds, share):
    """Serves the store at a port of loopback through failures, which are drawn from `failing`. Returns the port."""
    server = Server((host, 0), Handler)
    server.to, server.failing, server.kinds, server.share = to, failing, kinds, share
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server.server_address[1]
