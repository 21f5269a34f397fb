//! What `scripts/` does, behind a thin shell: `cluster`, `audit`, `bench`, `tidy`.

mod audit;
mod bench;
mod clock;
mod cluster;
mod interrupt;
mod tidy;
mod toml_file;

use std::process::ExitCode;

const HELP: &str = "\
xtask: the work behind scripts/

Usage: xtask cluster ...   launches and drives virtual machines (scripts/cluster)
       xtask audit ...     proves the ledger on a disk (scripts/audit)
       xtask bench ...     measures (scripts/bench)
       xtask tidy          checks the layers and the habits of this repository
";

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    let task = arguments.next().unwrap_or_default();
    let rest: Vec<_> = arguments.collect();
    let result = match task.to_str() {
        Some("cluster") => cluster::main(rest),
        Some("audit") => audit::main(rest),
        Some("bench") => bench::main(rest),
        Some("tidy") => tidy::main(),
        Some("--help" | "help" | "-h") => {
            print!("{HELP}");
            return ExitCode::SUCCESS;
        }
        _ => {
            eprint!("{HELP}");
            return ExitCode::from(2);
        }
    };
    match result {
        Ok(code) => code,
        // Whoever read our output has seen enough, as 'head' has.
        Err(error) if is_broken_pipe(&error) => ExitCode::FAILURE,
        Err(error) if error.downcast_ref::<lexopt::Error>().is_some() => {
            eprintln!("error: {error}; --help explains the command line");
            ExitCode::from(2)
        }
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    let error = error.downcast_ref::<std::io::Error>();
    error.is_some_and(|error| error.kind() == std::io::ErrorKind::BrokenPipe)
}
