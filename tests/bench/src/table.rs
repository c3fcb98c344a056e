//! Tables that read well in a terminal and are Markdown too.

use std::fmt;

/// A table with a head; all columns but the first are numbers and stand at the right.
#[derive(Clone, Debug)]
pub struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    /// Begins with the names of the columns.
    pub fn new<S: Into<String>>(head: impl IntoIterator<Item = S>) -> Self {
        Self {
            rows: vec![head.into_iter().map(Into::into).collect()],
        }
    }

    /// Adds a row.
    pub fn row<S: Into<String>>(&mut self, cells: impl IntoIterator<Item = S>) {
        self.rows.push(cells.into_iter().map(Into::into).collect());
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let width = |column: usize| {
            let cells = self.rows.iter().filter_map(|row| row.get(column));
            cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..columns).map(width).collect();
        for (index, row) in self.rows.iter().enumerate() {
            for (column, &width) in widths.iter().enumerate() {
                let cell = row.get(column).map_or("", String::as_str);
                match column {
                    0 => write!(f, "| {cell:<width$} |")?,
                    _ => write!(f, " {cell:>width$} |")?,
                }
            }
            writeln!(f)?;
            if index == 0 {
                for (column, &width) in widths.iter().enumerate() {
                    match column {
                        0 => write!(f, "| {:-<width$} |", "")?,
                        _ => write!(f, " {:->width$} |", ":")?,
                    }
                }
                writeln!(f)?;
            }
        }
        Ok(())
    }
}

/// Writes a number with three digits that count.
pub fn figure(value: f64) -> String {
    match value.abs() {
        size if size >= 99.95 => whole(value),
        size if size >= 9.995 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

/// Writes a number without a fraction, its digits by threes.
pub fn whole(value: f64) -> String {
    let digits = format!("{value:.0}");
    let mut out = String::new();
    for (index, digit) in digits.chars().enumerate() {
        let is_group = index > 0 && (digits.len() - index).is_multiple_of(3);
        if is_group && !out.ends_with('-') {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_stand_at_the_right() {
        let mut table = Table::new(["who", "ns"]);
        table.row(["wspulse", "7"]);
        table.row(["a peer", "1,234"]);
        let drawn = "| who     |    ns |\n\
                     | ------- | ----: |\n\
                     | wspulse |     7 |\n\
                     | a peer  | 1,234 |\n";
        assert_eq!(table.to_string(), drawn);
    }

    #[test]
    fn three_digits_count() {
        assert_eq!(figure(1_234_567.0), "1,234,567");
        assert_eq!(figure(234.56), "235");
        assert_eq!(figure(23.456), "23.5");
        assert_eq!(figure(0.987), "0.99");
        assert_eq!(whole(-100.0), "-100");
        assert_eq!(whole(-1_000.0), "-1,000");
    }
}
