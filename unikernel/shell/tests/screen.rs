//! What a person sees: everything that the console sends goes to a small model of a terminal.

use proptest::prelude::*;
use shell::console::COLUMNS;
use shell::{Console, Line, Source};

const PROMPT: &str = "node1> ";

/// A terminal that knows what the console uses: `\r`, `\n`, bell, clear to the end of the line, cursor left,
/// clear everything. Anything else is a mistake of the console's.
struct Screen {
    lines: Vec<Vec<char>>,
    column: usize,
    bells: usize,
}

impl Screen {
    fn new() -> Screen {
        Screen { lines: vec![Vec::new()], column: 0, bells: 0 }
    }

    fn take(&mut self, bytes: &[u8]) {
        let text = String::from_utf8(bytes.to_vec()).unwrap();
        let mut characters = text.chars();
        while let Some(character) = characters.next() {
            match character {
                '\r' => self.column = 0,
                '\n' => self.lines.push(Vec::new()),
                '\x07' => self.bells += 1,
                '\x1b' => self.sequence(&mut characters),
                '\x02' | '\x03' => {}
                _ => {
                    assert!(!character.is_control(), "{character:?} on the screen");
                    let (column, line) = (self.column, self.lines.last_mut().unwrap());
                    line.resize(line.len().max(column + 1), ' ');
                    line[column] = character;
                    self.column += 1;
                }
            }
        }
    }

    fn sequence(&mut self, characters: &mut std::str::Chars) {
        assert_eq!(characters.next(), Some('['));
        let mut number = String::new();
        let letter = loop {
            let character = characters.next().unwrap();
            if !character.is_ascii_digit() {
                break character;
            }
            number.push(character);
        };
        match letter {
            'K' => self.lines.last_mut().unwrap().truncate(self.column),
            'D' => self.column = self.column.checked_sub(number.parse().unwrap()).unwrap(),
            'H' => {}
            'J' => *self = Screen { bells: self.bells, ..Screen::new() },
            _ => panic!("ESC [ {number} {letter}"),
        }
    }

    fn text(&self) -> String {
        let line = |line: &Vec<char>| line.iter().collect::<String>().trim_end().to_string();
        self.lines.iter().map(line).collect::<Vec<_>>().join("\n")
    }
}

fn complete(line: &str) -> Vec<&'static str> {
    let words = ["raft", "range", "kv"];
    let last = line.rsplit(' ').next().unwrap();
    words.into_iter().filter(|word| word.starts_with(last)).collect()
}

struct Terminal {
    console: Console,
    screen: Screen,
}

impl Terminal {
    fn new() -> Terminal {
        Terminal { console: Console::new(PROMPT.into(), complete), screen: Screen::new() }
    }

    fn show(&mut self) {
        while let Some(bytes) = self.console.poll_output() {
            self.screen.take(&bytes);
        }
    }

    fn keys(&mut self, bytes: &[u8]) -> Vec<Line> {
        self.console.handle_bytes(bytes);
        self.show();
        std::iter::from_fn(|| self.console.poll_line()).collect()
    }

    fn log(&mut self, line: &str) {
        self.console.print_log(line);
        self.show();
    }

    fn answer(&mut self, source: &Source, output: &str) {
        self.console.answer(source, output, 0);
        self.show();
    }
}

#[test]
fn nothing_is_drawn_before_somebody_types() {
    let mut terminal = Terminal::new();
    terminal.log("[0.1] raft: this node follows");
    assert_eq!(terminal.screen.text(), "[0.1] raft: this node follows\n");
    assert!(terminal.keys(b"\r").iter().all(|line| line.text.is_empty()));
}

#[test]
fn a_log_line_does_not_garble_the_line_being_typed() {
    let mut terminal = Terminal::new();
    terminal.keys(b"kv set a\x1b[D");
    terminal.log("one");
    assert_eq!(terminal.screen.text(), "one\nnode1> kv set a");
    let lines = terminal.keys(b"key-\r");
    assert_eq!(lines, [Line { source: Source::Person, text: "kv set key-a".into() }]);
    terminal.log("two");
    terminal.answer(&Source::Person, "OK\n");
    assert_eq!(terminal.screen.text(), "one\nnode1> kv set key-a\ntwo\nOK\nnode1>");
}

#[test]
fn keys_wait_while_a_command_is_under_way() {
    let mut terminal = Terminal::new();
    assert_eq!(terminal.keys(b"one\rtwo\rthree").len(), 1);
    terminal.answer(&Source::Person, "1\n");
    assert_eq!(terminal.keys(b"").len(), 1);
    terminal.answer(&Source::Person, "2\n");
    assert_eq!(terminal.screen.text(), "node1> one\n1\nnode1> two\n2\nnode1> three");
}

#[test]
fn a_program_does_not_disturb_the_person() {
    let mut terminal = Terminal::new();
    terminal.keys(b"kv get ");
    let lines = terminal.keys(b"\x1ea7 raft status --json\n");
    let source = Source::Program("a7".into());
    assert_eq!(lines, [Line { source: source.clone(), text: "raft status --json".into() }]);
    terminal.console.answer(&source, "{}\x02\n", 1);
    let bytes = terminal.console.poll_output().unwrap();
    let text = String::from_utf8(bytes.clone()).unwrap();
    assert!(text.contains("\x02a7\r\n{}\\u{2}\r\n\x031\r\n"), "{text:?}");
    terminal.screen.take(&bytes);
    assert!(terminal.screen.text().ends_with("\nnode1> kv get"));
    assert_eq!(terminal.keys(b"x\r")[0].text, "kv get x");
}

#[test]
fn requests_that_are_none() {
    let mut terminal = Terminal::new();
    let long = [b"\x1e1 ".as_slice(), &[b'x'; 10_000], b"\n"].concat();
    for request in
        [b"\x1e\n".as_slice(), b"\x1eA b\n", b"\x1e12345678901234567 b\n", b"\x1e1 \xff\n", &long]
    {
        assert!(terminal.keys(request).is_empty());
    }
    assert_eq!(terminal.screen.text().lines().filter(|line| *line == "2").count(), 5);
    // A program that died half-way does not spoil the next one.
    assert_eq!(terminal.keys(b"\x1eab raf\x1ecd net\n")[0].text, "net");
    let many = b"\x1e1 net\n".repeat(40);
    assert!(terminal.keys(&many).len() < 20);
}

#[test]
fn completion_and_listing() {
    let mut terminal = Terminal::new();
    terminal.keys(b"k\t");
    assert_eq!(terminal.screen.text(), "node1> kv");
    terminal.keys(b"\x03r\t");
    assert!(terminal.screen.text().ends_with("node1> ra"));
    terminal.keys(b"\t\t");
    assert!(terminal.screen.text().ends_with("raft  range\nnode1> ra"));
    terminal.keys(b"n\t");
    assert!(terminal.screen.text().ends_with("node1> range"));
    let bells = terminal.screen.bells;
    terminal.keys(b"\x03zzz\t");
    assert_eq!(terminal.screen.bells, bells + 1);
}

#[test]
fn the_end_of_input_lets_the_console_sleep() {
    let mut terminal = Terminal::new();
    terminal.keys(b"x\x7f\x04");
    terminal.log("plain");
    assert_eq!(terminal.screen.text(), "plain\n");
}

/// What the last line of the screen must be, given the line and its cursor.
fn visible(line: &str, cursor: usize) -> String {
    let room = COLUMNS - PROMPT.len() - 1;
    let start = (cursor + 1).saturating_sub(room);
    let end = line.len().min(start + room);
    format!("{PROMPT}{}", &line[start..end]).trim_end().into()
}

#[test]
fn a_long_line_scrolls() {
    let mut terminal = Terminal::new();
    let line: String = (0..200).map(|number| char::from(b'a' + number % 26)).collect();
    terminal.keys(line.as_bytes());
    assert_eq!(terminal.screen.text(), visible(&line, 200));
    terminal.keys(b"\x01");
    assert_eq!(terminal.screen.text(), visible(&line, 0));
    assert_eq!(terminal.screen.column, PROMPT.len());
    assert!(terminal.screen.text().len() < COLUMNS);
    assert_eq!(terminal.keys(b"\r")[0].text, line);
}

proptest! {
    #[test]
    fn random_bytes_never_leave_the_screen(
        bytes in proptest::collection::vec(any::<u8>(), 0..600),
    ) {
        let mut terminal = Terminal::new();
        for chunk in bytes.chunks(7) {
            for line in terminal.keys(chunk) {
                terminal.answer(&line.source, "answer\n");
            }
            terminal.log("log \x1b[2J");
            prop_assert!(terminal.screen.column < COLUMNS);
            prop_assert!(terminal.screen.lines.iter().all(|line| line.len() <= COLUMNS + 32));
        }
    }
}
