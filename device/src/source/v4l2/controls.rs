//! A camera's controls (exposure, gain, white balance …), named as `v4l2-ctl` names them.

use std::io;

use rustix::io::Errno;

use super::abi::{Control, QueryControl, QueryMenu, control};
use super::sys::Node;
use super::text;

/// Ends an enumeration that a broken driver does not end.
const MOST: usize = 1024;

/// A control of a camera.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ControlInfo {
    /// Its name, as `--control` takes it.
    pub name: String,
    /// What kind of values it takes.
    pub kind: &'static str,
    /// The least value.
    pub minimum: i32,
    /// The largest value.
    pub maximum: i32,
    /// What values are apart.
    pub step: i32,
    /// Its value at first.
    pub default: i32,
    /// Its value now, if it tells.
    pub value: Option<i32>,
    /// Of a menu, what each value means.
    pub menu: Vec<(i32, String)>,
    /// Whether another control keeps it from having an effect.
    pub inactive: bool,
    /// Whether it can only be read.
    pub read_only: bool,
}

/// A control's name in lower case, words joined by underscores.
fn variable(name: &str) -> String {
    name.split(|character: char| !character.is_ascii_alphanumeric())
        .filter(|word| !word.is_empty())
        .map(str::to_ascii_lowercase)
        .collect::<Vec<_>>()
        .join("_")
}

fn kind(control: &QueryControl) -> Option<&'static str> {
    match control.kind {
        control::INTEGER => Some("integer"),
        control::BOOLEAN => Some("boolean"),
        control::MENU => Some("menu"),
        control::BUTTON => Some("button"),
        control::BITMASK => Some("bitmask"),
        control::INTEGER_MENU => Some("integer menu"),
        _ => None, // headings, text, and what is wider than 32 bits
    }
}

/// Every control that takes a whole number.
fn queried(node: &Node) -> Vec<QueryControl> {
    let mut all = Vec::new();
    let mut id = 0;
    while all.len() < MOST {
        let mut found = QueryControl {
            id: id | control::NEXT,
            ..QueryControl::default()
        };
        if node.query_control(&mut found).is_err() || found.id <= id {
            break;
        }
        id = found.id;
        if found.flags & control::DISABLED == 0 && kind(&found).is_some() {
            all.push(found);
        }
    }
    all
}

/// Every control of a camera.
pub(super) fn controls(node: &Node) -> Vec<ControlInfo> {
    queried(node)
        .iter()
        .map(|found| ControlInfo {
            name: variable(&text(&found.name)),
            kind: kind(found).unwrap_or_default(),
            minimum: found.minimum,
            maximum: found.maximum,
            step: found.step,
            default: found.default,
            value: value(node, found),
            menu: menu(node, found),
            inactive: found.flags & control::INACTIVE != 0,
            read_only: found.flags & control::READ_ONLY != 0,
        })
        .collect()
}

fn value(node: &Node, found: &QueryControl) -> Option<i32> {
    if found.flags & control::WRITE_ONLY != 0 {
        return None;
    }
    let mut control = Control {
        id: found.id,
        value: 0,
    };
    node.control(&mut control).ok().map(|()| control.value)
}

fn menu(node: &Node, found: &QueryControl) -> Vec<(i32, String)> {
    if !matches!(found.kind, control::MENU | control::INTEGER_MENU) {
        return Vec::new();
    }
    let values = found.minimum.max(0)..=found.maximum;
    // A menu may have gaps.
    values
        .take(MOST)
        .filter_map(|index| {
            let mut item = QueryMenu {
                id: found.id,
                index: index as u32,
                ..QueryMenu::default()
            };
            node.query_menu(&mut item).ok()?;
            let [a, b, c, d, e, f, g, h, ..] = item.name;
            let name = if found.kind == control::MENU {
                text(&item.name)
            } else {
                i64::from_ne_bytes([a, b, c, d, e, f, g, h]).to_string()
            };
            Some((index, name))
        })
        .collect()
}

/// Sets a control; tells why it cannot be set.
pub(super) fn set(node: &Node, name: &str, value: i32) -> Result<(), String> {
    let all = queried(node);
    let Some(found) = all
        .iter()
        .find(|found| variable(&text(&found.name)) == name)
    else {
        let names: Vec<_> = all
            .iter()
            .filter(|found| found.flags & control::READ_ONLY == 0)
            .map(|found| variable(&text(&found.name)))
            .collect();
        return Err(match names.len() {
            0 => "the camera has no controls".to_owned(),
            _ => format!("the camera has {}", names.join(", ")),
        });
    };
    if found.flags & control::READ_ONLY != 0 {
        return Err("it can only be read".to_owned());
    }
    // The range of a bit mask is that of an unsigned number.
    let has_range = !matches!(found.kind, control::BUTTON | control::BITMASK);
    if has_range && !(found.minimum..=found.maximum).contains(&value) {
        return Err(format!("it takes {} to {}", found.minimum, found.maximum));
    }
    let mut control = Control {
        id: found.id,
        value,
    };
    node.set_control(&mut control)
        .map_err(|error| why(&error, found))
}

fn why(error: &io::Error, found: &QueryControl) -> String {
    let is = |errno: Errno| error.raw_os_error() == Some(errno.raw_os_error());
    if found.flags & control::INACTIVE != 0 {
        format!("{error}; another control has to be set first, for example one that is automatic")
    } else if is(Errno::RANGE) || is(Errno::INVAL) {
        format!(
            "it takes {} to {} in steps of {}",
            found.minimum, found.maximum, found.step
        )
    } else {
        error.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::variable;

    #[test]
    fn names_are_those_of_v4l2_ctl() {
        for (name, expected) in [
            ("Exposure Time, Absolute", "exposure_time_absolute"),
            ("White Balance, Automatic", "white_balance_automatic"),
            (
                "Percentage of Dropped Buffers",
                "percentage_of_dropped_buffers",
            ),
            ("  Gain (dB)", "gain_db"),
            ("", ""),
        ] {
            assert_eq!(variable(name), expected);
        }
    }
}
