//! Sample files: `valid` ones load, `invalid` ones fail with the words in the `.txt` beside them.

use super::*;
use crate::fault::Fault;

fn samples(kind: &str) -> Vec<PathBuf> {
    let directory = repository().join("tests/fixtures/configs").join(kind);
    let entries = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<_> = entries.filter(|path| path.extension().is_some_and(|e| e == "toml")).collect();
    files.sort();
    files
}

fn load_sample(path: &Path) -> Result<Config, ConfigError> {
    let text = std::fs::read_to_string(path).unwrap();
    let name = Path::new(path.file_name().unwrap());
    read(Some(FileText { path: name, text: &text }), &env(&[]), &[])
}

#[test]
fn valid_files_load() {
    let files = samples("valid");
    assert!(files.len() >= 5);
    for path in files {
        load_sample(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    }
}

#[test]
fn invalid_files_fail_in_the_expected_words() {
    let files = samples("invalid");
    assert!(files.len() >= 30);
    for path in files {
        let error = load_sample(&path).expect_err(&path.display().to_string());
        assert!(error.hint().is_some_and(|hint| hint.contains("no recording was touched")));
        assert_file(&path.with_extension("txt"), &format!("{error}\n"));
    }
}
