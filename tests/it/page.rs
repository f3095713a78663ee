//! The web page and the documentation: embedded, cacheable, and nothing from outside.

use reqwest::Method;

use crate::support::Server;

const PAGE_CSP: &str = "default-src 'self'; object-src 'none'; base-uri 'none'; frame-ancestors 'none'";

#[tokio::test]
async fn the_page_and_every_file_that_it_names_are_served_safely() {
    let server = Server::start().await;
    let response = server.get("/").await;
    let headers = response.headers();
    assert_eq!(headers["content-type"], "text/html; charset=utf-8");
    assert_eq!(headers["content-security-policy"], PAGE_CSP);
    assert_eq!(headers["x-content-type-options"], "nosniff");
    assert_eq!(headers["referrer-policy"], "no-referrer");
    assert_eq!(headers["cache-control"], "no-cache");
    let html = response.text().await.unwrap();
    assert!(!html.contains("style=\"") && !html.contains("<style"), "the policy forbids inline styles");

    let named = |attribute: &str| {
        html.split(&format!("{attribute}=\""))
            .skip(1)
            .map(|rest| rest.split('"').next().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    let files: Vec<String> = [named("src"), named("href")].concat();
    assert!(!files.is_empty());
    for file in files.iter().filter(|file| !file.starts_with('#') && !file.starts_with("data:")) {
        assert!(!file.contains("//"), "{file} is on another server");
        let path = format!("/{}", file.trim_start_matches("./").trim_start_matches('/'));
        let response = server.get(&path).await;
        assert!(response.status().is_success() || response.status().is_redirection(), "{path}: {}", response.status());
    }
}

#[tokio::test]
async fn files_have_their_types() {
    let server = Server::start().await;
    for (path, kind) in [
        ("/js/main.js", "text/javascript; charset=utf-8"),
        ("/app.css", "text/css; charset=utf-8"),
        ("/favicon.svg", "image/svg+xml"),
    ] {
        assert_eq!(server.get(path).await.headers()["content-type"], kind, "{path}");
    }
}

#[tokio::test]
async fn a_known_version_is_not_sent_again() {
    let server = Server::start().await;
    let etag = server.get("/").await.headers()["etag"].clone();
    let again = server.request(Method::GET, "/").header("if-none-match", &etag).send().await.unwrap();
    assert_eq!((again.status().as_u16(), &again.headers()["etag"]), (304, &etag));
    assert!(again.bytes().await.unwrap().is_empty());
    let other = server.request(Method::GET, "/").header("if-none-match", "\"other\"").send().await.unwrap();
    assert_eq!(other.status(), 200);
    let head = server.request(Method::HEAD, "/").send().await.unwrap();
    assert_eq!((head.status().as_u16(), &head.headers()["etag"]), (200, &etag));
}

#[tokio::test]
async fn swagger_ui_is_served_from_the_binary() {
    let server = Server::start().await;
    assert_eq!(server.get("/docs").await.headers()["location"], "/docs/");
    let page = server.get("/docs/").await;
    assert!(page.headers()["content-security-policy"].to_str().unwrap().starts_with("default-src 'self'"));
    let html = page.text().await.unwrap();
    assert!(!html.contains("https://") && !html.contains("http://"), "{html}");
    for file in ["swagger-ui.css", "swagger-ui-bundle.js", "swagger-initializer.js"] {
        assert_eq!(server.get(&format!("/docs/{file}")).await.status(), 200, "{file}");
    }
    let script = server.get("/docs/swagger-initializer.js").await.text().await.unwrap();
    assert!(script.contains("/openapi.json"), "{script}");
}
