//! The Hub as a few lines of HTTP on a local port, and as a cache folder.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::sync::{Arc, Mutex};

use super::*;

const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

/// Serves one repository, `org/tiny`, and keeps the requests that it got.
struct FakeHub {
    url: String,
    requests: Arc<Mutex<Vec<String>>>,
}

impl FakeHub {
    fn serve(files: &[(&'static str, &'static str)]) -> Self {
        let files: BTreeMap<&str, &str> = files.iter().copied().collect();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let requests = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&requests);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let Ok(mut stream) = stream else { return };
                let mut reader = BufReader::new(stream.try_clone().unwrap());
                let mut request = String::new();
                if reader.read_line(&mut request).is_err() || request.is_empty() {
                    continue;
                }
                let mut line = String::new();
                while reader.read_line(&mut line).is_ok_and(|_| line != "\r\n") {
                    line.clear();
                }
                seen.lock().unwrap().push(request.trim_end().to_owned());
                let _ = stream.write_all(answer(&request, &files).as_bytes());
            }
        });
        FakeHub { url, requests }
    }

    fn settings(&self, cache: &Path) -> Settings {
        Settings { cache: cache.to_owned(), endpoint: Some(self.url.clone()), offline: false }
    }
}

fn answer(request: &str, files: &BTreeMap<&str, &str>) -> String {
    let mut words = request.split(' ');
    let (method, target) = (words.next().unwrap(), words.next().unwrap());
    let path = target.split('?').next().unwrap();
    let json = |body: String| {
        let length = body.len();
        format!(
            "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
        )
    };
    if let Some(rest) = path.strip_prefix("/api/models/org/tiny") {
        if rest.starts_with("/tree/") {
            let entries: Vec<_> = files
                .iter()
                .map(|(path, text)| serde_json::json!({"type": "file", "oid": "0", "size": text.len(), "path": path}))
                .collect();
            return json(serde_json::Value::from(entries).to_string());
        }
        return json(serde_json::json!({"id": "org/tiny", "sha": COMMIT}).to_string());
    }
    let name = path.strip_prefix("/org/tiny/resolve/").and_then(|rest| rest.split_once('/')).map(|(_, name)| name);
    match name.and_then(|name| files.get(name)) {
        Some(text) => format!(
            "HTTP/1.1 200 OK\r\nETag: \"{:x}\"\r\nX-Repo-Commit: {COMMIT}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{}",
            text.len() * 7919 + name.map_or(0, str::len),
            text.len(),
            if method == "HEAD" { "" } else { text }
        ),
        None => {
            "HTTP/1.1 404 Not Found\r\nX-Error-Code: RepoNotFound\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
                .to_owned()
        }
    }
}

const MODEL: [(&str, &str); 8] = [
    ("config.json", "{}"),
    ("tokenizer.json", "{ }"),
    ("model.safetensors", "weights"),
    ("pytorch_model.bin", "a pickle"),
    ("consolidated.safetensors", "the same again"),
    ("onnx/model.safetensors", "another copy"),
    ("README.md", "prose"),
    ("tiny.Q8_0.gguf", "GGUF and more"),
];

fn id(text: &str) -> HubId {
    HubId::parse(text).unwrap()
}

#[test]
fn ids_follow_the_hubs_rule() {
    for good in ["org/name", "a-b/c.d_e", "org/name:model-q4_0.gguf", "org/name:sub/model.GGUF"] {
        assert_eq!(HubId::parse(good).map(|id| id.to_string()).as_deref(), Some(good));
    }
    for bad in ["name", "a/b/c", "../x", "org/..", "./a", "org/na me", "org/name:x.bin", "org/name:../x.gguf", "org/"] {
        assert_eq!(HubId::parse(bad), None, "{bad}");
    }
}

#[test]
fn only_what_a_model_needs_is_fetched_and_the_cache_serves_offline() {
    let cache = tempfile::tempdir().unwrap();
    let hub = FakeHub::serve(&MODEL);
    let settings = hub.settings(cache.path());
    let ModelFiles::Folder(folder) = fetch_with(&id("org/tiny"), settings.clone()).unwrap() else { panic!() };
    // Where Python's huggingface_hub puts and finds it.
    assert_eq!(folder, cache.path().join("models--org--tiny/snapshots").join(COMMIT));
    let mut names: Vec<_> =
        std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    assert_eq!(names, ["config.json", "model.safetensors", "tokenizer.json"]);
    assert_eq!(std::fs::read_to_string(folder.join("model.safetensors")).unwrap(), "weights");
    let requests = hub.requests.lock().unwrap().join("\n");
    assert!(!requests.contains(".bin") && !requests.contains("consolidated"), "{requests}");

    let gguf = fetch_with(&id("org/tiny:tiny.Q8_0.gguf"), settings.clone()).unwrap();
    assert_eq!(gguf, ModelFiles::Gguf(folder.join("tiny.Q8_0.gguf")));

    let offline = Settings { offline: true, ..settings.clone() };
    assert_eq!(fetch_with(&id("org/tiny"), offline.clone()).unwrap(), ModelFiles::Folder(folder.clone()));
    let error = fetch_with(&id("org/other"), offline).unwrap_err().to_string();
    assert!(error.contains("HF_HUB_OFFLINE") && error.contains("org/other"), "{error}");

    // A Hub that is away, and a folder of the cache given as a path.
    let away = Settings { endpoint: Some("http://127.0.0.1:9".to_owned()), ..settings };
    assert_eq!(fetch_with(&id("org/tiny"), away.clone()).unwrap(), ModelFiles::Folder(folder.clone()));
    let error = fetch_with(&id("org/other"), away).unwrap_err().to_string();
    assert!(error.contains("cannot be reached") && error.contains("org/other"), "{error}");
    let repository = cache.path().join("models--org--tiny");
    assert_eq!(cached_snapshot(&repository).unwrap(), folder);
    assert_eq!(super::super::place::model_name(&folder), "org/tiny");
}

#[test]
fn repositories_that_cannot_serve_are_refused_with_the_reason() {
    let refusal = |files: &[(&'static str, &'static str)], model: &str| {
        let cache = tempfile::tempdir().unwrap();
        let hub = FakeHub::serve(files);
        fetch_with(&id(model), hub.settings(cache.path())).unwrap_err().to_string()
    };
    let error = refusal(&[("config.json", "{}"), ("pytorch_model.bin", "")], "org/tiny");
    assert!(error.contains("pickle"), "{error}");
    let error = refusal(&[("a.gguf", "GGUF"), ("b.gguf", "GGUF")], "org/tiny");
    assert!(error.contains("a.gguf, b.gguf"), "{error}");
    let error = refusal(&MODEL, "org/tiny:missing.gguf");
    assert!(error.contains("missing.gguf") && error.contains("tiny.Q8_0.gguf"), "{error}");
    let error = refusal(&MODEL, "org/absent");
    assert!(error.contains("org/absent"), "{error}");
}
