//! Memory that was freed, given back to the operating system.
//!
//! A bulk round takes and frees some 2 KB a row in small pieces, on every shard. The allocator keeps what is freed for the thread that
//! had it; a server would hold it for ever, beyond what its memory budget knows of. A shard says that it has freed much; a thread that
//! nobody waits for does the rest, since that takes the allocator's locks for some milliseconds.

use std::sync::atomic::{AtomicBool, Ordering};

static FREED: AtomicBool = AtomicBool::new(false);

/// Says that much memory was freed.
pub fn note_freed() {
    FREED.store(true, Ordering::Relaxed);
}

/// Gives back what is free, if anybody said that it is much.
pub fn give_back() {
    if FREED.swap(false, Ordering::Relaxed) {
        // SAFETY: it changes nothing that is in use, and takes the locks that it needs.
        #[cfg(target_env = "gnu")]
        unsafe {
            libc::malloc_trim(0);
        }
    }
}
