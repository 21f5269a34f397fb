//! Files that people write, as TOML: whoever has made a mistake in one is told the line and what is wrong.

use std::fs;
use std::path::Path;

use anyhow::Context;
use serde::de::DeserializeOwned;

/// Reads a file.
///
/// # Errors
/// If it cannot be read, or is not as it should be: `FILE:LINE: REASON`.
pub fn read<T: DeserializeOwned>(path: &Path) -> anyhow::Result<T> {
    let text = fs::read_to_string(path).with_context(|| format!("{}", path.display()))?;
    parse(&path.display().to_string(), &text)
}

/// The same, of a text that is already there.
///
/// # Errors
/// If it is not as it should be.
pub fn parse<T: DeserializeOwned>(name: &str, text: &str) -> anyhow::Result<T> {
    toml::from_str(text).map_err(|error| {
        let start = error.span().map_or(0, |span| span.start);
        let before = text.get(..start).unwrap_or_default();
        let line = before.matches('\n').count() + 1;
        // What is missing has no place in the file.
        anyhow::anyhow!("{name}:{line}: {}", error.message().replace('\n', " "))
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    #[test]
    fn mistakes_are_told_with_their_line() {
        let parse = |text: &str| super::parse::<BTreeMap<String, u16>>("some.toml", text);
        assert_eq!(parse("a = 1\nb = 2\n").unwrap().len(), 2);
        for (text, line) in [("a = 1\nb = 'two'\n", 2), ("a = 1\n\na = 2\n", 3), ("a", 1)] {
            let error = parse(text).unwrap_err().to_string();
            assert!(error.starts_with(&format!("some.toml:{line}: ")), "{error}");
            assert!(!error.contains('\n') && error.len() > 15, "{error}");
        }
    }
}
