//! The same by tantivy: in memory, one thread, its default analyser.

use std::time::Instant;

use tantivy::collector::TopDocs;
use tantivy::query::QueryParser;
use tantivy::schema::{Schema, TEXT};
use tantivy::{Index, IndexWriter, doc};

use super::{K, Measured, Texts};

/// Memory of its writer: enough for one segment.
const WRITER_BYTES: usize = 300_000_000;
/// Its lengths of texts are rounded, and its scores have a factor (k1 + 1) more.
const FACTOR: f32 = 2.2;
const TOLERANCE: f32 = 0.15;

/// Builds and searches one.
pub fn run(texts: &Texts, measured: &mut Measured) {
    let mut schema = Schema::builder();
    let field = schema.add_text_field("description", TEXT);
    let index = Index::create_in_ram(schema.build());
    let started = Instant::now();
    let mut writer: IndexWriter = index.writer_with_num_threads(1, WRITER_BYTES).expect("a writer");
    for text in &texts.rows {
        writer.add_document(doc!(field => text.as_str())).expect("a document");
    }
    writer.commit().expect("a commit");
    measured.build_s.push(started.elapsed().as_secs_f64());
    let searcher = index.reader().expect("a reader").searcher();
    let parser = QueryParser::for_index(&index, vec![field]);
    let started = Instant::now();
    let best = texts.queries.iter().map(|query| {
        let query = parser.parse_query(query).expect("words");
        let found = searcher.search(&query, &TopDocs::with_limit(K)).expect("an answer");
        found.first().map_or(0.0, |&(score, _)| score)
    });
    measured.best = best.collect();
    measured.search_s.push(started.elapsed().as_secs_f64());
}

/// Nearly all best scores are about ours.
pub fn check(ours: &[f32], theirs: &[f32]) {
    let is_near = |(ours, theirs): &(&f32, &f32)| (**ours * FACTOR - **theirs).abs() <= TOLERANCE * theirs.max(1.0);
    let near = ours.iter().zip(theirs).filter(is_near).count();
    assert!(near * 10 >= ours.len() * 9, "{near} of {} best scores are alike", ours.len());
}
