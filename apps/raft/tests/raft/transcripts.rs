//! What a group does, message by message: `transcripts/*.txt`.
//!
//! A block of a transcript is a few commands (see `stage`), a line `----`, and what came of them. Run with
//! `UPDATE_TRANSCRIPTS=1` to write down what happens, and read the difference.

use std::fmt::Write;
use std::fs;
use std::path::Path;

use crate::stage::Stage;

fn replay(transcript: &str) -> String {
    let mut stage = Stage::default();
    let mut replayed = String::new();
    for block in transcript.split("\n\n").filter(|block| !block.trim().is_empty()) {
        let commands: Vec<&str> =
            block.trim_matches('\n').lines().take_while(|line| *line != "----").collect();
        for line in &commands {
            if !line.starts_with('#') {
                stage.perform(line);
            }
            writeln!(replayed, "{line}").unwrap();
        }
        if commands.iter().any(|line| !line.starts_with('#')) {
            replayed.push_str("----\n");
            replayed.push_str(&stage.take_told());
        }
        replayed.push('\n');
    }
    format!("{}\n", replayed.trim_end())
}

#[test]
fn transcripts_are_what_happens() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/transcripts");
    let mut paths: Vec<_> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    assert!(paths.len() >= 5, "the transcripts are there");
    for path in paths {
        let expected = fs::read_to_string(&path).unwrap();
        let replayed = replay(&expected);
        if std::env::var_os("UPDATE_TRANSCRIPTS").is_some() {
            fs::write(&path, &replayed).unwrap();
        } else if let Some((number, (happens, written))) = (1..)
            .zip(replayed.lines().zip(expected.lines()))
            .find(|(_, (happens, written))| happens != written)
        {
            let place = format!("{}:{number}", path.display());
            panic!("{place}: {happens:?}, not {written:?} (UPDATE_TRANSCRIPTS=1 writes it)");
        } else {
            assert_eq!(replayed.len(), expected.len(), "{} ends too early", path.display());
        }
    }
}
