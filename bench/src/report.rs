//! Medians per broker and their ratio, as a table for people and as JSON for scripts.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use ottla_compat_tests::broker::Target;
use ottla_compat_tests::cache;

use crate::measure::Sample;

/// One row per figure: the median of each broker, and Ottla's as a part of Apache Kafka's.
pub fn markdown(samples: &[Sample]) -> String {
    let names: BTreeSet<&String> = samples.iter().flat_map(|sample| sample.figures.keys()).collect();
    let mut text = String::from("| figure | Apache Kafka | Ottla | Ottla / Kafka |\n|---|---|---|---|\n");
    for name in names {
        let apache = median(samples, Target::Apache, name);
        let ottla = median(samples, Target::Ottla, name);
        let ratio = match (apache, ottla) {
            (Some(apache), Some(ottla)) if apache > 0.0 => format!("{:.2}", ottla / apache),
            _ => "-".into(),
        };
        let shown = |value: Option<f64>| value.map_or_else(|| "-".into(), |value| format!("{value:.2}"));
        let _ = writeln!(text, "| {name} | {} | {} | {ratio} |", shown(apache), shown(ottla));
    }
    text
}

/// Every sample as it was taken, in `target/bench.json`.
pub fn write_json(samples: &[Sample]) -> Result<(), String> {
    let rows: Vec<serde_json::Value> = samples
        .iter()
        .map(|sample| serde_json::json!({ "target": sample.target.name(), "figures": sample.figures }))
        .collect();
    let path = cache::target().join("bench.json");
    let text = serde_json::to_string_pretty(&rows).map_err(|error| error.to_string())?;
    std::fs::write(&path, text).map_err(|error| error.to_string())?;
    eprintln!("every sample: {}", path.display());
    Ok(())
}

fn median(samples: &[Sample], target: Target, name: &str) -> Option<f64> {
    let mut values: Vec<f64> = samples
        .iter()
        .filter(|sample| sample.target == target)
        .filter_map(|sample| sample.figures.get(name).copied())
        .collect();
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => None,
        count if count % 2 == 1 => Some(values[middle]),
        _ => Some(f64::midpoint(values[middle - 1], values[middle])),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_shows_medians_and_their_ratio() {
        let sample = |target, value| {
            let mut sample = Sample::new(target);
            sample.set("x_ms", value);
            sample
        };
        let samples = [
            sample(Target::Apache, 4.0),
            sample(Target::Apache, 100.0),
            sample(Target::Apache, 3.0),
            sample(Target::Ottla, 1.0),
        ];
        assert!(markdown(&samples).contains("| x_ms | 4.00 | 1.00 | 0.25 |"));
    }
}
