//! Import of Ant Media's settings: what comes out loads, and holds no secret.

use super::*;
use crate::config::{import_antmedia, import_antmedia_file};
use crate::discover::Server;
use crate::ingest::IngestError;

const PLACE: &str = "/usr/local/antmedia/webapps/live/WEB-INF/red5-web.properties";

const FULL: &str = "\
#Mon Jan 05 2026
webapp.contextPath=/live
mp4MuxingEnabled=true
webMMuxingEnabled=false
addDateTimeToMp4FileName=true
recordingSubfolder=/vod/
uploadExtensionsToS3=5
s3RecordingEnabled=true
s3AccessKey=AKIAHUNTER2
s3SecretKey=hunter2\\=\\=
s3BucketName=my-bucket
s3RegionName=eu-central-1
s3Endpoint=minio.example\\:9000
s3PathStyleAccessEnabled=true
s3StreamsFolderPath=archive/
s3StorageClass=STANDARD_IA
s3CacheControl=no-store, no-cache
s3Permission=public-read
listenerHookURL=https\\://hook.example/?token\\=hunter2
";

#[test]
fn what_carries_over_loads() {
    let text = import_antmedia(FULL, Path::new(PLACE));
    let config = from_text(&text).unwrap_or_else(|error| panic!("{error}\n{text}"));
    assert_eq!(config.watch.roots[0].path, Path::new("/usr/local/antmedia/webapps/live/streams"));
    assert_eq!(config.watch.roots[0].server, Server::AntMedia);
    assert!(config.finish.mp4_muxing_enabled && config.finish.add_date_time_to_mp4_file_name);
    assert_eq!(config.finish.recording_subfolder, "vod");
    assert_eq!(config.deliver.upload_extensions.bits(), 5);
    let target = &config.deliver.targets[0];
    assert_eq!(target.url, "s3://my-bucket/archive");
    assert_eq!(target.endpoint.as_deref(), Some("https://minio.example:9000"));
    assert_eq!((target.region.as_deref(), target.path_style), (Some("eu-central-1"), Some(true)));
    assert_eq!(target.storage_class.as_deref(), Some("STANDARD_IA"));
    assert_eq!(target.cache_control.as_deref(), Some("no-store, no-cache"));
}

#[test]
fn secrets_are_never_copied_and_what_is_left_out_is_named() {
    let text = import_antmedia(FULL, Path::new(PLACE));
    assert!(!text.to_lowercase().contains("hunter2"), "{text}");
    for said in [
        "AWS_ACCESS_KEY_ID",
        "AWS_SECRET_ACCESS_KEY",
        "s3RecordingEnabled=false",
        "# s3Permission",
        "# listenerHookURL",
    ] {
        assert!(text.contains(said), "{said} is missing in\n{text}");
    }
}

#[test]
fn the_prefix_of_old_releases_and_an_unknown_place() {
    let text =
        import_antmedia("settings.mp4MuxingEnabled=false\nsettings.s3BucketName=b\n", Path::new("/tmp/x.properties"));
    let config = from_text(&text).unwrap();
    assert!(!config.finish.mp4_muxing_enabled);
    assert!(config.watch.roots.is_empty() && config.deliver.targets.is_empty());
    assert!(text.contains("#url = \"s3://b/streams\""), "{text}");
}

#[test]
fn values_that_mean_nothing_here_are_named_and_still_load() {
    let odd = "mp4MuxingEnabled=maybe\nuploadExtensionsToS3=900\nrecordingSubfolder=../%m\ns3BucketName=a b?c\\nurl=x\ns3RecordingEnabled=true\n";
    let text = import_antmedia(odd, Path::new(PLACE));
    from_text(&text).unwrap_or_else(|error| panic!("{error}\n{text}"));
    for said in ["# mp4MuxingEnabled", "# uploadExtensionsToS3", "# recordingSubfolder", "# s3BucketName"] {
        assert!(text.contains(said), "{said} is missing in\n{text}");
    }
}

#[test]
fn a_file_tells_its_root_by_its_place() {
    let directory = tempfile::tempdir().unwrap();
    let web_inf = directory.path().join("webapps/live/WEB-INF");
    std::fs::create_dir_all(&web_inf).unwrap();
    std::fs::write(web_inf.join("red5-web.properties"), b"s3BucketName=\xfc\n").unwrap();
    let text = import_antmedia_file(&web_inf.join("red5-web.properties")).unwrap();
    assert!(text.contains("webapps/live/streams\"]"), "{text}");
    assert!(matches!(import_antmedia_file(Path::new("/nowhere")), Err(IngestError::Unreadable { .. })));
}
