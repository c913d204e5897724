//! The low-water mark of a socket's receive buffer, `SO_RCVLOWAT`: how much must wait before its reader is woken.
//!
//! The only unsafe code, for want of a library that has the option. A frame of 1 MiB comes in some sixteen packets, and
//! cannot leave before the last. Woken for each, tidegate took 245 ms of processor time a GB; woken for all, 85.

use std::{
    ffi::c_int,
    io,
    os::fd::{AsFd, AsRawFd},
};

/// The reader is woken when so many bytes wait, or the end; sooner where the buffer cannot hold more. If they wait
/// already (Linux 4.18), at once.
///
/// # Errors
/// The system's; none is expected of a socket.
#[allow(unsafe_code, reason = "measured, see above")]
pub(crate) fn set_low_mark(socket: impl AsFd, bytes: usize) -> io::Result<()> {
    let value = c_int::try_from(bytes).unwrap_or(c_int::MAX);
    let len = size_of_val(&value) as libc::socklen_t;
    let socket = socket.as_fd().as_raw_fd();
    // SAFETY: the descriptor is borrowed, so that it is open; the kernel reads one int, which outlives the call.
    let done = unsafe {
        libc::setsockopt(socket, libc::SOL_SOCKET, libc::SO_RCVLOWAT, std::ptr::from_ref(&value).cast(), len)
    };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
