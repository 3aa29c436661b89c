#!/usr/bin/env python3
"""The row `fleet` of scripts/bench: a node catches up with PostgreSQL on the same machine, and pages of the shared list."""

import argparse
import atexit
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import tempfile

import postgres_server

_spec = importlib.util.spec_from_file_location("bench_tools", os.path.join(os.path.dirname(__file__), "bench-tools.py"))
tools = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(tools)


class Postgres(postgres_server.Server):
    """A server with its default settings, reached by its socket."""

    def __init__(self):
        # Its user may not reach the directory of the other data.
        scratch = tempfile.mkdtemp()
        atexit.register(shutil.rmtree, scratch)
        os.chmod(scratch, 0o755)
        super().__init__(scratch, "postgres")
        self.password_file = os.path.join(scratch, "password")
        with open(self.password_file, "w") as file:
            file.write(postgres_server.PASSWORD)
        os.chmod(self.password_file, 0o600)
        self.init()
        self.start()
        atexit.register(self.stop_immediately)
        self.url = f"postgres:///postgres?host={self.directory}&port={self.port}&user={postgres_server.USER}"


# Nine more times what the node has told, each a while later.
MORE = """
DROP INDEX IF EXISTS aftercast.vod_search;
INSERT INTO aftercast.vod SELECT node_id, vod_id || '-' || n, epoch, rev, stream_id, vod_name, root, rel_path, start_ms + n * 61000::bigint * {count},
  created_ms + n * 61000::bigint * {count}, duration_ms, size_bytes, outcome, is_local, is_delivered, is_defective, search, record, unknown_since
  FROM aftercast.vod, generate_series(1, 9) AS n;
CREATE INDEX vod_search ON aftercast.vod USING gin (search aftercast.gin_trgm_ops);
ANALYZE aftercast.vod;
"""


def main():
    parser = argparse.ArgumentParser()
    for name in ("example", "results", "directory"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--count", type=int, default=100_000)
    parser.add_argument("--items", type=int, default=50_000)
    options = parser.parse_args()
    state, postgres = os.path.join(options.directory, "state"), Postgres()

    def example(*args):
        said = subprocess.run([options.example, args[0], state, *args[1:]], check=True, capture_output=True, text=True).stdout
        return json.loads(said)

    example("fill", "/srv/streams", str(options.count))
    told = example("replicate", postgres.url, postgres.password_file)
    arrived = int(postgres.sql("SELECT count(*) FROM aftercast.event"))
    if arrived != told["events"] or int(postgres.sql("SELECT count(*) FROM aftercast.vod")) != told["vods"]:
        sys.exit(f"{arrived} events arrived of {told['events']}")
    rate = told["events"] / told["seconds"]
    size = int(postgres.sql("SELECT pg_total_relation_size('aftercast.vod')")) / told["vods"]
    event_size = int(postgres.sql("SELECT pg_total_relation_size('aftercast.event')")) / told["events"]
    tools.write(options, {"name": "fleet_catch_up", "what": f"{told['events']} events and {told['vods']} records to PostgreSQL on the same machine",
                          "goal": ">= 5,000 events/s", "met": rate >= 5000,
                          "ours": {"said": f"{rate:.0f} events/s with as many records, {told['seconds']:.1f} s; waiting each second: "
                                           f"{told['waitingEventsEachSecond']}; {size:.0f} bytes a record, {event_size:.0f} an event"}})
    worked = example("work", postgres.url, postgres.password_file, str(options.items))
    if worked["items"] != options.items or int(postgres.sql("SELECT count(*) FROM aftercast.work WHERE state = 'done'")) != options.items:
        sys.exit(f"{worked['items']} items done of {options.items}")
    rate = worked["items"] / worked["seconds"]
    tools.write(options, {"name": "fleet_work", "what": f"claim and finish of {worked['items']} items that need nothing done, {worked['nodes']} workers, PostgreSQL on the same machine",
                          "goal": ">= 2,000 items/s", "met": rate >= 2000,
                          "ours": {"said": f"{rate:.0f} items/s, claimed and finished 100 at a time; "
                                           f"enqueued {worked['items'] / worked['enqueuedInSeconds']:.0f} a second"}})
    postgres.sql(MORE.format(count=options.count))
    pages = example("list", postgres.url, postgres.password_file, str(1_600_000_000_000 + 61_000 * options.count))
    tools.write(options, {"name": "fleet_list", "what": f"pages of 50 of {options.count * 10} VoDs from PostgreSQL, one after the other",
                          "goal": "<= 5 ms, deep", "met": pages["deep"]["medianMs"] <= 5,
                          "ours": {"said": ", ".join(f"{name} {ms['medianMs']:.2f} ms (p99 {ms['p99Ms']:.2f})" for name, ms in pages.items() if "medianMs" in ms)
                                           + f"; text {pages['search']['ms']:.1f} ms for {pages['search']['found']}"}})


if __name__ == "__main__":
    main()
