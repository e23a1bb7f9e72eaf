//! Signatures of model and plan files: Ed25519 (RFC 8032), behind the last byte that they are for.
//!
//! What is signed is the kind of file ([`Kind`]), so that a signature of one kind is none of another,
//! and every byte before the signature. Where that begins is known without reading the file: an ONNX
//! file ends with a metadata entry of a fixed length, which other programs pass over, and a plan tells
//! its length in its header. Nothing else is looked at before the signature is found to be right.
//!
//! Weights beside a model are covered by their SHA-256, which lies in another entry of the signed file.

use core::fmt;

use ed25519_compact as ed25519;

use crate::hexadecimal;

/// What a file is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// An ONNX file.
    Model,
    /// A plan file.
    Plan,
}

/// Metadata key of a model's signature.
pub const KEY: &str = "mcdropout.signature";
/// A metadata entry with [`KEY`] and 128 hexadecimal digits, up to these.
const ENTRY: &[u8; 27] = b"\x72\x98\x01\x0a\x13mcdropout.signature\x12\x80\x01";
/// What comes between a plan and its signature.
const MARK: &[u8; 8] = b"MCDPSIG1";
/// Bytes of a signature.
const BYTES: usize = ed25519::Signature::BYTES;
/// Bytes behind a plan that is signed.
pub const PLAN_BYTES: usize = MARK.len() + BYTES;

impl Kind {
    /// The kind of the file that begins so.
    #[must_use]
    pub fn of(file: &[u8]) -> Self {
        if file.starts_with(&crate::engine::micro::PlanFile::MAGIC) {
            Self::Plan
        } else {
            Self::Model
        }
    }

    /// What a message to be signed begins with.
    const fn domain(self) -> &'static [u8] {
        match self {
            Self::Model => b"mcdropout model v1\0",
            Self::Plan => b"mcdropout plan v1\0",
        }
    }

    /// A file without its signature, and that, if it has one. Behind a plan there may be more.
    #[must_use]
    pub fn split(self, file: &[u8]) -> (&[u8], Option<[u8; BYTES]>) {
        let parts = match self {
            Self::Model => file
                .split_last_chunk::<{ 2 * BYTES }>()
                .and_then(|(before, digits)| {
                    Some((before.strip_suffix(ENTRY)?, hexadecimal::decode(digits)?))
                }),
            Self::Plan => length(file)
                .and_then(|length| file.split_at_checked(length))
                .and_then(|(plan, behind)| {
                    Some((plan, *behind.strip_prefix(MARK)?.first_chunk()?))
                }),
        };
        match parts {
            Some((content, signature)) => (content, Some(signature)),
            None => (file, None),
        }
    }
}

/// The length that a plan's header tells.
fn length(file: &[u8]) -> Option<usize> {
    let length = file.get(8..)?.first_chunk()?;
    usize::try_from(u32::from_le_bytes(*length)).ok()
}

/// Why a file is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SignatureError {
    /// There is no signature.
    Unsigned,
    /// It was signed with another key, or has changed since.
    Foreign,
}

impl fmt::Display for SignatureError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unsigned => "it is not signed: sign it with host sign --key KEY FILE",
            Self::Foreign => {
                "it is signed by no trusted key, or has changed since: sign it with host sign --key KEY FILE"
            }
        })
    }
}

impl core::error::Error for SignatureError {}

/// A key that signatures are checked with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PublicKey(ed25519::PublicKey);

impl PublicKey {
    /// Bytes of a key.
    pub const BYTES: usize = ed25519::PublicKey::BYTES;

    /// The key of these bytes.
    #[must_use]
    pub fn new(bytes: [u8; Self::BYTES]) -> Self {
        Self(ed25519::PublicKey::new(bytes))
    }

    fn has_signed(&self, kind: Kind, content: &[u8], signature: [u8; BYTES]) -> bool {
        let signature = ed25519::Signature::new(signature);
        self.0
            .verify_incremental(&signature)
            .is_ok_and(|mut state| {
                state.absorb(kind.domain());
                state.absorb(content);
                state.verify().is_ok()
            })
    }
}

/// The file without its signature, if that is by one of the keys.
///
/// # Errors
/// [`SignatureError`].
pub fn verify<'a>(
    kind: Kind,
    file: &'a [u8],
    keys: &[PublicKey],
) -> Result<&'a [u8], SignatureError> {
    let (content, signature) = kind.split(file);
    let signature = signature.ok_or(SignatureError::Unsigned)?;
    if keys
        .iter()
        .any(|key| key.has_signed(kind, content, signature))
    {
        Ok(content)
    } else {
        Err(SignatureError::Foreign)
    }
}

#[cfg(feature = "onnx")]
pub use files::{KeyError, SigningKey, Trust};

#[cfg(feature = "onnx")]
mod files {
    use std::fmt;
    use std::fs;
    use std::path::{Path, PathBuf};

    use super::{ENTRY, Kind, MARK, PublicKey, SignatureError, ed25519, hexadecimal, verify};

    /// Why a key cannot be used.
    #[derive(Debug, thiserror::Error)]
    #[non_exhaustive]
    pub enum KeyError {
        /// Not there, or not readable.
        #[error("cannot read the key {}: {error}", path.display())]
        Read {
            /// The file.
            path: PathBuf,
            /// What the system said.
            error: std::io::Error,
        },
        /// Of another kind.
        #[error("{} is no Ed25519 {kind} key in PEM: make keys with host keygen", path.display())]
        Format {
            /// The file.
            path: PathBuf,
            /// `public` or `private`.
            kind: &'static str,
        },
    }

    fn read(path: &Path) -> Result<String, KeyError> {
        fs::read_to_string(path).map_err(|error| KeyError::Read {
            path: path.to_owned(),
            error,
        })
    }

    impl PublicKey {
        /// Reads a key from a PEM file (SPKI, RFC 8410), as `host keygen` and OpenSSL write it.
        ///
        /// # Errors
        /// [`KeyError`].
        pub fn open(path: &Path) -> Result<Self, KeyError> {
            let key = ed25519::PublicKey::from_pem(&read(path)?);
            key.map(Self).map_err(|_| KeyError::Format {
                path: path.to_owned(),
                kind: "public",
            })
        }

        /// The key as a PEM file.
        #[must_use]
        pub fn to_pem(&self) -> String {
            self.0.to_pem()
        }

        /// Its bytes as hexadecimal digits.
        #[must_use]
        pub fn to_hexadecimal(&self) -> String {
            hexadecimal::encode(&self.0[..])
        }
    }

    /// A key that files are signed with.
    pub struct SigningKey(ed25519::KeyPair);

    impl fmt::Debug for SigningKey {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.debug_tuple("SigningKey").finish_non_exhaustive()
        }
    }

    impl SigningKey {
        /// Bytes of a seed.
        pub const SEED: usize = ed25519::Seed::BYTES;

        /// The key that follows from `seed`, which must come from a cryptographic random source; `None`
        /// if it is all zeros.
        #[must_use]
        pub fn from_seed(seed: [u8; Self::SEED]) -> Option<Self> {
            let pair = ed25519::KeyPair::try_from_seed(ed25519::Seed::new(seed));
            pair.map(Self).ok()
        }

        /// Reads a key from a PEM file (PKCS#8, RFC 8410), as `host keygen` and OpenSSL write it.
        ///
        /// # Errors
        /// [`KeyError`].
        pub fn open(path: &Path) -> Result<Self, KeyError> {
            let pair = ed25519::KeyPair::from_pem(&read(path)?);
            pair.map(Self).map_err(|_| KeyError::Format {
                path: path.to_owned(),
                kind: "private",
            })
        }

        /// The key as a PEM file.
        #[must_use]
        pub fn to_pem(&self) -> String {
            self.0.sk.to_pem()
        }

        /// What signatures by this key are checked with.
        #[must_use]
        pub fn public(&self) -> PublicKey {
            PublicKey(self.0.pk)
        }

        /// The file with a signature, in place of one that it has.
        #[must_use]
        pub fn sign(&self, kind: Kind, file: &[u8]) -> Vec<u8> {
            let (content, _) = kind.split(file);
            let signature = self.0.sk.sign([kind.domain(), content].concat(), None);
            match kind {
                Kind::Model => {
                    let digits = hexadecimal::encode(&signature[..]);
                    [content, &ENTRY[..], digits.as_bytes()].concat()
                }
                Kind::Plan => [content, &MARK[..], &signature[..]].concat(),
            }
        }
    }

    /// The keys whose files are taken; without any, every file is.
    #[derive(Clone, Debug, Default, PartialEq, Eq)]
    pub struct Trust(Vec<PublicKey>);

    impl Trust {
        /// Reads keys from PEM files.
        ///
        /// # Errors
        /// [`KeyError`].
        pub fn open(paths: &[PathBuf]) -> Result<Self, KeyError> {
            let keys = paths.iter().map(|path| PublicKey::open(path));
            keys.collect::<Result<_, _>>().map(Self)
        }

        /// Whether files have to be signed.
        #[must_use]
        pub fn is_required(&self) -> bool {
            !self.0.is_empty()
        }

        /// The file without its signature, if it is taken.
        ///
        /// # Errors
        /// [`SignatureError`].
        pub fn check<'a>(&self, kind: Kind, file: &'a [u8]) -> Result<&'a [u8], SignatureError> {
            if self.is_required() {
                verify(kind, file, &self.0)
            } else {
                Ok(kind.split(file).0)
            }
        }
    }

    impl From<PublicKey> for Trust {
        fn from(key: PublicKey) -> Self {
            Self(vec![key])
        }
    }
}

#[cfg(all(test, feature = "onnx"))]
mod tests {
    use prost::Message as _;
    use tract_onnx::pb::ModelProto;

    use super::*;

    fn key(seed: u8) -> SigningKey {
        SigningKey::from_seed([seed; 32]).expect("not all zeros")
    }

    fn plan() -> Vec<u8> {
        [b"MCDP\x01\0\0\0\x14\0\0\0", &[7; 8][..]].concat()
    }

    #[test]
    fn the_first_vector_of_rfc_8032_has_its_public_key() {
        let seed = "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60";
        let seed = hexadecimal::decode(seed.as_bytes()).expect("32 bytes");
        let key = SigningKey::from_seed(seed).expect("not all zeros");
        assert_eq!(
            key.public().to_hexadecimal(),
            "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a"
        );
    }

    #[test]
    fn every_byte_counts_and_the_kind_does_too() {
        let model = ModelProto {
            producer_name: "somebody".into(),
            ..ModelProto::default()
        };
        let model = model.encode_to_vec();
        let (right, other) = ([key(1).public()], [key(2).public()]);
        for (kind, file) in [(Kind::Model, model), (Kind::Plan, plan())] {
            assert_eq!(Kind::of(&file), kind);
            assert_eq!(verify(kind, &file, &right), Err(SignatureError::Unsigned));
            let signed = key(1).sign(kind, &file);
            assert_eq!(verify(kind, &signed, &right), Ok(&file[..]));
            assert_eq!(verify(kind, &signed, &other), Err(SignatureError::Foreign));
            assert_eq!(verify(kind, &signed, &[other[0], right[0]]), Ok(&file[..]));
            assert_eq!(key(1).sign(kind, &key(2).sign(kind, &file)), signed);
            for at in 0..signed.len() {
                let mut changed = signed.clone();
                changed[at] ^= 1;
                assert!(
                    verify(kind, &changed, &right).is_err(),
                    "{kind:?} byte {at}"
                );
            }
            for length in 0..signed.len() {
                assert!(verify(kind, &signed[..length], &right).is_err());
            }
        }
        // The same bytes, signed as the other kind.
        let signed = key(1).sign(Kind::Plan, &plan());
        let (content, signature) = Kind::Plan.split(&signed);
        let signature = signature.expect("signed");
        assert!(!right[0].has_signed(Kind::Model, content, signature));
    }

    #[test]
    fn a_signed_model_is_a_model_that_other_programs_read() {
        let model = ModelProto {
            producer_name: "somebody".into(),
            ..ModelProto::default()
        };
        let signed = key(1).sign(Kind::Model, &model.encode_to_vec());
        let mut read = ModelProto::decode(&signed[..]).expect("a model");
        let entry = read.metadata_props.pop().expect("the signature");
        assert_eq!((entry.key.as_str(), entry.value.len()), (KEY, 128));
        assert_eq!(read, model);
    }

    #[test]
    fn keys_come_back_from_their_files() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let [private, public] = ["a.key", "a.pub"].map(|name| folder.path().join(name));
        std::fs::write(&private, key(3).to_pem()).expect("written");
        std::fs::write(&public, key(3).public().to_pem()).expect("written");
        let read = SigningKey::open(&private).expect("read").public();
        assert_eq!(read, key(3).public());
        assert_eq!(PublicKey::open(&public).expect("read"), read);
        for wrong in [
            PublicKey::open(&private).expect_err("a private key"),
            SigningKey::open(&public).expect_err("a public key"),
        ] {
            assert!(wrong.to_string().contains("host keygen"), "{wrong}");
        }
        assert!(PublicKey::open(&folder.path().join("none")).is_err());
    }
}
