"""The final account: the place of every packet of every recording."""

import json
import os
import re
from collections import Counter, defaultdict
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime

import sources

# In a finished file or object; its bytes are kept as written (cut, quarantined, or in the mount point while no file system was
# mounted), or behind another recording in a file to which it was appended; lost by the store after a true proof; duplicated
# because another state directory took over the root or the catalogue was rebuilt; and the errors.
VERDICTS = ("written", "finished", "as it was written", "inside another", "lied after proof", "twice after a takeover",
            "left unfinished", "lost", "twice")
WRONG = ("left unfinished", "lost", "twice")


FRESH_S = 65  # A permit needs an answer of the store that is younger than 60 s.


def read(lines):
    return [json.loads(line) for line in (lines or "").splitlines()]


class Account:
    """The content of disk, store and catalogue, by packets."""

    def __init__(self, prove, directories):
        self.prove = prove
        paths = [os.path.join(parent, name) for directory in directories for parent, _, names in os.walk(directory)
                 for name in names if name != ".aftercast-root"]
        media = {key: held for key, held in prove.store.objects.items()
                 if held.is_honest and not key.endswith((".png", ".jpg", ".jpeg"))}
        self.digests = {sources.digest_of(path): path for path in paths}
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            self.by_path = dict(zip(paths, pool.map(sources.packets, paths)))
            self.by_key = dict(zip(media, pool.map(sources.packets, [held.path for held in media.values()])))
            lost = pool.map(sources.packets, [held.path for _, held in prove.store.lost])
            self.lost_by_store = [(key, held, packets) for (key, held), packets in zip(prove.store.lost, lost)]
        self.vods, others = (read(prove.vods(program)) for program in (prove.daemon, prove.second))
        self.freed_s = defaultdict(list)
        for vod in [*self.vods, *others]:
            for remote in vod.get("remote", []):
                self.freed_s[remote["key"]] += [vod["freedAt"] / 1000] if vod.get("freedAt") else []
        for program in (prove.daemon, prove.second):
            self.read_log(program.log)
        self.known_failures = {row["path"] for row in prove.queue if row.get("state") in ("failed", "quarantined")}
        originals = {vod.get("originalPath") for vod in self.vods}
        self.finished = {path: held for path, held in self.by_path.items() if self.is_finished(path) and path not in originals}

    def read_log(self, path):
        """A rebuilt catalogue no longer knows which files were freed; the log does."""
        keys = {}
        with open(path, errors="replace") as log:
            for line in log:
                told = re.search(r'vod_id="(\w+)"', line)
                place = re.search(rf" path={re.escape(self.prove.root)}/(\S+)", line)
                if told and place:
                    keys[told[1]] = f"streams/{place[1]}"
                elif told and " freed; " in line and told[1] in keys:
                    self.freed_s[keys[told[1]]].append(datetime.fromisoformat(line.split()[0].replace("Z", "+00:00")).timestamp())

    def is_finished(self, path):
        return path.endswith((".mp4", ".webm", ".mkv", ".mov")) and not os.path.basename(path).startswith(".")

    @staticmethod
    def holders(source, places):
        return [place for place, held in places.items() if source.expected and not source.expected - held]

    def verdict(self, source):
        """The verdict on a recording (finished, lost, twice …), and its places."""
        files, keys = self.holders(source, self.finished), self.holders(source, self.by_key)
        vods = [vod["vodId"] for vod in self.vods if self.is_in_vod(source, vod)]
        where = f"files {files}, objects {keys}, VoDs {vods}"
        if not source.may_be_twice and source.state == "complete" and max(map(len, (files, keys, vods))) > 1:
            return self.twice(source, keys, vods), where
        if files or keys:
            return "finished", where
        # The second case: in a file of another length, because data was appended.
        there = self.digests.get(source.digest) or next(iter(self.holders(source, self.by_path)), None)
        if there:
            is_due = source.state == "complete" and there.startswith(self.prove.root) and there not in self.known_failures
            return "left unfinished" if is_due else "as it was written", f"{there}, {where}"
        if source.tags and any(source.tags in self.body(path) for path in self.every_file()):
            return "inside another", where
        return self.missing(source)

    def twice(self, source, keys, vods):
        """A state directory that takes over a root does not know which recordings another had in progress there."""
        last_s = max([self.prove.store.objects[key].at for key in keys]
                     + [vod["creationDate"] / 1000 for vod in self.vods if vod["vodId"] in vods], default=source.born)
        is_taken_over = any(source.born < end and begin < last_s for begin, end in self.prove.takeovers)
        return "twice after a takeover" if is_taken_over else "twice"

    def every_file(self):
        return [*self.by_path, *(held.path for held in self.prove.store.objects.values())]

    @staticmethod
    def body(path):
        with open(path, "rb") as file:
            return file.read()

    def is_in_vod(self, source, vod):
        here = self.by_path.get(vod["filePath"])
        if here is not None:
            return bool(source.expected) and not source.expected - here
        keys = [remote["key"] for remote in vod.get("remote", [])]
        return any(key in self.by_key and source.expected and not source.expected - self.by_key[key] for key in keys)

    def missing(self, source):
        """Lost, unless the store confirmed it, the local file was freed, and the store then lost it."""
        for key, held, packets in self.lost_by_store:
            is_it = source.expected and not source.expected - packets
            is_it = is_it or source.tags and source.tags in self.body(held.path)
            if is_it and any(freed <= max(held.lost_at, held.told_at + FRESH_S) for freed in self.freed_s[key]):
                return "lied after proof", f"object {key}, asked {held.told_at:.3f}, lost {held.lost_at:.3f}"
        everywhere = [*self.by_path.items(), *self.by_key.items()]
        nearest = max(((sum((source.expected & held).values()), place) for place, held in everywhere), default=(0, None))
        return "lost", f"{sum(source.expected.values())} packets, at most {nearest[0]} of them in {nearest[1]}"

    def all(self):
        """Kind of recording -> number of each verdict; all wrong recordings; all recordings."""
        table, wrong, told = defaultdict(Counter), [], []
        for source in self.prove.sources:
            if source.state in ("not written", "overwritten"):
                continue
            verdict, where = self.verdict(source)
            row = table[source.kind + (", cut" if source.state == "cut" else "")]
            row["written"] += 1
            row[verdict] += 1
            told.append(f"{verdict}: take{source.number} ({source.kind}, {source.state}): {where}")
            if verdict in WRONG:
                wrong.append(told[-1])
        return table, wrong, told
