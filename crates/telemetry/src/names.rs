//! The numbers of whoever resolves names.

use crate::shard::{Cell, TableCells};
use proxy::Table;

/// States of a name.
pub(crate) const STATES: [&str; 5] = ["unknown", "current", "stale", "empty", "recalled"];
/// How asking about a name ends.
pub(crate) const LOOKUPS: [&str; 8] =
    ["answered", "empty", "stale", "timeout", "refused", "unreachable", "unreadable", "no_name"];
/// Tables.
pub(crate) const TABLES: [&str; 2] = ["names", "name_addresses"];

/// What is known of names, and what asking about them brought. One writer.
#[derive(Debug, Default)]
pub struct NameMetrics {
    pub(crate) states: [Cell; STATES.len()],
    pub(crate) lookups: [Cell; LOOKUPS.len()],
    pub(crate) changes: Cell,
    pub(crate) tables: [TableCells; TABLES.len()],
}

impl NameMetrics {
    /// A name was asked about. A result that is none of the closed list is not counted.
    pub fn on_lookup(&self, result: &str) {
        let known = LOOKUPS.iter().position(|known| *known == result);
        if let Some(cell) = known.and_then(|index| self.lookups.get(index)) {
            cell.add(1);
        }
    }

    /// Publishes how many names are in each state, how often one changed its addresses, and the
    /// sizes of both tables.
    pub fn on_names(&self, states: [usize; 5], changes: u64, names: Table, addresses: Table) {
        self.states.iter().zip(states).for_each(|(cell, count)| cell.set(count as u64));
        self.changes.set(changes);
        self.tables.iter().zip([names, addresses]).for_each(|(cells, table)| cells.set(table));
    }
}
