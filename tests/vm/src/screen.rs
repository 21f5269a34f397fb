//! A terminal's screen, as far as the node's shell needs one: what a person would see.

/// Lines of text, and where the cursor is in the last one.
#[derive(Debug, Default)]
pub struct Screen {
    lines: Vec<Vec<char>>,
    column: usize,
    /// An escape sequence that has begun.
    escape: Option<String>,
}

impl Screen {
    /// What is seen after these bytes.
    pub fn of(bytes: &[u8]) -> Screen {
        let mut screen = Screen { lines: vec![Vec::new()], ..Screen::default() };
        for character in String::from_utf8_lossy(bytes).chars() {
            screen.take(character);
        }
        screen
    }

    fn take(&mut self, character: char) {
        if let Some(escape) = &mut self.escape {
            escape.push(character);
            let is_whole = escape.len() > 1 && character.is_ascii_alphabetic();
            if is_whole {
                let escape = self.escape.take().unwrap_or_default();
                self.obey(&escape);
            }
            return;
        }
        match character {
            '\x1b' => self.escape = Some(String::new()),
            '\r' => self.column = 0,
            '\n' => {
                self.lines.push(Vec::new());
                self.column = 0;
            }
            _ if character.is_control() => {}
            _ => {
                let column = self.column;
                let line = self.line_mut();
                line.resize(line.len().max(column + 1), ' ');
                line[column] = character;
                self.column += 1;
            }
        }
    }

    fn obey(&mut self, escape: &str) {
        let (last, column) = (escape.chars().last(), self.column);
        let count = escape.trim_matches(|c: char| !c.is_ascii_digit()).parse().unwrap_or(1);
        match last {
            Some('K') => self.line_mut().truncate(column),
            Some('D') => self.column = column.saturating_sub(count),
            Some('J') => self.lines = vec![Vec::new()],
            _ => {}
        }
    }

    fn line_mut(&mut self) -> &mut Vec<char> {
        if self.lines.is_empty() {
            self.lines.push(Vec::new());
        }
        self.lines.last_mut().expect("there is a line")
    }

    /// All lines but the one that the cursor is in.
    pub fn above(&self) -> Vec<String> {
        let lines = &self.lines[..self.lines.len().saturating_sub(1)];
        lines.iter().map(|line| line.iter().collect()).collect()
    }

    /// The line that the cursor is in, without blanks at its end.
    pub fn line(&self) -> String {
        let line: String = self.lines.last().into_iter().flatten().collect();
        line.trim_end().to_string()
    }

    /// Where the cursor is.
    pub fn column(&self) -> usize {
        self.column
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_drawn_wiped_and_drawn_again() {
        let screen =
            Screen::of(b"one\r\nnode1> kv\x1b[K\r\x1b[K[ 1.0] log\r\nnode1> kv\x1b[K\x1b[1D");
        assert_eq!(screen.above(), ["one", "[ 1.0] log"]);
        assert_eq!((screen.line().as_str(), screen.column()), ("node1> kv", 8));
        assert_eq!(Screen::of(b"a\x1b[H\x1b[2J\rb").line(), "b");
        assert_eq!(Screen::of(b"abc\rx\x07").line(), "xbc");
    }
}
