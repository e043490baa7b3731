//! A condition, or a whole filter, as bytes that are the same for two of them if they ask the same of the same columns: what masks are
//! kept by.

use std::ops::Bound;

use super::bounds::Ranges;
use super::{Node, Test, TextRange, Values};

/// Writes what there is of it behind what is there already. No key is the beginning of another.
pub(super) trait WriteKey {
    fn write_key(&self, out: &mut Vec<u8>);
}

impl WriteKey for Node {
    fn write_key(&self, out: &mut Vec<u8>) {
        let (tag, nodes) = match self {
            Node::And(nodes) => (0, &nodes[..]),
            Node::Or(nodes) => (1, &nodes[..]),
            Node::Not(node) => (2, std::slice::from_ref(&**node)),
            Node::Test(test) => return test.write_key(out),
        };
        out.push(tag);
        write_len(nodes.len(), out);
        nodes.iter().for_each(|node| node.write_key(out));
    }
}

impl WriteKey for Test {
    fn write_key(&self, out: &mut Vec<u8>) {
        out.push(3);
        write_len(self.column, out);
        self.values.write_key(out);
    }
}

impl WriteKey for Values {
    fn write_key(&self, out: &mut Vec<u8>) {
        // A column has one type, so that of its values need not be told.
        match self {
            Values::Null => out.push(0),
            Values::Bool([no, yes]) => out.extend([1, u8::from(*no), u8::from(*yes)]),
            Values::I8(ranges) => ranges.write(out, |value| value.to_le_bytes()),
            Values::I16(ranges) => ranges.write(out, |value| value.to_le_bytes()),
            Values::I32(ranges) => ranges.write(out, |value| value.to_le_bytes()),
            Values::I64(ranges) => ranges.write(out, |value| value.to_le_bytes()),
            Values::U8(ranges) => ranges.write(out, |value| value.to_le_bytes()),
            Values::U16(ranges) => ranges.write(out, |value| value.to_le_bytes()),
            Values::U32(ranges) => ranges.write(out, |value| value.to_le_bytes()),
            Values::U64(ranges) => ranges.write(out, |value| value.to_le_bytes()),
            Values::F32(ranges) | Values::F64(ranges) => ranges.write(out, |value| value.to_le_bytes()),
            Values::TextIn(texts) => {
                out.push(3);
                write_len(texts.len(), out);
                texts.iter().for_each(|text| write_text(text, out));
            }
            Values::TextWithin(range) => {
                out.push(4);
                range.write_key(out);
            }
            Values::TextPrefix(prefix) => {
                out.push(5);
                write_text(prefix, out);
            }
            Values::TextWords(_, words) | Values::Tags(words) => {
                // A column is one of text, or one of lists, and has one analyser.
                out.push(6);
                write_len(words.len(), out);
                words.iter().for_each(|word| write_text(word, out));
            }
        }
    }
}

impl WriteKey for TextRange {
    fn write_key(&self, out: &mut Vec<u8>) {
        for end in [&self.0, &self.1] {
            match end {
                Bound::Unbounded => out.push(0),
                Bound::Included(text) => {
                    out.push(1);
                    write_text(text, out);
                }
                Bound::Excluded(text) => {
                    out.push(2);
                    write_text(text, out);
                }
            }
        }
    }
}

impl<T: Copy + PartialOrd> Ranges<T> {
    fn write<const N: usize>(&self, out: &mut Vec<u8>, bytes: impl Fn(T) -> [u8; N]) {
        out.push(2);
        write_len(self.iter().len(), out);
        for (from, to) in self.iter() {
            out.extend(bytes(from));
            out.extend(bytes(to));
        }
    }
}

fn write_len(len: usize, out: &mut Vec<u8>) {
    out.extend((len as u32).to_le_bytes());
}

fn write_text(text: &[u8], out: &mut Vec<u8>) {
    write_len(text.len(), out);
    out.extend(text);
}
