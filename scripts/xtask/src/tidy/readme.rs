//! The front door says what is there: folders, and the commands of `scripts/cluster`.

use super::Finding;
use super::tree::{File, Tree};

const README: &str = "README.md";
/// Where the help of `scripts/cluster` is, and the parser that must agree with it.
const COMMAND_LINE: &str = "scripts/xtask/src/cluster/command_line.rs";

pub(super) fn check(tree: &Tree, findings: &mut Vec<Finding>) {
    let Some(readme) = tree.file(README) else {
        findings.push(Finding::new(README, 1, "is missing"));
        return;
    };
    check_folders(tree, readme, findings);
    let Some(command_line) = tree.file(COMMAND_LINE) else { return };
    let commands = commands(&command_line.text);
    check_parser(command_line, &commands, findings);
    for file in tree.files.iter().filter(|file| file.path.ends_with(".md")) {
        check_mentions(file, &commands, findings);
    }
}

/// Rows of the table are "| `folder/` | … |"; there is one for each folder at the top.
fn check_folders(tree: &Tree, readme: &File, findings: &mut Vec<Finding>) {
    let in_row = |line: &str| Some(line.strip_prefix("| `")?.split_once("/` |")?.0.to_owned());
    let rows: Vec<_> = readme
        .lines()
        .filter_map(|(number, line)| Some((number, in_row(line)?)))
        .filter(|(_, folder)| !folder.contains('/'))
        .collect();
    let mut folders: Vec<_> =
        tree.files.iter().filter_map(|file| file.path.split_once('/')).collect();
    folders.dedup_by_key(|(folder, _)| *folder);
    folders.retain(|(folder, _)| !folder.starts_with('.'));
    let mut report = |line, advice: String| findings.push(Finding::new(README, line, advice));
    for (number, row) in &rows {
        if !folders.iter().any(|(folder, _)| folder == row) {
            report(*number, format!("there is no folder '{row}': remove the row"));
        }
    }
    for (folder, _) in &folders {
        if !rows.iter().any(|(_, row)| row == folder) {
            let last = rows.last().map_or(1, |(number, _)| *number);
            report(last, format!("the table of folders has no row for '{folder}/': add one"));
        }
    }
}

/// The commands that the help lists: lines that begin with two spaces and a word. One line may have several.
fn commands(command_line: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    let lines = command_line.lines().zip(1..).skip_while(|(line, _)| !line.contains("const HELP"));
    for (line, number) in lines.take_while(|(line, _)| !line.starts_with("\";")) {
        let Some(usage) = line.strip_prefix("  ").filter(|rest| rest.starts_with(is_letter)) else {
            continue;
        };
        let usage = usage.split("  ").next().unwrap_or_default();
        found.extend(usage.split(", ").map(|usage| (number, word(usage).to_owned())));
    }
    found
}

fn is_letter(character: char) -> bool {
    character.is_ascii_lowercase()
}

/// The letters at the front.
fn word(text: &str) -> &str {
    text.split(|character| !is_letter(character)).next().unwrap_or_default()
}

fn check_parser(file: &File, commands: &[(usize, String)], findings: &mut Vec<Finding>) {
    for (number, command) in commands {
        if !file.text.contains(&format!("\"{command}\"")) {
            let advice = format!("the help lists '{command}', which the parser does not know");
            findings.push(Finding::new(&file.path, *number, advice));
        }
    }
}

/// What a document shows somebody to type exists. It is at the start of a line, after a prompt, or in quotes.
fn check_mentions(file: &File, commands: &[(usize, String)], findings: &mut Vec<Finding>) {
    for (number, line) in file.lines() {
        for quote in ["$ ", "`"] {
            let before = format!("{quote}scripts/cluster ");
            let typed = line.split(&before).skip(1).map(word);
            for command in typed.filter(|command| !command.is_empty()) {
                if !commands.iter().any(|(_, known)| known == command) {
                    let advice =
                        format!("scripts/cluster has no command '{command}': see its --help");
                    findings.push(Finding::new(&file.path, number, advice));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{assert_one, found};
    use super::*;

    const TABLE: &str = "| folder | what |\n|---|---|\n| `apps/` | services |\n";
    const HELP: &str = "const HELP: &str = \"\\\nDrives.\n\n  up [--nodes N]   boots, waits\n  stop I, \
                        start I  one\n\";\nmatch c { \"up\" => 1, \"stop\" => 2, \"start\" => 3 }\n";

    fn check(readme: &str, help: &str) -> Vec<String> {
        let readme = format!("{readme}| `scripts/` | what people type |\n");
        let files =
            [(README, readme.as_str()), ("apps/a", ""), (COMMAND_LINE, help), (".ci/a", "")];
        found(&files, |tree, _, findings| super::check(tree, findings))
    }

    #[test]
    fn the_help_is_read() {
        let words: Vec<_> = commands(HELP).into_iter().map(|(_, command)| command).collect();
        assert_eq!(words, ["up", "stop", "start"]);
    }

    #[test]
    fn what_agrees_is_not_found() {
        assert!(check(TABLE, HELP).is_empty());
        assert!(
            check(&format!("$ scripts/cluster up\n`scripts/cluster start 1`\n{TABLE}"), HELP)
                .is_empty()
        );
    }

    #[test]
    fn each_folder_has_a_row() {
        assert_one(&check("", HELP), "README.md:1", "no row for 'apps/'");
    }

    #[test]
    fn each_row_has_a_folder() {
        let found = check(&format!("| `docs/` | words |\n{TABLE}"), HELP);
        assert_one(&found, "README.md:1", "no folder 'docs'");
    }

    #[test]
    fn what_a_document_shows_exists() {
        for shown in ["$ scripts/cluster explode\n", "see `scripts/cluster explode`\n"] {
            assert_one(
                &check(&format!("{shown}{TABLE}"), HELP),
                "README.md:1",
                "no command 'explode'",
            );
        }
    }

    #[test]
    fn what_the_help_lists_is_parsed() {
        let found = check(TABLE, &HELP.replace("\"stop\"", "\"halt\""));
        assert_one(&found, &format!("{COMMAND_LINE}:5"), "'stop'");
    }
}
