//! Import of the settings of MediaMTX, SRS, nginx-rtmp, OvenMediaEngine and LiveKit egress: what comes out loads, says what was
//! left out, and holds no secret.

use super::*;
use crate::config::import_server;
use crate::discover::Server;
use crate::ingest::IngestError;

/// What a file of that name and text becomes; always loadable, and without the word that stands for every secret.
fn imported_with(server: Server, name: &str, text: &str, environment: &[(&str, &str)]) -> (String, Config) {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join(name);
    std::fs::create_dir_all(file.parent().unwrap()).unwrap();
    std::fs::write(&file, text).unwrap();
    let environment = environment.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    let made = import_server(server, Some(&file), &[], environment).unwrap_or_else(|error| panic!("{error}"));
    let config = from_text(&made).unwrap_or_else(|error| panic!("{error}\n{made}"));
    assert!(!made.to_lowercase().contains("hunter2"), "{made}");
    (made, config)
}

fn imported(server: Server, name: &str, text: &str) -> (String, Config) {
    imported_with(server, name, text, &[])
}

fn roots(config: &Config) -> Vec<(&str, Server, Option<&str>)> {
    config.watch.roots.iter().map(|r| (r.path.to_str().unwrap(), r.server, r.template.as_deref())).collect()
}

#[track_caller]
fn says(made: &str, words: &[&str]) {
    let one_line = made.replace("\n#  ", " ");
    for word in words {
        assert!(one_line.contains(word), "`{word}` is missing in\n{made}");
    }
}

#[test]
fn mediamtx() {
    let text = "\
playback: yes
authInternalUsers:
- user: admin
  pass: hunter2
pathDefaults:
  record: yes
  recordPath: /recordings/%path/%Y-%m-%d_%H-%M-%S-%f
  recordFormat: fmp4
  recordDeleteAfter: 7d
  runOnRecordSegmentComplete: rclone move --password hunter2 /recordings remote:x
paths:
  cam1:
    source: rtsp://admin:hunter2@10.0.0.5/stream
  cam2:
    recordPath: /other/%path_%Y%m%dT%H%M%S
  off:
    record: no
";
    let (made, config) = imported(Server::MediaMtx, "mediamtx.yml", text);
    assert_eq!(
        roots(&config),
        [("/recordings", Server::MediaMtx, None), ("/other", Server::MediaMtx, Some("{stream}_{start:%Y%m%dT%H%M%S}")),]
    );
    says(&made, &["pathDefaults, path `cam1`", "path `cam2`", "recordDeleteAfter: `7d`", "delete_local of [retain]"]);
    says(&made, &["runOnRecordSegmentComplete: MediaMTX still runs it", "playback: on"]);

    let environment = [("MTX_PATHDEFAULTS_RECORDPATH", "/env/%path/%s-%f"), ("MTX_PATHS_OFF_RECORD", "yes")];
    let (made, config) = imported_with(Server::MediaMtx, "mediamtx.yml", text, &environment);
    assert_eq!(roots(&config)[0], ("/env", Server::MediaMtx, None));
    says(&made, &["path `off`"]);

    let (made, config) = imported(Server::MediaMtx, "mediamtx.yml", "pathDefaults:\n  record: yes\n");
    assert!(config.watch.roots.is_empty());
    says(&made, &["`recordings` is relative to the working directory of MediaMTX", "server = \"mediamtx\""]);
    let (made, config) = imported(Server::MediaMtx, "mediamtx.yml", "pathDefaults:\n  recordPath: /rec/%path/%s\n");
    assert!(config.watch.roots.is_empty());
    says(&made, &["#roots = [\"/rec\"]", "record: off for every path"]);
}

#[test]
fn srs() {
    let text = "\
listen 1935;
vhost __defaultVhost__ {
    dvr { enabled on; dvr_path /data/[app]/[stream].[timestamp].mp4; dvr_plan segment; dvr_duration 600; }
    http_hooks { enabled on; on_dvr http://hook.example/?token=hunter2; }
}
vhost other { dvr { enabled on; dvr_path ./objs/dvr/[2006]-[01]-[02]/[stream]_[15]-[04]-[05].flv; } }
";
    let (made, config) = imported(Server::Srs, "srs/conf/srs.conf", text);
    let read = roots(&config);
    assert_eq!((read[0].0, read[0].2), ("/data", None));
    assert!(read[1].0.ends_with("/srs/objs/dvr"), "relative to the directory above conf: {read:?}");
    says(&made, &["vhost `__defaultVhost__`", "each file of 600 s", "on_dvr", "are not read"]);
    let (made, _) = imported_with(Server::Srs, "srs.conf", "listen 1935;", &[("SRS_VHOST_DVR_ENABLED", "on")]);
    says(&made, &["`objs/nginx/html` is relative to the working directory of SRS"]);
}

#[test]
fn nginx_rtmp() {
    let text = "\
rtmp { server { listen 1935;
  application live { live on; record all; record_path /var/rec; record_unique on; exec_record_done sh -c 'x hunter2'; }
  application within { live on; record all; record_path /var/rec/within; record_suffix _%s.flv; }
  application day { live on; record all; record_path /var/day; record_suffix _%Y-%m-%d.flv;
    recorder sound { record audio; record_path '/var/with space'; record_interval 1h; } }
} }";
    let (made, config) = imported(Server::NginxRtmp, "nginx.conf", text);
    let template = Some("{stream}_{start:%Y-%m-%d}");
    assert_eq!(
        roots(&config),
        [
            ("/var/rec", Server::NginxRtmp, None),
            ("/var/day", Server::NginxRtmp, template),
            ("/var/with space", Server::NginxRtmp, template),
        ]
    );
    says(
        &made,
        &["exec_record_done of application `live`", "record_interval of recorder `sound`", "[[announce.command]]"],
    );
}

#[test]
fn ovenmediaengine() {
    let text = "<Server><VirtualHosts><VirtualHost><Name>default</Name><Applications><Application><Name>app</Name><Publishers>\
        <FILE><RootPath>/mnt/rec</RootPath><FilePath>/${Application}/${Stream}/${StartTime:YYYYMMDDhhmmss}_${EndTime:YYYYMMDDhhmmss}.ts\
        </FilePath><InfoPath>/${Stream}.xml</InfoPath></FILE></Publishers></Application></Applications></VirtualHost></VirtualHosts>\
        <Managers><API><AccessToken>hunter2</AccessToken></API></Managers></Server>";
    let (made, config) = imported(Server::Ome, "Server.xml", text);
    assert_eq!(roots(&config), [("/mnt/rec", Server::Ome, None)]);
    says(&made, &["application `app` of `default`", "InfoPath", "request to OvenMediaEngine's API"]);
}

#[test]
fn livekit() {
    let text = "\
api_secret: hunter2
storage:
  prefix: live/archive
  s3:
    access_key: AKIAHUNTER2
    secret: hunter2
    region: eu-central-1
    endpoint: minio.example:9000
    bucket: recordings
    force_path_style: true
    metadata: { team: news, 'bad name': x }
    tagging: retention=1y
file_outputs:
  - filepath: /out/{room_name}-{time}.mp4
";
    let (made, config) = imported(Server::LiveKit, "egress.yaml", text);
    assert_eq!(roots(&config), [("/out", Server::LiveKit, None)]);
    let target = &config.deliver.targets[0];
    assert_eq!((target.url.as_str(), target.region.as_deref()), ("s3://recordings/live/archive", Some("eu-central-1")));
    assert_eq!((target.endpoint.as_deref(), target.path_style), (Some("https://minio.example:9000"), Some(true)));
    assert_eq!((target.metadata.len(), target.tags.len()), (1, 1));
    says(&made, &["s3.access_key, s3.secret", "never copied", "AWS_ACCESS_KEY_ID", "mode 0600", "remove this section"]);
    let (made, config) = imported(Server::LiveKit, "egress.yaml", "gcp: { bucket: b, credentials_json: hunter2 }\n");
    assert_eq!(config.deliver.targets[0].url, "gs://b");
    says(&made, &["GOOGLE_APPLICATION_CREDENTIALS", "gcp.credentials_json", "each request names its own"]);
}

#[test]
fn names_that_would_break_the_file_do_not() {
    let hostile = "rtmp { server { application \"a\u{1b}[2J\nroots = ['/etc']\" { record all; record_path \"/var/\\\"x\\\" # y\"; } } }";
    let (made, config) = imported(Server::NginxRtmp, "nginx.conf", hostile);
    assert_eq!(roots(&config)[0].0, "/var/\"x\" # y");
    assert!(!made.contains('\u{1b}'), "{made}");
    let line_break = "rtmp { server { application a { record all; record_path \"/var/a\nb\"; } } }";
    let (made, config) = imported(Server::NginxRtmp, "nginx.conf", line_break);
    assert!(config.watch.roots.is_empty());
    says(&made, &["cannot be written in a configuration"]);
    let key =
        "s3: { bucket: 'a/b?X=1', access_key: hunter2 }\nalioss: { bucket: 'b', endpoint: 'https://user:hunter2@x' }\n";
    let (made, _) = imported(Server::LiveKit, "egress.yaml", key);
    says(&made, &["s3: no target, because its bucket and prefix do not form a valid URL", "endpoint is not a URL"]);
}

#[test]
fn a_file_that_cannot_be_read_is_an_error_with_its_line() {
    let dir = tempfile::tempdir().unwrap();
    let error = |server, text: &str| {
        let file = dir.path().join("x.conf");
        std::fs::write(&file, text).unwrap();
        import_server(server, Some(&file), &[], BTreeMap::new()).unwrap_err().to_string()
    };
    assert!(error(Server::MediaMtx, "paths:\n  a: [1\nb: 2\n").contains("line 3"));
    assert!(error(Server::LiveKit, "a: 'x\n").contains("line"));
    assert!(error(Server::Srs, "vhost a {\n").contains("line 1"));
    assert!(error(Server::NginxRtmp, "rtmp {\n}\n}\n").contains("line 3"));
    assert!(error(Server::Ome, "<Server>\n</Servers>\n").contains("line 2"));
    assert!(error(Server::NginxRtmp, "include x.conf;").contains("includes itself"));
    let missing = import_server(Server::Ome, Some(&dir.path().join("none")), &[], BTreeMap::new());
    assert!(matches!(missing, Err(IngestError::Unreadable { .. })));
}
