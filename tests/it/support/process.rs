//! The real binary as a child process, free of the settings of whoever runs the tests.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

/// Far more than any step takes, so that only a hang reaches it.
const PATIENCE: Duration = Duration::from_secs(30);

/// The binary, with no `LINCHPIN_*` variable of the surroundings.
pub(crate) fn linchpin() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_linchpin"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("LINCHPIN_") || name == "RUST_LOG" {
            command.env_remove(name);
        }
    }
    command
}

/// A running `linchpin serve`; killed with the value.
pub(crate) struct Process {
    child: Child,
    /// As announced on stdout.
    pub(crate) url: String,
}

impl Process {
    /// Starts the command and waits for its address.
    pub(crate) fn start(mut command: Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let (send, lines) = mpsc::channel();
        std::thread::spawn(move || stdout.lines().map_while(Result::ok).try_for_each(|line| send.send(line)));
        let Ok(line) = lines.recv_timeout(PATIENCE) else {
            let _ = child.kill();
            panic!("no address was announced: {}", stderr(&mut child));
        };
        let url = line.strip_prefix("Linchpin is listening on ").unwrap_or_else(|| panic!("{line}")).to_owned();
        Self { child, url }
    }

    pub(crate) fn signal(&self, name: &str) {
        let status = Command::new("kill").args([&format!("-{name}"), &self.child.id().to_string()]).status().unwrap();
        assert!(status.success());
    }

    /// Waits for the end and gives the status and what was logged.
    pub(crate) fn wait(mut self) -> (ExitStatus, String) {
        let began = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return (status, stderr(&mut self.child));
            }
            assert!(began.elapsed() < PATIENCE, "the process did not end");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn stderr(child: &mut Child) -> String {
    let mut text = String::new();
    child.stderr.take().unwrap().read_to_string(&mut text).unwrap();
    text
}
