//! A stream of bytes, whatever carries it.

use tokio::io::{AsyncRead, AsyncWrite};

/// A stream of bytes.
pub trait Io: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}
