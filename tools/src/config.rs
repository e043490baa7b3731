//! Configuration of the server. A setting is taken from the first of these that has it: flag, `BROADHEAD_*` variable,
//! TOML file, default.

use std::net::{SocketAddr, ToSocketAddrs};
use std::path::{Path, PathBuf};

use engine::limits::SHARDS_MAX;

use crate::error::{ConfigProblem, Error, Result};

/// Default of `listen`, and of a client's `--server`.
pub const LISTEN_DEFAULT: &str = "127.0.0.1:7690";
/// Default of `admin`.
pub const ADMIN_DEFAULT: &str = "127.0.0.1:7691";
/// Value of `admin` for no admin plane.
pub const ADMIN_OFF: &str = "off";

/// Something that is done or is not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Switch {
    /// It is done.
    On,
    /// It is not.
    Off,
}

/// Settings as one source has them; what is `None` is left to the next source.
#[derive(Debug, Clone, Default, PartialEq, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Data directory.
    pub data: Option<PathBuf>,
    /// Address of the data plane.
    pub listen: Option<String>,
    /// Address of the admin plane, or `off`.
    pub admin: Option<String>,
    /// Number of shards.
    pub shards: Option<usize>,
    /// Bytes of rows and graphs above which writes are refused.
    pub memory_budget: Option<u64>,
    /// Rows that may wait for the indexer.
    pub index_lag_max: Option<u64>,
    /// Whether the recall of some queries is looked into in idle time.
    pub recall_sampling: Option<Switch>,
}

/// The server's configuration, complete and checked.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// Data directory.
    pub data: PathBuf,
    /// Address of the data plane; port 0 takes any.
    pub listen: SocketAddr,
    /// Address of the admin plane; none: there is none.
    pub admin: Option<SocketAddr>,
    /// Number of shards; none: one per core.
    pub shards: Option<usize>,
    /// Bytes of rows and graphs above which writes are refused; 0: no limit, none: a part of the memory there is.
    pub memory_budget: Option<u64>,
    /// Rows that may wait for the indexer; none: any number.
    pub index_lag_max: Option<u64>,
    /// Whether the recall of some queries is looked into in idle time.
    pub recall_sampling: bool,
}

impl Settings {
    /// The settings of a TOML file.
    pub fn from_file(path: &Path) -> Result<Settings> {
        let text = std::fs::read_to_string(path).map_err(Error::io("read", path))?;
        toml::from_str(&text)
            .map_err(|source| ConfigProblem::Toml { path: path.to_owned(), source: Box::new(source) }.into())
    }

    /// These settings, and `other`'s where these have none.
    pub fn or(self, other: Settings) -> Settings {
        Settings {
            data: self.data.or(other.data),
            listen: self.listen.or(other.listen),
            admin: self.admin.or(other.admin),
            shards: self.shards.or(other.shards),
            memory_budget: self.memory_budget.or(other.memory_budget),
            index_lag_max: self.index_lag_max.or(other.index_lag_max),
            recall_sampling: self.recall_sampling.or(other.recall_sampling),
        }
    }

    /// Fills in the defaults and checks everything.
    pub fn resolve(self) -> Result<Config> {
        let data = self.data.clone().ok_or(ConfigProblem::NoData)?;
        let listen = address("listen", self.listen.as_deref().unwrap_or(LISTEN_DEFAULT))?;
        let admin = match self.admin.as_deref().unwrap_or(ADMIN_DEFAULT) {
            ADMIN_OFF => None,
            admin => Some(address("admin", admin)?),
        };
        if let Some(value) = self.shards
            && !(1..=SHARDS_MAX).contains(&value)
        {
            return Err(ConfigProblem::Shards { value, limit: SHARDS_MAX }.into());
        }
        let recall_sampling = self.recall_sampling.unwrap_or(Switch::On) == Switch::On;
        let Settings { shards, memory_budget, index_lag_max, .. } = self;
        Ok(Config { data, listen, admin, shards, memory_budget, index_lag_max, recall_sampling })
    }
}

fn address(setting: &'static str, value: &str) -> Result<SocketAddr> {
    let found = value.to_socket_addrs().ok().and_then(|mut addresses| addresses.next());
    found.ok_or_else(|| ConfigProblem::Address { setting, value: value.to_owned() }.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(data: &str, listen: Option<&str>, shards: Option<usize>) -> Settings {
        Settings { data: Some(data.into()), listen: listen.map(str::to_owned), shards, ..Settings::default() }
    }

    #[test]
    fn the_first_source_that_has_a_setting_wins() {
        let flags = settings("flag", None, None);
        let file = settings("file", Some("127.0.0.1:1"), Some(3));
        let config = flags.or(file).resolve().unwrap();
        assert_eq!(config.data, PathBuf::from("flag"));
        assert_eq!(config.listen.port(), 1);
        assert_eq!(config.shards, Some(3));
        assert!(config.recall_sampling);
        assert_eq!(config.admin, Some(ADMIN_DEFAULT.parse().unwrap()));
    }

    #[test]
    fn files_are_read_and_unknown_keys_refused() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("broadhead.toml");
        std::fs::write(
            &path,
            "data = \"/d\"\nadmin = \"off\"\nshards = 2\nindex_lag_max = 7\nrecall_sampling = \"off\"\n",
        )
        .unwrap();
        let config = Settings::from_file(&path).unwrap().resolve().unwrap();
        assert_eq!(
            config,
            Config {
                data: "/d".into(),
                listen: LISTEN_DEFAULT.parse().unwrap(),
                admin: None,
                shards: Some(2),
                memory_budget: None,
                index_lag_max: Some(7),
                recall_sampling: false,
            }
        );
        std::fs::write(&path, "dta = \"/d\"\n").unwrap();
        let error = Settings::from_file(&path).unwrap_err().to_string();
        assert!(error.contains("line 1") && error.contains("dta"), "{error}");
        std::fs::write(&path, "shards = \"two\"\n").unwrap();
        assert!(Settings::from_file(&path).is_err());
        std::fs::write(&path, "recall_sampling = \"sometimes\"\n").unwrap();
        assert!(Settings::from_file(&path).is_err());
        assert!(Settings::from_file(&directory.path().join("absent")).unwrap_err().to_string().starts_with("read "));
    }

    #[test]
    fn settings_that_cannot_be_are_refused() {
        let fail = |settings: Settings| settings.resolve().unwrap_err().to_string();
        assert!(fail(Settings::default()).contains("--data DIR"));
        assert!(fail(settings("d", Some("7690"), None)).contains("listen is `7690`"));
        assert!(fail(Settings { admin: Some("x".into()), ..settings("d", None, None) }).contains("admin is `x`"));
        assert!(fail(settings("d", None, Some(0))).contains("shards is 0"));
        assert!(fail(settings("d", None, Some(SHARDS_MAX + 1))).contains("from 1 to"));
    }
}
