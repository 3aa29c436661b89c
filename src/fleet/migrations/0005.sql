-- Who else has an object that `object` has for one node: the same recording on two nodes, or two that were uploaded under one key while
-- the database was away. Nobody removes an object that another node has.
CREATE TABLE aftercast.object_also (
    place    text COLLATE "C" NOT NULL,
    node_id  uuid NOT NULL REFERENCES aftercast.node ON DELETE CASCADE,
    asset_id text NOT NULL,
    PRIMARY KEY (place, node_id, asset_id)
);
CREATE INDEX object_also_asset ON aftercast.object_also (node_id, asset_id);
-- So far the row was the last one's alone: whoever has a VoD of this id may have the object, too.
INSERT INTO aftercast.object_also (place, node_id, asset_id)
    SELECT o.place, v.node_id, o.asset_id FROM aftercast.object o
    JOIN aftercast.vod v ON v.vod_id = split_part(o.asset_id, '.', 1) AND v.node_id <> o.node_id
    WHERE o.state = 'proven' ON CONFLICT DO NOTHING;

-- What is removed by time. A proven object of a unit (HLS, DASH) is never deleted, and the store itself says that its key is taken: its row
-- is needed as long as an upload may be under way. A key that was taken by a node that is away and never proven is free.
CREATE INDEX object_unit ON aftercast.object (claimed_at) WHERE asset_id LIKE 'unit-%';
CREATE INDEX object_claimed ON aftercast.object (claimed_at) WHERE state = 'claimed';
COMMENT ON TABLE aftercast.object IS
    'Rows are removed with their VoD; of units a day after the key was taken; of keys that were never proven a day after, if the node is away.';

-- When a node has begun to look for rows of `shared_item` whose files are gone. One does that, once a day.
ALTER TABLE aftercast.root ADD COLUMN looked_at timestamptz;
COMMENT ON TABLE aftercast.shared_item IS
    'A row keeps a file from being finished again, or from being taken for a recording. It is removed when nobody works on it, it was not '
    'changed for a week, and neither the recording nor the finished file stands in the root as the row has them.';

-- Nodes that take work and have made a VoD which another one has taken to its end after them: what they tell of it later is not listed.
CREATE TABLE aftercast.vod_former (
    node_id uuid NOT NULL REFERENCES aftercast.node ON DELETE CASCADE,
    vod_id  text COLLATE "C" NOT NULL,
    PRIMARY KEY (node_id, vod_id)
);
