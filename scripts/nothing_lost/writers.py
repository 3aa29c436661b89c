"""Writers that behave as ingest servers do, or worse: they grow files piece by piece and rename them, crash in the middle, return
and append, or overwrite a finished recording with another and restore its modification time."""

import os
import random
import threading
import time

import sources

PAUSE_S = 0.06


class Writer(threading.Thread):
    """A writer: writes one recording after the other until it is stopped."""

    def __init__(self, name, prove):
        super().__init__(daemon=True)
        self.name_, self.prove = name, prove
        self.random = random.Random(f"{prove.seed}/writer {name}")
        self.directory = os.path.join(prove.root, f"room{name}")
        self.finished = []  # Paths of recordings that may be overwritten.

    def run(self):
        while not self.prove.is_over.is_set():
            try:
                self.once()
            except OSError as error:
                # The root is not mounted, or the name was taken: the written bytes stay where they are.
                self.prove.tally.count(f"writer hindered: {type(error).__name__}")
            except Exception as error:
                return self.prove.fault(f"writer: {error!r}")
            self.prove.is_over.wait(self.random.uniform(0, 0.4))
        return None

    def once(self):
        kinds, often = list(sources.KINDS), [often for _, _, _, often in sources.KINDS.values()]
        self.write(self.prove.new_source(self.random.choices(kinds, often)[0]))
        if self.random.random() < 0.15:
            self.write_over()

    def write(self, source):
        suffix, extension = sources.KINDS[source.kind][1:3]
        final = os.path.join(self.directory, f"take{source.number}.{extension}")
        os.makedirs(self.directory, exist_ok=True)
        dies_at = self.random.uniform(0.1, 0.98) if self.random.random() < 0.15 else None
        if source.kind == "FLV, appended":
            return self.write_and_append(source, final)
        with open(source.path, "rb") as file:
            body = file.read()
        if dies_at:
            body = body[:int(len(body) * dies_at)]
        written = self.grow(final + suffix, body, "xb", self.prove.kept(source))
        if dies_at or written < len(body):
            self.prove.tally.count("writer died")
            return source.is_cut_at(written)
        source.is_complete()
        time.sleep(self.random.choice((0, 0, 0.01, 0.1, 0.5)))
        if suffix:
            os.rename(final + suffix, final)
        self.finished.append((final, source))
        return None

    def grow(self, path, body, mode, source):
        """Writes a file in pieces of random lengths; returns the number of bytes written."""
        written = 0
        try:
            with open(path, mode, buffering=0) as file:
                while written < len(body):
                    piece = self.random.randint(1, max(1, len(body) // 4))
                    written += file.write(body[written:written + piece])
                    time.sleep(self.random.uniform(0, PAUSE_S))
        except OSError:
            if not written:
                source.state = "not written"
                raise
        return written

    def write_and_append(self, source, final):
        """As nginx-rtmp with record_append: closes the file, and continues in it if it still exists."""
        again = self.prove.new_source(source.kind)
        with open(source.path, "rb") as file:
            body = file.read()
        written = self.grow(final, body, "xb", self.prove.kept(source))
        if written < len(body):
            return source.is_cut_at(written)
        source.is_complete()
        time.sleep(self.random.choice((0, 0.02, 0.1, 0.3, 1, 2)))
        tags = sources.tags_of(again.path, 5000)
        try:
            descriptor = os.open(final, os.O_WRONLY | os.O_APPEND)
        except FileNotFoundError:
            with open(again.path, "rb") as file:
                whole = file.read()
            written = self.grow(final, whole, "xb", self.prove.kept(again))
            if written < len(whole):
                return again.is_cut_at(written)
            return again.is_complete()
        # A file with appended data may be finished a second time, with its previous content.
        source.may_be_twice = again.may_be_twice = True
        self.prove.tally.count("writer appended")
        self.prove.kept(again).tags = tags
        with os.fdopen(descriptor, "ab", buffering=0) as file:
            for at in range(0, len(tags), 1 + len(tags) // 5):
                file.write(tags[at:at + 1 + len(tags) // 5])
                time.sleep(self.random.uniform(0, PAUSE_S))
        return again.is_complete()

    def write_over(self):
        """Replaces a finished recording with another of the same length and restores its modification time."""
        recent = [entry for entry in self.finished[-3:] if entry[1].kind == "MP4, header last"]
        if not recent:
            return
        path, before = self.random.choice(recent)
        self.finished.remove((path, before))
        source = self.prove.new_source("MP4, header last")
        try:
            descriptor = os.open(path, os.O_RDWR)
        except OSError:
            return
        with os.fdopen(descriptor, "r+b", buffering=0) as file:
            was = os.fstat(descriptor)
            if was.st_size < source.length + 8 or not sources.pad(source.path, was.st_size):
                return
            with open(source.path, "rb") as body:
                body = body.read()
            before.state = "overwritten"
            before.may_be_twice = source.may_be_twice = True
            self.prove.kept(source)
            file.write(body[:len(body) // 2])
            time.sleep(self.random.choice((0, 0, 0.05)))
            file.write(body[len(body) // 2:])
            os.ftruncate(descriptor, len(body))
            os.utime(descriptor, ns=(was.st_atime_ns, was.st_mtime_ns))
        self.prove.tally.count("writer wrote over with time put back")
        source.is_complete()
