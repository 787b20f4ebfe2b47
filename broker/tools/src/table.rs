//! Tables as several of Kafka's tools print them: columns as wide as their widest cell, a tab behind each.

use std::io::{self, Write};

/// Prints titles and rows.
pub fn print(titles: &[&str], rows: &[Vec<String>], out: &mut dyn Write) -> io::Result<()> {
    let width = |column: usize| rows.iter().map(|row| row[column].len()).max().unwrap_or(0).max(titles[column].len());
    let widths: Vec<usize> = (0..titles.len()).map(width).collect();
    for (title, width) in titles.iter().zip(&widths) {
        write!(out, "{title:<width$}\t")?;
    }
    writeln!(out)?;
    for row in rows {
        for (cell, width) in row.iter().zip(&widths) {
            write!(out, "{cell:<width$}\t")?;
        }
        writeln!(out)?;
    }
    Ok(())
}

/// A number as Java prints a `double`.
pub fn java_double(value: f64) -> String {
    let size = value.abs();
    if size == 0.0 || (1e-3..1e7).contains(&size) {
        return format!("{value:?}");
    }
    let text = format!("{value:e}");
    match text.split_once('e') {
        Some((digits, exponent)) if digits.contains('.') => format!("{digits}E{exponent}"),
        Some((digits, exponent)) => format!("{digits}.0E{exponent}"),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doubles_look_like_javas() {
        assert_eq!(java_double(1000.0), "1000.0");
        assert_eq!(java_double(10_485_760.0), "1.048576E7");
        assert_eq!(java_double(1e7), "1.0E7");
        assert_eq!(java_double(0.5), "0.5");
    }
}
