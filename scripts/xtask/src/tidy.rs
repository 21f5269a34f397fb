//! x
use std::process::ExitCode;
/// x
pub fn main() -> anyhow::Result<ExitCode> {
    Ok(ExitCode::SUCCESS)
}
