//! Space that the data directory takes on disk.

use std::fs::DirEntry;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// Bytes of a block as `stat` counts them, whatever the file system's own are.
const BLOCK_BYTES: u64 = 512;

/// Bytes allocated to the files below a directory. A file that goes meanwhile is left out: others make and remove them.
pub fn allocated_bytes(directory: &Path) -> u64 {
    let Ok(entries) = std::fs::read_dir(directory) else { return 0 };
    entries.flatten().map(|entry| entry_bytes(&entry)).sum()
}

fn entry_bytes(entry: &DirEntry) -> u64 {
    match entry.metadata() {
        Ok(metadata) if metadata.is_dir() => allocated_bytes(&entry.path()),
        Ok(metadata) => metadata.blocks() * BLOCK_BYTES,
        Err(_) => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_all_levels_count_with_what_they_take() {
        let directory = tempfile::tempdir().unwrap();
        assert_eq!(allocated_bytes(&directory.path().join("nothing")), 0);
        std::fs::create_dir(directory.path().join("inner")).unwrap();
        std::fs::write(directory.path().join("inner/file"), vec![1; 100_000]).unwrap();
        // A hole takes nothing.
        std::fs::File::create(directory.path().join("hole")).unwrap().set_len(1 << 40).unwrap();
        let bytes = allocated_bytes(directory.path());
        assert!((100_000..1 << 20).contains(&bytes), "{bytes}");
    }
}
