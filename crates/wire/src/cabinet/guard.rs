//! A reader whose library may panic over what it reads. Invariant: a panic is an error of the reader, which ends with
//! it. It never panics on.

use std::io::{self, Read};

use tailwater_runtime::guarded;

/// Reads from a library; none once that failed.
pub(super) struct Guard<R>(pub(super) Option<R>);

impl<R: Read> Read for Guard<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let Some(inner) = &mut self.0 else { return Err(io::ErrorKind::InvalidData.into()) };
        guarded(|| inner.read(out)).unwrap_or_else(|panicked| {
            self.0 = None;
            Err(io::Error::new(io::ErrorKind::InvalidData, panicked))
        })
    }
}
