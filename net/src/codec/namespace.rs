//! Bodies about namespaces: put, drop, list.

use engine::limits::{NAME_BYTES_MAX, NAMESPACES_MAX};
use engine::namespace::Quota;

use super::fields::{Reader, Writer};
use super::header::FrameError;

/// Bit of [`PutNamespace`]: one that exists is an error.
const IS_NEW: u32 = 1 << 0;

/// PUT_NAMESPACE.
///
/// ```text
/// quota | flags u32 (1: it must not exist) | 0 u32 | name text
/// quota = rows u64 | bytes u64 | rows a second u64 | bytes a second u64        0: no limit
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PutNamespace<'a> {
    /// Its name.
    pub name: &'a str,
    /// What it may have.
    pub quota: Quota,
    /// One that exists is an error; else it gets these quotas.
    pub is_new: bool,
}

impl<'a> PutNamespace<'a> {
    /// Appends the body.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let mut writer = Writer::new(out);
        write_quota(self.quota, &mut writer);
        writer.u32(if self.is_new { IS_NEW } else { 0 }).u32(0).text(self.name);
    }

    /// Reads the body.
    pub fn decode(body: &'a [u8]) -> Result<Self, FrameError> {
        let mut reader = Reader::new(body);
        let quota = read_quota(&mut reader)?;
        let flags = reader.u32("flags")?;
        if flags & !IS_NEW != 0 {
            return Err(FrameError::Field { field: "flags", problem: "unknown bit" });
        }
        reader.zeros(4, "reserved")?;
        let name = reader.text(NAME_BYTES_MAX, "namespace name")?;
        reader.finish()?;
        Ok(Self { name, quota, is_new: flags & IS_NEW != 0 })
    }
}

/// A namespace as the server tells of it.
///
/// ```text
/// collections u32 | 0 u32 | rows u64 | bytes u64 | refused u64 | quota | name text
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NamespaceInfo<'a> {
    /// Its name.
    pub name: &'a str,
    /// What it may have.
    pub quota: Quota,
    /// Its collections.
    pub collections: u32,
    /// Live rows of all of them.
    pub rows: u64,
    /// Memory that their rows and graphs take, in bytes.
    pub bytes: u64,
    /// Writes that were refused since the server was started.
    pub refused: u64,
}

impl<'a> NamespaceInfo<'a> {
    fn write(&self, writer: &mut Writer<'_>) {
        writer.u32(self.collections).u32(0).u64(self.rows).u64(self.bytes).u64(self.refused);
        write_quota(self.quota, writer);
        writer.text(self.name);
    }

    fn read(reader: &mut Reader<'a>) -> Result<Self, FrameError> {
        let collections = reader.u32("collections")?;
        reader.zeros(4, "reserved")?;
        let (rows, bytes) = (reader.u64("rows")?, reader.u64("bytes")?);
        let refused = reader.u64("refused writes")?;
        let quota = read_quota(reader)?;
        let name = reader.text(NAME_BYTES_MAX, "namespace name")?;
        Ok(Self { name, quota, collections, rows, bytes, refused })
    }
}

/// Appends the reply to LIST_NAMESPACES: `count u32 | 0 u32 | info × count`, by name.
pub fn encode_namespaces<'b>(infos: impl ExactSizeIterator<Item = NamespaceInfo<'b>>, out: &mut Vec<u8>) {
    let mut writer = Writer::new(out);
    writer.u32(u32::try_from(infos.len()).expect("bounded by NAMESPACES_MAX")).u32(0);
    infos.for_each(|info| info.write(&mut writer));
}

/// Reads the reply to LIST_NAMESPACES.
pub fn decode_namespaces(body: &[u8]) -> Result<Vec<NamespaceInfo<'_>>, FrameError> {
    let mut reader = Reader::new(body);
    let count = reader.u32("namespaces")?;
    if count as usize > NAMESPACES_MAX {
        let (value, limit) = (u64::from(count), NAMESPACES_MAX as u64);
        return Err(FrameError::Limit { what: "namespaces", value, limit });
    }
    reader.zeros(4, "reserved")?;
    let infos = (0..count).map(|_| NamespaceInfo::read(&mut reader)).collect::<Result<_, _>>()?;
    reader.finish()?;
    Ok(infos)
}

fn write_quota(quota: Quota, writer: &mut Writer<'_>) {
    writer.u64(quota.rows).u64(quota.bytes).u64(quota.rows_per_s).u64(quota.bytes_per_s);
}

fn read_quota(reader: &mut Reader<'_>) -> Result<Quota, FrameError> {
    Ok(Quota {
        rows: reader.u64("quota of rows")?,
        bytes: reader.u64("quota of bytes")?,
        rows_per_s: reader.u64("quota of rows a second")?,
        bytes_per_s: reader.u64("quota of bytes a second")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUOTA: Quota = Quota { rows: 1, bytes: u64::MAX, rows_per_s: 3, bytes_per_s: 0 };

    #[test]
    fn bodies_are_read_as_they_were_written_and_refused_where_they_are_cut() {
        let put = PutNamespace { name: "größe", quota: QUOTA, is_new: true };
        let mut body = Vec::new();
        put.encode(&mut body);
        assert_eq!(PutNamespace::decode(&body), Ok(put));
        assert!((0..body.len()).all(|len| PutNamespace::decode(&body[..len]).is_err()));
        body[32] = 2;
        assert!(PutNamespace::decode(&body).is_err(), "an unknown bit");

        let info = NamespaceInfo { name: "a", quota: QUOTA, collections: 2, rows: 5, bytes: 6, refused: 7 };
        let infos = [info, NamespaceInfo { name: "b", ..info }];
        let mut body = Vec::new();
        encode_namespaces(infos.into_iter(), &mut body);
        assert_eq!(decode_namespaces(&body), Ok(infos.to_vec()));
        assert!((0..body.len()).all(|len| decode_namespaces(&body[..len]).is_err()));
        body[..4].copy_from_slice(&u32::MAX.to_le_bytes());
        assert!(decode_namespaces(&body).is_err(), "more than there can be");
    }
}
