//! Which members go when nearly all that agents may make this server keep is used.
//!
//! **Invariant:** members that never came back go first, the longest silent first; then events of those that reported
//! longest ago. It never touches a computer's record that came back.

use super::fleet::Fleet;
use crate::error::CatalogError;
use crate::storage::client_state::StateOf;
use crate::storage::entries::entries;
use crate::storage::record::key;
use tailwater_kv::Op;

impl Fleet {
    /// Lets agents' state go while nearly all that is allowed is used. The caller holds `changing` of computers.
    pub(crate) fn make_room_for_agents(&self) -> Result<(), CatalogError> {
        if !self.state().must_look(StateOf::Agents) {
            return Ok(());
        }
        for one in self.never_came_back() {
            if !self.state().is_full(StateOf::Agents) {
                return Ok(());
            }
            self.drop_computer(&one.id)?;
        }
        let mut members = self.members().all();
        members.sort_unstable_by(|a, b| (a.last_report, &a.id).cmp(&(b.last_report, &b.id)));
        for one in members {
            if !self.state().is_full(StateOf::Agents) {
                return Ok(());
            }
            let events =
                entries(self.state().kv(), &key::events(&one.id))?.into_iter().map(|(key, _)| (key, None));
            self.state().put_states(&events.collect::<Vec<Op>>())?;
        }
        Ok(())
    }
}
