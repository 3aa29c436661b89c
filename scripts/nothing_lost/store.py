"""A small S3 on loopback that, during bad phases, fails and gives false reports in every way that can be detected.

Otherwise it answers correctly (conditions, MD5 entity tags, multipart uploads, lists). It does not check signatures.
It keeps objects that it loses or replaces, with the time of its last true answer. This shows whether an object existed when
its local file was freed.
"""

import hashlib
import os
import random
import re
import threading
import time
import urllib.parse
import uuid
from email.utils import formatdate
from xml.sax.saxutils import escape

from failing_server import FailingHandler, FailingServer

LIES = ("stored nothing", "stored less", "stored other bytes")
SHARE_OF_FAILURES, SHARE_OF_LIES = 0.25, 0.12


class Held:
    """An object; its bytes are stored in a file."""

    def __init__(self, path, etag, headers, is_honest):
        self.path, self.etag, self.headers, self.is_honest = path, etag, headers, is_honest
        self.at, self.told_at, self.lost_at = time.time(), 0.0, None
        self.size = os.path.getsize(path)


class Store:
    """All objects and uploads, with their failures."""

    def __init__(self, directory, seed, tally):
        self.directory, self.tally = directory, tally
        os.makedirs(directory)
        self.random, self.lock = random.Random(f"{seed}/store"), threading.RLock()
        self.is_bad = False
        self.objects, self.uploads, self.lost = {}, {}, []

    def write(self, body):
        path = os.path.join(self.directory, uuid.uuid4().hex)
        with open(path, "wb") as file:
            file.write(body)
        return path

    def roulette(self, kinds, share):
        with self.lock:
            return self.random.choice(kinds) if self.is_bad and self.random.random() < share else None

    def lied(self, body):
        """The bytes that are stored for the bytes sent; None for none."""
        lie = self.roulette(LIES, SHARE_OF_LIES) if len(body) > 200 else None
        if lie:
            self.tally.count(f"store {lie}")
        if lie == "stored nothing":
            return None, True
        if lie == "stored less":
            return body[:-1 - len(body) // 7], True
        if lie == "stored other bytes":
            at = len(body) // 2
            return body[:at] + bytes([body[at] ^ 1]) + body[at + 1:], True
        return body, False

    def put(self, key, body, headers, only_new):
        """The entity tag of a correct store; None if the key is taken."""
        with self.lock:
            if only_new and key in self.objects:
                return None
            stored, is_lie = self.lied(body)
            if stored is not None:
                etag = hashlib.md5(stored).hexdigest()
                self.objects[key] = Held(self.write(stored), etag, headers, not is_lie)
            return hashlib.md5(body).hexdigest()

    def complete(self, key, upload, numbers, only_new):
        with self.lock:
            if only_new and key in self.objects:
                return None
            parts = [upload["parts"][number] for number in numbers]
            body = b"".join(open(path, "rb").read() for path, _, _ in parts)
            etag = hashlib.md5(b"".join(bytes.fromhex(etag) for _, etag, _ in parts)).hexdigest() + f"-{len(parts)}"
            self.objects[key] = Held(self.write(body), etag, upload["headers"], all(part[2] for part in parts))
            return etag

    def lose_one(self):
        """Loses or replaces an object, usually a recent one: it may be between its proof and the freeing."""
        with self.lock:
            there = [(key, held) for key, held in self.objects.items() if held.is_honest and "aftercast-" not in key]
            if not there:
                return
            there.sort(key=lambda entry: entry[1].at)
            key, held = self.random.choice(there[-3:] if self.random.random() < 0.8 else there)
            held.lost_at = time.time()
            self.lost.append((key, held))
            del self.objects[key]
            if self.random.random() < 0.5:
                self.tally.count("store lost an object later")
                return
            self.tally.count("store replaced an object later")
            with open(held.path, "rb") as file:
                body = bytes(byte ^ 0x55 for byte in file.read())
            self.objects[key] = Held(self.write(body), hashlib.md5(body).hexdigest(), held.headers, False)


class Handler(FailingHandler):
    def handle_one(self):
        store = self.server.store
        self.url = urllib.parse.urlsplit(self.path)
        self.query = dict(urllib.parse.parse_qsl(self.url.query, keep_blank_values=True))
        self.key = urllib.parse.unquote(self.url.path).lstrip("/").partition("/")[2]
        body = self.body()
        return self.execute_or_fail(store, SHARE_OF_FAILURES, "store", lambda: getattr(self, self.command.lower())(store, body))

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = handle_one

    def kept_headers(self):
        return {name: value for name, value in self.headers.items()
                if name.lower().startswith("x-amz-meta-") or name.lower() in ("content-type", "cache-control")}

    def put(self, store, body):
        if "partNumber" in self.query:
            with store.lock:
                upload = store.uploads.get(self.query["uploadId"])
                if upload is None:
                    return self.refuse(404, "NoSuchUpload")
                stored, is_lie = store.lied(body)
                etag = hashlib.md5(body).hexdigest()
                if stored is not None:
                    held = (store.write(stored), hashlib.md5(stored).hexdigest(), not is_lie)
                    upload["parts"][int(self.query["partNumber"])] = held
            return self.answer(200, headers={"ETag": f'"{etag}"'})
        if not self.key:
            return self.answer(200)
        etag = store.put(self.key, body, self.kept_headers(), self.headers.get("If-None-Match") == "*")
        if etag is None:
            return self.refuse(412, "PreconditionFailed")
        return self.answer(200, headers={"ETag": f'"{etag}"'})

    def post(self, store, body):
        if "uploads" in self.query:
            name = uuid.uuid4().hex
            with store.lock:
                store.uploads[name] = {"key": self.key, "headers": self.kept_headers(), "parts": {}}
            return self.answer(200, f"<InitiateMultipartUploadResult><Bucket>vods</Bucket><Key>{escape(self.key)}</Key>"
                               f"<UploadId>{name}</UploadId></InitiateMultipartUploadResult>".encode())
        if "delete" in self.query:
            keys = [key.decode() for key in re.findall(rb"<Key>(.*?)</Key>", body)]
            with store.lock:
                for key in keys:
                    store.objects.pop(key, None)
            deleted = "".join(f"<Deleted><Key>{escape(key)}</Key></Deleted>" for key in keys)
            return self.answer(200, f"<DeleteResult>{deleted}</DeleteResult>".encode())
        with store.lock:
            upload = store.uploads.get(self.query.get("uploadId"))
            if upload is None:
                return self.refuse(404, "NoSuchUpload")
            numbers = [int(number) for number in re.findall(rb"<PartNumber>(\d+)</PartNumber>", body)]
            if any(number not in upload["parts"] for number in numbers):
                return self.refuse(400, "InvalidPart")
            etag = store.complete(self.key, upload, numbers, self.headers.get("If-None-Match") == "*")
            if etag is None:
                return self.refuse(412, "PreconditionFailed")
            del store.uploads[self.query["uploadId"]]
        return self.answer(200, f"<CompleteMultipartUploadResult><Bucket>vods</Bucket><Key>{escape(self.key)}</Key>"
                           f"<ETag>&quot;{etag}&quot;</ETag></CompleteMultipartUploadResult>".encode())

    def delete(self, store, _body):
        with store.lock:
            if "uploadId" in self.query:
                store.uploads.pop(self.query["uploadId"], None)
            else:
                store.objects.pop(self.key, None)
        self.answer(204)

    def head(self, store, _body):
        self.get(store, _body)

    def get(self, store, _body):
        if not self.key:
            return self.listing(store)
        if "uploadId" in self.query:
            return self.parts(store)
        with store.lock:
            held = store.objects.get(self.key)
            if held is None:
                return self.refuse(404, "NoSuchKey")
            held.told_at = time.time()
        headers = {**held.headers, "ETag": f'"{held.etag}"', "Last-Modified": formatdate(held.at, usegmt=True),
                   "Accept-Ranges": "bytes"}
        if self.command == "HEAD":
            return self.answer(200, headers=headers, length=held.size)
        with open(held.path, "rb") as file:
            body = file.read()
        asked = re.match(r"bytes=(\d+)-(\d*)$", self.headers.get("Range") or "")
        if asked is None:
            return self.answer(200, body, headers)
        first, last = int(asked[1]), min(int(asked[2] or held.size), held.size - 1)
        headers["Content-Range"] = f"bytes {first}-{last}/{held.size}"
        return self.answer(206, body[first:last + 1], headers)

    def parts(self, store):
        with store.lock:
            upload = store.uploads.get(self.query["uploadId"])
            if upload is None:
                return self.refuse(404, "NoSuchUpload")
            parts = "".join(f"<Part><PartNumber>{number}</PartNumber><ETag>&quot;{etag}&quot;</ETag>"
                            f"<Size>{os.path.getsize(path)}</Size></Part>"
                            for number, (path, etag, _) in sorted(upload["parts"].items()))
        return self.answer(200, f"<ListPartsResult><IsTruncated>false</IsTruncated>{parts}</ListPartsResult>".encode())

    def listing(self, store):
        prefix = self.query.get("prefix", "")
        with store.lock:
            if "uploads" in self.query:
                open_uploads = "".join(f"<Upload><Key>{escape(upload['key'])}</Key><UploadId>{name}</UploadId></Upload>"
                                       for name, upload in store.uploads.items() if upload["key"].startswith(prefix))
                return self.answer(200, f"<ListMultipartUploadsResult><IsTruncated>false</IsTruncated>{open_uploads}"
                                   "</ListMultipartUploadsResult>".encode())
            there = "".join(f"<Contents><Key>{escape(key)}</Key><LastModified>2026-01-01T00:00:00.000Z</LastModified>"
                            f"<ETag>&quot;{held.etag}&quot;</ETag><Size>{held.size}</Size></Contents>"
                            for key, held in sorted(store.objects.items()) if key.startswith(prefix))
        return self.answer(200, f"<ListBucketResult><IsTruncated>false</IsTruncated>{there}</ListBucketResult>".encode())


def serve(store, host="127.0.0.1"):
    """Serves a store; returns its address on loopback."""
    server = FailingServer((host, 0), Handler)
    server.store = store
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return f"http://127.0.0.1:{server.server_address[1]}"
