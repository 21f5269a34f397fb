//! The serial line: keys, requests of programs, log lines and answers in between.

use shell::words;
use shell::{Command, CommandTable, Console, Match, Source};

use crate::input::Input;

const COMMANDS: CommandTable<u8> = CommandTable::new(&[
    command("raft status", 1, ""),
    command("log", 2, "[COUNT]"),
    command("kv get", 3, "KEY"),
    command("kv set", 4, "KEY VALUE"),
]);

const fn command(path: &'static str, id: u8, arguments: &'static str) -> Command<u8> {
    Command { path, id, arguments, summary: "does something" }
}

/// More than the console itself keeps lines waiting.
const LINES_MAX: usize = 16 + 1;

pub(super) fn run(bytes: &[u8]) {
    check_words(&String::from_utf8_lossy(bytes));
    let mut input = Input::new(bytes);
    let mut console = Console::new("node1> ".into(), |line| COMMANDS.complete(line));
    let mut lines = Vec::new();
    while !input.is_empty() {
        match input.u8() {
            0 => console.print_log(&String::from_utf8_lossy(input.take(20))),
            1 if !lines.is_empty() => {
                let line: shell::Line = lines.remove(0);
                let text = match COMMANDS.find(&line.text) {
                    Match::Blank => String::new(),
                    Match::Help(text) | Match::Unknown(text) => text,
                    Match::Command { arguments, .. } => format!("{arguments:?}\n"),
                };
                console.answer(&line.source, &text, 0);
            }
            count => console.handle_bytes(input.take(usize::from(count % 32))),
        }
        while let Some(line) = console.poll_line() {
            check_source(&line.source);
            assert!(line.text.bytes().all(|byte| (b' '..=b'~').contains(&byte)), "{line:?}");
            lines.push(line);
        }
        assert!(lines.len() <= LINES_MAX, "what is unanswered is bounded");
        if let Some(output) = console.poll_output() {
            check_output(&output);
        }
    }
}

fn check_source(source: &Source) {
    if let Source::Program(tag) = source {
        assert!((1..=16).contains(&tag.len()));
        assert!(tag.bytes().all(|byte| byte.is_ascii_digit() || byte.is_ascii_lowercase()));
    }
}

/// What a terminal is sent: text, and of control characters only those that the console knows.
pub(super) fn check_output(output: &[u8]) {
    let text = std::str::from_utf8(output).expect("what is sent is UTF-8");
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        match character {
            '\r' | '\n' | '\x07' | '\x02' | '\x03' => {}
            '\x1b' => {
                assert_eq!(characters.next(), Some('['), "{text:?}");
                let end = characters.find(|character| !character.is_ascii_digit());
                assert!(matches!(end, Some('K' | 'D' | 'H' | 'J')), "{text:?}");
            }
            _ => assert!(!character.is_control(), "{text:?}"),
        }
    }
}

/// Words that are written with every byte escaped are read as they were.
fn check_words(line: &str) {
    let Ok(found) = words::split(line) else { return };
    let quote = |word: &Vec<u8>| {
        let escaped: String = word.iter().map(|byte| format!("\\x{byte:02x}")).collect();
        format!("\"{escaped}\"")
    };
    let quoted: Vec<_> = found.iter().map(quote).collect();
    assert_eq!(words::split(&quoted.join(" ")), Ok(found));
}
