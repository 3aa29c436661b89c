//! Sample files: `valid` ones load, `invalid` ones fail with the words in the `.txt` beside them.

use proptest::prelude::*;

use super::*;
use crate::config::example;
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

proptest! {
    /// Whatever is written, the answer is a configuration or problems with places, never a panic.
    #[test]
    fn nothing_that_is_written_makes_it_panic(text in "(\\[{0,2}[a-z.]{0,8}\\]{0,2}|[a-z_.]{1,8} = [-\"'{}\\[\\]a-z0-9:,]{0,12}|\\PC{0,20})(\n(\\[{0,2}(watch|deliver|watch.root|deliver.target)\\]{0,2}|(roots|url|quiet|root|key) = [-\"'{}\\[\\]a-z0-9:,]{0,12})){0,6}") {
        if let Err(ConfigError::Invalid { problems, .. }) = from_text(&text) {
            prop_assert!(!problems.is_empty());
        }
    }

    /// The example with a stretch of it replaced: as above.
    #[test]
    fn a_damaged_example_is_reported(at in 0usize..3000, len in 0usize..40, with in "\\PC{0,10}") {
        let chars: Vec<char> = example().replace("\n#", "\n").chars().collect();
        let (before, rest) = chars.split_at(at.min(chars.len()));
        let text: String = before.iter().copied().chain(with.chars()).chain(rest.iter().copied().skip(len)).collect();
        let _ = from_text(&text).map_err(|error| error.to_string());
    }

    /// A variable of any name and value neither panics nor shows its value in a warning.
    #[test]
    fn any_variable_is_survived(name in "(WATCH|DELIVER|TARGET|ROOT|[0-9]{1,21}|_{1,3}|[A-Z_]{0,6}){1,6}", value in "\\PC{0,16}") {
        let _ = read(None, &env(&[(&format!("AFTERCAST_{name}"), &value)]), &[]);
    }
}
