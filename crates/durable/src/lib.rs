//! The disk underneath: whether it can be written, and how files are replaced, protected and set aside on whatever file
//! system there is.
//!
//! What a file system may lack is best effort and is said once: modes, syncing a folder, renaming over a file. What is
//! needed (locks, writing at a place) is an error that names the cure.
//!
//! **Invariant:** a file that is replaced is there whole, old or new, after a kill at any moment; nothing that was found
//! damaged is deleted: it is set aside under another name. This room never knows what a file says.

mod disk;
mod faults;
mod files;
mod trouble;

use tailwater_domain::Limit;

/// The limits of this room.
pub const LIMITS: &[Limit] = disk::LIMITS;

pub use disk::{Disk, Report, Resume};
#[doc(hidden)]
pub use faults::{Lacks, holes, with as with_lacks};
pub use files::{
    Mode, make_private_folder, open_private, replace, set_aside, set_mode, sync_folder, write_anew,
};
pub use trouble::Trouble;
