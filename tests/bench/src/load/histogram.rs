//! How long round trips took, in a fixed number of cells.

/// Counts of times, each within 1.6 % of what it was.
#[derive(Clone)]
pub struct Histogram {
    cells: Vec<u64>,
    total: u64,
}

impl Histogram {
    /// Counts a time so many times.
    pub fn add(&mut self, nanoseconds: u64, count: u64) {
        self.cells[cell_of(nanoseconds)] += count;
        self.total += count;
    }

    /// Returns the time that this part of all times, 0.99 for 99 %, does not exceed.
    #[must_use]
    pub fn quantile(&self, part: f64) -> u64 {
        let wanted = (self.total as f64 * part).ceil() as u64;
        let mut seen = 0;
        for (cell, count) in self.cells.iter().enumerate() {
            seen += count;
            if seen >= wanted.max(1) {
                return top_of(cell);
            }
        }
        0
    }

    /// Returns how many times were counted.
    #[must_use]
    pub const fn total(&self) -> u64 {
        self.total
    }
}

impl Default for Histogram {
    fn default() -> Self {
        Self {
            cells: vec![0; cell_of(u64::MAX) + 1],
            total: 0,
        }
    }
}

impl std::fmt::Debug for Histogram {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let times = [0.5, 0.99, 0.999].map(|part| self.quantile(part));
        write!(f, "Histogram({} times, {times:?} ns)", self.total)
    }
}

/// Cells for each doubling of the time.
const PER_DOUBLING: u32 = 64;

const BITS: u32 = PER_DOUBLING.ilog2();

/// Times below [`PER_DOUBLING`] have a cell each; above, a cell holds those with the same
/// leading bits.
const fn cell_of(nanoseconds: u64) -> usize {
    let doublings = (nanoseconds | (PER_DOUBLING as u64 - 1)).ilog2() + 1 - BITS;
    let leading = nanoseconds >> doublings.saturating_sub(1);
    let before = doublings.saturating_sub(1) * PER_DOUBLING;
    before as usize + leading as usize
}

/// The longest time of a cell.
const fn top_of(cell: usize) -> u64 {
    let mut low = 0;
    let mut high = u64::MAX;
    while low < high {
        let middle = low + (high - low) / 2 + 1;
        if cell_of(middle) <= cell {
            low = middle;
        } else {
            high = middle - 1;
        }
    }
    low
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cell_is_narrow_and_cells_rise() {
        let mut last = 0;
        for exponent in 0..56 {
            for step in 0..100_u64 {
                let time = (1 << exponent) + step * (1 << exponent) / 100;
                let cell = cell_of(time);
                assert!(cell >= last, "{time}");
                last = cell;
                let top = top_of(cell);
                assert!(top >= time && top - time <= time / 63, "{time}: {top}");
            }
        }
        assert_eq!(top_of(cell_of(u64::MAX)), u64::MAX);
    }

    #[test]
    fn quantiles_are_those_of_the_times() {
        let mut histogram = Histogram::default();
        for time in 1..=1_000 {
            histogram.add(time * 1_000, 1);
        }
        for (part, exact) in [(0.5, 500_000), (0.99, 990_000), (0.999, 999_000)] {
            let found = histogram.quantile(part);
            assert!(
                (exact..=exact + exact / 50).contains(&found),
                "{part}: {found}"
            );
        }
        assert_eq!(histogram.total(), 1_000);
    }
}
