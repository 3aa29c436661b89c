"""What has become of the recordings, by the database's own history, the stores and the shared directories."""

import os
import re
from collections import Counter, defaultdict

# Notes each result that the database accepts. It is replicated like everything else.
HISTORY = """
CREATE SCHEMA proof;
CREATE TABLE proof.done (kind text NOT NULL, item text NOT NULL, node uuid, epoch bigint, at timestamptz NOT NULL DEFAULT clock_timestamp());
CREATE FUNCTION proof.note() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
  INSERT INTO proof.done (kind, item, node, epoch) VALUES (TG_TABLE_NAME, NEW.item, OLD.lease_node, OLD.lease_epoch);
  RETURN NULL;
END $$;
CREATE TRIGGER note AFTER UPDATE ON aftercast.shared_item FOR EACH ROW
  WHEN (NEW.state = 'done' AND OLD.state <> 'done' AND NEW.vod_id <> '') EXECUTE FUNCTION proof.note();
CREATE TRIGGER note AFTER UPDATE ON aftercast.work FOR EACH ROW
  WHEN (NEW.state = 'done' AND OLD.state <> 'done' AND NEW.kind <> 'list') EXECUTE FUNCTION proof.note();
"""


def recording_of(path):
    """What belongs to a recording: results have another ending, or a number before it."""
    return re.sub(r"(_\d+)?\..*$", "", path)


class Check:
    """All that is wrong, in words: of each kind, and how many recordings."""

    def __init__(self, prove, packets_of, digest_of):
        self.prove, self.packets_of, self.digest_of = prove, packets_of, digest_of
        self.known, self.wrong, self.counts = {}, [], Counter()

    def note(self, kind, words):
        self.counts[kind] += 1
        self.wrong.append(f"{kind}: {words}")

    def packets(self, path):
        digest = self.digest_of(path)
        if digest not in self.known:
            self.known[digest] = self.packets_of(path)
        return self.known[digest]

    def rows(self, sql):
        return [row.split("|") for row in self.prove.cluster.sql(sql).splitlines()]

    def local_files(self):
        """Files of each recording; what no recording has is a fault."""
        found, top = defaultdict(list), self.prove.shares.top
        for parent, _, names in os.walk(top):
            for name in names:
                path = os.path.relpath(os.path.join(parent, name), top)
                if name.startswith(".aftercast-") and name != ".aftercast-root":
                    self.note("left", path)
                found[recording_of(path)].append(path)
        return found

    def histories(self):
        """How often the database has accepted a result: once for each recording."""
        for kind, items in (("shared_item", self.prove.shared), ("work", self.prove.archived)):
            accepted = Counter(recording_of(item) for item, in self.rows(f"SELECT item FROM proof.done WHERE kind = '{kind}'"))
            for item in items:
                name = item.stem.split("/", 1)[1] if kind == "shared_item" else item.stem
                if accepted[name] != 1:
                    missing = "no result" if kind == "shared_item" and self.prove.options.standby == "lagging" else "lost"
                    self.note("twice" if accepted[name] else missing, f"{item.place}: {accepted[name]} results were accepted")

    def shared(self):
        """Each has one object, one VoD and at most one finished file, all of them whole."""
        local, objects, vods = self.local_files(), defaultdict(list), defaultdict(list)
        for key, held in self.prove.store.objects.items():
            if "take" in key:
                objects[recording_of(key.split("/", 1)[1])].append((key, held))
        for path, is_local, size in self.rows("SELECT rel_path, is_local, size_bytes FROM aftercast.vod"):
            vods[recording_of(path)].append((is_local == "t", int(size)))
        for item in self.prove.shared:
            self.one_shared(item, local[item.stem], objects[item.stem.split("/", 1)[1]], vods[item.stem.split("/", 1)[1]])
        sizes = [sum(size for some in vods.values() for _, size in some), sum(held.size for some in objects.values() for _, held in some)]
        self.prove.notes.append(f"bytes: {sizes[0]} in the catalogue, {sizes[1]} in the store")
        if sizes[0] != sizes[1]:
            self.note("bytes", "the sums differ")

    def one_shared(self, item, files, objects, vods):
        here = [path for path in files if path.endswith(".mp4") and path not in (item.place, item.place + ".tmp")
                or path == item.place and item.base.kind.startswith("MP4")]
        said = f"{item.place} ({item.base.kind}): files {files}, objects {[key for key, _ in objects]}, VoDs {vods}"
        if not objects or not vods:
            return self.note("lost", said)
        if len(objects) > 1 or len(here) > 1 or len(vods) > 1:
            return self.note("twice", said)
        (_, held), (is_local, size) = objects[0], vods[0]
        if not is_local and not held.told_at:
            self.note("freed without proof", said)
        if held.size != size:
            self.note("bytes", said)
        finished = [held.path, *(os.path.join(self.prove.shares.top, path) for path in here)]
        if any(self.packets(path) != item.base.expected for path in finished):
            self.note("other packets", said)

    def bucket(self, objects):
        """Each original is there, beside one whole result."""
        scratch = os.path.join(self.prove.scratch, "object.mp4")
        results = defaultdict(list)
        for key in objects:
            results[recording_of(key)].append(key)
        for item in self.prove.archived:
            with open(item.base.path, "rb") as file:
                if objects.get(item.place) != file.read():
                    self.note("lost", f"the original {item.place} is not there as it was")
            made = [key for key in results[item.stem] if key != item.place]
            if len(made) != 1:
                self.note("twice" if made else "lost", f"{item.place} ({item.base.kind}): {made}")
                continue
            with open(scratch, "wb") as file:
                file.write(objects[made[0]])
            if self.packets(scratch) != item.base.expected:
                self.note("other packets", made[0])

    def keys(self):
        """No key was written twice with other content, and nobody left an upload open."""
        for key in self.prove.store.rewritten:
            self.note("a key twice", key)
        assets = self.rows("SELECT asset_id, count(*), min(place) FROM aftercast.object WHERE place LIKE '%take%' GROUP BY asset_id HAVING count(*) > 1")
        for asset, count, place in assets:
            self.note("an asset under several keys", f"{asset}: {count}, such as {place}")
        of_store, of_bucket = self.prove.open_uploads()
        for upload in of_store:
            self.note("left", f"an upload of {upload}")
        # Nobody knows of an upload whose first answer was lost; see docs/archive.md.
        self.prove.notes.append(f"uploads left open in the bucket: {len(of_bucket)}")
