"""The way to a real store, on which requests fail in bad phases."""

import http.client
import threading

from failing_server import FailingHandler, FailingServer

DROPPED = ("connection", "keep-alive", "transfer-encoding", "content-length", "server", "date")


class Handler(FailingHandler):
    def pass_on(self, body):
        """Answers as the store does."""
        try:
            status, headers, read, length = self.forwarded(body)
        except OSError:
            return self.drop()
        self.send_response_only(status)
        for name, value in headers:
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(read) if length is None else length))
        self.end_headers()
        self.wfile.write(read)

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
        body = self.body()
        return self.execute_or_fail(self.server.failing, self.server.share, "bucket", lambda: self.pass_on(body))

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = handle_one


def serve(host, to, failing, share):
    """Serves the store at a port of loopback through failures, which are drawn from `failing`. Returns the port."""
    server = FailingServer((host, 0), Handler)
    server.to, server.failing, server.share = to, failing, share
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server.server_address[1]
