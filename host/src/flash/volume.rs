//! The volume as which a chip's boot loader shows itself.

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail, ensure};

/// File by which a boot loader that takes UF2 says what it is.
const INFO: &str = "INFO_UF2.TXT";

/// The folder of the boot loader of a `model` chip: `named`, or where this system has mounted it.
///
/// # Errors
/// If there is none, or more than one, or `named` is not one.
pub fn find(model: &str, named: Option<&Path>) -> anyhow::Result<PathBuf> {
    if let Some(folder) = named {
        let info = fs::read_to_string(folder.join(INFO)).with_context(|| {
            format!(
                "{} is not the volume of a boot loader: cannot read {INFO} in it",
                folder.display()
            )
        })?;
        ensure!(
            info.contains(model),
            "{} is the volume of another chip than {model}: {}",
            folder.display(),
            info.trim().replace(['\r', '\n'], " ")
        );
        return Ok(folder.to_owned());
    }
    let mounts = fs::read("/proc/self/mounts").context("cannot read what is mounted")?;
    let mut found: Vec<_> = mount_points(&mounts)
        .filter(|folder| {
            fs::read_to_string(folder.join(INFO)).is_ok_and(|info| info.contains(model))
        })
        .collect();
    match (found.pop(), found.is_empty()) {
        (Some(folder), true) => Ok(folder),
        (Some(_), false) => {
            bail!("several boards wait in their boot loaders: name the volume of one with --volume")
        }
        (None, _) => {
            let device = Path::new("/dev/disk/by-label").join(model);
            ensure!(
                !device.exists(),
                "the board's volume is not mounted: mount {} and name the folder with --volume",
                device.display()
            );
            bail!(
                "no board waits in its boot loader: hold BOOTSEL while plugging in the board's USB cable, \
                 then let go; or name the volume {model} with --volume, or write a file with --uf2"
            )
        }
    }
}

/// The mount points of FAT file systems in a table of mounts as of Linux (`/proc/mounts`).
fn mount_points(table: &[u8]) -> impl Iterator<Item = PathBuf> {
    table.split(|byte| *byte == b'\n').filter_map(|line| {
        let mut fields = line.split(|byte| *byte == b' ');
        let (_, folder, kind) = (fields.next()?, fields.next()?, fields.next()?);
        [&b"vfat"[..], b"msdos", b"fuseblk"]
            .contains(&kind)
            .then(|| PathBuf::from(std::ffi::OsString::from_vec(unescaped(folder))))
    })
}

/// The table writes blanks and backslashes as a backslash and three octal digits.
fn unescaped(mut text: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(text.len());
    while let [first, rest @ ..] = text {
        if let (b'\\', [a @ b'0'..=b'3', b @ b'0'..=b'7', c @ b'0'..=b'7', rest @ ..]) =
            (first, rest)
        {
            plain.push((a - b'0') << 6 | (b - b'0') << 3 | (c - b'0'));
            text = rest;
        } else {
            plain.push(*first);
            text = rest;
        }
    }
    plain
}

/// Copies the UF2 file `bytes` onto the boot loader's volume `folder`.
///
/// # Errors
/// If it cannot be written.
pub fn write(folder: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    let copy = || -> std::io::Result<()> {
        let mut file = File::create(folder.join("firmware.uf2"))?;
        file.write_all(bytes)?;
        file.sync_all()
    };
    match copy() {
        // The board restarts with the last block, before the file's name is on its pretended disk.
        Err(_) if !folder.join(INFO).exists() => Ok(()),
        result => result
            .with_context(|| format!("cannot write to the board's volume {}", folder.display())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mount_points_of_fat_are_found_whatever_their_name() {
        let table = b"/dev/vda / ext4 rw 0 0\n/dev/sdb1 /media/me/RP2350 vfat rw 0 0\n\
            /dev/sdc1 /media/a\\040b\\134c vfat rw 0 0\nshort\n\n";
        let found: Vec<_> = mount_points(table).collect();
        assert_eq!(
            found,
            [Path::new("/media/me/RP2350"), Path::new("/media/a b\\c")]
        );
    }

    #[test]
    fn a_volume_of_another_chip_is_refused() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let find = || find("RP2350", Some(folder.path()));
        assert!(find().expect_err("empty").to_string().contains(INFO));
        fs::write(folder.path().join(INFO), "Model: Raspberry Pi RP2\r\n").expect("written");
        let error = find().expect_err("an RP2040").to_string();
        assert!(error.contains("another chip"), "{error}");
        fs::write(folder.path().join(INFO), "Model: Raspberry Pi RP2350\r\n").expect("written");
        assert_eq!(find().expect("an RP2350"), folder.path());
        write(folder.path(), b"x").expect("written");
        assert_eq!(
            fs::read(folder.path().join("firmware.uf2")).expect("read"),
            b"x"
        );
    }
}
