-- Tables of aftercast for several nodes. Changed by aftercast only; reading them is welcome.
CREATE SCHEMA IF NOT EXISTS aftercast;

-- One row. `database_id` tells a node that it was pointed to another database.
CREATE TABLE aftercast.meta (
    is_only     boolean PRIMARY KEY DEFAULT true CHECK (is_only),
    version     integer NOT NULL,
    database_id uuid    NOT NULL DEFAULT gen_random_uuid()
);
INSERT INTO aftercast.meta (version) VALUES (0);

-- Who takes part. `epoch` is raised at each start: what a former life of the node does late changes nothing.
CREATE TABLE aftercast.node (
    node_id    uuid PRIMARY KEY,
    name       text        NOT NULL,
    epoch      bigint      NOT NULL,
    instance   text        NOT NULL,
    host       text        NOT NULL,
    version    text        NOT NULL,
    api_url    text,
    started_at timestamptz NOT NULL DEFAULT now(),
    seen_at    timestamptz NOT NULL DEFAULT now(),
    stopped_at timestamptz,
    -- The last batch of changes, and the last event of the node's own log, that arrived here.
    batch      bigint      NOT NULL DEFAULT 0,
    event_seq  bigint      NOT NULL DEFAULT 0
) WITH (fillfactor = 50);

-- What the nodes have catalogued, as they last told it. `record` is the node's record as it is.
CREATE TABLE aftercast.vod (
    node_id       uuid    NOT NULL REFERENCES aftercast.node,
    vod_id        text    COLLATE "C" NOT NULL,
    epoch         bigint  NOT NULL,
    rev           bigint  NOT NULL,
    stream_id     text    COLLATE "C" NOT NULL,
    vod_name      text    NOT NULL,
    root          text    NOT NULL,
    rel_path      text    NOT NULL,
    start_ms      bigint  NOT NULL,
    created_ms    bigint  NOT NULL,
    duration_ms   bigint  NOT NULL,
    size_bytes    bigint  NOT NULL,
    outcome       text    NOT NULL,
    is_local      boolean NOT NULL,
    is_delivered  boolean NOT NULL,
    is_defective  boolean NOT NULL,
    search        text    NOT NULL,
    record        jsonb   NOT NULL,
    -- Set when the node does not know it any more although it was not deleted, and a store still has it.
    unknown_since timestamptz,
    PRIMARY KEY (node_id, vod_id)
);
CREATE INDEX vod_created ON aftercast.vod (created_ms, vod_id, node_id);
CREATE INDEX vod_stream ON aftercast.vod (stream_id, start_ms, vod_id, node_id);
CREATE INDEX vod_node ON aftercast.vod (node_id, created_ms, vod_id);
CREATE INDEX vod_id ON aftercast.vod (vod_id);

-- What happened on the nodes. `seq` is the number in the node's own log, `id` orders what arrived.
CREATE TABLE aftercast.event (
    id          bigint GENERATED ALWAYS AS IDENTITY,
    node_id     uuid   NOT NULL REFERENCES aftercast.node,
    epoch       bigint NOT NULL,
    seq         bigint NOT NULL,
    at_ms       bigint NOT NULL,
    type        text   NOT NULL,
    vod_id      text,
    body        jsonb  NOT NULL,
    received_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (node_id, epoch, seq)
);
CREATE INDEX event_id ON aftercast.event (id);
CREATE INDEX event_received ON aftercast.event (node_id, received_at);
