//! The rooms of the crate and who may import whom. An arrow that is not here fails the test.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// A room and the rooms that it may import, itself aside.
const ARROWS: [(&str, &[&str]); 7] = [
    ("domain", &[]),
    ("engine", &["domain"]),
    ("store", &["domain"]),
    ("train", &["engine", "domain"]),
    ("analysis", &["engine", "store", "domain"]),
    ("jobs", &["train", "analysis", "store", "engine", "domain"]),
    ("http", &["analysis", "jobs", "domain"]),
];

/// A crate and the only rooms that may use it.
const CRATES: [(&str, &[&str]); 10] = [
    ("axum", &["http"]),
    ("tower_http", &["http"]),
    ("hyper", &["http"]),
    ("utoipa", &["http"]),
    ("candle_core", &["engine", "train"]),
    ("candle_nn", &["engine", "train"]),
    ("candle_transformers", &["engine", "train"]),
    ("tokenizers", &["engine", "train"]),
    ("sqlx", &["store"]),
    ("clap", &["config"]),
];

/// What the domain may use. The `num_*` crates are pure arithmetic: exact numbers of any size.
const DOMAIN_CRATES: [&str; 8] =
    ["std", "serde", "thiserror", "num_bigint", "num_complex", "num_integer", "num_rational", "num_traits"];

fn source() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

fn files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// A file's code, comments left out, with the room that it belongs to.
fn sources() -> Vec<(String, PathBuf, String)> {
    let mut found = Vec::new();
    files(&source(), &mut found);
    let with_room = |path: PathBuf| {
        let inside = path.strip_prefix(source()).unwrap().to_owned();
        let first = inside.components().next().unwrap().as_os_str().to_str().unwrap();
        let room = first.trim_end_matches(".rs").to_owned();
        let text = std::fs::read_to_string(&path).unwrap();
        let code = text.lines().map(|line| line.split("//").next().unwrap()).collect::<Vec<_>>().join("\n");
        (room, inside, code)
    };
    found.into_iter().map(with_room).collect()
}

/// Whether `code` has `path` where a path begins: not inside a longer word or a longer path.
fn begins_path(code: &str, path: &str) -> bool {
    code.match_indices(path).any(|(at, _)| {
        let before = code[..at].chars().next_back();
        let after = code[at + path.len()..].chars().next();
        !before.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == ':')
            && !after.is_some_and(|c| c.is_alphanumeric() || c == '_')
    })
}

/// The rooms that a file reaches, by `crate::room` or by `super` chains that leave its own room.
fn reached(inside: &Path, code: &str) -> BTreeSet<String> {
    let mut rooms = BTreeSet::new();
    let word = |rest: &str| rest.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect::<String>();
    for (at, _) in code.match_indices("crate::") {
        let rest = &code[at + "crate::".len()..];
        match rest.strip_prefix('{') {
            Some(group) => {
                let group = group.split('}').next().unwrap();
                rooms.extend(group.split(',').map(|item| word(item.trim_start())));
            }
            None => {
                rooms.insert(word(rest));
            }
        }
    }
    // `src/http/mod.rs` stands one level below the crate, `src/http/score.rs` two.
    let is_mod = inside.ends_with("mod.rs");
    let depth = inside.components().count() - usize::from(is_mod);
    let out = "super::".repeat(depth);
    for (at, _) in code.match_indices(&out) {
        rooms.insert(word(&code[at + out.len()..]));
    }
    rooms
}

#[test]
fn every_import_follows_an_arrow() {
    let rooms: BTreeSet<&str> = ARROWS.iter().map(|(room, _)| *room).collect();
    let mut seen = 0;
    for (room, inside, code) in sources() {
        let Some((_, allowed)) = ARROWS.iter().find(|(name, _)| *name == room) else {
            continue;
        };
        seen += 1;
        for other in reached(&inside, &code) {
            assert!(
                !rooms.contains(other.as_str()) || other == room || allowed.contains(&other.as_str()),
                "{}: {room} must not import {other}",
                inside.display()
            );
            assert!(!["config", "cli"].contains(&other.as_str()), "{}: {other} belongs to the shell", inside.display());
        }
    }
    assert!(seen > 10);
}

#[test]
fn frameworks_stay_in_their_rooms() {
    for (room, inside, code) in sources() {
        for (name, allowed) in CRATES {
            let shell = ["main", "cli"].contains(&room.as_str()) && name == "clap";
            let used = begins_path(&code, &format!("{name}::")) || begins_path(&code, &format!("use {name};"));
            assert!(!used || shell || allowed.contains(&room.as_str()), "{}: {room} uses {name}", inside.display());
        }
    }
}

#[test]
fn the_domain_uses_the_standard_library_serde_thiserror_and_exact_numbers_only() {
    for (room, inside, code) in sources() {
        if room != "domain" {
            continue;
        }
        for line in code.lines().map(str::trim).filter_map(|line| line.strip_prefix("use ")) {
            let first: String = line.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
            let local = ["crate", "super", "self"].contains(&first.as_str());
            assert!(local || DOMAIN_CRATES.contains(&first.as_str()), "{}: use {line}", inside.display());
        }
        assert!(!code.contains("async fn") && !code.contains(".await"), "{} is async", inside.display());
    }
}

#[test]
fn every_file_says_what_it_is() {
    let mut found = Vec::new();
    files(&source(), &mut found);
    // `tests.rs` beside a file says it by its name.
    for path in found.iter().filter(|path| !path.ends_with("tests.rs")) {
        let text = std::fs::read_to_string(path).unwrap();
        assert!(text.starts_with("//!"), "{} does not begin with `//!`", path.display());
    }
}
