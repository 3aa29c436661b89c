-- Which application each root of a node is: its path as in `vod.root` → name.
ALTER TABLE aftercast.node ADD COLUMN apps jsonb NOT NULL DEFAULT '{}';

-- Paths of Ant Media's applications, and positions in the order of start times.
CREATE INDEX vod_start ON aftercast.vod (start_ms, vod_id, node_id);

-- What one node asks of another about a recording of that one. It is done once: by the life of the node (`epoch`) that took it.
CREATE TABLE aftercast.command (
    command_id  uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    to_node     uuid        NOT NULL REFERENCES aftercast.node ON DELETE CASCADE,
    kind        text        NOT NULL CHECK (kind IN ('delete', 'verify', 'retry')),
    vod_id      text COLLATE "C" NOT NULL,
    arguments   jsonb       NOT NULL,
    asked_by    uuid        NOT NULL,
    asked_at    timestamptz NOT NULL DEFAULT now(),
    -- A command that nobody has taken by then is not done any more.
    expires_at  timestamptz NOT NULL,
    state       text        NOT NULL DEFAULT 'waiting' CHECK (state IN ('waiting', 'taken', 'done')),
    epoch       bigint,
    answer      jsonb,
    answered_at timestamptz
);
CREATE INDEX command_open ON aftercast.command (to_node, asked_at) WHERE state <> 'done';
CREATE INDEX command_expires ON aftercast.command (expires_at);

-- How streams are coded: what salvage needs for a recording whose header is lost. The last four of each stream and rendition.
CREATE TABLE aftercast.stream_config (
    stream_id text COLLATE "C" NOT NULL,
    rendition text COLLATE "C" NOT NULL DEFAULT '',
    digest    text COLLATE "C" NOT NULL,
    node_id   uuid        NOT NULL,
    seen_at   timestamptz NOT NULL DEFAULT now(),
    config    text        NOT NULL CHECK (octet_length(config) <= 1048576),
    PRIMARY KEY (stream_id, rendition, digest)
);

-- Whose a key of a store is. `place` is endpoint, bucket and key: the same object is the same place, whatever nodes call the target.
CREATE TABLE aftercast.object (
    place      text COLLATE "C" PRIMARY KEY,
    asset_id   text        NOT NULL,
    node_id    uuid        NOT NULL,
    epoch      bigint      NOT NULL,
    state      text        NOT NULL DEFAULT 'claimed' CHECK (state IN ('claimed', 'proven')),
    size_bytes bigint,
    checksum   text,
    claimed_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX object_asset ON aftercast.object (asset_id, node_id);

-- The transaction that wrote an event: a reader goes on behind transactions that have ended, so that it misses none that commits late.
ALTER TABLE aftercast.event ADD COLUMN tx xid8 NOT NULL DEFAULT pg_current_xact_id();
CREATE INDEX event_tx ON aftercast.event (tx, id);
