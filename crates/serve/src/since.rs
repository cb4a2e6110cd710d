//! Since when something that this server tells is what it is; kept in the catalog.
//!
//! **Invariant:** the time changes exactly when what is told changes, over any number of restarts. It never says a time
//! that others could take for a change where there was none.

use jiff::Timestamp;

use tailwater_catalog::{Catalog, CatalogError};

/// When `told` became what it is, in whole milliseconds: remembered under `key`, or `now` when it is news.
pub(super) fn since(
    catalog: &Catalog,
    key: &str,
    told: &str,
    now: Timestamp,
) -> Result<Timestamp, CatalogError> {
    let stored = catalog.kept(key)?;
    if let Some((time, before)) = stored.as_deref().and_then(|bytes| bytes.split_first_chunk::<8>())
        && before == told.as_bytes()
        && let Ok(time) = Timestamp::from_millisecond(i64::from_le_bytes(*time))
    {
        // one of before such values were journaled is kept from now on
        catalog.keep(key, stored.as_deref().unwrap_or_default())?;
        return Ok(time);
    }
    let now = now.as_millisecond();
    let mut record = now.to_le_bytes().to_vec();
    record.extend_from_slice(told.as_bytes());
    catalog.keep(key, &record)?;
    Ok(Timestamp::from_millisecond(now).unwrap_or(Timestamp::UNIX_EPOCH))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use tailwater_runtime::Clock;

    #[test]
    fn the_time_is_kept_until_something_else_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let clock = Clock::manual(Timestamp::from_second(1_000).unwrap());
        let open = || Catalog::open(tailwater_catalog::Config::new(dir.path()), clock.clone()).unwrap();
        let catalog = open();
        let told = |catalog: &Catalog, text| since(catalog, "test", text, clock.now()).unwrap();
        let first = told(&catalog, "this");
        assert_eq!(first.as_second(), 1_000);
        clock.advance(Duration::from_hours(1));
        drop(catalog);
        let catalog = open();
        assert_eq!(told(&catalog, "this"), first, "a restart is no change");
        assert_eq!(told(&catalog, "that").as_second(), 4_600);
    }
}
