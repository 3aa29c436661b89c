//! Compresses the files of the page, as hard as it goes, because they are sent far more often than the program is built.
//!
//! The files stay as they are in the source: browsers load what is reviewed. `page.rs` in the directory of the build lists all of
//! them with their compressed bytes.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::{env, fs, io};

use flate2::Compression;
use flate2::write::GzEncoder;

/// Relative to the crate.
const PAGE: &str = "src/serve/page";
/// Endings of what a browser loads. The first file is not among them: it names the others by their digest.
const SENT: [&str; 4] = ["css", "js", "mjs", "svg"];
/// The window, as its exponent of two: larger than any of the files.
const WINDOW_BITS: u32 = 18;
const BEST: u32 = 11;
const BUFFER_BYTES: usize = 64 << 10;

/// Writes all files compressed, and the list of them.
pub fn write() {
    let root = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").expect("cargo says where the crate is"));
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo says where to write"));
    let mut names = Vec::new();
    find(&root.join(PAGE), "", &mut names).expect("the page is part of the source");
    names.sort();
    let mut list = "&[\n".to_owned();
    for name in &names {
        let bytes = fs::read(root.join(PAGE).join(name)).expect("the page is part of the source");
        let to = out.join("page").join(name);
        let (brotli, gzip) = (beside(&to, "br"), beside(&to, "gz"));
        fs::create_dir_all(to.parent().unwrap_or(&out)).expect("the directory of the build is there");
        fs::write(&brotli, brotli_of(&bytes).expect("memory can be written"))
            .expect("the directory of the build is there");
        fs::write(&gzip, gzip_of(&bytes).expect("memory can be written")).expect("the directory of the build is there");
        let [brotli, gzip] = [&brotli, &gzip].map(|path| format!("include_bytes!({:?})", path.display().to_string()));
        let _ = writeln!(list, "File {{ name: {name:?}, brotli: {brotli}, gzip: {gzip} }},");
    }
    list.push(']');
    fs::write(out.join("page.rs"), list).expect("the directory of the build is there");
}

/// Names of the files that are sent, relative to the page.
fn find(directory: &Path, prefix: &str, into: &mut Vec<String>) -> io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let file_name = entry.file_name().into_string().expect("names in the source are UTF-8");
        let name = format!("{prefix}{file_name}");
        if entry.file_type()?.is_dir() {
            find(&entry.path(), &format!("{name}/"), into)?;
        } else if SENT.iter().any(|ending| Path::new(&name).extension().is_some_and(|found| found == *ending)) {
            into.push(name);
        }
    }
    Ok(())
}

fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".");
    name.push(ending);
    name.into()
}

fn brotli_of(bytes: &[u8]) -> io::Result<Vec<u8>> {
    let mut writer = brotli::CompressorWriter::new(Vec::new(), BUFFER_BYTES, BEST, WINDOW_BITS);
    writer.write_all(bytes)?;
    Ok(writer.into_inner())
}

fn gzip_of(bytes: &[u8]) -> io::Result<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(bytes)?;
    encoder.finish()
}
