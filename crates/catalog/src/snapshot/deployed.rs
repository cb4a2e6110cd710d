//! Which payloads an approval asks some computer to use.
//!
//! **Invariant:** what is declined or held back on this server is not among them. It never says to which computers: an approval
//! for any group counts, and so does each revision that is here, because agents act on what they were told before.

use super::bits::Bits;
use super::world::flag;
use crate::snapshot::root::Snapshot;
use tailwater_domain::Sha1Digest;

impl Snapshot {
    /// Whether this payload is one of them.
    pub(crate) fn is_deployed(&self, sha1: &Sha1Digest) -> bool {
        self.deployed(|| self.deployed_digests()).binary_search(sha1).is_ok()
    }

    fn deployed_digests(&self) -> Vec<Sha1Digest> {
        let world = self.world();
        let decided = self.view().decided.iter().filter(|(_, decision)| {
            decision.hold.is_none()
                && decision.declined.is_none()
                && decision.approvals.iter().any(|(_, approval)| approval.action.acts())
        });
        let (mut deployed, mut open) = (Bits::new(world.updates.len()), Vec::new());
        for (update, _) in decided {
            if deployed.put(*update) {
                open.push(*update);
            }
        }
        if open.is_empty() {
            return Vec::new();
        }
        let is_out = |update: u32| {
            let decision = self.view().decision(update);
            decision.is_some_and(|decision| decision.hold.is_some() || decision.declined.is_some())
        };
        let mut revisions = vec![Vec::new(); world.updates.len()];
        for (id, rev) in (0_u32..).zip(&world.revs).filter(|(_, rev)| rev.has(flag::PRESENT)) {
            if let Some(of_update) = revisions.get_mut(rev.update as usize) {
                of_update.push(id);
            }
        }
        let mut digests = Vec::new();
        while let Some(update) = open.pop() {
            for rev in revisions[update as usize].iter().filter_map(|id| world.rev(*id)) {
                digests.extend(world.files_of(rev));
                let members = world.children(rev).iter().map(|child| child.update);
                open.extend(members.filter(|member| !is_out(*member) && deployed.put(*member)));
            }
        }
        digests.sort_unstable();
        digests.dedup();
        digests
    }
}
