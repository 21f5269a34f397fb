//! Figures on their way to people and programs.

use anyhow::Context;
use serde_json::{Map, Value};

/// Figures in the order in which they were measured.
#[derive(Debug, Default)]
pub struct Figures {
    conditions: Vec<(String, String)>,
    figures: Vec<Figure>,
}

#[derive(Debug)]
struct Figure {
    name: &'static str,
    value: f64,
    unit: &'static str,
    bar: Option<Bar>,
}

/// What a figure should be.
#[derive(Clone, Copy, Debug)]
pub enum Bar {
    /// At most this.
    AtMost(f64),
    /// At least this.
    AtLeast(f64),
}

impl Bar {
    fn holds(self, value: f64) -> bool {
        match self {
            Bar::AtMost(bar) => value <= bar,
            Bar::AtLeast(bar) => value >= bar,
        }
    }

    fn to_text(self) -> String {
        match self {
            Bar::AtMost(bar) => format!("<= {bar}"),
            Bar::AtLeast(bar) => format!(">= {bar}"),
        }
    }
}

impl Figures {
    /// Notes a condition.
    pub fn condition(&mut self, name: &str, value: impl ToString) {
        self.conditions.push((name.into(), value.to_string()));
    }

    /// Notes a figure. The name is for programs, and ends with the unit.
    pub fn add(&mut self, name: &'static str, value: f64, unit: &'static str, bar: Option<Bar>) {
        eprintln!("{name}: {} {unit}", round(value));
        self.figures.push(Figure { name, value, unit, bar });
    }

    /// Takes figures over from what another program has printed, under the same names.
    ///
    /// # Errors
    /// If it does not say one of them.
    pub fn add_printed(
        &mut self,
        printed: &Value,
        wanted: &[(&'static str, &'static str, Option<Bar>)],
    ) -> anyhow::Result<()> {
        for (name, unit, bar) in wanted {
            let value = printed[*name].as_f64().with_context(|| format!("it says no {name}"))?;
            self.add(name, value, unit, *bar);
        }
        Ok(())
    }

    /// One flat object: the figures under their names, then the conditions.
    pub fn to_json(&self) -> Value {
        let figure = |figure: &Figure| (figure.name.to_string(), round(figure.value).into());
        let mut object: Map<String, Value> = self.figures.iter().map(figure).collect();
        for (name, value) in &self.conditions {
            object.insert(format!("condition_{name}"), value.as_str().into());
        }
        object.into()
    }

    /// A line for each condition, and a table.
    pub fn to_table(&self) -> String {
        let mut text = String::new();
        for (name, value) in &self.conditions {
            text += &format!("{name}: {value}\n");
        }
        text += &format!("\n{:44} {:>12} {:8} {:>10}\n", "FIGURE", "VALUE", "UNIT", "BAR");
        for Figure { name, value, unit, bar } in &self.figures {
            let bar = bar.map_or_else(String::new, |bar| {
                let verdict = if bar.holds(*value) { "" } else { "  MISSED" };
                format!("{:>10}{verdict}", bar.to_text())
            });
            text += format!("{name:44} {:>12} {unit:8} {bar}", round(*value)).trim_end();
            text.push('\n');
        }
        text
    }
}

/// Two places are more than any of these figures deserve.
fn round(value: f64) -> f64 {
    (value * 100.0).round() / 100.0
}

/// The value below which a share of the samples lies, by nearest rank. The samples are sorted.
///
/// # Panics
/// If there is no sample.
pub fn percentile(samples: &mut [f64], percent: f64) -> f64 {
    assert!(!samples.is_empty(), "there is no percentile of nothing");
    samples.sort_by(f64::total_cmp);
    let rank = (percent / 100.0 * samples.len() as f64).ceil() as usize;
    samples[rank.clamp(1, samples.len()) - 1]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_by_nearest_rank() {
        let mut samples = [5.0, 1.0, 4.0, 2.0, 3.0];
        assert_eq!(percentile(&mut samples, 50.0), 3.0);
        assert_eq!(percentile(&mut samples, 95.0), 5.0);
        assert_eq!(percentile(&mut samples, 0.0), 1.0);
        assert_eq!(percentile(&mut [7.0], 99.0), 7.0);
    }

    #[test]
    fn what_misses_its_bar_says_so() {
        let mut figures = Figures::default();
        figures.condition("cores", 2);
        figures.add("start_s", 1.5, "s", Some(Bar::AtMost(2.0)));
        figures.add("rate", 10.0, "1/s", Some(Bar::AtLeast(20.0)));
        let table = figures.to_table();
        assert!(table.contains("<= 2\n") && table.contains(">= 20  MISSED\n"), "{table}");
        let json = figures.to_json();
        assert_eq!(json["start_s"], 1.5);
        assert_eq!(json["condition_cores"], "2");
    }
}
