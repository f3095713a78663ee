//! Where a setting comes from: flag over environment over file over default. A server prints its address before it
//! looks for a model, so the address tells which one counted.

use std::path::PathBuf;
use std::process::{Command, Output};

use crate::support::process::{Process, linchpin};

struct Settings {
    folder: tempfile::TempDir,
}

impl Settings {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    fn file(&self, toml: &str) -> PathBuf {
        let path = self.folder.path().join("linchpin.toml");
        std::fs::write(&path, toml).unwrap();
        path
    }

    fn serve(&self) -> Command {
        let mut command = linchpin();
        command.arg("serve").env("LINCHPIN_DATA_DIR", self.folder.path().join("data"));
        command
    }
}

fn host(command: Command) -> String {
    let server = Process::start(command);
    server.url.strip_prefix("http://").unwrap().rsplit_once(':').unwrap().0.to_owned()
}

fn error(mut command: Command) -> String {
    let Output { status, stderr, .. } = command.output().unwrap();
    assert!(!status.success());
    String::from_utf8(stderr).unwrap()
}

#[test]
fn a_flag_counts_before_the_environment_and_the_environment_before_the_file() {
    let settings = Settings::new();
    let file = settings.file("model = '/no/such/model'\nlisten = '127.0.0.2:0'\n");
    let mut command = settings.serve();
    command.env("LINCHPIN_CONFIG", &file);
    assert_eq!(host(command), "127.0.0.2");

    let mut command = settings.serve();
    command.arg("--config").arg(&file).env("LINCHPIN_LISTEN", "127.0.0.3:0");
    assert_eq!(host(command), "127.0.0.3");

    let mut command = settings.serve();
    command.arg("--config").arg(&file).env("LINCHPIN_LISTEN", "127.0.0.3:0").args(["--listen", "127.0.0.4:0"]);
    assert_eq!(host(command), "127.0.0.4");
}

#[test]
fn every_flag_has_an_environment_twin_and_a_key_in_the_file() {
    let help = linchpin().args(["serve", "--help"]).output().unwrap();
    let help = String::from_utf8(help.stdout).unwrap();
    let flags: Vec<&str> = help
        .split_whitespace()
        .filter_map(|word| word.strip_prefix("--"))
        .filter(|flag| {
            !["help", "api-key-sha256", "config"].contains(flag)
                && flag.chars().all(|c| c.is_ascii_lowercase() || c == '-')
        })
        .collect();
    assert!(flags.contains(&"model") && flags.contains(&"max-body-mb") && flags.len() >= 13, "{flags:?}");
    let settings = Settings::new();
    for flag in flags {
        let twin = format!("LINCHPIN_{}", flag.replace('-', "_").to_uppercase());
        assert!(help.contains(&format!("{twin}=")), "{flag} has no {twin}");
        // A table is no setting's value: the refusal must be about the value and not about the key.
        let key = flag.replace('-', "_");
        let mut command = settings.serve();
        command.arg("--config").arg(settings.file(&format!("{key} = {{}}\n")));
        let error = error(command);
        assert!(error.contains("line 1") && error.contains(&key) && !error.contains("unknown"), "{key}: {error}");
    }
}

#[test]
fn a_bad_file_is_refused_by_line_and_key() {
    let settings = Settings::new();
    for (toml, expected) in [
        ("model = 'm'\nmodle = 'n'\n", ["line 2", "unknown field `modle`"]),
        ("model = 'm'\n\nqueue = 'many'\n", ["line 3", "`queue`"]),
        ("listen = '127.0.0.1'\n", ["line 1", "`listen`"]),
        ("model = 'm'\nqueue = 0\n", ["queue must be", "not 0"]),
        ("device = 'tpu'\n", ["line 1", "`device`"]),
    ] {
        let mut command = settings.serve();
        command.arg("--config").arg(settings.file(toml));
        let error = error(command);
        assert!(expected.iter().all(|part| error.contains(part)), "{toml}: {error}");
        assert_eq!(error.lines().count(), 1, "{error}");
    }
    let mut command = settings.serve();
    command.args(["--config", "/no/such/file.toml"]);
    assert!(error(command).contains("/no/such/file.toml"));
}

#[test]
fn bad_flags_and_variables_are_named() {
    let settings = Settings::new();
    let mut flag = settings.serve();
    flag.args(["--model", "m", "--queue", "many"]);
    assert!(error(flag).contains("--queue"));
    let mut variable = settings.serve();
    variable.args(["--model", "m"]).env("LINCHPIN_DTYPE", "f8");
    assert!(error(variable).contains("--dtype"));
    let mut empty = settings.serve();
    empty.args(["--model", ""]);
    assert!(error(empty).starts_with("error: model must be a path"));
}

#[test]
fn a_network_address_without_a_key_is_refused_and_with_one_it_is_not() {
    let settings = Settings::new();
    let command = || {
        let mut command = settings.serve();
        command.args(["--model", "/no/such/model", "--listen", "0.0.0.0:0"]);
        command
    };
    let refused = error(command());
    assert!(refused.contains("LINCHPIN_API_KEY") && refused.contains("0.0.0.0"), "{refused}");
    for (name, value) in [
        ("LINCHPIN_API_KEY", "secret"),
        ("LINCHPIN_API_KEYS", "one,two"),
        ("LINCHPIN_API_KEY_SHA256", "2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b"),
    ] {
        let mut command = command();
        command.env(name, value);
        assert_eq!(host(command), "0.0.0.0", "{name}");
    }
    let mut wrong = command();
    wrong.args(["--api-key-sha256", "secret"]);
    assert!(error(wrong).contains("64 hexadecimal digits"));
}
