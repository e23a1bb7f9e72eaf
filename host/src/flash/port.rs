//! The serial port behind which a board is.

use anyhow::bail;
use serialport::{SerialPortInfo, SerialPortType};

use super::board::Board;

/// The only one of `ports` that ends in what the board's serial line usually ends in.
///
/// # Errors
/// If there is none, or more than one.
pub fn choose(board: &Board, ports: &[SerialPortInfo]) -> anyhow::Result<String> {
    let fitting: Vec<_> = ports
        .iter()
        .filter(|port| match &port.port_type {
            SerialPortType::UsbPort(usb) => board.adapters.contains(&(usb.vid, usb.pid)),
            _ => false,
        })
        .map(|port| port.port_name.as_str())
        .collect();
    let way_out = "name its port with --port, or leave the monitor out with --no-monitor";
    match fitting[..] {
        [port] => Ok(port.to_owned()),
        [] => bail!(
            "no serial port found that is known to be {}'s: {}; or {way_out}",
            board.name,
            board.line
        ),
        _ => bail!(
            "any of {} may be {}'s serial port: {way_out}",
            fitting.join(", "),
            board.name
        ),
    }
}

#[cfg(test)]
mod tests {
    use serialport::UsbPortInfo;

    use super::*;

    fn usb(name: &str, vid: u16, pid: u16) -> SerialPortInfo {
        SerialPortInfo {
            port_name: name.to_owned(),
            port_type: SerialPortType::UsbPort(UsbPortInfo {
                vid,
                pid,
                serial_number: None,
                manufacturer: None,
                product: None,
            }),
        }
    }

    #[test]
    fn only_a_port_that_is_surely_the_boards_is_taken() {
        let nucleo = Board::find("nucleo-f446re").expect("a board");
        let other = SerialPortInfo {
            port_name: "/dev/ttyS0".into(),
            port_type: SerialPortType::Unknown,
        };
        let adapter = usb("/dev/ttyUSB0", 0x0403, 0x6001);
        let stlink = usb("/dev/ttyACM0", 0x0483, 0x374b);
        let debug_probe = usb("/dev/ttyACM1", 0x2e8a, 0x000c);
        let mut ports = vec![other, adapter, debug_probe];
        let error = choose(nucleo, &ports).expect_err("none fits").to_string();
        assert!(
            error.contains("ST-LINK") && error.contains("--port"),
            "{error}"
        );
        let pico2 = Board::find("pico2").expect("a board");
        assert_eq!(choose(pico2, &ports).expect("one fits"), "/dev/ttyACM1");
        ports.push(stlink);
        assert_eq!(choose(nucleo, &ports).expect("one fits"), "/dev/ttyACM0");
        ports.push(usb("/dev/ttyACM2", 0x0483, 0x3754));
        let error = choose(nucleo, &ports).expect_err("two fit").to_string();
        assert!(error.contains("/dev/ttyACM0, /dev/ttyACM2"), "{error}");
    }
}
