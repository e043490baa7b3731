//! Where a row stands on the two sides of a hybrid search: by its vector, and by its text.

/// The place of a row in one list of results.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Side {
    /// Place in the list, from 1.
    pub rank: u32,
    /// What the list is ordered by: a distance, or the score of a text.
    pub value: f32,
}

/// Both lists of a hybrid search, as one row sees them.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Sides {
    /// Among the rows found by their vectors; none where it is not among them.
    pub dense: Option<Side>,
    /// Among the rows found by their text.
    pub text: Option<Side>,
}
