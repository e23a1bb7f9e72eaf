//! What a stranger's model says of itself elsewhere: configurations of timm and Hugging Face, and files of
//! labels.

mod configuration;

use std::path::Path;

use anyhow::{Context, ensure};

pub use configuration::{Configuration, read_configuration};

/// Most bytes of a file of labels or of a configuration.
const LARGEST: u64 = 4 << 20;

/// Names of classes from a text file, one a line (empty lines at its end are left out), or from a JSON file:
/// a list of names, or an object that names them by their numbers.
///
/// # Errors
/// The file cannot be read, or holds no labels.
pub fn read_labels(path: &Path) -> anyhow::Result<Vec<String>> {
    let text = read(path)?;
    let shown = path.display();
    let labels = if text.trim_start().starts_with(['[', '{']) {
        let value = serde_json::from_str(&text).with_context(|| format!("{shown} is no JSON"))?;
        configuration::labels(&value)
            .with_context(|| format!("{shown} holds neither a list of names nor names by number"))?
    } else {
        let lines = text.trim_end().lines();
        lines.map(|line| line.trim().to_owned()).collect()
    };
    ensure!(!labels.is_empty(), "{shown} holds no labels");
    if let Some(line) = labels.iter().position(String::is_empty) {
        anyhow::bail!(
            "line {} of {shown} is empty: give each class a name",
            line + 1
        );
    }
    Ok(labels)
}

fn read(path: &Path) -> anyhow::Result<String> {
    let shown = path.display();
    let about = std::fs::metadata(path).with_context(|| format!("cannot read {shown}"))?;
    ensure!(about.is_file(), "{shown} is not a regular file");
    ensure!(
        about.len() <= LARGEST,
        "{shown} has {} bytes, too many for labels or a configuration",
        about.len()
    );
    std::fs::read_to_string(path).with_context(|| format!("cannot read {shown}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(text: &str) -> anyhow::Result<Vec<String>> {
        let folder = tempfile::tempdir().expect("temporary folder");
        let path = folder.path().join("labels");
        std::fs::write(&path, text).expect("written");
        read_labels(&path)
    }

    #[test]
    fn labels_are_lines_a_list_or_an_object() {
        let wanted = ["cat", "big dog"];
        assert_eq!(labels("cat\r\nbig dog\n\n").expect("lines"), wanted);
        assert_eq!(labels(r#"["cat", "big dog"]"#).expect("a list"), wanted);
        let object = r#"{"1": "big dog", "0": "cat"}"#;
        assert_eq!(labels(object).expect("an object"), wanted);
        for wrong in [
            "",
            "\n\n",
            "cat\n\ndog\n",
            "{\"1\": \"dog\"}",
            "[1, 2]",
            "{",
        ] {
            assert!(labels(wrong).is_err(), "{wrong:?}");
        }
    }
}
