-- Roots. A local one has one node; `owner_epoch` is raised whenever it gets another one. A shared one has none.
CREATE TABLE aftercast.root (
    root_id     text COLLATE "C" PRIMARY KEY,
    kind        text   NOT NULL CHECK (kind IN ('local', 'shared')),
    url         text   NOT NULL,
    owner       uuid   REFERENCES aftercast.node ON DELETE SET NULL,
    owner_epoch bigint NOT NULL DEFAULT 1,
    -- Of a shared one: the node beside the ingest server, which goes first as long as it is alive.
    first_node  uuid   REFERENCES aftercast.node ON DELETE SET NULL
);
CREATE INDEX root_owner ON aftercast.root (owner);

-- Where a node had a root that another node has adopted: what it tells of it later is not listed.
CREATE TABLE aftercast.root_former (
    node_id  uuid NOT NULL REFERENCES aftercast.node ON DELETE CASCADE,
    url      text NOT NULL,
    root_id  text COLLATE "C" NOT NULL REFERENCES aftercast.root ON DELETE CASCADE,
    -- Whether the node's VoDs are those of the new one.
    is_moved boolean NOT NULL DEFAULT false,
    PRIMARY KEY (node_id, root_id)
);

-- Recordings in shared roots: who works on which, and what came of it. Keys are digests of paths, which may be long.
CREATE TABLE aftercast.shared_item (
    root_id            text COLLATE "C" NOT NULL REFERENCES aftercast.root ON DELETE CASCADE,
    item_key           text COLLATE "C" NOT NULL,
    fingerprint        text COLLATE "C" NOT NULL,
    item               text        NOT NULL,
    state              text        NOT NULL CHECK (state IN ('ready', 'leased', 'publishing', 'done', 'quarantined')),
    attempt            integer     NOT NULL,
    due_at             timestamptz NOT NULL DEFAULT now(),
    lease_node         uuid,
    lease_epoch        bigint,
    -- Whether the holder has begun to work on it: only then its end may be the recording's fault.
    is_begun           boolean     NOT NULL DEFAULT false,
    token              bigint      NOT NULL,
    -- The token of the last holder, in whose name a partial may be left.
    former_token       bigint,
    -- The finished file, known before it has its name.
    result             text,
    result_key         text COLLATE "C",
    result_fingerprint text COLLATE "C",
    digest             text,
    vod_id             text,
    error              text,
    changed_at         timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (root_id, item_key, fingerprint)
);
CREATE INDEX shared_result ON aftercast.shared_item (root_id, result_key) WHERE result_key IS NOT NULL;
CREATE INDEX shared_lease ON aftercast.shared_item (lease_node) WHERE state IN ('leased', 'publishing');

-- Whether a file in a shared root is a VoD. Names may be longer than what a B-tree takes.
CREATE INDEX vod_rel_path ON aftercast.vod USING hash (rel_path);
