//! What to do with a data directory, as a table: every state it can be found in, and the one thing that follows.

/// What the manifest says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ManifestState {
    /// There is none.
    Absent,
    /// Whole, and of this format.
    Valid,
    /// Checksum or content is wrong, or the format is one that this program no longer knows.
    Damaged,
    /// Of a format this program does not know.
    Newer,
}

/// Data of a generation, apart from the manifest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DataState {
    /// No generation directory that counts: for a valid manifest the one it names, else any.
    Absent,
    /// There is one.
    Present,
}

/// The snapshot that the manifest names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SnapshotState {
    /// It names none.
    NotNamed,
    /// Its directory is there.
    Present,
    /// Its directory is gone.
    Missing,
}

/// Number of shards now, beside the number that wrote the data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ShardCount {
    /// Equal.
    Same,
    /// Different.
    Different,
}

/// What recovery does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Write an empty manifest and start.
    Create,
    /// Replay the log from its beginning.
    Replay,
    /// Load the snapshot, then replay the log behind it.
    LoadAndReplay,
    /// Replay every old shard's log into the new shards, write a snapshot of a new generation, then start from that.
    Rehome,
    /// Load every old shard's snapshot and replay its log into the new shards, then as `Rehome`.
    LoadAndRehome,
    /// The manifest names collections, the logs are gone: refuse.
    RefuseLost,
    /// There are logs that no manifest explains: refuse.
    RefuseUnexplained,
    /// The manifest is damaged: refuse.
    RefuseDamaged,
    /// A newer program wrote this: refuse.
    RefuseNewer,
    /// The manifest names a snapshot that is gone: refuse.
    RefuseNoSnapshot,
}

/// The table.
pub fn decide(manifest: ManifestState, data: DataState, snapshot: SnapshotState, shards: ShardCount) -> Action {
    use {DataState as D, ManifestState as M, ShardCount as C, SnapshotState as S};
    match (manifest, data, snapshot, shards) {
        (M::Newer, _, _, _) => Action::RefuseNewer,
        (M::Damaged, _, _, _) => Action::RefuseDamaged,
        (M::Absent, D::Absent, _, _) => Action::Create,
        (M::Absent, D::Present, _, _) => Action::RefuseUnexplained,
        (M::Valid, D::Absent, _, _) => Action::RefuseLost,
        (M::Valid, D::Present, S::Missing, _) => Action::RefuseNoSnapshot,
        (M::Valid, D::Present, S::NotNamed, C::Same) => Action::Replay,
        (M::Valid, D::Present, S::Present, C::Same) => Action::LoadAndReplay,
        (M::Valid, D::Present, S::NotNamed, C::Different) => Action::Rehome,
        (M::Valid, D::Present, S::Present, C::Different) => Action::LoadAndRehome,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MANIFESTS: [ManifestState; 4] =
        [ManifestState::Absent, ManifestState::Valid, ManifestState::Damaged, ManifestState::Newer];
    const DATA: [DataState; 2] = [DataState::Absent, DataState::Present];
    const SNAPSHOTS: [SnapshotState; 3] = [SnapshotState::NotNamed, SnapshotState::Present, SnapshotState::Missing];
    const COUNTS: [ShardCount; 2] = [ShardCount::Same, ShardCount::Different];

    /// Every input once, written out in the order of the nested loops: one letter an action.
    const EXPECTED: &str = "\
        CCCCCC UUUUUU \
        LLLLLL rRlHNN \
        DDDDDD DDDDDD \
        WWWWWW WWWWWW";

    fn letter(action: Action) -> char {
        match action {
            Action::Create => 'C',
            Action::Replay => 'r',
            Action::Rehome => 'R',
            Action::LoadAndReplay => 'l',
            Action::LoadAndRehome => 'H',
            Action::RefuseLost => 'L',
            Action::RefuseUnexplained => 'U',
            Action::RefuseDamaged => 'D',
            Action::RefuseNewer => 'W',
            Action::RefuseNoSnapshot => 'N',
        }
    }

    #[test]
    fn every_input_has_its_action() {
        let mut seen = String::new();
        for manifest in MANIFESTS {
            for data in DATA {
                for snapshot in SNAPSHOTS {
                    for shards in COUNTS {
                        seen.push(letter(decide(manifest, data, snapshot, shards)));
                    }
                }
            }
        }
        assert_eq!(seen, EXPECTED.split_whitespace().collect::<String>());
    }

    #[test]
    fn nothing_is_created_over_data() {
        for manifest in MANIFESTS {
            for snapshot in SNAPSHOTS {
                for shards in COUNTS {
                    assert_ne!(decide(manifest, DataState::Present, snapshot, shards), Action::Create);
                }
            }
        }
    }
}
