//! x
use std::ffi::OsString;
use std::process::ExitCode;
/// x
pub fn main(_: Vec<OsString>) -> anyhow::Result<ExitCode> {
    Ok(ExitCode::SUCCESS)
}
