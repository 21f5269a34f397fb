//! Whether the processor can run the machines: tried out, because a KVM that opens may still not work.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use super::state::Accel;
use crate::clock;

/// The image ends with this status when a setting is wrong (see `Exit` in `unikernel/platform`).
const BAD_SETTING: i32 = 33;
const BOOTS_WITHIN: Duration = Duration::from_secs(5);

/// The best that works, and a sentence that says why.
pub fn choose(image: &Path) -> (Accel, String) {
    if std::fs::File::options().read(true).write(true).open("/dev/kvm").is_err() {
        return (Accel::Tcg, "/dev/kvm cannot be used: QEMU translates, which is slower".into());
    }
    match boots_with_kvm(image) {
        Ok(()) => (Accel::Kvm, "KVM works".into()),
        Err(reason) => (
            Accel::Tcg,
            format!("KVM does not work here ({reason}): QEMU translates, which is slower"),
        ),
    }
}

/// Boots the image with no settings at all, which it must refuse.
fn boots_with_kvm(image: &Path) -> Result<(), String> {
    let mut command = Command::new("qemu-system-x86_64");
    command.args(["-accel", "kvm", "-cpu", "host", "-M", "q35", "-m", "64"]);
    command.args(["-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"]);
    command.args(["-device", "isa-debug-exit,iobase=0xf4,iosize=0x04", "-kernel"]).arg(image);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut child = command.spawn().map_err(|error| error.to_string())?;
    let give_up = clock::now() + BOOTS_WITHIN;
    loop {
        match child.try_wait() {
            Ok(Some(status)) if status.code() == Some(BAD_SETTING) => return Ok(()),
            Ok(Some(status)) => return Err(format!("the trial ended with {status}")),
            Ok(None) if clock::now() < give_up => std::thread::sleep(Duration::from_millis(10)),
            Ok(None) | Err(_) => {
                // It is ours and has not been waited for: the number is still its own.
                let _ = child.kill();
                let _ = child.wait();
                return Err("the trial does not end".into());
            }
        }
    }
}
