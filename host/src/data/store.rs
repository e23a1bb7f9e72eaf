//! Where the pictures of a data set lie: in memory, in files, or made from others when they are needed.

use std::collections::HashMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use device::source::{Frame, read_picture};
use shared::image::PixelFormat;

use super::corrupt::{Spoil, corrupt};
use super::{DataError, Purpose, Random};

/// The most memory that decoded pictures of one folder are kept in, bytes.
const CACHE_BYTES: usize = 256 << 20;

/// Pictures, in an order of their own. Copies share what they are made of.
#[derive(Debug, Clone, Default)]
pub(super) struct Pictures {
    stores: Vec<Arc<Store>>,
    /// Of each picture, its store and its index there.
    places: Vec<(u16, u32)>,
}

#[derive(Debug)]
enum Store {
    Memory(Block),
    Files(Files),
    Spoilt(Pictures, Spoil),
}

/// Pictures of one size in memory.
struct Block {
    width: usize,
    height: usize,
    format: PixelFormat,
    /// One picture after the other.
    pixels: Vec<u8>,
}

impl fmt::Debug for Block {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            width,
            height,
            format,
            pixels,
        } = self;
        write!(f, "{width}x{height} {format:?}, {} bytes", pixels.len())
    }
}

impl Pictures {
    /// Pictures of one size, one after the other in `pixels`, row-major without padding.
    ///
    /// # Panics
    /// A picture has no pixels, the last one is not whole, or there are more than `u32::MAX`.
    pub(super) fn in_memory(
        (width, height): (usize, usize),
        format: PixelFormat,
        pixels: Vec<u8>,
    ) -> Self {
        let bytes = width * height * format.bytes();
        assert!(
            bytes > 0 && pixels.len().is_multiple_of(bytes),
            "whole pictures"
        );
        let count = pixels.len() / bytes;
        Self::of(
            Store::Memory(Block {
                width,
                height,
                format,
                pixels,
            }),
            count,
        )
    }

    /// Pictures that are decoded when they are needed.
    ///
    /// # Panics
    /// There are more than `u32::MAX`.
    pub(super) fn in_files(paths: Vec<PathBuf>) -> Self {
        let count = paths.len();
        Self::of(Store::Files(Files::new(paths, CACHE_BYTES)), count)
    }

    /// These pictures, spoilt; what is drawn at random for one is told by its index.
    pub(super) fn spoilt(self, how: Spoil) -> Self {
        let count = self.len();
        Self::of(Store::Spoilt(self, how), count)
    }

    fn of(store: Store, count: usize) -> Self {
        let count = u32::try_from(count).expect("a data set has at most u32::MAX images");
        Self {
            stores: vec![Arc::new(store)],
            places: (0..count).map(|index| (0, index)).collect(),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.places.len()
    }

    pub(super) fn truncate(&mut self, count: usize) {
        self.places.truncate(count);
    }

    pub(super) fn split_off(&mut self, first: usize) -> Self {
        Self {
            stores: self.stores.clone(),
            places: self.places.split_off(first),
        }
    }

    pub(super) fn select(&self, indices: impl Iterator<Item = usize>) -> Self {
        Self {
            stores: self.stores.clone(),
            places: indices.map(|index| self.places[index]).collect(),
        }
    }

    pub(super) fn append(&mut self, other: &Self) {
        let numbers: Vec<u16> = other
            .stores
            .iter()
            .map(|store| {
                let known = self.stores.iter().position(|own| Arc::ptr_eq(own, store));
                let number = known.unwrap_or_else(|| {
                    self.stores.push(Arc::clone(store));
                    self.stores.len() - 1
                });
                u16::try_from(number).expect("a data set comes from at most 65,536 places")
            })
            .collect();
        let places = other.places.iter();
        self.places
            .extend(places.map(|&(store, index)| (numbers[usize::from(store)], index)));
    }

    /// The file of a picture, if it lies in one.
    pub(super) fn file(&self, index: usize) -> Option<&Path> {
        let (store, index) = self.places[index];
        match &*self.stores[usize::from(store)] {
            Store::Memory(_) => None,
            Store::Files(files) => Some(&files.paths[index as usize]),
            Store::Spoilt(pictures, _) => pictures.file(index as usize),
        }
    }

    pub(super) fn frame(&self, index: usize, format: PixelFormat) -> Result<Arc<Frame>, DataError> {
        let (store, index) = self.places[index];
        match &*self.stores[usize::from(store)] {
            Store::Memory(block) => Ok(Arc::new(block.frame(index as usize))),
            Store::Files(files) => files.frame(index, format),
            Store::Spoilt(pictures, how) => {
                let clean = pictures.frame(index as usize, format)?;
                let mut frame = Arc::unwrap_or_clone(clean);
                let mut random = Random::new(how.seed, Purpose::Corruption, u64::from(index));
                corrupt(how.corruption, how.severity, &mut frame, &mut random);
                Ok(Arc::new(frame))
            }
        }
    }
}

impl Block {
    fn frame(&self, index: usize) -> Frame {
        let bytes = self.width * self.height * self.format.bytes();
        Frame {
            width: self.width,
            height: self.height,
            format: self.format,
            pixels: self.pixels[index * bytes..(index + 1) * bytes].to_vec(),
            ..Frame::default()
        }
    }
}

/// Files of pictures, and those of them that were decoded and are kept, for several threads.
struct Files {
    paths: Vec<PathBuf>,
    cache: Mutex<Cache>,
}

impl fmt::Debug for Files {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} files", self.paths.len())
    }
}

impl Files {
    fn new(paths: Vec<PathBuf>, limit: usize) -> Self {
        Self {
            paths,
            cache: Mutex::new(Cache::new(limit)),
        }
    }

    fn frame(&self, index: u32, format: PixelFormat) -> Result<Arc<Frame>, DataError> {
        let lock = || self.cache.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (index, format);
        if let Some(frame) = lock().frames.get(&key) {
            return Ok(Arc::clone(frame));
        }
        // Without the lock: decoding is what takes time.
        let frame = Arc::new(read_picture(&self.paths[index as usize], format)?);
        lock().keep(key, &frame);
        Ok(frame)
    }
}

/// A picture's number and the format in which it was wanted.
type Key = (u32, PixelFormat);

/// Decoded pictures, up to a number of bytes.
#[derive(Debug)]
struct Cache {
    limit: usize,
    bytes: usize,
    frames: HashMap<Key, Arc<Frame>>,
    /// All keys of `frames`.
    keys: Vec<Key>,
    victims: Random,
}

impl Cache {
    fn new(limit: usize) -> Self {
        Self {
            limit,
            bytes: 0,
            frames: HashMap::new(),
            keys: Vec::new(),
            victims: Random::new(0, Purpose::Cache, 0),
        }
    }

    /// Keeps a picture, and lets go of others where there is no room for all.
    ///
    /// Which ones is left to chance: data sets are read from the start to the end, again and again, and
    /// the one that was used least recently is then the one that is wanted next.
    fn keep(&mut self, key: Key, frame: &Arc<Frame>) {
        let size = frame.pixels.len();
        // Another thread may have decoded it meanwhile.
        if size > self.limit || self.frames.contains_key(&key) {
            return;
        }
        while self.bytes + size > self.limit {
            let victim = self.victims.below(self.keys.len() as u32) as usize;
            let key = self.keys.swap_remove(victim);
            if let Some(frame) = self.frames.remove(&key) {
                self.bytes -= frame.pixels.len();
            }
        }
        self.bytes += size;
        self.keys.push(key);
        self.frames.insert(key, Arc::clone(frame));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A folder of `count` grey pictures of 10 × 10 pixels, each of the shade of its number.
    fn files(folder: &Path, count: u8) -> Vec<PathBuf> {
        (0..count)
            .map(|shade| {
                let path = folder.join(format!("{shade}.pgm"));
                let mut bytes = b"P5 10 10 255\n".to_vec();
                bytes.resize(bytes.len() + 100, shade);
                std::fs::write(&path, bytes).expect("written");
                path
            })
            .collect()
    }

    #[test]
    fn decoded_pictures_take_no_more_memory_than_allowed() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let files = Files::new(files(folder.path(), 50), 1050);
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    for index in (0..50).chain(0..50) {
                        let frame = files.frame(index, PixelFormat::Grey8).expect("decoded");
                        assert_eq!(frame.pixels, [index as u8; 100]);
                        let cache = files.cache.lock().expect("no panic");
                        let held: usize = cache.frames.values().map(|it| it.pixels.len()).sum();
                        assert!(held <= 1050 && held == cache.bytes, "{held}");
                        assert_eq!(cache.keys.len(), cache.frames.len());
                    }
                });
            }
        });
        let cache = files.cache.lock().expect("no panic");
        assert_eq!(cache.frames.len(), 10);
        drop(cache);
        // What is larger than all of it is not kept.
        let small = Files::new(files.paths.clone(), 99);
        small.frame(0, PixelFormat::Grey8).expect("decoded");
        assert!(small.cache.lock().expect("no panic").frames.is_empty());
    }

    #[test]
    fn a_kept_picture_is_not_read_again_but_in_another_format() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let files = Files::new(files(folder.path(), 1), 1000);
        let grey = files.frame(0, PixelFormat::Grey8).expect("decoded");
        std::fs::remove_file(&files.paths[0]).expect("removed");
        let again = files.frame(0, PixelFormat::Grey8).expect("kept");
        assert!(Arc::ptr_eq(&grey, &again));
        let error = files.frame(0, PixelFormat::Rgb8).expect_err("gone");
        assert!(error.to_string().contains("0.pgm"), "{error}");
    }

    #[test]
    fn copies_share_their_pictures() {
        let grey = |shades: std::ops::Range<u8>| {
            Pictures::in_memory((1, 1), PixelFormat::Grey8, shades.collect())
        };
        let mut some = grey(0..5);
        let chosen = some.select([4, 0].into_iter());
        let last = some.split_off(3);
        some.append(&chosen);
        some.append(&grey(9..10));
        some.append(&last);
        assert_eq!(some.stores.len(), 2);
        let shades: Vec<u8> = (0..some.len())
            .map(|index| {
                some.frame(index, PixelFormat::Grey8)
                    .expect("in memory")
                    .pixels[0]
            })
            .collect();
        assert_eq!(shades, [0, 1, 2, 4, 0, 9, 3, 4]);
    }
}
