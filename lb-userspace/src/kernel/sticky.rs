//! The map of which backend a client is to come back to; it stays when the daemon ends.

use std::fmt;

use aya::maps::{HashMap, Map, MapData, MapError};
use lb_common::maps::STICKY;
use lb_common::sticky::{StickyKey, StickyRecord};

use super::Kernel;
use super::tables::TableError;

pub struct Table {
    map: HashMap<MapData, StickyKey, StickyRecord>,
    /// The most entries.
    pub capacity: usize,
}

impl fmt::Debug for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Table").finish_non_exhaustive()
    }
}

impl Kernel {
    /// Opens the map; each that is opened may be used at the same time.
    ///
    /// # Errors
    ///
    /// Somebody has removed the pins.
    pub fn sticky(&self) -> Result<Table, TableError> {
        let data = MapData::from_pin(self.pins.map(STICKY)).map_err(of_map)?;
        let info = data.info().map_err(of_map)?;
        let capacity = usize::try_from(info.max_entries()).unwrap_or(usize::MAX);
        let map = Map::from_map_data(data).map_err(of_map)?;
        Ok(Table {
            map: HashMap::try_from(map).map_err(of_map)?,
            capacity,
        })
    }
}

impl Table {
    pub fn find(&self, key: &StickyKey) -> Option<StickyRecord> {
        self.map.get(key, 0).ok()
    }

    /// # Errors
    ///
    /// The table is full, or what else the kernel says.
    pub fn put(&mut self, key: &StickyKey, record: &StickyRecord) -> Result<(), TableError> {
        self.map.insert(key, record, 0).map_err(of_map)
    }

    pub fn remove(&mut self, key: &StickyKey) {
        // A key that is not there is as good as one that was removed.
        drop(self.map.remove(key));
    }

    /// Every entry; one that comes or goes meanwhile may be missed or shown twice.
    pub fn entries(&self) -> impl Iterator<Item = (StickyKey, StickyRecord)> {
        // A key that is removed under the reader sends it back to the begin.
        self.map
            .iter()
            .take(2 * self.capacity)
            .filter_map(Result::ok)
    }
}

fn of_map(source: MapError) -> TableError {
    TableError::Map {
        name: STICKY,
        source,
    }
}
