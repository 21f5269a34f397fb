//! A table of commands: which one a line means, what could follow, and help.

use alloc::string::{String, ToString};
use alloc::vec::Vec;

use crate::words;

/// A command. `I` is what the layer above knows it by.
#[derive(Clone, Copy, Debug)]
pub struct Command<I> {
    /// Its words, such as `raft status`.
    pub path: &'static str,
    /// What the layer above knows it by.
    pub id: I,
    /// What may follow, such as `KEY VALUE`.
    pub arguments: &'static str,
    /// What it does: a clause that starts with a small letter.
    pub summary: &'static str,
}

impl<I> Command<I> {
    /// A command with these words.
    pub const fn new(
        path: &'static str,
        id: I,
        arguments: &'static str,
        summary: &'static str,
    ) -> Command<I> {
        Command { path, id, arguments, summary }
    }
}

/// All commands.
#[derive(Clone, Copy, Debug)]
pub struct CommandTable<I: 'static> {
    commands: &'static [Command<I>],
}

/// What a line means.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Match<I> {
    /// Nothing.
    Blank,
    /// Help, which is this text.
    Help(String),
    /// A command.
    Command {
        /// Which.
        id: I,
        /// The words after its own, without `--json`.
        arguments: Vec<Vec<u8>>,
        /// Whether the answer is for a program.
        is_json: bool,
    },
    /// No command: a sentence that says why.
    Unknown(String),
}

impl<I: Copy> CommandTable<I> {
    /// A table of these commands.
    pub const fn new(commands: &'static [Command<I>]) -> CommandTable<I> {
        CommandTable { commands }
    }

    /// What a line means.
    pub fn find(&self, line: &str) -> Match<I> {
        let mut words = match words::split(line) {
            Ok(words) => words,
            Err(error) => return Match::Unknown(error.to_string()),
        };
        if words.is_empty() {
            return Match::Blank;
        }
        if words[0] == b"help" {
            return self.help(&words[1..]);
        }
        if words.last().is_some_and(|last| matches!(last.as_slice(), b"help" | b"--help")) {
            return self.help(&words[..words.len() - 1]);
        }
        let Some(command) = self.commands.iter().find(|command| is_prefix(command.path, &words))
        else {
            return self.no_command(&words);
        };
        let mut arguments = words.split_off(command.path.split(' ').count());
        let before = arguments.len();
        arguments.retain(|word| word != b"--json");
        Match::Command { id: command.id, is_json: arguments.len() < before, arguments }
    }

    /// How the command that is known as `id` is called.
    pub fn usage(&self, is_it: impl Fn(I) -> bool) -> String {
        let command = self.commands.iter().find(|command| is_it(command.id));
        command.map_or_else(String::new, |command| alloc::format!("usage: {}", full(command)))
    }

    /// A group that lacks its second word, or a word that begins nothing.
    fn no_command(&self, words: &[Vec<u8>]) -> Match<I> {
        let first = String::from_utf8_lossy(&words[0]).into_owned();
        let in_group = |command: &&Command<I>| command.path.split(' ').next() == Some(&first);
        let group: Vec<_> = self.commands.iter().filter(in_group).collect();
        if group.is_empty() {
            let nearest = self.nearest(&first);
            let hint =
                nearest.map_or_else(String::new, |name| alloc::format!(" Did you mean '{name}'?"));
            let first = first.escape_debug();
            return Match::Unknown(alloc::format!(
                "there is no command '{first}'.{hint} 'help' lists all."
            ));
        }
        if words.len() == 1 {
            return Match::Help(list(&group));
        }
        let second = String::from_utf8_lossy(&words[1]).into_owned();
        let second = second.escape_debug();
        Match::Unknown(alloc::format!("'{first}' has no '{second}'. '{first} help' lists all."))
    }

    /// The first word of a command that differs from `word` in the fewest letters, if few enough.
    fn nearest(&self, word: &str) -> Option<&'static str> {
        let firsts = self.commands.iter().filter_map(|command| command.path.split(' ').next());
        let (distance, name) = firsts.map(|first| (distance(first, word), first)).min()?;
        (distance <= 2 && distance < word.len()).then_some(name)
    }

    fn help(&self, words: &[Vec<u8>]) -> Match<I> {
        if words.is_empty() {
            let all: Vec<_> = self.commands.iter().collect();
            return Match::Help(
                list(&all)
                    + "Every listing also with --json. Tab completes, the arrows edit and recall.\n",
            );
        }
        let begins = |command: &&Command<I>| {
            let mut path = command.path.split(' ');
            words.iter().all(|word| path.next().is_some_and(|name| name.as_bytes() == word))
        };
        let meant: Vec<_> = self.commands.iter().filter(begins).collect();
        if meant.is_empty() { self.no_command(words) } else { Match::Help(list(&meant)) }
    }

    /// The words that could stand where the last word of `line` begins, in the order of the table.
    pub fn complete(&self, line: &str) -> Vec<&'static str> {
        let (before, partial) = match line.rsplit_once(' ') {
            Some((before, partial)) => (before.trim(), partial),
            None => ("", line),
        };
        let place = before.split(' ').filter(|word| !word.is_empty()).count();
        let follows = |command: &&Command<I>| {
            command.path.split(' ').take(place).eq(before.split_ascii_whitespace())
        };
        let nexts = self.commands.iter().filter(follows);
        let mut words: Vec<_> =
            nexts.filter_map(|command| command.path.split(' ').nth(place)).collect();
        if place < 2 && (place == 0 || !words.is_empty()) {
            words.push("help");
        }
        words.retain(|word| word.starts_with(partial));
        words.dedup();
        words
    }
}

fn is_prefix(path: &str, words: &[Vec<u8>]) -> bool {
    let mut words = words.iter();
    path.split(' ').all(|name| words.next().is_some_and(|word| word == name.as_bytes()))
}

fn full<I>(command: &Command<I>) -> String {
    match command.arguments {
        "" => command.path.to_string(),
        arguments => alloc::format!("{} {arguments}", command.path),
    }
}

fn list<I>(commands: &[&Command<I>]) -> String {
    let names: Vec<_> = commands.iter().map(|command| full(command)).collect();
    let width = names.iter().map(|name| name.chars().count()).max().unwrap_or(0);
    let line = |(name, command): (&String, &&Command<I>)| {
        alloc::format!("  {name:width$}  {}\n", command.summary)
    };
    names.iter().zip(commands).map(line).collect()
}

/// How many letters must be put in, taken out or changed to make one word of the other (Levenshtein).
fn distance(left: &str, right: &str) -> usize {
    let right: Vec<_> = right.chars().take(32).collect();
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (above, letter) in left.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = above + 1;
        for place in 0..right.len() {
            let changed = diagonal + usize::from(right[place] != letter);
            diagonal = row[place + 1];
            row[place + 1] = changed.min(row[place] + 1).min(diagonal + 1);
        }
    }
    row[right.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    enum Id {
        Status,
        Nodes,
        Set,
        Off,
    }

    const TABLE: CommandTable<Id> = CommandTable::new(&[
        Command { path: "raft status", id: Id::Status, arguments: "", summary: "how it is" },
        Command { path: "raft nodes", id: Id::Nodes, arguments: "", summary: "who is there" },
        Command { path: "kv set", id: Id::Set, arguments: "KEY VALUE", summary: "writes" },
        Command { path: "poweroff", id: Id::Off, arguments: "", summary: "stops" },
    ]);

    fn error(line: &str) -> String {
        match TABLE.find(line) {
            Match::Unknown(text) => text,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_line_is_matched() {
        assert_eq!(TABLE.find("  "), Match::Blank);
        let json = Match::Command { id: Id::Status, arguments: Vec::new(), is_json: true };
        assert_eq!(TABLE.find(" raft  status --json"), json);
        let arguments = vec![b"a".to_vec(), b"b c".to_vec()];
        let set = Match::Command { id: Id::Set, arguments, is_json: false };
        assert_eq!(TABLE.find("kv set a 'b c'"), set);
    }

    #[test]
    fn mistakes_are_explained() {
        assert_eq!(
            error("rafd status"),
            "there is no command 'rafd'. Did you mean 'raft'? 'help' lists all."
        );
        assert_eq!(error("zebra"), "there is no command 'zebra'. 'help' lists all.");
        assert_eq!(error("raft stats"), "'raft' has no 'stats'. 'raft help' lists all.");
        assert_eq!(error("kv set 'a"), "a quote is not closed");
    }

    #[test]
    fn help_for_all_for_a_group_and_for_one() {
        let text = |line| match TABLE.find(line) {
            Match::Help(text) => text,
            other => panic!("{other:?}"),
        };
        assert_eq!(text("help").lines().count(), 5);
        assert_eq!(text("raft help"), text("help raft"));
        assert_eq!(text("raft"), "  raft status  how it is\n  raft nodes   who is there\n");
        assert_eq!(text("kv set --help"), "  kv set KEY VALUE  writes\n");
        assert_eq!(TABLE.usage(|id| id == Id::Set), "usage: kv set KEY VALUE");
    }

    #[test]
    fn completion() {
        assert_eq!(TABLE.complete(""), ["raft", "kv", "poweroff", "help"]);
        assert_eq!(TABLE.complete("r"), ["raft"]);
        assert_eq!(TABLE.complete("raft "), ["status", "nodes", "help"]);
        assert_eq!(TABLE.complete("raft  s"), ["status"]);
        assert_eq!(TABLE.complete("zebra "), [] as [&str; 0]);
        assert_eq!(TABLE.complete("kv set k"), [] as [&str; 0]);
    }
}
