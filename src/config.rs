//! One validated [`Config`]: flags over environment over TOML file over defaults.
//!
//! clap lays flags over their `LINCHPIN_*` twins; this file lays both over the TOML file and checks the result once. The
//! process shell hands each room its own part, and no room reads a flag, a variable or the file itself.

use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use serde::{Deserialize, Deserializer};
use sha2::{Digest, Sha256};

use crate::engine::local::{DeviceChoice, DtypeChoice};

/// Keys in the clear, for environments that hand secrets over as variables; hashed as they are read.
const PLAIN_KEY_VARIABLES: [&str; 2] = ["LINCHPIN_API_KEY", "LINCHPIN_API_KEYS"];

const MIB: usize = 1 << 20;

/// What `linchpin serve` runs with.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    pub models: ModelConfig,
    pub server: ServerConfig,
}

/// The engine's part.
#[derive(Debug, Clone, PartialEq)]
pub struct ModelConfig {
    /// A Hugging Face folder, a GGUF file or a Hub id; `None` is the built-in demo.
    pub model: Option<String>,
    /// PEFT folders or full checkpoints.
    pub positive: Option<String>,
    pub negative: Option<String>,
    pub device: DeviceChoice,
    pub dtype: DtypeChoice,
    /// Requests that may wait for the device.
    pub queue: usize,
    /// The most that keys and values of generation may take.
    pub cache_bytes: usize,
    /// Samples that are drawn together at most.
    pub batch: usize,
    /// CPU threads; `None` takes the machine's.
    pub threads: Option<usize>,
    pub log: LogFormat,
}

/// The HTTP room's, the store's and the use cases' part.
#[derive(Debug, Clone, PartialEq)]
pub struct ServerConfig {
    pub listen: SocketAddr,
    /// Where traces, data sets and jobs are kept.
    pub data_dir: PathBuf,
    /// The folder that adapters may be loaded from while serving.
    pub adapters_dir: Option<PathBuf>,
    pub api_keys: Vec<KeyHash>,
    pub max_body_bytes: usize,
    /// Seconds for requests in flight to finish at shutdown.
    pub drain_seconds: u64,
    /// Whether offline jobs are run beside the requests.
    pub run_jobs: bool,
}

/// How the log is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LogFormat {
    #[default]
    Text,
    Json,
}

/// The SHA-256 of an API key.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct KeyHash(pub [u8; 32]);

/// Flags and environment twins of what a command runs models with.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct ModelArgs {
    /// Base model: a Hugging Face folder, a GGUF file or a Hub id [default: the built-in demo]
    #[arg(long, env = "LINCHPIN_MODEL", value_name = "PATH")]
    pub model: Option<String>,
    /// Positive model: a PEFT folder, or a full checkpoint with the base's tokenizer
    #[arg(long, env = "LINCHPIN_POSITIVE", value_name = "PATH")]
    pub positive: Option<String>,
    /// Negative model: a PEFT folder, or a full checkpoint with the base's tokenizer
    #[arg(long, env = "LINCHPIN_NEGATIVE", value_name = "PATH")]
    pub negative: Option<String>,
    /// Device: auto, cpu, or cuda:N [default: auto]
    #[arg(long, env = "LINCHPIN_DEVICE")]
    pub device: Option<DeviceChoice>,
    /// Weights' type: auto, f32, bf16 or f16 [default: auto]
    #[arg(long, env = "LINCHPIN_DTYPE")]
    pub dtype: Option<DtypeChoice>,
    /// Requests that may wait for the device before others get 429 [default: 128]
    #[arg(long, env = "LINCHPIN_QUEUE", value_name = "N")]
    pub queue: Option<usize>,
    /// Memory for keys and values of generation, in MiB [default: 2048]
    #[arg(long, env = "LINCHPIN_CACHE_MB", value_name = "MB")]
    pub cache_mb: Option<usize>,
    /// Samples that are drawn together at most [default: 128]
    #[arg(long, env = "LINCHPIN_BATCH", value_name = "N")]
    pub batch: Option<usize>,
    /// CPU threads [default: the machine's]
    #[arg(long, env = "LINCHPIN_THREADS", value_name = "N")]
    pub threads: Option<usize>,
    /// TOML file with any of these settings, keys as the flags with underscores
    #[arg(long, env = "LINCHPIN_CONFIG", value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Log format: text or json; RUST_LOG sets the level [default: text]
    #[arg(long, env = "LINCHPIN_LOG")]
    pub log: Option<LogFormat>,
}

/// Flags and environment twins of the server.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct ServerArgs {
    /// Address and port; port 0 takes a free one [default: 127.0.0.1:8080]
    #[arg(long, env = "LINCHPIN_LISTEN", value_name = "ADDR:PORT")]
    pub listen: Option<SocketAddr>,
    /// Folder for stored traces, data sets and jobs [default: linchpin in the user's data folder]
    #[arg(long, env = "LINCHPIN_DATA_DIR", value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// Folder that adapters may be loaded from while serving [default: none may]
    #[arg(long, env = "LINCHPIN_ADAPTERS_DIR", value_name = "DIR")]
    pub adapters_dir: Option<PathBuf>,
    /// SHA-256 of an API key in hex (`printf %s KEY | sha256sum`); may be repeated. LINCHPIN_API_KEY takes a key itself
    #[arg(long, env = "LINCHPIN_API_KEY_SHA256", value_name = "HEX", value_delimiter = ',', hide_env_values = true)]
    pub api_key_sha256: Vec<KeyHash>,
    /// Longest request body in MiB [default: 32]
    #[arg(long, env = "LINCHPIN_MAX_BODY_MB", value_name = "MB")]
    pub max_body_mb: Option<usize>,
    /// Seconds for requests in flight to finish at shutdown [default: 30]
    #[arg(long, env = "LINCHPIN_DRAIN_SECONDS", value_name = "S")]
    pub drain_seconds: Option<u64>,
    /// Leave offline jobs to `linchpin worker` processes
    #[arg(long, env = "LINCHPIN_NO_JOBS")]
    pub no_jobs: bool,
}

/// The TOML file: the flags' names with underscores.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct File {
    model: Option<String>,
    positive: Option<String>,
    negative: Option<String>,
    #[serde(deserialize_with = "from_text")]
    device: Option<DeviceChoice>,
    #[serde(deserialize_with = "from_text")]
    dtype: Option<DtypeChoice>,
    queue: Option<usize>,
    cache_mb: Option<usize>,
    batch: Option<usize>,
    threads: Option<usize>,
    #[serde(deserialize_with = "from_text")]
    log: Option<LogFormat>,
    listen: Option<SocketAddr>,
    data_dir: Option<PathBuf>,
    adapters_dir: Option<PathBuf>,
    api_key_sha256: Vec<KeyHash>,
    max_body_mb: Option<usize>,
    drain_seconds: Option<u64>,
    no_jobs: bool,
}

/// Why the settings cannot be used. Every text names the setting.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("the configuration file {} cannot be read: {source}", path.display())]
    Unreadable { path: PathBuf, source: std::io::Error },
    #[error("{}, line {line}: {message}", path.display())]
    File { path: PathBuf, line: usize, message: String },
    #[error("{setting} must be {expected}, not {given}")]
    OutOfRange { setting: &'static str, expected: &'static str, given: String },
    #[error(
        "listening on {listen} would let anybody on the network use this server: configure a key (LINCHPIN_API_KEY, or \
         --api-key-sha256 HEX), or listen on a loopback address such as 127.0.0.1:{}", listen.port()
    )]
    OpenToTheNetwork { listen: SocketAddr },
}

impl Config {
    /// Puts the layers together and checks the result. `environment` is read for keys in the clear and for the user's
    /// data folder; everything else from the environment is in the arguments already.
    ///
    /// # Errors
    /// A file that cannot be read or has an unknown key, a value out of range, or a network address without a key.
    pub fn resolve(
        models: ModelArgs,
        server: ServerArgs,
        environment: impl Fn(&str) -> Option<String>,
    ) -> Result<Self, ConfigError> {
        let file = File::load(models.config.as_deref())?;
        Ok(Self { server: ServerConfig::merge(server, &file, environment)?, models: ModelConfig::merge(models, file)? })
    }
}

impl ModelConfig {
    /// The models' part alone, for commands that serve nothing.
    ///
    /// # Errors
    /// As [`Config::resolve`].
    pub fn resolve(args: ModelArgs) -> Result<Self, ConfigError> {
        let file = File::load(args.config.as_deref())?;
        Self::merge(args, file)
    }

    fn merge(args: ModelArgs, file: File) -> Result<Self, ConfigError> {
        let model = args.model.or(file.model);
        let positive = args.positive.or(file.positive);
        let negative = args.negative.or(file.negative);
        for (setting, path) in [("model", &model), ("positive", &positive), ("negative", &negative)] {
            if path.as_deref() == Some("") {
                return Err(out_of_range(setting, "a path", "empty"));
            }
        }
        let queue = args.queue.or(file.queue).unwrap_or(128);
        if !(1..=65_536).contains(&queue) {
            return Err(out_of_range("queue", "between 1 and 65536", queue));
        }
        let cache_mb = args.cache_mb.or(file.cache_mb).unwrap_or(2048);
        if !(1..=1 << 20).contains(&cache_mb) {
            return Err(out_of_range("cache_mb", "between 1 and 1048576", cache_mb));
        }
        let batch = args.batch.or(file.batch).unwrap_or(128);
        if !(1..=1024).contains(&batch) {
            return Err(out_of_range("batch", "between 1 and 1024", batch));
        }
        let threads = args.threads.or(file.threads);
        if let Some(given) = threads.filter(|threads| !(1..=1024).contains(threads)) {
            return Err(out_of_range("threads", "between 1 and 1024", given));
        }
        Ok(Self {
            model,
            positive,
            negative,
            device: args.device.or(file.device).unwrap_or(DeviceChoice::Auto),
            dtype: args.dtype.or(file.dtype).unwrap_or(DtypeChoice::Auto),
            queue,
            cache_bytes: cache_mb * MIB,
            batch,
            threads,
            log: args.log.or(file.log).unwrap_or_default(),
        })
    }
}

impl ServerConfig {
    fn merge(args: ServerArgs, file: &File, environment: impl Fn(&str) -> Option<String>) -> Result<Self, ConfigError> {
        let max_body_mb = args.max_body_mb.or(file.max_body_mb).unwrap_or(32);
        if !(1..=4096).contains(&max_body_mb) {
            return Err(out_of_range("max_body_mb", "between 1 and 4096", max_body_mb));
        }
        let drain_seconds = args.drain_seconds.or(file.drain_seconds).unwrap_or(30);
        if drain_seconds > 3600 {
            return Err(out_of_range("drain_seconds", "between 0 and 3600", drain_seconds));
        }
        let mut api_keys = match args.api_key_sha256.is_empty() {
            true => file.api_key_sha256.clone(),
            false => args.api_key_sha256,
        };
        api_keys.extend(plain_keys(&environment));
        let listen = args.listen.or(file.listen).unwrap_or(SocketAddr::from(([127, 0, 0, 1], 8080)));
        if api_keys.is_empty() && !listen.ip().is_loopback() {
            return Err(ConfigError::OpenToTheNetwork { listen });
        }
        Ok(Self {
            listen,
            data_dir: args.data_dir.or_else(|| file.data_dir.clone()).unwrap_or_else(|| default_data_dir(&environment)),
            adapters_dir: args.adapters_dir.or_else(|| file.adapters_dir.clone()),
            api_keys,
            max_body_bytes: max_body_mb * MIB,
            drain_seconds,
            run_jobs: !(args.no_jobs || file.no_jobs),
        })
    }
}

fn out_of_range(setting: &'static str, expected: &'static str, given: impl fmt::Display) -> ConfigError {
    ConfigError::OutOfRange { setting, expected, given: given.to_string() }
}

/// Keys given in the clear add to the hashed ones, whichever layer those come from.
fn plain_keys(environment: &impl Fn(&str) -> Option<String>) -> Vec<KeyHash> {
    PLAIN_KEY_VARIABLES
        .into_iter()
        .filter_map(environment)
        .flat_map(|keys| keys.split(',').map(|key| key.trim().to_owned()).collect::<Vec<_>>())
        .filter(|key| !key.is_empty())
        .map(|key| KeyHash::of(&key))
        .collect()
}

/// `$XDG_DATA_HOME/linchpin`, else `~/.local/share/linchpin`, else a folder where the process started.
pub fn default_data_dir(environment: &impl Fn(&str) -> Option<String>) -> PathBuf {
    let folder = |variable: &str| environment(variable).map(PathBuf::from).filter(|path| path.is_absolute());
    folder("XDG_DATA_HOME")
        .or_else(|| folder("HOME").map(|home| home.join(".local/share")))
        .map_or_else(|| PathBuf::from("linchpin-data"), |data| data.join("linchpin"))
}

impl File {
    fn load(path: Option<&Path>) -> Result<Self, ConfigError> {
        let Some(path) = path else { return Ok(Self::default()) };
        let text = std::fs::read_to_string(path)
            .map_err(|source| ConfigError::Unreadable { path: path.to_owned(), source })?;
        Self::parse(&text, path)
    }

    fn parse(text: &str, path: &Path) -> Result<Self, ConfigError> {
        toml::from_str(text).map_err(|error| {
            let start = error.span().map_or(0, |span| span.start.min(text.len()));
            let line = text.as_bytes()[..start].iter().filter(|&&byte| byte == b'\n').count();
            let source = text.lines().nth(line).unwrap_or_default().trim();
            // The message names an unknown key itself; for a bad value the key is in the line.
            let message = match source.split_once('=') {
                Some((key, _)) if !error.message().contains(&format!("`{}`", key.trim())) => {
                    format!("`{}`: {}", key.trim(), error.message())
                }
                Some(_) | None => error.message().to_owned(),
            };
            ConfigError::File { path: path.to_owned(), line: line + 1, message: message.replace('\n', " ") }
        })
    }
}

/// A value that is written as text and read by its `FromStr`.
fn from_text<'de, D, T>(deserializer: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: FromStr<Err: fmt::Display>,
{
    let text = String::deserialize(deserializer)?;
    text.parse().map(Some).map_err(serde::de::Error::custom)
}

impl FromStr for LogFormat {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "text" => Ok(Self::Text),
            "json" => Ok(Self::Json),
            other => Err(format!("{other:?} is not a log format: text or json")),
        }
    }
}

impl KeyHash {
    /// Hashes a key.
    pub fn of(key: &str) -> Self {
        Self(Sha256::digest(key.as_bytes()).into())
    }
}

impl FromStr for KeyHash {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let digits = text.trim().as_bytes();
        let mut hash = [0; 32];
        let (pairs, rest) = digits.as_chunks::<2>();
        if pairs.len() != hash.len() || !rest.is_empty() {
            // Not quoted: it may be a key put in the wrong place.
            return Err("a key's hash is 64 hexadecimal digits (printf %s KEY | sha256sum)".to_owned());
        }
        for (byte, [high, low]) in hash.iter_mut().zip(pairs) {
            let digit = |digit: &u8| char::from(*digit).to_digit(16);
            let (Some(high), Some(low)) = (digit(high), digit(low)) else {
                return Err("a key's hash holds hexadecimal digits only".to_owned());
            };
            *byte = (high * 16 + low) as u8;
        }
        Ok(Self(hash))
    }
}

impl<'de> Deserialize<'de> for KeyHash {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

impl fmt::Debug for KeyHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyHash(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn no_environment(_: &str) -> Option<String> {
        None
    }

    fn models(model: &str) -> ModelArgs {
        ModelArgs { model: Some(model.to_owned()), ..ModelArgs::default() }
    }

    fn error_of(toml: &str) -> String {
        File::parse(toml, Path::new("linchpin.toml")).unwrap_err().to_string()
    }

    #[test]
    fn arguments_go_over_the_file_and_the_file_over_the_defaults() {
        let file = File::parse("model = 'b'\nqueue = 7\ndtype = 'bf16'\n", Path::new("f")).unwrap();
        let config = ModelConfig::merge(models("a"), file).unwrap();
        assert_eq!((config.model.as_deref(), config.queue, config.dtype), (Some("a"), 7, DtypeChoice::Bf16));
        assert_eq!(config.device, DeviceChoice::Auto);
    }

    #[test]
    fn a_bad_file_names_its_line_and_key() {
        let unknown = error_of("model = 'a'\n\nmodle = 'b'\n");
        assert!(unknown.starts_with("linchpin.toml, line 3: unknown field `modle`"), "{unknown}");
        let listen = error_of("model = 'a'\nlisten = 'nowhere'\n");
        assert!(listen.starts_with("linchpin.toml, line 2: `listen`: "), "{listen}");
        let dtype = error_of("dtype = 'f8'\n");
        assert!(dtype.starts_with("linchpin.toml, line 1: `dtype`: "), "{dtype}");
        let queue = error_of("queue = -1\n");
        assert!(queue.starts_with("linchpin.toml, line 1: `queue`: "), "{queue}");
        let syntax = error_of("model = \n");
        assert!(syntax.starts_with("linchpin.toml, line 1: "), "{syntax}");
        let key = error_of("api_key_sha256 = ['my-secret-key']\n");
        assert!(key.contains("64 hexadecimal digits") && !key.contains("my-secret-key"), "{key}");
    }

    #[test]
    fn a_value_out_of_range_names_its_setting() {
        let queue = ModelConfig::merge(ModelArgs { queue: Some(0), ..models("a") }, File::default()).unwrap_err();
        assert_eq!(queue.to_string(), "queue must be between 1 and 65536, not 0");
        let empty = ModelArgs { positive: Some(String::new()), ..models("a") };
        assert!(ModelConfig::merge(empty, File::default()).unwrap_err().to_string().starts_with("positive"));
        let empty = ModelArgs { model: Some(String::new()), ..ModelArgs::default() };
        assert!(ModelConfig::merge(empty, File::default()).unwrap_err().to_string().starts_with("model"));
        let demo = ModelConfig::merge(ModelArgs::default(), File::default()).unwrap();
        assert_eq!(demo.model, None, "without a model the demo is served");
    }

    #[test]
    fn a_network_address_needs_a_key() {
        let listen = Some("0.0.0.0:8080".parse().unwrap());
        let open = Config::resolve(models("a"), ServerArgs { listen, ..ServerArgs::default() }, no_environment);
        assert!(open.unwrap_err().to_string().contains("LINCHPIN_API_KEY"));

        let environment = |name: &str| (name == "LINCHPIN_API_KEYS").then(|| " one, two,,".to_owned());
        let keyed = Config::resolve(models("a"), ServerArgs { listen, ..ServerArgs::default() }, environment).unwrap();
        assert_eq!(keyed.server.api_keys, [KeyHash::of("one"), KeyHash::of("two")]);
    }

    #[test]
    fn a_hash_reads_as_sha256sum_prints_it() {
        // printf %s one | sha256sum
        let printed = "7692c3ad3540bb803c020b3aee66cd8887123234ea0c6e7143c0add73ff431ed";
        assert_eq!(printed.parse::<KeyHash>().unwrap(), KeyHash::of("one"));
        assert!("7692".parse::<KeyHash>().is_err() && "é".repeat(32).parse::<KeyHash>().is_err());
    }

    #[test]
    fn data_goes_to_the_users_data_folder() {
        let environment = |name: &str| (name == "HOME").then(|| "/home/ada".to_owned());
        assert_eq!(default_data_dir(&environment), Path::new("/home/ada/.local/share/linchpin"));
        assert_eq!(default_data_dir(&no_environment), Path::new("linchpin-data"));
    }
}
