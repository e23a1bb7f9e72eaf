//! The kernel's virtual camera in a guest: an HDMI input that is fed by an output of the same kind.

use crate::digits::{HEIGHT, WIDTH};
use crate::guest::Guest;

/// Plugs the camera in, without a signal; the driver's further parameters may follow.
pub const LOAD: &str = "modprobe vivid n_devs=1 num_inputs=1 input_types=0x3 num_outputs=1 output_types=0x1 node_types=0x101";

/// Plugs the camera in, with a signal of 640 × 480 pixels; `more` are parameters of its driver.
///
/// # Panics
/// If it cannot be.
pub fn plug(guest: &mut Guest, more: &str) {
    guest.run(&format!("{LOAD} {more}"));
    guest.run("for d in 0 1; do v4l2-ctl -d /dev/video$d --set-dv-bt-timings index=0; done");
}

/// Unloads the driver, once the last program has closed the camera. One that opens it again as soon as it
/// is there (vivid plugs itself in again when its last user has gone) has it pulled out until it is caught
/// waiting.
///
/// # Panics
/// If some program does not.
pub fn unload(guest: &mut Guest) {
    hide(guest);
    // A minute: an emulated processor that has to share a real one takes its time.
    guest.run(
        "for i in $(seq 60); do rmmod vivid 2>/dev/null && break; \
         v4l2-ctl -d /dev/video0 --set-ctrl disconnect=1 >/dev/null 2>&1; sleep 0.2; done; ! test -e /dev/video0",
    );
}

/// Shows a file's picture, in a format by the kernel's code, to the camera until another is shown. Only
/// a camera that is read in this format sees it.
///
/// # Panics
/// If it cannot be.
pub fn show(guest: &mut Guest, name: &str, code: &str) {
    hide(guest);
    guest.run(&format!(
        "v4l2-ctl -d /dev/video1 --set-fmt-video-out width={WIDTH},height={HEIGHT},pixelformat={code}"
    ));
    guest.run(&format!(
        "v4l2-ctl -d /dev/video1 --stream-out-mmap --stream-loop --stream-from=/{name} >/dev/null 2>&1 & echo $! >/tmp/player"
    ));
}

/// Shows nothing any more.
///
/// # Panics
/// If the guest does not answer.
pub fn hide(guest: &mut Guest) {
    // One whose stream has failed is gone already.
    guest.run("if [ -e /tmp/player ]; then kill $(cat /tmp/player); rm /tmp/player; sleep 0.2; fi");
}

/// Sets a control of the camera: `NAME=VALUE`.
///
/// # Panics
/// If it cannot be.
pub fn set(guest: &mut Guest, control: &str) {
    guest.run(&format!("v4l2-ctl -d /dev/video0 --set-ctrl {control}"));
}
