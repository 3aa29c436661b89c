//! Real names of every server, and what they say.

use super::*;
use crate::discover::options::FragmentedPolicy;

/// 2024-01-02 15:04:05 UTC.
const START_MS: i64 = 1_704_207_845_000;

fn namer(server: Server) -> Namer {
    let root = RootOptions {
        path: "/srv/rec".into(),
        server,
        template: None,
        stream: None,
        fragmented: FragmentedPolicy::Auto,
        deliver_progressive: false,
        shared: false,
        first_right: false,
        app: None,
        control: crate::discover::ControlOptions::default(),
    };
    Namer::new(&root, &[".tmp".into(), ".tmp_extension".into()], TimeZone::UTC).unwrap()
}

fn templated(template: &str) -> Result<Namer, TemplateError> {
    let root = RootOptions {
        path: "/srv/rec".into(),
        server: Server::Auto,
        template: Some(template.into()),
        stream: None,
        fragmented: FragmentedPolicy::Auto,
        deliver_progressive: false,
        shared: false,
        first_right: false,
        app: None,
        control: crate::discover::ControlOptions::default(),
    };
    Namer::new(&root, &[], TimeZone::UTC).map_err(|e| match e {
        DiscoverError::Template { source, .. } => source,
        other => panic!("{other}"),
    })
}

fn read(server: Server, relative: &str) -> NameReading {
    namer(server).read(Path::new(relative))
}

/// Stream, start, rendition, part of a name that its preset must match.
fn parts(server: Server, relative: &str) -> (String, Option<i64>, Option<String>, Option<u32>) {
    let reading = read(server, relative);
    assert!(reading.matched, "{relative}");
    assert_eq!(reading.server, server.name());
    (reading.facts.stream_id, reading.facts.start_ms, reading.facts.rendition, reading.facts.part)
}

fn stream(name: &str) -> (String, Option<i64>, Option<String>, Option<u32>) {
    (name.to_owned(), None, None, None)
}

fn started(name: &str, start_ms: i64) -> (String, Option<i64>, Option<String>, Option<u32>) {
    (name.to_owned(), Some(start_ms), None, None)
}

#[test]
fn antmedia_names() {
    let of = |name| parts(Server::AntMedia, name);
    let rendition = |r: &str| ("test".to_owned(), None, Some(r.to_owned()), None);
    assert_eq!(of("stream1.mp4"), stream("stream1"));
    assert_eq!(of("test_400p.mp4"), rendition("400p"));
    assert_eq!(of("test_400p1000kbps.mp4"), rendition("400p1000kbps"));
    assert_eq!(of("test_1000kbps400p.webm"), rendition("1000kbps400p"));
    assert_eq!(of("room1-2024-01-02_15-04-05.678.mp4"), started("room1", START_MS + 678));
    assert_eq!(
        of("sub/room1-2024-01-02_15-04-05.678_240p500kbps_1.mp4.tmp_extension"),
        ("room1".to_owned(), Some(START_MS + 678), Some("240p500kbps".to_owned()), Some(1))
    );
    assert_eq!(of("room-1.a_2.mp4"), ("room-1.a".to_owned(), None, None, Some(2)));

    let orphan = read(Server::AntMedia, "stream1.mp4.tmp_extension");
    assert!(orphan.is_temporary);
    assert_eq!(orphan.facts.stem, "stream1");
    let foreign = read(Server::AntMedia, "Ünïcode name.mp4");
    assert!(!foreign.matched);
    assert_eq!(foreign.facts.stream_id, "Ünïcode name");
}

/// Reads names one hour east of UTC.
fn in_berlin(server: Server) -> Namer {
    let root = RootOptions {
        path: "/srv/rec".into(),
        server,
        template: None,
        stream: None,
        fragmented: FragmentedPolicy::Auto,
        deliver_progressive: false,
        shared: false,
        first_right: false,
        app: None,
        control: crate::discover::ControlOptions::default(),
    };
    Namer::new(&root, &[], TimeZone::fixed(jiff::tz::offset(1))).unwrap()
}

#[test]
fn dates_in_names_are_local_time() {
    let facts = in_berlin(Server::AntMedia).read(Path::new("room1-2024-01-02_16-04-05.000.mp4")).facts;
    assert_eq!(facts.start_ms, Some(START_MS));
}

#[test]
fn srs_names() {
    let of = |name| parts(Server::Srs, name);
    assert_eq!(of("live/livestream.1704207845123.flv"), started("livestream", START_MS + 123));
    assert_eq!(of("live/livestream.1704207845123.flv.tmp"), started("livestream", START_MS + 123));
    assert_eq!(of("live/livestream/1704207845123.mp4"), started("livestream", START_MS + 123));
    assert_eq!(
        of("live/livestream.1704207845123.30123.flv"),
        started("livestream", START_MS + 123),
        "with its duration"
    );
    assert_eq!(of("live/livestream/2024/01/02/15.04.05.7.flv"), started("livestream", START_MS + 7));
    assert_eq!(of("live/2024/01/02/livestream-15.04.05.123.mp4.tmp"), started("livestream", START_MS + 123));
    assert_eq!(of("2024/01/02/live/livestream/15.04.05.123.mp4"), started("livestream", START_MS + 123));
    assert_eq!(of("live/livestream.flv"), stream("livestream"));
    assert!(read(Server::Srs, "live/livestream.1704207845123.flv.tmp").is_temporary);
    assert_eq!(read(Server::Srs, "live/l.1704207845123.flv.tmp").facts.stem, "l.1704207845123");
}

#[test]
fn mediamtx_names() {
    let of = |name| parts(Server::MediaMtx, name);
    assert_eq!(of("cam1/2024-01-02_15-04-05-678901.mp4"), started("cam1", START_MS + 678));
    assert_eq!(of("site/a/cam1/2024-01-02_15-04-05-678901.ts"), started("site/a/cam1", START_MS + 678));
    assert_eq!(of("2024-01-02_15-04-05-000000.mp4"), started("rec", START_MS));
    assert_eq!(of("cam1/1704207845-678901.mp4"), started("cam1", START_MS + 678));
    assert_eq!(of("cam1/2024-01-02_15-04-05-678901Z.mp4"), started("cam1", START_MS + 678));
    assert_eq!(of("cam1/2024-01-02_16-34-05-678901+0130.mp4"), started("cam1", START_MS + 678));
    assert_eq!(of("cam1/2024-01-02_12-04-05-0300.mp4"), started("cam1", START_MS));
    assert!(!read(Server::MediaMtx, "cam1/2024-13-02_15-04-05-678901.mp4").matched, "there is no month 13");
}

#[test]
fn ome_names() {
    let of = |name| parts(Server::Ome, name);
    assert_eq!(of("app/cam/20240102150405_20240102160405.ts"), started("cam", START_MS));
    assert_eq!(of("app_cam_20240102150405_20240102160405.mp4"), started("app_cam", START_MS));
    assert_eq!(of("Xy7Gh2kQ0aBcD4eF_default_app_my_cam_20240102150405.ts"), started("my_cam", START_MS));
    assert_eq!(of("Xy7Gh2kQ0aBcD4eF_default_app_cam_20240102150405_20240102160405.ts"), started("cam", START_MS));
    let name = format!("app/cam/tmp_{}", "Ab3d".repeat(8));
    assert_eq!(of(&name), stream("cam"));
    assert!(read(Server::Ome, &name).is_temporary);
}

#[test]
fn nginx_rtmp_names() {
    let of = |name| parts(Server::NginxRtmp, name);
    assert_eq!(of("mystream.flv"), stream("mystream"));
    assert_eq!(of("mystream-1704207845.flv"), started("mystream", START_MS));
    assert_eq!(of("mystream-02-Jan-24-15:04:05.flv"), started("mystream", START_MS));
    assert_eq!(of("my%20stream%2F1-1704207845.flv"), started("my stream/1", START_MS));
    assert_eq!(of("100%.flv"), stream("100%"));
    assert_eq!(of("a-b-c.flv"), stream("a-b-c"));
}

#[test]
fn livekit_names() {
    let of = |name| parts(Server::LiveKit, name);
    assert_eq!(of("my-room-2024-01-02T150405.mp4"), started("my-room", START_MS));
    assert_eq!(of("rooms/my-room/2024-01-02T150405.mp4"), started("my-room", START_MS));
    assert_eq!(of("my-room-20240102150405678.mp4"), started("my-room", START_MS + 678));
    assert_eq!(of("my-room-2024010215040578.mp4"), started("my-room", START_MS + 78));
    assert!(!read(Server::LiveKit, "my-room.mp4").matched);
    let digits = in_berlin(Server::LiveKit).read(Path::new("my-room-20240102160405678.mp4"));
    assert_eq!(digits.facts.start_ms, Some(START_MS + 678), "`{{utc}}` is formatted in the local time of egress");
}

#[test]
fn obs_names() {
    let of = |name| parts(Server::Obs, name);
    assert_eq!(of("2024-01-02 15-04-05.mkv"), started("rec", START_MS));
    assert_eq!(of("show/2024-01-02 15-04-05.mp4"), started("show", START_MS));
    assert_eq!(of("Replay 2024-01-02 15-04-05.mkv"), started("Replay", START_MS));
    assert_eq!(of("2024-01-02_15-04-05.mkv"), started("rec", START_MS));
    assert_eq!(of("2024-01-02 15-04-05 (2).mkv").3, Some(2));
}

#[test]
fn with_no_match_the_stream_is_the_name_without_its_suffixes() {
    let reading = read(Server::Obs, "a/My holiday.flv.tmp");
    assert!(!reading.matched && reading.is_temporary);
    assert_eq!(reading.facts.stream_id, "My holiday");
    assert_eq!(read(Server::Auto, "v1.2 final.mp4").facts.stream_id, "v1.2 final");
}

#[test]
fn a_given_stream_holds_for_every_file() {
    let root = RootOptions {
        path: "/srv/rec".into(),
        server: Server::AntMedia,
        template: None,
        stream: Some("s".into()),
        fragmented: FragmentedPolicy::Auto,
        deliver_progressive: false,
        shared: false,
        first_right: false,
        app: None,
        control: crate::discover::ControlOptions::default(),
    };
    let namer = Namer::new(&root, &[], TimeZone::UTC).unwrap();
    assert_eq!(namer.read(Path::new("room1-2024-01-02_15-04-05.678.mp4")).facts.stream_id, "s");
}

#[test]
fn a_template_reads_what_it_says() {
    let namer = templated("{stream}/{start:%Y-%m-%d_%H-%M-%S}_{part}.{ext}").unwrap();
    let reading = namer.read(Path::new("archive/cam 1/2024-01-02_15-04-05_7.mp4.tmp"));
    assert!(reading.matched && reading.is_temporary);
    assert_eq!(reading.server, "template");
    assert_eq!(reading.facts.stream_id, "cam 1");
    assert_eq!((reading.facts.start_ms, reading.facts.part), (Some(START_MS), Some(7)));
    assert!(!namer.read(Path::new("2024-01-02_15-04-05_7.mp4")).matched);

    let epoch = templated("rec-{stream}-{start:%s}").unwrap();
    assert_eq!(epoch.read(Path::new("rec-a-b-1704207845.flv")).facts.stream_id, "a-b");
    assert_eq!(epoch.read(Path::new("rec-a-b-1704207845678.flv")).facts.start_ms, Some(START_MS + 678));
    let offset = templated("{stream}_{start:%Y%m%dT%H%M%S%z}.{ext}").unwrap();
    assert_eq!(offset.read(Path::new("a_20240102T160405+0100.ts")).facts.start_ms, Some(START_MS));
    let month = templated("{stream}-{start:%d-%b-%y-%H:%M:%S}.{ext}").unwrap();
    assert_eq!(month.read(Path::new("a-02-Jan-24-15:04:05.flv")).facts.start_ms, Some(START_MS));
}

#[test]
fn a_template_that_means_nothing_says_why() {
    let error = |template: &str| templated(template).unwrap_err();
    assert_eq!(error("{strem}.{ext}"), TemplateError::UnknownField("strem".into()));
    assert_eq!(error("{stream.{ext}"), TemplateError::Unbalanced("{stream.{ext}".into()));
    assert_eq!(error("stream}.mp4"), TemplateError::Unbalanced("stream}.mp4".into()));
    assert_eq!(error("{stream}_{stream}"), TemplateError::Twice("stream".into()));
    assert_eq!(error("{start:%Y-%q}"), TemplateError::UnknownDirective('q'));
    assert_eq!(error("{start:%H-%M}"), TemplateError::NoDate("%H-%M".into()));
    assert_eq!(error("fixed.mp4"), TemplateError::NoField("fixed.mp4".into()));
    let said = error("{strem}.{ext}").to_string();
    assert!(said.contains("`{strem}`") && said.contains("{stream}"), "{said}");
}

#[test]
fn auto_says_what_it_chose_and_why() {
    let choose = |names: &[&str]| choose_server(names.iter().copied());
    let ant = choose(&["a.mp4.tmp_extension", "a_480p500kbps.mp4", "a.png"]);
    assert_eq!(ant.server, Server::AntMedia);
    assert_eq!(ant.reason, "1 of 3 names have a rendition such as `_480p500kbps`");
    assert_eq!(choose(&["l.1704207845123.flv", "l.1704207845124.flv.tmp"]).server, Server::Srs);
    let srs = choose(&["before.mp4", "x.mp4.tmp"]);
    assert_eq!(srs.reason, "1 of 2 names have `.flv.tmp` or `.mp4.tmp`", "what is said is what is there");
    assert_eq!(choose(&["2024-01-02_15-04-05-678901.mp4"]).server, Server::MediaMtx);
    assert_eq!(choose(&["20240102150405_20240102160405.ts"]).server, Server::Ome);
    assert_eq!(choose(&["Xy7Gh2kQ0aBcD4eF_default_app_cam_20240102150405.ts"]).server, Server::Ome);
    assert_eq!(choose(&["room-2024-01-02T150405.mp4", "EG_abc.json"]).server, Server::LiveKit);
    assert_eq!(choose(&["2024-01-02 15-04-05.mkv"]).server, Server::Obs);
    assert_eq!(choose(&["s-1704207845.flv", "s.flv"]).server, Server::NginxRtmp);
    let none = choose(&["a.mp4", "b.mp4"]);
    assert_eq!(none.server, Server::Auto);
    assert!(none.reason.starts_with("none of 2 names"), "{}", none.reason);
    let tie = choose(&["2024-01-02 15-04-05.mkv", "s-1704207845.flv"]);
    assert_eq!(tie.server, Server::Auto);
}

#[test]
fn auto_without_a_choice_reads_each_name_by_the_preset_that_fits() {
    let server = |name| read(Server::Auto, name).server;
    assert_eq!(server("cam/2024-01-02_15-04-05-678901.mp4"), "mediamtx");
    assert_eq!(server("a-2024-01-02_15-04-05.678.mp4"), "antmedia");
    assert_eq!(server("2024-01-02 15-04-05.mkv"), "obs");
    assert_eq!(server("s-1704207845.flv"), "nginx-rtmp");
    assert_eq!(server("live/l.1704207845123.flv"), "srs");
    assert_eq!(server("plain.mp4"), "auto");
}

#[test]
fn auto_knows_where_ant_media_records_and_looks_at_what_is_there() {
    let root = choose_for_root(Path::new("/usr/local/antmedia/webapps/live/streams"));
    assert_eq!(root.server, Server::AntMedia);
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("cam")).unwrap();
    std::fs::write(dir.path().join("cam/2024-01-02_15-04-05-678901.mp4"), "").unwrap();
    assert_eq!(choose_for_root(dir.path()).server, Server::MediaMtx);
}
