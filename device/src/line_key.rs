//! The key that both ends of a line share, in a file.

use std::io;
use std::path::{Path, PathBuf};

use shared::wire::seal::Key;

use crate::hexadecimal;

/// Why a key was not read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LineKeyError {
    /// The file.
    #[error("cannot read the line's key {}: {error}", path.display())]
    File {
        /// Its path.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// What it holds.
    #[error("{} holds no key: 64 hexadecimal digits are wanted, as openssl rand -hex 32 makes them", path.display())]
    Content {
        /// Its path.
        path: PathBuf,
    },
}

/// Reads a key: 64 hexadecimal digits, white space around them aside.
///
/// # Errors
/// If the file cannot be read or holds something else.
pub fn read(path: &Path) -> Result<Key, LineKeyError> {
    let text = std::fs::read(path).map_err(|error| LineKeyError::File {
        path: path.to_owned(),
        error,
    })?;
    hexadecimal::decode(text.trim_ascii())
        .map(Key)
        .ok_or_else(|| LineKeyError::Content {
            path: path.to_owned(),
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_64_digits() {
        let file = tempfile::NamedTempFile::new().expect("temporary file");
        let digits = "0123456789abcdefFEDCBA9876543210".repeat(2);
        std::fs::write(file.path(), format!("{digits}\n")).expect("written");
        let key = read(file.path()).expect("a key");
        assert_eq!(
            key.0[..9],
            [0x01, 0x23, 0x45, 0x67, 0x89, 0xAB, 0xCD, 0xEF, 0xFE]
        );
        for wrong in [
            "",
            "ff",
            &digits[1..],
            &format!("{digits}0"),
            &digits.replace('a', "g"),
        ] {
            std::fs::write(file.path(), wrong).expect("written");
            let error = read(file.path()).expect_err("no key");
            assert!(error.to_string().contains("openssl rand"), "{error}");
        }
        assert!(read(Path::new("/nowhere")).is_err());
    }
}
