-- Work that the nodes share. A node holds what it has claimed as long as its heartbeats are confirmed: one row of `node` for all of it.

-- For how long the database takes a node for alive without a heartbeat. Change it only while no node runs.
ALTER TABLE aftercast.meta ADD COLUMN lease interval NOT NULL DEFAULT interval '30 seconds' CHECK (lease >= interval '1 second');

-- A node that only takes work (`aftercast work`), and why it takes none any more.
ALTER TABLE aftercast.node
    ADD COLUMN is_worker    boolean NOT NULL DEFAULT false,
    ADD COLUMN drained_at   timestamptz,
    ADD COLUMN drain_reason text;

-- Fencing tokens: each claim has a greater one than all before it.
CREATE SEQUENCE aftercast.token;

-- What an operator has asked for about everything below a root.
CREATE TABLE aftercast.batch (
    batch_id    bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    kind        text        NOT NULL,
    root        text        NOT NULL,
    -- Which directory it is, where the same path may be another one elsewhere.
    root_id     text,
    -- Items a second for all nodes together; NULL: as fast as they can.
    rate        double precision CHECK (rate > 0),
    -- With a rate: when the next items may be claimed.
    next_at     timestamptz NOT NULL DEFAULT '-infinity',
    state       text        NOT NULL DEFAULT 'running' CHECK (state IN ('running', 'paused', 'canceled', 'done')),
    started_at  timestamptz NOT NULL DEFAULT now(),
    ended_at    timestamptz,
    -- How its items stood when it ended. A later batch takes them over.
    summary     jsonb
);
-- One of a kind at a time works on a root.
CREATE UNIQUE INDEX batch_active ON aftercast.batch (kind, root) WHERE state IN ('running', 'paused');

-- Each row is done once: by whoever holds the token that was given out last.
CREATE TABLE aftercast.work (
    work_id      bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    kind         text        COLLATE "C" NOT NULL,
    root         text        COLLATE "C" NOT NULL,
    item         text        NOT NULL,
    -- Which state of the item: an entity tag, or size and time.
    fingerprint  text        NOT NULL,
    -- Digest of the four above: an index cannot hold every path.
    once         bytea       NOT NULL UNIQUE,
    args         jsonb,
    batch_id     bigint REFERENCES aftercast.batch,
    priority     integer     NOT NULL DEFAULT 100,
    state        text        NOT NULL DEFAULT 'ready'
                 CHECK (state IN ('ready', 'leased', 'done', 'failed', 'quarantined')),
    due_at       timestamptz NOT NULL DEFAULT now(),
    -- How often it was begun and ended with an error of its own; how often the surroundings were in the way; how often its holder
    -- died after it was begun.
    attempt      integer     NOT NULL DEFAULT 0,
    given_back   integer     NOT NULL DEFAULT 0,
    deaths       integer     NOT NULL DEFAULT 0,
    lease_node   uuid,
    lease_epoch  bigint,
    token        bigint,
    -- Whether its holder has begun it, and not only claimed it.
    is_begun     boolean     NOT NULL DEFAULT false,
    -- Until then it is its holder's even without heartbeats: it was told so before a step that cannot be undone.
    held_until   timestamptz,
    -- The last step that a holder was about to take which cannot be undone.
    intent       jsonb,
    error_class  text,
    reason       text,
    error        text,
    result       jsonb,
    ended_at     timestamptz
) WITH (fillfactor = 70);
CREATE INDEX work_ready_batch ON aftercast.work (batch_id, priority, due_at, work_id) WHERE state = 'ready' AND batch_id IS NOT NULL;
CREATE INDEX work_ready_root ON aftercast.work (kind, root, priority, due_at, work_id) WHERE state = 'ready' AND batch_id IS NULL;
CREATE INDEX work_published ON aftercast.work (hashtextextended(intent->>'path', 0)) WHERE intent IS NOT NULL;
CREATE INDEX work_leased ON aftercast.work (lease_node) WHERE state = 'leased';
CREATE INDEX work_batch ON aftercast.work (batch_id, state, ended_at) WHERE batch_id IS NOT NULL;
-- How a batch stands is read from this alone.
CREATE INDEX work_counted ON aftercast.work (batch_id, kind, state, error_class, reason) WHERE batch_id IS NOT NULL;
