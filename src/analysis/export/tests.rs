use super::super::fixture::{Fixture, input};
use super::*;
use crate::analysis::{PromptInput, RecordKind, ScoreInput};

async fn file(fixture: &Fixture, id: &str, format: ExportFormat) -> String {
    String::from_utf8(fixture.analysis.export(id, format).await.unwrap().bytes).unwrap()
}

#[tokio::test]
async fn a_table_has_a_row_a_token_with_exact_numbers() {
    let fixture = Fixture::new().await;
    let trace = fixture.saved("Q", "a,\"b\"\n18").await;
    let table = file(&fixture, &trace.id, ExportFormat::Csv).await;
    let mut reader = ::csv::Reader::from_reader(table.as_bytes());
    let columns = reader.headers().unwrap().clone();
    let place = |name: &str| columns.iter().position(|column| column == name).unwrap();
    let rows: Vec<::csv::StringRecord> = reader.records().map(Result::unwrap).collect();
    assert_eq!(rows.len(), trace.tokens.len());
    for (row, token) in rows.iter().zip(&trace.tokens) {
        assert_eq!(row[place("text")], token.text);
        assert_eq!(row[place("score")].parse::<f64>().unwrap(), token.score.unwrap());
        assert_eq!(row[place("logprob_base")].parse::<f32>().unwrap(), token.logprob.base);
        assert_eq!(row[place("critical")], token.critical.to_string());
    }
}

#[tokio::test]
async fn nothing_of_a_trace_is_markup_on_the_page() {
    let fixture = Fixture::new().await;
    let evil = "</pre><script>alert('x')</script>\"><img src=x onerror=alert(1)>&amp;";
    let score = ScoreInput {
        prompt: PromptInput::Text(evil.into()),
        answer: Some(evil.into()),
        tags: vec!["<b>tag</b>".into()],
        ..input("", &format!("{evil}\nThe answer is {evil}."))
    };
    let trace = fixture.analysis.score(score).await.unwrap();
    let page = file(&fixture, &trace.id, ExportFormat::Html).await;
    for markup in ["<script", "<img", "<b>", "onerror=alert(1)>"] {
        assert!(!page.contains(markup), "{markup} is on the page");
    }
    assert!(page.contains("&lt;script&gt;"));
    assert!(!page.contains("http://") && !page.contains("https://"), "the page needs nothing from elsewhere");
}

#[tokio::test]
async fn the_page_shows_every_character_of_the_response_once() {
    let fixture = Fixture::new().await;
    let response = "é “quoted” 😀\n\n18 < 20 & so on\n";
    let trace = fixture.saved("Q", response).await;
    let page = file(&fixture, &trace.id, ExportFormat::Html).await;
    let body = page.split("<pre class=\"response\">").nth(1).unwrap().split("</pre>").next().unwrap();
    let mut text = String::new();
    for (index, part) in body.split('<').enumerate() {
        text.push_str(if index == 0 { part } else { part.split_once('>').unwrap().1 });
    }
    let shown = text.replace(['▯', '↵'], "").replace("&lt;", "<").replace("&amp;", "&");
    assert_eq!(shown, response);
    assert_eq!(
        page.matches("<span class=\"t crit").count(),
        trace.critical.len() + 1,
        "tokens and the legend's sample"
    );
}

#[test]
fn times_are_told_as_a_reader_writes_them() {
    assert_eq!(html::moment(1_795_781_908), "2026-11-27 12:18:28 UTC");
    assert_eq!(html::moment(i64::MAX), "9223372036854775807 (Unix seconds)");
}

#[tokio::test]
async fn names_and_types_fit_the_format_and_a_missing_trace_is_not_found() {
    let fixture = Fixture::new().await;
    let trace = fixture.saved("Q", " 18").await;
    let export = fixture.analysis.export(&trace.id, ExportFormat::Csv).await.unwrap();
    assert_eq!(export.file_name, format!("{}.csv", trace.id));
    assert_eq!(export.content_type, "text/csv; charset=utf-8");
    for format in [ExportFormat::Jsonl, ExportFormat::Csv, ExportFormat::Html] {
        let missing = fixture.analysis.export("trace_none", format).await;
        assert!(matches!(missing, Err(AnalysisError::NotFound { kind: RecordKind::Trace, .. })));
    }
}
