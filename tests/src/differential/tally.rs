//! How many inputs are in each class.

use std::collections::BTreeMap;
use std::fmt;

/// Counts the inputs, those that differ, and those in each class.
#[derive(Clone, Debug)]
pub struct Tally<C> {
    inputs: usize,
    differ: usize,
    classes: BTreeMap<C, usize>,
}

impl<C: Copy + Ord> Tally<C> {
    /// Begins with these classes, each of them empty.
    #[must_use]
    pub fn new(classes: impl IntoIterator<Item = C>) -> Self {
        let classes = classes.into_iter().map(|class| (class, 0));
        Self {
            inputs: 0,
            differ: 0,
            classes: classes.collect(),
        }
    }

    /// Counts an input that is in these classes.
    pub fn add(&mut self, classes: impl IntoIterator<Item = C>) {
        self.inputs += 1;
        let mut is_in_any = false;
        for class in classes {
            *self.classes.entry(class).or_default() += 1;
            is_in_any = true;
        }
        self.differ += usize::from(is_in_any);
    }

    /// Returns how many inputs were counted.
    #[must_use]
    pub const fn inputs(&self) -> usize {
        self.inputs
    }

    /// Returns the classes that nothing is in. Of many inputs there must be none: either the
    /// difference is gone, and so must its class, or the inputs no longer reach it.
    #[must_use]
    pub fn dead(&self) -> Vec<C> {
        let dead = self.classes.iter().filter(|(_, count)| **count == 0);
        dead.map(|(class, _)| *class).collect()
    }
}

impl<C: fmt::Debug> fmt::Display for Tally<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} inputs, {} that differ", self.inputs, self.differ)?;
        for (class, count) in &self.classes {
            write!(f, "\n{count:>7} {class:?}")?;
        }
        Ok(())
    }
}
