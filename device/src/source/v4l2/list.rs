//! The cameras of this machine.

use std::fs;
use std::path::{Path, PathBuf};

use super::controls::{self, ControlInfo};
use super::offers::{self, Sizes, name_of};
use super::{open_camera, text};
use crate::source::camera::CameraFormat;

/// A camera, and what it can do.
#[derive(Clone, Debug)]
pub struct CameraInfo {
    /// Its device node.
    pub path: PathBuf,
    /// Names that stay when cameras are plugged in another order: by what the camera is
    /// (`/dev/v4l/by-id`), and by where it is plugged (`/dev/v4l/by-path`).
    pub stable: Vec<PathBuf>,
    /// Its own name.
    pub card: String,
    /// The kernel's driver.
    pub driver: String,
    /// Where it is plugged.
    pub bus: String,
    /// What it sends.
    pub formats: Vec<FormatInfo>,
    /// What can be set.
    pub controls: Vec<ControlInfo>,
}

/// A format in which a camera sends pictures.
#[derive(Clone, Debug)]
pub struct FormatInfo {
    /// The kernel's code.
    pub code: String,
    /// The driver's words for it.
    pub description: String,
    /// What `--camera-format` calls it; `None` if this program cannot read it.
    pub name: Option<&'static str>,
    /// Sizes one by one with their rates in frames per second, or the least and the largest.
    pub sizes: Vec<SizeInfo>,
    /// Whether every size between the two is one, too.
    pub is_range: bool,
}

/// A size of pictures.
#[derive(Clone, Debug)]
pub struct SizeInfo {
    /// Pixels per row.
    pub width: u32,
    /// Rows.
    pub height: u32,
    /// Frames per second; both ends of a range, or empty if the driver does not say.
    pub rates: Vec<f64>,
}

/// Every camera of this machine that can be opened, in the order of their numbers.
#[must_use]
pub fn cameras() -> Vec<CameraInfo> {
    let number = |path: &PathBuf| -> Option<u32> {
        let name = path.file_name()?.to_str()?;
        name.strip_prefix("video")?.parse().ok()
    };
    let mut nodes: Vec<_> = files(Path::new("/dev"))
        .into_iter()
        .filter_map(|path| Some((number(&path)?, path)))
        .collect();
    nodes.sort_unstable();
    let nodes = nodes.into_iter().map(|(_, path)| path);
    nodes
        .filter_map(|path| match camera(&path) {
            Ok(camera) => Some(camera),
            Err(error) => {
                tracing::debug!("{error}");
                None
            }
        })
        .collect()
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).collect()
}

fn camera(path: &Path) -> Result<CameraInfo, crate::source::CameraError> {
    let failed = |error| crate::source::CameraError::Failed {
        path: path.to_owned(),
        error,
    };
    let (node, about) = open_camera(path)?;
    let formats = offers::offers(&node).map_err(failed)?;
    let formats = formats.iter().map(|offer| {
        let (sizes, is_range) = match &offer.sizes {
            Sizes::Listed(sizes) => (sizes.clone(), false),
            Sizes::Between([[width, most_width, _], [height, most_height, _]]) => {
                (vec![(*width, *height), (*most_width, *most_height)], true)
            }
            Sizes::Unknown => (Vec::new(), false),
        };
        let sizes = sizes.into_iter().map(|(width, height)| SizeInfo {
            width,
            height,
            rates: offers::rates(&node, offer.pixel_format, (width, height)),
        });
        FormatInfo {
            code: name_of(offer.pixel_format),
            description: offer.description.clone(),
            name: CameraFormat::ALL
                .into_iter()
                .find(|format| offer.is(*format))
                .map(CameraFormat::name),
            sizes: sizes.collect(),
            is_range,
        }
    });
    Ok(CameraInfo {
        path: path.to_owned(),
        stable: stable_names(path),
        card: text(&about.card),
        driver: text(&about.driver),
        bus: text(&about.bus_info),
        formats: formats.collect(),
        controls: controls::controls(&node),
    })
}

fn stable_names(path: &Path) -> Vec<PathBuf> {
    let mut names: Vec<_> = ["/dev/v4l/by-id", "/dev/v4l/by-path"]
        .iter()
        .flat_map(|folder| files(Path::new(folder)))
        .filter(|name| fs::canonicalize(name).is_ok_and(|node| node == path))
        .collect();
    names.sort_unstable();
    names
}
