//! Why io_uring may not be had, and what to do about it.

use std::io;

use rustix::process::{Resource, getrlimit};

use crate::error::Error;

/// Gives a refusal of io_uring its name.
pub(super) fn refused(operation: &'static str, needed: u64, source: io::Error) -> Error {
    match source.raw_os_error() {
        Some(libc::ENOSYS | libc::EPERM | libc::EACCES) => Error::IoUringForbidden { reason: forbidden_reason() },
        Some(libc::ENOMEM) => {
            let limit = getrlimit(Resource::Memlock).current.unwrap_or(u64::MAX);
            Error::MemlockTooSmall { needed, limit }
        }
        _ => Error::Io { operation, path: "io_uring".into(), source },
    }
}

/// The two things that forbid io_uring on a kernel that has it.
fn forbidden_reason() -> &'static str {
    let switch = std::fs::read_to_string("/proc/sys/kernel/io_uring_disabled").unwrap_or_default();
    match switch.trim() {
        "2" => "the sysctl kernel.io_uring_disabled is 2; allow it with `sysctl -w kernel.io_uring_disabled=0`",
        "1" => {
            "the sysctl kernel.io_uring_disabled is 1, which allows it to members of kernel.io_uring_group only; set it \
             to 0 or join that group"
        }
        _ => {
            "the kernel is older than 5.11 or a seccomp filter forbids it, as container runtimes do by default; allow \
             io_uring_setup, io_uring_enter and io_uring_register (docker, podman: `--security-opt seccomp=unconfined` \
             or a profile that lists them)"
        }
    }
}
