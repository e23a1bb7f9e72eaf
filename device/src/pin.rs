//! The flag pin: a GPIO line for interlocks.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use embedded_hal::digital::{OutputPin, PinState};
use linux_embedded_hal::CdevPin;
use linux_embedded_hal::gpio_cdev::{Chip, LineRequestFlags};

/// Where a flag pin is: `gpiochip0:17`, or `gpiochip0:17:active-low`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PinName {
    chip: PathBuf,
    line: u32,
    active_low: bool,
}

impl FromStr for PinName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong =
            || "expected CHIP:LINE or CHIP:LINE:active-low, for example gpiochip0:17".to_owned();
        let mut parts = text.split(':');
        let chip = parts
            .next()
            .filter(|chip| !chip.is_empty())
            .ok_or_else(wrong)?;
        let line = parts
            .next()
            .and_then(|line| line.parse().ok())
            .ok_or_else(wrong)?;
        let active_low = match (parts.next(), parts.next()) {
            (None, _) => false,
            (Some("active-low"), None) => true,
            _ => return Err(wrong()),
        };
        Ok(Self {
            // A path stays one; a name is below /dev.
            chip: PathBuf::from("/dev").join(chip),
            line,
            active_low,
        })
    }
}

impl fmt::Display for PinName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {} of {}", self.line, self.chip.display())
    }
}

/// The flag pin does not work.
#[derive(Debug, thiserror::Error)]
#[error("the flag pin, {name}, cannot be used: {error}")]
pub struct PinError {
    name: PinName,
    error: String,
}

/// A pin that is active unless the device knows better: from the start until a frame was accepted,
/// from a flagged frame until the next accepted one, and when the device ends.
#[derive(Debug)]
pub struct FlagPin {
    pin: Pin,
    name: PinName,
}

/// What the library's pin is, with something to show.
struct Pin(CdevPin);

impl fmt::Debug for Pin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Pin")
    }
}

impl FlagPin {
    /// Takes the line as an output, active.
    ///
    /// # Errors
    /// If there is no such line, or it is taken, or this user may not have it.
    pub fn open(name: &PinName) -> Result<Self, PinError> {
        let open = || {
            let line = Chip::new(&name.chip)?.get_line(name.line)?;
            let mut flags = LineRequestFlags::OUTPUT;
            flags.set(LineRequestFlags::ACTIVE_LOW, name.active_low);
            CdevPin::new(line.request(flags, 1, "mcdropout-flag")?)
        };
        match open() {
            Ok(pin) => Ok(Self {
                pin: Pin(pin),
                name: name.clone(),
            }),
            Err(error) => Err(PinError {
                name: name.clone(),
                error: error.to_string(),
            }),
        }
    }

    /// Makes the pin active, or not.
    ///
    /// # Errors
    /// If the line is gone.
    pub fn set(&mut self, active: bool) -> Result<(), PinError> {
        // Levels are electrical in the trait, whatever the line was requested as.
        let level = PinState::from(active != self.name.active_low);
        self.pin.0.set_state(level).map_err(|error| PinError {
            name: self.name.clone(),
            error: error.to_string(),
        })
    }
}

impl Drop for FlagPin {
    fn drop(&mut self) {
        // Most drivers keep the level when the line is given back. One that fails cannot be helped.
        let _ = self.set(true);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_understood() {
        let name = |text: &str| text.parse::<PinName>();
        assert_eq!(
            name("gpiochip0:17"),
            Ok(PinName {
                chip: "/dev/gpiochip0".into(),
                line: 17,
                active_low: false
            })
        );
        let low = name("/dev/gpiochip2:3:active-low").expect("a name");
        assert_eq!(
            (low.chip, low.line, low.active_low),
            ("/dev/gpiochip2".into(), 3, true)
        );
        for wrong in [
            "",
            "17",
            "gpiochip0",
            ":17",
            "gpiochip0:x",
            "gpiochip0:1:low",
            "gpiochip0:1:active-low:x",
        ] {
            assert!(name(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_pin_that_is_not_there_is_told() {
        let name = "gpiochip-does-not-exist:1".parse().expect("a name");
        let error = FlagPin::open(&name).expect_err("no such chip").to_string();
        assert!(
            error.contains("line 1 of /dev/gpiochip-does-not-exist"),
            "{error}"
        );
        assert!(!error.contains('\n'));
    }
}
