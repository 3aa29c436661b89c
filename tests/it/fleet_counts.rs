//! What a page of a long list costs: its count is not counted anew for each.

use super::fleet::{node, record, until_told};
use super::fleet_peers::get;
use crate::support::daemon::{Daemon, until};
use crate::support::postgres::Postgres;

#[test]
fn a_long_list_is_counted_in_the_background_and_a_short_one_for_each_page() {
    let postgres = Postgres::start();
    let node = node(&postgres, "a");
    let daemon = Daemon::start(&node);
    record(&node, "one.mp4");
    until_told(&node);
    let add = |ids: &str| {
        postgres.sql(&format!(
            "INSERT INTO aftercast.vod SELECT node_id, id, epoch, rev, CASE WHEN id LIKE 'rare%' THEN 'rare' ELSE stream_id END, vod_name, root, \
               rel_path, start_ms, created_ms, duration_ms, size_bytes, outcome, is_local, is_delivered, is_defective, search, record \
             FROM (SELECT * FROM aftercast.vod WHERE vod_name = 'one.mp4' ORDER BY length(vod_id) DESC LIMIT 1) v, ({ids}) AS ids(id)"
        ));
    };
    let total = |more: &str| {
        let (status, page) = get(&node, &format!("/api/v1/vods?node=all&limit=1{more}"));
        assert_eq!((status, page["items"].as_array().map(Vec::len)), (200, Some(1)), "{page}");
        page["total"].as_u64().unwrap()
    };
    until("it is listed", || (postgres.sql("SELECT count(*) FROM aftercast.vod") == "1").then_some(()));
    add("SELECT 'v' || n FROM generate_series(1, 2500) AS n");
    add("SELECT 'rare' || n FROM generate_series(1, 3) AS n");
    assert_eq!((total("&offset=0"), total("&offset=0&stream=rare")), (2504, 3));
    add("SELECT 'rare4'");
    // Of the long list, what was counted for the page before; in whatever order and from wherever on.
    assert_eq!((total("&offset=50"), total("&offset=2000&oldestFirst=true")), (2504, 2504));
    assert_eq!(total("&offset=0&stream=rare"), 4);
    until("it is counted again", || (total("&offset=50") == 2505).then_some(()));
    daemon.stop();
}
