//! What a command answers: given once, shown as text to people and as JSON to programs.

use alloc::borrow::Cow;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use serde::ser::{Serialize, SerializeMap, SerializeSeq, Serializer};

/// A piece of information.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Value {
    /// There is none: `null`, and a dash in a table.
    Null,
    /// Yes or no.
    Boolean(bool),
    /// A whole number.
    Integer(u64),
    /// A number in millionths.
    Millionths(u64),
    /// Text.
    Text(Cow<'static, str>),
    /// Things of one kind.
    Listing(Listing),
}

impl Value {
    /// Text that was made for the purpose.
    pub fn text(value: impl ToString) -> Value {
        Value::Text(Cow::Owned(value.to_string()))
    }

    fn to_cell(&self) -> Cow<'_, str> {
        match self {
            Value::Null => Cow::Borrowed("-"),
            Value::Boolean(true) => Cow::Borrowed("yes"),
            Value::Boolean(false) => Cow::Borrowed("no"),
            Value::Integer(value) => Cow::Owned(value.to_string()),
            Value::Millionths(value) => {
                let (whole, rest) = (value / 1_000_000, value % 1_000_000);
                Cow::Owned(alloc::format!("{whole}.{rest:06}"))
            }
            Value::Text(text) => Cow::Borrowed(text),
            Value::Listing(listing) => Cow::Owned(alloc::format!("{} rows", listing.rows.len())),
        }
    }
}

impl From<&'static str> for Value {
    fn from(text: &'static str) -> Value {
        Value::Text(Cow::Borrowed(text))
    }
}

impl From<bool> for Value {
    fn from(value: bool) -> Value {
        Value::Boolean(value)
    }
}

impl From<u64> for Value {
    fn from(value: u64) -> Value {
        Value::Integer(value)
    }
}

impl From<u16> for Value {
    fn from(value: u16) -> Value {
        Value::Integer(value.into())
    }
}

impl From<usize> for Value {
    fn from(value: usize) -> Value {
        Value::Integer(value as u64)
    }
}

impl<T: Into<Value>> From<Option<T>> for Value {
    fn from(value: Option<T>) -> Value {
        value.map_or(Value::Null, Into::into)
    }
}

/// One thing: names and values.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Record {
    fields: Vec<(&'static str, Value)>,
}

impl Record {
    /// Adds a field. Names are in lower case with underscores, as JSON shows them.
    #[must_use]
    pub fn with(mut self, name: &'static str, value: impl Into<Value>) -> Record {
        self.fields.push((name, value.into()));
        self
    }
}

/// Many things of one kind: a row each.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Listing {
    columns: &'static [&'static str],
    rows: Vec<Vec<Value>>,
}

impl Listing {
    /// A listing without rows.
    pub fn new(columns: &'static [&'static str]) -> Listing {
        Listing { columns, rows: Vec::new() }
    }

    /// Adds a row.
    ///
    /// # Panics
    /// If it has not one value per column.
    pub fn push<const N: usize>(&mut self, row: [Value; N]) {
        assert_eq!(N, self.columns.len(), "a row has a value for each column");
        self.rows.push(row.into());
    }
}

/// The answer of a command.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Report {
    /// Sentences for people.
    Text(String),
    /// One thing.
    Record(Record),
    /// Many things.
    Listing(Listing),
}

impl Report {
    /// As people read it: lines, each ended by a line feed.
    pub fn to_text(&self) -> String {
        let mut text = String::new();
        match self {
            Report::Text(sentences) => {
                text.push_str(sentences);
                if !text.is_empty() && !text.ends_with('\n') {
                    text.push('\n');
                }
            }
            Report::Record(record) => write_record(&mut text, record),
            Report::Listing(listing) => write_listing(&mut text, listing),
        }
        text
    }

    /// As programs read it: one line, without an end of line.
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).expect("reports have no maps with odd keys")
    }
}

/// A line for each field, then a table for each listing.
fn write_record(text: &mut String, record: &Record) {
    let width = record.fields.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    for (name, value) in &record.fields {
        if !matches!(value, Value::Listing(_)) {
            let name = name.replace('_', " ");
            text.push_str(&alloc::format!("{name:width$}  {}\n", value.to_cell()));
        }
    }
    for (name, value) in &record.fields {
        if let Value::Listing(listing) = value {
            text.push_str(&alloc::format!("\n{}\n", name.replace('_', " ")));
            write_listing(text, listing);
        }
    }
}

/// A table: numbers to the right, everything else to the left.
fn write_listing(text: &mut String, listing: &Listing) {
    let headers = listing.columns.iter().map(|name| name.replace('_', " ")).collect::<Vec<_>>();
    let cells: Vec<Vec<_>> =
        listing.rows.iter().map(|row| row.iter().map(Value::to_cell).collect()).collect();
    let column = |index: usize| cells.iter().map(move |row| row[index].as_ref());
    let width = |index: usize| {
        let length = |cell: &str| cell.chars().count();
        column(index).map(length).chain([length(&headers[index])]).max().unwrap_or(0)
    };
    let is_number = |index: usize| {
        let mut values = listing.rows.iter().map(|row| &row[index]);
        let is_number =
            |value| matches!(value, &Value::Integer(_) | &Value::Millionths(_) | &Value::Null);
        values.all(is_number) && !listing.rows.is_empty()
    };
    let columns: Vec<_> =
        (0..headers.len()).map(|index| (width(index), is_number(index))).collect();
    let mut line = |row: &mut dyn Iterator<Item = &str>| {
        let mut line = String::new();
        for (cell, (width, is_number)) in row.zip(&columns) {
            let cell = match is_number {
                true => alloc::format!("{cell:>width$}  "),
                false => alloc::format!("{cell:<width$}  "),
            };
            line.push_str(&cell);
        }
        text.push_str(line.trim_end());
        text.push('\n');
    };
    line(&mut headers.iter().map(String::as_str));
    for row in &cells {
        line(&mut row.iter().map(AsRef::as_ref));
    }
}

impl Serialize for Value {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Value::Null => serializer.serialize_unit(),
            Value::Boolean(value) => serializer.serialize_bool(*value),
            Value::Integer(value) => serializer.serialize_u64(*value),
            Value::Millionths(value) => serializer.serialize_f64(*value as f64 / 1e6),
            Value::Text(text) => serializer.serialize_str(text),
            Value::Listing(listing) => listing.serialize(serializer),
        }
    }
}

impl Serialize for Record {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.fields.len()))?;
        for (name, value) in &self.fields {
            map.serialize_entry(name, value)?;
        }
        map.end()
    }
}

impl Serialize for Listing {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut rows = serializer.serialize_seq(Some(self.rows.len()))?;
        for row in &self.rows {
            let fields = self.columns.iter().copied().zip(row.iter().cloned()).collect();
            rows.serialize_element(&Record { fields })?;
        }
        rows.end()
    }
}

impl Serialize for Report {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Report::Text(text) => serializer.serialize_str(text),
            Report::Record(record) => record.serialize(serializer),
            Report::Listing(listing) => listing.serialize(serializer),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peers() -> Listing {
        let mut listing = Listing::new(&["id", "match_index", "state"]);
        listing.push([2u16.into(), 1_234u64.into(), "replicate".into()]);
        listing.push([10u16.into(), Value::Null, "probe".into()]);
        listing
    }

    #[test]
    fn a_table() {
        let text = Report::Listing(peers()).to_text();
        assert_eq!(
            text,
            "id  match index  state\n 2         1234  replicate\n10            -  probe\n"
        );
    }

    #[test]
    fn a_fraction_is_a_number() {
        let mut listing = Listing::new(&["gbit"]);
        listing.push([Value::Millionths(12_000_345)]);
        let report = Report::Listing(listing);
        assert_eq!(report.to_text(), "     gbit\n12.000345\n");
        assert_eq!(report.to_json(), r#"[{"gbit":12.000345}]"#);
    }

    #[test]
    fn a_record_for_people_and_for_programs() {
        let record = Record::default()
            .with("role", "leader")
            .with("last_index", 7u64)
            .with("leader", None::<u16>)
            .with("is_well", true)
            .with("peers", Value::Listing(peers()));
        let report = Report::Record(record);
        let text = report.to_text();
        assert!(text.starts_with(
            "role        leader\nlast index  7\nleader      -\nis well     yes\n\npeers\nid "
        ));
        assert_eq!(
            report.to_json(),
            r#"{"role":"leader","last_index":7,"leader":null,"is_well":true,"#.to_string()
                + r#""peers":[{"id":2,"match_index":1234,"state":"replicate"},"#
                + r#"{"id":10,"match_index":null,"state":"probe"}]}"#
        );
    }
}
