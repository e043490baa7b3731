//! Processes that the system gives less than it gives the test: no io_uring, little locked memory, a small disk.

#![allow(unsafe_code)]

use std::ffi::CString;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

/// The system call that every use of io_uring begins with has the same number on all architectures.
const IO_URING_SETUP: u32 = libc::SYS_io_uring_setup as u32;
/// From linux/capability.h: locking memory beyond the limit.
const CAP_IPC_LOCK: libc::c_ulong = 14;

/// Refuses io_uring to the process, as the seccomp profile of a container does.
pub fn forbid_io_uring(command: &mut Command) {
    let step = |code: u32, k: u32, jump_true: u8, jump_false: u8| libc::sock_filter {
        code: code as u16,
        jt: jump_true,
        jf: jump_false,
        k,
    };
    let mut filter = [
        step(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, 0), // the number of the call
        step(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, IO_URING_SETUP, 0, 1),
        step(libc::BPF_RET | libc::BPF_K, libc::SECCOMP_RET_ERRNO | libc::EPERM as u32, 0, 0),
        step(libc::BPF_RET | libc::BPF_K, libc::SECCOMP_RET_ALLOW, 0, 0),
    ];
    let refuse = move || {
        let program = libc::sock_fprog { len: filter.len() as u16, filter: filter.as_mut_ptr() };
        // SAFETY: the kernel copies the program, which outlives the call.
        check(unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) })?;
        // SAFETY: as above.
        check(unsafe { libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const program) })
    };
    // SAFETY: between fork and exec only system calls are made.
    unsafe { command.pre_exec(refuse) };
}

/// Limits the memory that the process may lock, and takes root's right to lock more.
pub fn limit_locked_memory(command: &mut Command, bytes: u64) {
    let limit = move || {
        let limit = libc::rlimit { rlim_cur: bytes, rlim_max: bytes };
        // SAFETY: the call reads the limit and nothing else.
        check(unsafe { libc::setrlimit(libc::RLIMIT_MEMLOCK, &raw const limit) })?;
        // Fails for a user who has no such right to give up.
        // SAFETY: the call takes no pointers.
        unsafe { libc::prctl(libc::PR_CAPBSET_DROP, CAP_IPC_LOCK, 0, 0, 0) };
        Ok(())
    };
    // SAFETY: between fork and exec only system calls are made.
    unsafe { command.pre_exec(limit) };
}

/// Puts a file system of `bytes` in memory over `directory`, for the process alone. Needs root.
pub fn mount_small_disk(command: &mut Command, directory: &Path, bytes: u64) {
    let directory = CString::new(directory.as_os_str().as_bytes()).expect("a path");
    let options = CString::new(format!("size={bytes}")).expect("no zeros");
    let mount = move || {
        // SAFETY: the call takes no pointers.
        check(unsafe { libc::unshare(libc::CLONE_NEWNS) })?;
        let (none, tmpfs, root) = (c"none".as_ptr(), c"tmpfs".as_ptr(), c"/".as_ptr());
        let private = libc::MS_REC | libc::MS_PRIVATE;
        // SAFETY: the strings outlive the call.
        check(unsafe { libc::mount(none, root, std::ptr::null(), private, std::ptr::null()) })?;
        // SAFETY: as above.
        check(unsafe { libc::mount(none, directory.as_ptr(), tmpfs, 0, options.as_ptr().cast()) })
    };
    // SAFETY: between fork and exec only system calls are made; the strings were made before.
    unsafe { command.pre_exec(mount) };
}

fn check(result: libc::c_int) -> io::Result<()> {
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
