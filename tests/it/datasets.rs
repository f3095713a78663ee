//! `/v1/datasets`: uploads that are right, and all the ways in which they are not.

use futures::stream;
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{Server, array, assert_refused, ok, refusal};

const PROBLEM: &str = r#"{"question": "1 + 1?", "answer": "It is 2. #### 2"}"#;

async fn post(server: &Server, path: &str, body: Value) -> reqwest::Response {
    server.post(path, &body).await
}

async fn names(server: &Server) -> Vec<String> {
    let list = ok(server.get("/v1/datasets").await).await;
    array(&list["data"]).iter().map(|info| info["name"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn a_data_set_is_stored_listed_replaced_and_deleted() {
    let server = Server::start().await;
    let body = format!("{PROBLEM}\n{PROBLEM}\n");
    let info = ok(server.upload("gsm8k.train", body.clone()).await).await;
    // printf '%s\n%s\n' "$PROBLEM" "$PROBLEM" | sha256sum
    let sha256 = "08b7d54fbcbb35bc02ea6dac43c366282746b664957822ee641cf1c8c166fb27";
    assert_eq!(
        (&info["name"], &info["object"], &info["kind"], &info["rows"], &info["bytes"]),
        (&json!("gsm8k.train"), &json!("dataset"), &json!("problems"), &json!(2), &json!(body.len()))
    );
    assert_eq!(info["sha256"], sha256);
    assert!(info["created"].as_i64().unwrap() > 0);
    assert_eq!(ok(server.get("/v1/datasets/gsm8k.train").await).await, info);

    let pair = json!({"prompt": "p", "chosen": "a", "rejected": "b", "rejected_weights": [0, 0.5]});
    let replaced = server.upload_rows("gsm8k.train", &[pair]).await;
    assert_eq!((&replaced["kind"], &replaced["rows"]), (&json!("preferences"), &json!(1)));
    let response = json!({"prompt": "p", "response": "r", "answer": "2", "correct": false});
    server.upload_rows("b", &[response]).await;
    assert_eq!(names(&server).await, ["b", "gsm8k.train"]);
    let first = ok(server.get("/v1/datasets?limit=1").await).await;
    assert_eq!((&first["has_more"], &first["next_cursor"]), (&json!(true), &json!("b")));
    let second = ok(server.get("/v1/datasets?limit=1&cursor=b").await).await;
    assert_eq!((&second["data"][0], &second["has_more"]), (&replaced, &json!(false)));

    let deleted = json!({"id": "b", "object": "dataset", "deleted": true});
    assert_eq!(ok(server.delete("/v1/datasets/b").await).await, deleted);
    assert_refused(&refusal(server.delete("/v1/datasets/b").await).await, 404, "dataset_not_found", None);
    assert_refused(&refusal(server.get("/v1/datasets/b").await).await, 404, "dataset_not_found", None);
}

#[tokio::test]
async fn rows_are_added_and_listed() {
    let server = Server::start().await;
    let pair = |chosen: &str| json!({"prompt": "p", "chosen": chosen, "rejected": "b"});
    let add = |rows: Value| post(&server, "/v1/datasets/pairs/rows", json!({"rows": rows}));
    assert_eq!(ok(add(json!([pair("1")])).await).await["rows"], json!(1));
    let info = ok(add(json!([pair("2"), pair("3")])).await).await;
    assert_eq!((&info["rows"], &info["kind"]), (&json!(3), &json!("preferences")));
    let first = ok(server.get("/v1/datasets/pairs/rows?limit=2").await).await;
    assert_eq!(
        (&first["data"], &first["has_more"], &first["next_cursor"]),
        (&json!([pair("1"), pair("2")]), &json!(true), &json!("2"))
    );
    let rest = ok(server.get("/v1/datasets/pairs/rows?limit=2&cursor=2").await).await;
    assert_eq!((&rest["data"], &rest["has_more"]), (&json!([pair("3")]), &json!(false)));

    let beyond = ok(server.get("/v1/datasets/pairs/rows?cursor=1000000000000").await).await;
    assert_eq!((&beyond["data"], &beyond["has_more"]), (&json!([]), &json!(false)));

    // A page of long rows is shorter, and goes on where it ended.
    let long: Vec<Value> = (0..3).map(|n| pair(&format!("{n}{}", "x".repeat(5 << 20)))).collect();
    ok(server.upload("long", long.iter().map(|row| format!("{row}\n")).collect::<String>()).await).await;
    let (mut read, mut cursor) = (Vec::new(), "0".to_owned());
    for rows in [1, 1, 1] {
        let page = ok(server.get(&format!("/v1/datasets/long/rows?cursor={cursor}")).await).await;
        assert_eq!(array(&page["data"]).len(), rows);
        read.extend(array(&page["data"]).iter().cloned());
        cursor = page["next_cursor"].as_str().unwrap_or("none").to_owned();
    }
    assert_eq!((read, cursor.as_str()), (long, "none"));

    // A last line without its end is ended first; what was uploaded is kept as it is.
    ok(server.upload("pairs", pair("1").to_string()).await).await;
    assert_eq!(ok(add(json!([pair("2")])).await).await["rows"], json!(2));
    assert_eq!(ok(server.get("/v1/datasets/pairs/rows").await).await["data"], json!([pair("1"), pair("2")]));

    // Those that come at once are all kept.
    let many: Vec<String> = (0..8).map(|n| format!("at once {n}")).collect();
    let added = futures::future::join_all(many.iter().map(|chosen| add(json!([pair(chosen)])))).await;
    assert!(added.iter().all(|response| response.status().is_success()));
    assert_eq!(ok(server.get("/v1/datasets/pairs").await).await["rows"], json!(10));

    for (rows, param) in [
        (json!([]), "rows"),
        (json!([pair("1"), {"prompt": "p"}]), "rows[1]"),
        (json!([pair("1"), {"question": "q", "answer": "1"}]), "rows[1]"),
        (json!([{"question": "q", "answer": "1"}]), "rows"),
    ] {
        assert_refused(&refusal(add(rows).await).await, 422, "invalid_value", Some(param));
    }
    assert_eq!(ok(server.get("/v1/datasets/pairs").await).await["rows"], json!(10));
    let odd = post(&server, "/v1/datasets/a%20b/rows", json!({"rows": [pair("1")]})).await;
    assert_refused(&refusal(odd).await, 422, "invalid_value", Some("name"));
    for (path, status) in [("nobody/rows", 404), ("pairs/rows?cursor=x", 422), ("pairs/rows?limit=0", 422)] {
        assert_eq!(refusal(server.get(&format!("/v1/datasets/{path}")).await).await.status, status, "{path}");
    }
}

#[tokio::test]
async fn lines_may_come_in_any_pieces() {
    let server = Server::start().await;
    let text = format!("\n{PROBLEM}\r\n  \n{}", PROBLEM.replace('+', "\\u002b"));
    for size in [1, 7, 64] {
        let pieces: Vec<_> =
            text.as_bytes().chunks(size).map(|piece| Ok::<_, std::io::Error>(piece.to_vec())).collect();
        let info = ok(server.upload("d", reqwest::Body::wrap_stream(stream::iter(pieces))).await).await;
        assert_eq!((&info["rows"], &info["bytes"]), (&json!(2), &json!(text.len())));
    }
}

#[tokio::test]
async fn a_wrong_line_is_named_and_nothing_is_kept_of_the_upload() {
    let server = Server::start().await;
    let kept = server.upload_rows("d", &[json!({"question": "q", "answer": "1"})]).await;
    let deep = format!("{}1{}", "[".repeat(10_000), "]".repeat(10_000));
    for (line, expected) in [
        ("{\"question\": ", "not JSON"),
        ("\u{0}", "not JSON"),
        ("\"text\"", "not a JSON object"),
        (deep.as_str(), "not JSON"),
        (r#"{"question": "q"}"#, "missing field `answer`"),
        (r#"{"question": "q", "answer": null}"#, "`answer`: invalid type"),
        (r#"{"question": "", "answer": "1"}"#, "`question` is empty"),
        (r#"{"question": "q", "answer": "1", "extra": 1}"#, "unknown field `extra`"),
        (r#"{"prompt": "p", "response": "r"}"#, "a row of trajectories in a data set of problems"),
    ] {
        for name in ["d", "new"] {
            let error = refusal(server.upload(name, format!("{PROBLEM}\n\n{line}\n{PROBLEM}\n")).await).await;
            assert_refused(&error, 422, "invalid_line", None);
            assert!(error.message.starts_with("line 3: ") && error.message.contains(expected), "{error:?}");
        }
    }
    assert_eq!(ok(server.get("/v1/datasets/d").await).await, kept);
    assert_eq!(names(&server).await, ["d"]);
    // Bytes that are no UTF-8.
    let error = refusal(server.upload("new", b"{\"question\": \"\xff\", \"answer\": \"1\"}".to_vec()).await).await;
    assert_refused(&error, 422, "invalid_line", None);
}

#[tokio::test]
async fn weights_and_tokens_are_checked() {
    let server = Server::start().await;
    let pair =
        |changes: Value| crate::support::changed(json!({"prompt": "p", "chosen": "a", "rejected": "b"}), changes);
    for (changes, expected) in [
        (json!({"rejected": "a"}), "`rejected` is the same as `chosen`"),
        (json!({"rejected_weights": [0.5, -1]}), "`rejected_weights[1]` must be a finite number"),
        (json!({"rejected_weights": [1e300]}), "`rejected_weights[0]` must be a finite number"),
        (json!({"chosen_weights": [true]}), "`chosen_weights[0]`: invalid type"),
        (json!({"chosen_weights": []}), "`chosen_weights` is empty"),
        (json!({"chosen_token_ids": [1]}), "`prompt_token_ids` is missing"),
        (
            json!({"prompt_token_ids": [1], "chosen_token_ids": [1, 2], "rejected_token_ids": [3], "chosen_weights": [1]}),
            "`chosen_weights` holds 1 weights for 2 tokens",
        ),
        (json!({"prompt_token_ids": [-1]}), "`prompt_token_ids[0]`: invalid value"),
    ] {
        let error = refusal(server.upload("d", pair(changes).to_string()).await).await;
        assert!(error.message.starts_with(&format!("line 1: {expected}")), "{expected}: {error:?}");
    }
}

#[tokio::test]
async fn what_curl_says_by_itself_is_no_hindrance() {
    let server = Server::start().await;
    let request = server.request(Method::PUT, "/v1/datasets/untold").body(PROBLEM);
    assert_eq!(request.send().await.unwrap().status(), 200);
    let request = server.request(Method::PUT, "/v1/datasets/form");
    let request = request.header("content-type", "application/x-www-form-urlencoded").body(PROBLEM);
    assert_eq!(request.send().await.unwrap().status(), 200);
    assert_eq!(names(&server).await, ["form", "untold"]);
}

#[tokio::test]
async fn what_is_no_upload_is_refused() {
    let server = Server::start().await;
    for body in ["", "\n \n"] {
        let error = refusal(server.upload("d", body).await).await;
        assert_refused(&error, 422, "invalid_value", Some("body"));
    }
    for name in [".hidden", "a%2Fb", "a%20b", &"n".repeat(65)] {
        let error = refusal(server.upload(name, PROBLEM).await).await;
        assert_refused(&error, 422, "invalid_value", Some("name"));
    }
    for other in ["application/json", "multipart/form-data; boundary=x", "text/csv"] {
        let request = server.request(Method::PUT, "/v1/datasets/d").header("content-type", other);
        let error = refusal(request.body(PROBLEM).send().await.unwrap()).await;
        assert_refused(&error, 400, "unsupported_content_type", None);
    }
    for query in ["limit=0", "limit=101"] {
        let error = refusal(server.get(&format!("/v1/datasets?{query}")).await).await;
        assert_refused(&error, 422, "out_of_range", Some("limit"));
    }
    assert_eq!(names(&server).await, [""; 0]);
}

#[tokio::test]
async fn an_upload_that_breaks_off_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let database = Some(folder.path().join("linchpin.db"));
    let server = Server::with(crate::support::Setup { database, ..Default::default() }).await;
    let pieces = [Ok(format!("{PROBLEM}\n{PROBLEM}\n")), Err(std::io::Error::other("the client's end"))];
    let request = server.request(Method::PUT, "/v1/datasets/d").header("content-type", "application/x-ndjson");
    let broken = request.body(reqwest::Body::wrap_stream(stream::iter(pieces))).send().await;
    assert!(broken.is_err());
    let files = || std::fs::read_dir(folder.path().join("datasets")).map_or(0, |files| files.count());
    crate::support::until(|| files() == 0).await;
    assert_refused(&refusal(server.get("/v1/datasets/d").await).await, 404, "dataset_not_found", None);
    server.upload("d", PROBLEM).await;
    assert_eq!(files(), 1);
    server.upload("d", format!("{PROBLEM}\n{PROBLEM}")).await;
    assert_eq!(files(), 1);
}
