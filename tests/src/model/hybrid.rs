//! Two lists made one: what the score of a row may be, where rows of the same value may stand in any order.

use std::collections::BTreeMap;

use net::client::{FusionMethod, Id};

/// Rows of one side, best first, and how far their values may be from what they should be.
pub struct Side<'a> {
    /// Values, of which less is better under `sign` −1 and more under 1, and ids.
    pub rows: Vec<(f64, &'a Id)>,
    /// 1: the greatest first; −1: the least first.
    pub sign: f64,
    /// How many of them are taken.
    pub candidates: usize,
    /// How far a value may be off.
    pub slack: f64,
    /// What counts of a value where values are taken as they are.
    pub plain: &'a dyn Fn(f64) -> f64,
}

/// Where a row is on a side.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Standing {
    /// Its value.
    pub value: f64,
    /// The best rank that it may have, from 1, and the worst; beyond the candidates: it may be left out.
    pub ranks: (usize, usize),
}

impl<'a> Side<'a> {
    /// Rows that are taken.
    pub fn taken(&self) -> usize {
        self.candidates.min(self.rows.len())
    }

    /// Where each row stands.
    pub fn standings(&self) -> BTreeMap<&'a Id, Standing> {
        let ranks = |value: f64| {
            let (most, least) = (value * self.sign + 2.0 * self.slack, value * self.sign - 2.0 * self.slack);
            let surely_better = self.rows.partition_point(|row| row.0 * self.sign > most);
            (surely_better + 1, self.rows.partition_point(|row| row.0 * self.sign >= least))
        };
        self.rows.iter().map(|&(value, id)| (id, Standing { value, ranks: ranks(value) })).collect()
    }

    /// What a row with a rank and a value gets, at least and at most; `weight` is that of the side.
    pub fn part(&self, rank: usize, value: f64, method: FusionMethod, weight: f64) -> (f64, f64) {
        match method {
            FusionMethod::Rrf { k } => {
                let part = 1.0 / (f64::from(k) + rank as f64);
                (part, part)
            }
            FusionMethod::Weighted { normalise: false, .. } => {
                let (one, other) = ((self.plain)(value - self.slack), (self.plain)(value + self.slack));
                (weight * one.min(other), weight * one.max(other))
            }
            FusionMethod::Weighted { .. } => {
                let (best, worst) = (self.rows[0].0, self.rows[self.taken() - 1].0);
                let width = (best - worst) * self.sign;
                // All the same to the last bit, or told apart by rounding alone: anything between.
                if width <= 4.0 * self.slack {
                    return (0.0, weight);
                }
                let place = (value - worst) * self.sign / width;
                let off = 4.0 * self.slack / width;
                (weight * (place - off).max(0.0), weight * (place + off).min(1.0))
            }
        }
    }

    /// What a row gets, at least and at most, wherever it may stand.
    pub fn bounds(&self, standing: Option<&Standing>, method: FusionMethod, weight: f64) -> (f64, f64) {
        let Some(standing) = standing.filter(|standing| standing.ranks.0 <= self.taken()) else { return (0.0, 0.0) };
        let (best, worst) = standing.ranks;
        let [most, least] = [best, worst].map(|rank| self.part(rank, standing.value, method, weight));
        match worst > self.taken() {
            // One that may be left out may get nothing.
            true => (least.0.min(0.0), most.1.max(0.0)),
            false => (least.0, most.1),
        }
    }
}
