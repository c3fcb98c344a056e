//! The table, as it is printed and as it stands in `tests/README.md`.

use std::fmt::Write as _;
use std::path::Path;
use std::{fs, io};

use crate::cases::{COLUMNS, Cell};
use crate::peers::{Peer, Side};

/// What one peer did on one side.
#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) peer: &'static Peer,
    pub(crate) version: String,
    pub(crate) side: Side,
    pub(crate) cells: Vec<Cell>,
}

impl Row {
    pub(crate) fn is_red(&self) -> bool {
        self.red().next().is_some()
    }

    fn red(&self) -> impl Iterator<Item = (&'static str, &str)> {
        self.cells
            .iter()
            .zip(COLUMNS)
            .filter_map(|(cell, &column)| match cell {
                Cell::No(reason) => Some((column, &reason[..])),
                _ => None,
            })
    }

    /// Says in one line how it went, and in one more for each cell that is red.
    pub(crate) fn print(&self) {
        let count = |kind: fn(&Cell) -> bool| self.cells.iter().filter(|cell| kind(cell)).count();
        println!(
            "{:6} {:<34} {:>2} yes, {} cannot, {} no",
            self.side.name(),
            format!("{} {}", self.peer.name, self.version),
            count(|cell| *cell == Cell::Yes),
            count(|cell| matches!(cell, Cell::Cannot(_))),
            count(|cell| matches!(cell, Cell::No(_))),
        );
        for (column, reason) in self.red() {
            println!("       {column}: {reason}");
        }
    }
}

/// Writes the table between the two markers of the file.
pub(crate) fn write(file: &Path, rows: &[Row]) -> io::Result<()> {
    let text = fs::read_to_string(file)?;
    let parts = text.split_once(BEGIN).and_then(|(before, rest)| {
        let (_, after) = rest.split_once(END)?;
        Some((before, after))
    });
    let Some((before, after)) = parts else {
        let message = format!("{} has not the markers {BEGIN} and {END}", file.display());
        return Err(io::Error::new(io::ErrorKind::InvalidData, message));
    };
    let table = markdown(rows);
    fs::write(file, format!("{before}{BEGIN}\n\n{table}\n{END}{after}"))
}

fn markdown(rows: &[Row]) -> String {
    let mut notes = Notes::default();
    let mut text = format!("| peer | as | {} |\n", COLUMNS.join(" | "));
    let _ = writeln!(text, "| --- | --- |{}", " --- |".repeat(COLUMNS.len()));
    for row in rows {
        let _ = write!(text, "| {} {}", row.peer.name, row.version);
        if let Some(note) = row.peer.note {
            let _ = write!(text, " ({})", notes.number(note));
        }
        let _ = write!(text, " | {} |", row.side.name());
        for cell in &row.cells {
            let _ = match cell {
                Cell::Yes => write!(text, " yes |"),
                Cell::No(_) => write!(text, " **no** |"),
                Cell::Cannot(reason) => write!(text, " - ({}) |", notes.number(reason)),
            };
        }
        text.push('\n');
    }
    text.push('\n');
    for (at, note) in notes.0.iter().enumerate() {
        let _ = writeln!(text, "{}. {note}", at + 1);
    }
    text
}

/// What stands below the table, numbered.
#[derive(Default)]
struct Notes(Vec<&'static str>);

impl Notes {
    fn number(&mut self, note: &'static str) -> usize {
        let at = self.0.iter().position(|&known| known == note);
        at.unwrap_or_else(|| {
            self.0.push(note);
            self.0.len() - 1
        }) + 1
    }
}

const BEGIN: &str = "<!-- interop: written by tests/interop/run.sh -->";
const END: &str = "<!-- interop: end -->";
