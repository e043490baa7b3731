//! Namespaces: tenants of a server, with quotas. Their collections are called `namespace/name`.

use engine::namespace::Quota;

use super::{Client, check_name};
use crate::codec::collection::encode_name;
use crate::codec::{self, Opcode, PutNamespace};
use crate::error::Result;

/// A namespace as the server tells of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamespaceInfo {
    /// Its name.
    pub name: String,
    /// What it may have.
    pub quota: Quota,
    /// Its collections.
    pub collections: u64,
    /// Live rows of all of them.
    pub rows: u64,
    /// Memory that their rows and graphs take, in bytes.
    pub bytes: u64,
    /// Writes that were refused since the server was started.
    pub refused: u64,
}

impl Client {
    /// Makes a namespace.
    ///
    /// # Errors
    /// `Remote` with `NamespaceExists`.
    pub fn create_namespace(&self, name: &str, quota: Quota) -> Result<()> {
        self.put(PutNamespace { name, quota, is_new: true })
    }

    /// Makes a namespace, or gives it these quotas: they hold from the next write on, and take nothing away.
    pub fn put_namespace(&self, name: &str, quota: Quota) -> Result<()> {
        self.put(PutNamespace { name, quota, is_new: false })
    }

    fn put(&self, put: PutNamespace<'_>) -> Result<()> {
        check_name(put.name)?;
        let reply = self.call(Opcode::PutNamespace, 0, |body| put.encode(body))?;
        Ok(codec::fields::expect_empty(&reply.body)?)
    }

    /// Drops a namespace with all its collections.
    ///
    /// # Errors
    /// `Remote` with `UnknownNamespace`.
    pub fn drop_namespace(&self, name: &str) -> Result<()> {
        check_name(name)?;
        let reply = self.call(Opcode::DropNamespace, 0, |body| encode_name(name, body))?;
        Ok(codec::fields::expect_empty(&reply.body)?)
    }

    /// All namespaces by name, each with what it has.
    pub fn namespaces(&self) -> Result<Vec<NamespaceInfo>> {
        let reply = self.call(Opcode::ListNamespaces, 0, |_| {})?;
        let infos = codec::decode_namespaces(&reply.body)?.into_iter().map(|info| NamespaceInfo {
            name: info.name.to_owned(),
            quota: info.quota,
            collections: u64::from(info.collections),
            rows: info.rows,
            bytes: info.bytes,
            refused: info.refused,
        });
        Ok(infos.collect())
    }
}
