//! Options of a TCP socket that no library offers without `unsafe` of ours: Linux only, elsewhere they are unsupported.
//!
//! **Invariant:** the kernel copies what it is told and fills what it is asked; nothing is kept. It never decides which value
//! is right.

use std::io;
use std::os::fd::BorrowedFd;

use tokio::net::TcpStream;

/// No more than this is offered to the other end (`TCP_WINDOW_CLAMP`), in bytes.
#[cfg(target_os = "linux")]
pub(super) fn clamp_window(stream: &TcpStream, bytes: u64) -> io::Result<()> {
    set(stream, libc::IPPROTO_TCP, libc::TCP_WINDOW_CLAMP, bytes)
}

/// Bytes wake nobody, and every second segment is acknowledged as it arrives (`SO_RCVLOWAT` above what the receive buffer
/// holds). The kernel takes no more than half of the buffer, so that it is doubled for this moment; `buffer` is what the
/// kernel was told it is, where it was told.
#[cfg(target_os = "linux")]
pub(super) fn suspend_wakeups(stream: &TcpStream, buffer: Option<usize>) -> io::Result<()> {
    let socket = socket2::SockRef::from(stream);
    if let Some(bytes) = buffer {
        socket.set_recv_buffer_size(bytes.saturating_mul(2))?;
    }
    let held = set(stream, libc::SOL_SOCKET, libc::SO_RCVLOWAT, u64::MAX);
    if let Some(bytes) = buffer {
        socket.set_recv_buffer_size(bytes)?;
    }
    // what came before this
    socket.set_tcp_quickack(true)?;
    held
}

/// The first byte wakes whoever waits, also when it is there already.
#[cfg(target_os = "linux")]
pub(super) fn resume_wakeups(stream: &TcpStream) -> io::Result<()> {
    set(stream, libc::SOL_SOCKET, libc::SO_RCVLOWAT, 1)
}

#[cfg(target_os = "linux")]
#[expect(unsafe_code, reason = "no library offers these socket options")]
fn set(stream: &TcpStream, level: libc::c_int, option: libc::c_int, value: u64) -> io::Result<()> {
    use std::os::fd::AsRawFd as _;
    let value = libc::c_int::try_from(value).unwrap_or(libc::c_int::MAX);
    let length = libc::socklen_t::try_from(size_of::<libc::c_int>()).map_err(io::Error::other)?;
    // SAFETY: the socket is open while it is borrowed, and the kernel reads one integer of the length that is told
    let result =
        unsafe { libc::setsockopt(stream.as_raw_fd(), level, option, (&raw const value).cast(), length) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(not(target_os = "linux"))]
pub(super) fn clamp_window(_stream: &TcpStream, _bytes: u64) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

#[cfg(not(target_os = "linux"))]
pub(super) fn suspend_wakeups(_stream: &TcpStream, _buffer: Option<usize>) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

#[cfg(not(target_os = "linux"))]
pub(super) fn resume_wakeups(_stream: &TcpStream) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

/// What the kernel counted on one connection.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct TcpInfo {
    /// Bytes that arrived, each once, read or not.
    pub(super) received: u64,
    /// Segments that arrived, and those that carried bytes; duplicates count again.
    pub(super) segments: u64,
    pub(super) data_segments: u64,
    /// Bytes that a whole segment carries.
    pub(super) segment: u64,
    /// Bytes that the other end may still send, as was advertised last; `None` where the kernel does not say (before Linux 6.2).
    pub(super) window: Option<u64>,
}

/// `TCP_INFO` of Linux 4.6 and later; `None` elsewhere.
#[cfg(target_os = "linux")]
#[expect(unsafe_code, reason = "no library offers this socket option")]
pub(super) fn tcp_info(socket: BorrowedFd<'_>) -> Option<TcpInfo> {
    use std::os::fd::AsRawFd as _;
    /// The fields that are read end here (`struct tcp_info` of `linux/tcp.h`).
    // not a limit: LENGTH, LEAST: the kernel says so
    const LENGTH: usize = 236;
    /// The end of those that every kernel since 4.6 fills.
    const LEAST: usize = 160;
    let mut info = [0_u8; LENGTH];
    let mut length = libc::socklen_t::try_from(LENGTH).ok()?;
    // SAFETY: the socket is open while it is borrowed, and the kernel writes no more bytes than it is told there are
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_INFO,
            info.as_mut_ptr().cast(),
            &raw mut length,
        )
    };
    if result != 0 || usize::try_from(length).ok()? < LEAST {
        return None;
    }
    let word = |at: usize| info.get(at..at + 4)?.try_into().ok().map(u32::from_ne_bytes).map(u64::from);
    let received = info.get(128..136)?.try_into().ok().map(u64::from_ne_bytes)?;
    // tcpi_rcv_mss, tcpi_bytes_received, tcpi_segs_in, tcpi_data_segs_in, tcpi_rcv_wnd
    let window = word(232).filter(|_| usize::try_from(length).is_ok_and(|length| length >= LENGTH));
    Some(TcpInfo { received, segments: word(140)?, data_segments: word(152)?, segment: word(20)?, window })
}

#[cfg(not(target_os = "linux"))]
pub(super) fn tcp_info(_socket: BorrowedFd<'_>) -> Option<TcpInfo> {
    None
}
