//! The serial line: keys of a person, requests of programs, log lines, answers; and the screen that shows
//! them.
//!
//! The console is quiet until somebody types: a serial log is then plain lines. From then on it shows a
//! prompt and the line being typed; whatever else has to be shown first wipes that line, and draws it again
//! below. While a command of the person is under way there is no prompt, and keys wait.

use alloc::collections::VecDeque;
use alloc::string::String;
use alloc::vec::Vec;

use crate::editor::{Edit, Editor};
use crate::keys::{Key, KeyDecoder};

/// How many columns the screen is believed to have: a serial line cannot be asked.
pub const COLUMNS: usize = 80;
/// How many keys wait while a command is under way.
const KEYS_WAITING_MAX: usize = 4096;
/// How many requests of programs may be unanswered.
const REQUESTS_MAX: usize = 16;
/// How long a request of a program may be.
const REQUEST_MAX_BYTES: usize = 4096;
/// How long the name of a request may be.
const TAG_MAX: usize = 16;

const RECORD_SEPARATOR: u8 = 0x1e;
const START_OF_TEXT: u8 = 0x02;
const END_OF_TEXT: u8 = 0x03;
const BELL: u8 = 0x07;

/// Who asked.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Source {
    /// A person.
    Person,
    /// A program, under this name.
    Program(String),
}

/// A line to be executed, and to be answered with [`Console::answer`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Line {
    /// Who asked.
    pub source: Source,
    /// The line.
    pub text: String,
}

/// The words that could stand where the last word of this line begins.
pub type Complete = fn(&str) -> Vec<&'static str>;

/// See the module.
#[derive(Debug)]
pub struct Console {
    prompt: String,
    complete: Complete,
    keys: KeyDecoder,
    editor: Editor,
    /// A request that has begun.
    request: Option<Vec<u8>>,
    /// How many requests are unanswered.
    requests: usize,
    lines: VecDeque<Line>,
    /// Whether somebody has typed.
    is_awake: bool,
    /// Whether a command of the person is under way.
    is_busy: bool,
    /// Bytes of the person that wait for it.
    waiting: VecDeque<u8>,
    /// Whether the last key was a tab that completed nothing: the next one lists what there is.
    was_tab: bool,
    output: Vec<u8>,
}

impl Console {
    /// A console that shows `prompt`, and completes words with `complete`.
    pub fn new(prompt: String, complete: Complete) -> Console {
        Console {
            prompt,
            complete,
            keys: KeyDecoder::default(),
            editor: Editor::default(),
            request: None,
            requests: 0,
            lines: VecDeque::new(),
            is_awake: false,
            is_busy: false,
            waiting: VecDeque::new(),
            was_tab: false,
            output: Vec::new(),
        }
    }

    /// Bytes have come over the line.
    pub fn handle_bytes(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            match &mut self.request {
                Some(_) => self.take_of_request(byte),
                None if byte == RECORD_SEPARATOR => self.request = Some(Vec::new()),
                None if self.is_busy => self.keep(byte),
                None => self.take_of_person(byte),
            }
        }
    }

    /// The next line to execute.
    pub fn poll_line(&mut self) -> Option<Line> {
        self.lines.pop_front()
    }

    /// What a line led to: its output, and 0, or 1 if it failed, or 2 if it was not understood.
    pub fn answer(&mut self, source: &Source, output: &str, status: u8) {
        match source {
            Source::Person => {
                self.write_text(output);
                self.is_busy = false;
                self.draw();
                while !self.is_busy
                    && let Some(byte) = self.waiting.pop_front()
                {
                    self.take_of_person(byte);
                }
            }
            Source::Program(tag) => {
                self.requests = self.requests.saturating_sub(1);
                self.wipe();
                self.output.push(START_OF_TEXT);
                self.write_text(tag);
                self.output.extend(b"\r\n");
                self.write_text(output);
                self.output.push(END_OF_TEXT);
                self.write_text(&alloc::format!("{status}\n"));
                self.draw();
            }
        }
    }

    /// Shows a line of the log.
    pub fn print_log(&mut self, line: &str) {
        self.wipe();
        self.write_text(line);
        self.output.extend(b"\r\n");
        self.draw();
    }

    /// What is to be sent, if anything.
    pub fn poll_output(&mut self) -> Option<Vec<u8>> {
        (!self.output.is_empty()).then(|| core::mem::take(&mut self.output))
    }

    fn keep(&mut self, byte: u8) {
        if self.waiting.len() < KEYS_WAITING_MAX {
            self.waiting.push_back(byte);
        } else {
            self.output.push(BELL);
        }
    }

    fn take_of_person(&mut self, byte: u8) {
        let Some(key) = self.keys.take(byte) else { return };
        let was_tab = core::mem::replace(&mut self.was_tab, key == Key::Tab);
        self.is_awake = true;
        match self.editor.take(key) {
            Edit::Changed => self.draw(),
            Edit::Refused => self.output.push(BELL),
            Edit::Complete => self.complete_word(was_tab),
            Edit::Entered(text) => {
                // What was shown of a long line is only a part of it: it stays as it is.
                self.output.extend(b"\r\n");
                self.is_busy = true;
                self.lines.push_back(Line { source: Source::Person, text });
            }
            Edit::Cancelled => {
                self.output.extend(b"^C\r\n");
                self.draw();
            }
            Edit::Ended => {
                self.wipe();
                self.is_awake = false;
            }
            Edit::Redraw => {
                self.output.extend(b"\x1b[H\x1b[2J");
                self.draw();
            }
        }
    }

    fn complete_word(&mut self, was_tab: bool) {
        let left = &self.editor.line()[..self.editor.cursor()];
        let typed = left.rsplit(' ').next().unwrap_or_default().len();
        let words = (self.complete)(left);
        let Some(first) = words.first() else { return self.output.push(BELL) };
        let shared = words.iter().fold(first.len(), |shared, word| {
            let same = first.bytes().zip(word.bytes()).take_while(|(left, right)| left == right);
            shared.min(same.count())
        });
        let mut more = first.as_bytes()[typed.min(shared)..shared].to_vec();
        if words.len() == 1 {
            more.push(b' ');
        }
        if !more.is_empty() {
            self.was_tab = false;
            if self.editor.insert(&more) == Edit::Refused {
                self.output.push(BELL);
            }
            self.draw();
        } else if was_tab {
            let words = words.join("  ");
            self.print_log(&words);
        } else {
            self.output.push(BELL);
        }
    }

    fn take_of_request(&mut self, byte: u8) {
        let Some(request) = &mut self.request else { return };
        match byte {
            // Somebody begins again: the program before has died half-way.
            RECORD_SEPARATOR => request.clear(),
            b'\n' => {
                let request = core::mem::take(request);
                self.request = None;
                self.end_request(&request);
            }
            b'\r' => {}
            // One byte too many marks it as too long.
            _ if request.len() <= REQUEST_MAX_BYTES => request.push(byte),
            _ => {}
        }
    }

    fn end_request(&mut self, request: &[u8]) {
        self.requests += 1;
        let text = core::str::from_utf8(request).unwrap_or_default();
        let (tag, command) = text.split_once(' ').unwrap_or((text, ""));
        let is_tag = (1..=TAG_MAX).contains(&tag.len())
            && tag.bytes().all(|byte| byte.is_ascii_digit() || byte.is_ascii_lowercase());
        let source = Source::Program(String::from(if is_tag { tag } else { "0" }));
        let refusal = if request.len() > REQUEST_MAX_BYTES {
            "a request is at most 4096 bytes long"
        } else if !is_tag || !command.bytes().all(|byte| (b' '..=b'~').contains(&byte)) {
            "a request is a tag of 1 to 16 of 0-9 a-z, a space and a command of printable ASCII"
        } else if self.requests > REQUESTS_MAX {
            "too many requests are unanswered"
        } else {
            return self.lines.push_back(Line { source, text: String::from(command) });
        };
        self.answer(&source, &alloc::format!("{refusal}\n"), 2);
    }

    /// Text as a terminal may have it: line feeds with returns, no other control characters.
    fn write_text(&mut self, text: &str) {
        for character in text.chars() {
            match character {
                '\n' => self.output.extend(b"\r\n"),
                ' '..='~' => self.output.push(character as u8),
                _ if character.is_control() => {
                    let escaped = alloc::format!("{}", character.escape_default());
                    self.output.extend(escaped.bytes());
                }
                _ => {
                    let mut bytes = [0; 4];
                    self.output.extend(character.encode_utf8(&mut bytes).bytes());
                }
            }
        }
    }

    fn is_drawn(&self) -> bool {
        self.is_awake && !self.is_busy
    }

    fn wipe(&mut self) {
        if self.is_drawn() {
            self.output.extend(b"\r\x1b[K");
        }
    }

    /// Draws prompt and line: of a long line the part around the cursor.
    fn draw(&mut self) {
        if !self.is_drawn() {
            return;
        }
        // The last column stays free: terminals disagree about what happens after it.
        let room = COLUMNS.saturating_sub(self.prompt.len() + 1).max(1);
        let (line, cursor) = (self.editor.line(), self.editor.cursor());
        let start = (cursor + 1).saturating_sub(room);
        let end = line.len().min(start + room);
        self.output.push(b'\r');
        self.output.extend(self.prompt.bytes());
        self.output.extend(line[start..end].bytes());
        self.output.extend(b"\x1b[K");
        let back = end - cursor;
        if back > 0 {
            self.output.extend(alloc::format!("\x1b[{back}D").bytes());
        }
    }
}
