//! Why a disk takes nothing, and what to do about it.
//!
//! **Invariant:** only what concerns the disk as a whole is a trouble; a missing or damaged file is none.

use std::io;

use serde::Serialize;

/// Why nothing can be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Trouble {
    /// The file system is full.
    NoSpace,
    /// The user's quota, or the process's limit of a file's size, is used up.
    Quota,
    /// The file system is mounted read-only.
    ReadOnly,
    /// This user may not write there.
    Refused,
    /// The device fails.
    Broken,
}

impl Trouble {
    /// What an error says of the disk; none where it is about something else.
    pub fn of(error: &io::Error) -> Option<Self> {
        use io::ErrorKind as Kind;
        match error.kind() {
            Kind::StorageFull => Some(Self::NoSpace),
            Kind::QuotaExceeded | Kind::FileTooLarge => Some(Self::Quota),
            Kind::ReadOnlyFilesystem => Some(Self::ReadOnly),
            Kind::PermissionDenied => Some(Self::Refused),
            _ if error.raw_os_error() == Some(rustix::io::Errno::IO.raw_os_error()) => Some(Self::Broken),
            _ => None,
        }
    }

    /// In a few words.
    pub fn reason(self) -> &'static str {
        match self {
            Self::NoSpace => "no space left on the disk",
            Self::Quota => "the quota is used up",
            Self::ReadOnly => "the file system is mounted read-only",
            Self::Refused => "this user may not write there",
            Self::Broken => "the device fails",
        }
    }

    /// What an administrator does about it.
    pub fn cure(self) -> &'static str {
        match self {
            Self::NoSpace => "free disk space, or lower content.max_size and run `tailwater content collect`",
            Self::Quota => "raise the quota of the user that runs the server, or its limit of file sizes",
            Self::ReadOnly => "see why (`dmesg`, `mount`), repair the file system and mount it writable",
            Self::Refused => "give the data directory to the user that runs the server (`chown -R`)",
            Self::Broken => "see `dmesg` and replace the disk; what can still be read is served",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_concerns_the_disk_is_told_from_what_does_not() {
        use rustix::io::Errno;
        let table = [
            (Errno::NOSPC, Some(Trouble::NoSpace)),
            (Errno::DQUOT, Some(Trouble::Quota)),
            (Errno::FBIG, Some(Trouble::Quota)),
            (Errno::ROFS, Some(Trouble::ReadOnly)),
            (Errno::ACCESS, Some(Trouble::Refused)),
            (Errno::PERM, Some(Trouble::Refused)),
            (Errno::IO, Some(Trouble::Broken)),
            (Errno::NOENT, None),
            (Errno::EXIST, None),
            (Errno::ISDIR, None),
            (Errno::AGAIN, None),
        ];
        for (errno, trouble) in table {
            assert_eq!(Trouble::of(&io::Error::from(errno)), trouble, "{errno:?}");
        }
    }
}
