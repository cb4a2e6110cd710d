//! A client for benches that costs as little as it can: one request at a time on a raw connection, bodies
//! thrown away in the kernel or copied once.

use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use rustix::net::RecvFlags;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, Interest};
use tokio::net::TcpStream;

/// Read at once.
const BUFFER: usize = 1 << 20;

/// The head of an answer fits in this.
const HEAD: usize = 4096;

pub(crate) struct Drain {
    stream: TcpStream,
    buffer: Vec<u8>,
    copy: bool,
}

impl Drain {
    /// With `copy`, bodies are copied to memory as a real client does.
    pub(crate) async fn connect(address: SocketAddr, copy: bool) -> io::Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, buffer: vec![0; BUFFER], copy })
    }

    /// Sends a request and reads the answer away, telling `each` of bytes as they come. How many bytes the
    /// body had, and when the first of them came.
    pub(crate) async fn ask(
        &mut self,
        request: &str,
        mut each: impl FnMut(u64),
    ) -> io::Result<(u64, Duration)> {
        let begun = Instant::now();
        self.stream.write_all(request.as_bytes()).await?;
        let mut have = 0;
        let end = loop {
            let got = self.stream.read(&mut self.buffer[have..HEAD]).await?;
            if got == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            have += got;
            if let Some(end) = memchr::memmem::find(&self.buffer[..have], b"\r\n\r\n") {
                break end + 4;
            }
        };
        let length = length(&self.buffer[..end])?;
        let mut bytes = (have - end) as u64;
        let mut first = (bytes > 0).then(|| begun.elapsed());
        each(bytes);
        while bytes < length {
            let got = self.take(length - bytes).await?;
            if got == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            first.get_or_insert_with(|| begun.elapsed());
            bytes += got;
            each(got);
        }
        Ok((length, first.unwrap_or_default()))
    }

    async fn take(&mut self, left: u64) -> io::Result<u64> {
        let want = usize::try_from(left).unwrap_or(BUFFER).min(BUFFER);
        let space = &mut self.buffer[..want];
        if self.copy {
            return Ok(self.stream.read(space).await? as u64);
        }
        loop {
            self.stream.readable().await?;
            let taken = self.stream.try_io(Interest::READABLE, || {
                Ok(rustix::net::recv(&self.stream, &mut *space, RecvFlags::TRUNC)?.1)
            });
            match taken {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                other => return other.map(|taken| taken as u64),
            }
        }
    }
}

fn length(head: &[u8]) -> io::Result<u64> {
    let head = String::from_utf8_lossy(head).to_ascii_lowercase();
    let found = head.lines().find_map(|line| line.strip_prefix("content-length:"));
    let length = found.and_then(|value| value.trim().parse().ok());
    length.filter(|_| head.starts_with("http/1.1 20")).ok_or_else(|| io::Error::other(head))
}
