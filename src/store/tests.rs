use super::*;
use crate::domain::critical::CriticalRule;
use crate::domain::model::{ModelRef, PerModel};
use crate::domain::rollout::{
    AlternativesSource, ForcedToken, Group, Pool, RolloutSampling, RolloutSet, RolloutUsage, RolloutsObject,
};
use crate::domain::score::Normalizer;
use crate::domain::trace::{Prompt, Response, Timing, Token, Trace, TraceObject, Usage};
use crate::domain::verdict::{Verdict, VerdictStatus};

fn trace(number: u32, prompt: &str, response: &str) -> Trace {
    let model = |id: &str| ModelRef { id: id.into(), sha256: "00".into() };
    let score = f64::from(number) / 1000.0 + 0.001;
    Trace {
        id: format!("trace_{number:026}"),
        object: TraceObject::Trace,
        created: 1_700_000_000,
        beta: 1.0,
        normalizer: Normalizer::Exact,
        models: PerModel { base: model("base"), positive: Some(model("pos")), negative: Some(model("neg")) },
        prompt: Prompt { text: prompt.into(), token_ids: vec![1] },
        response: Response { text: response.into(), straddles_boundary: false },
        tokens: vec![Token {
            position: 0,
            id: 7,
            text: response.into(),
            start: 0,
            end: response.len(),
            logprob: PerModel { base: -0.1, positive: Some(-0.2), negative: Some(-0.3) },
            rank: PerModel { base: 0, positive: Some(1), negative: Some(2) },
            entropy: PerModel { base: 0.5, positive: Some(0.6), negative: Some(0.7) },
            score: Some(score),
            critical: number.is_multiple_of(2),
            top: vec![],
        }],
        rule: CriticalRule::Lowest { k: 1 },
        critical: if number.is_multiple_of(2) { vec![0] } else { vec![] },
        verdict: None,
        tags: vec![],
        usage: Usage { prompt_tokens: 1, response_tokens: 1 },
        timing: Timing { queue_ms: 0.0, compute_ms: 0.0 },
        rollouts: vec![],
        searches: vec![],
    }
}

async fn insert(store: &Store, trace: &Trace) {
    store.insert_trace(TraceRecord::new(trace).unwrap()).await.unwrap();
}

async fn found(store: &Store, filter: TraceFilter) -> Vec<String> {
    let page = store
        .traces(&TraceQuery { filter: filter.clone(), ..Default::default() }, &Page { limit: 100, cursor: None })
        .await
        .unwrap();
    page.summaries
        .into_iter()
        .map(|summary| summary.id.trim_start_matches("trace_0").trim_start_matches('0').into())
        .collect()
}

#[tokio::test]
async fn a_trace_is_kept_across_a_reopening_and_deleted_with_its_tags() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("not/yet/there/traces.db");
    let tagged = Trace { tags: vec!["a".into(), "b".into()], ..trace(1, "p", "r") };
    let store = Store::open(StoreOptions { path: path.clone() }).await.unwrap();
    insert(&store, &tagged).await;
    store.close().await;

    let store = Store::open(StoreOptions { path }).await.unwrap();
    assert_eq!(store.trace(&tagged.id).await.unwrap(), Some(tagged.clone()));
    assert!(matches!(
        store.insert_trace(TraceRecord::new(&tagged).unwrap()).await,
        Err(StoreError::Exists { id }) if id == tagged.id
    ));
    assert!(store.delete_trace(&tagged.id).await.unwrap());
    assert!(!store.delete_trace(&tagged.id).await.unwrap());
    assert_eq!(store.trace(&tagged.id).await.unwrap(), None);
    let tags: i64 = sqlx::query_scalar("SELECT COUNT(*) FROM trace_tags").fetch_one(&store.pool).await.unwrap();
    assert_eq!(tags, 0);
    // A refused insert leaves the connection free of its transaction.
    insert(&store, &tagged).await;
}

#[tokio::test]
async fn filters_narrow_and_combine() {
    let store = Store::in_memory().await.unwrap();
    let verdict = |status| Some(Verdict { status, extracted: None, reference: "1".into(), span: None });
    insert(
        &store,
        &Trace { verdict: verdict(VerdictStatus::Wrong), tags: vec!["x".into()], ..trace(1, "Ducks", "eggs") },
    )
    .await;
    insert(
        &store,
        &Trace {
            verdict: verdict(VerdictStatus::Correct),
            tags: vec!["x".into(), "y".into()],
            ..trace(2, "robes", "ÉTÉ")
        },
    )
    .await;
    let mut other = trace(3, "100%_sure\\", "tail");
    other.models.negative = Some(ModelRef { id: "neg-2".into(), sha256: "01".into() });
    insert(&store, &other).await;

    let all = TraceFilter::default;
    let q = |q: &str| TraceFilter { q: Some(q.into()), ..all() };
    assert_eq!(found(&store, all()).await, ["3", "2", "1"]);
    assert_eq!(found(&store, TraceFilter { verdict: Some(VerdictStatus::Wrong), ..all() }).await, ["1"]);
    assert_eq!(found(&store, TraceFilter { has_critical: Some(true), ..all() }).await, ["2"]);
    assert_eq!(found(&store, TraceFilter { has_critical: Some(false), ..all() }).await, ["3", "1"]);
    assert_eq!(found(&store, TraceFilter { tag: Some("x".into()), ..all() }).await, ["2", "1"]);
    assert_eq!(found(&store, TraceFilter { tag: Some("x".into()), has_critical: Some(true), ..all() }).await, ["2"]);
    assert_eq!(found(&store, TraceFilter { tag: Some("%".into()), ..all() }).await, [""; 0]);
    assert_eq!(found(&store, TraceFilter { model: Some("neg-2".into()), ..all() }).await, ["3"]);
    assert_eq!(found(&store, TraceFilter { model: Some("base".into()), ..all() }).await, ["3", "2", "1"]);
    assert_eq!(found(&store, q("DUCKS")).await, ["1"]);
    assert_eq!(found(&store, q("été")).await, ["2"]);
    // Each of LIKE's own characters stands for itself.
    for literal in ["%", "_", "\\", "%_", "0%_s"] {
        assert_eq!(found(&store, q(literal)).await, ["3"], "{literal}");
    }
    assert_eq!(found(&store, q("d%s")).await, [""; 0]);
    assert_eq!(found(&store, q("' OR 1=1 --")).await, [""; 0]);
    assert_eq!(found(&store, q("d\0cks")).await, [""; 0]);
}

#[tokio::test]
async fn pages_neither_repeat_nor_miss_while_traces_come_and_go() {
    let store = Store::in_memory().await.unwrap();
    for number in 1..=25 {
        insert(&store, &trace(number * 2, "p", "r")).await;
    }
    let filter = TraceFilter::default();
    let mut page = Page { limit: 10, cursor: None };
    let first = store.traces(&TraceQuery { filter: filter.clone(), ..Default::default() }, &page).await.unwrap();
    assert!(first.has_more);
    // A newer one arrives, one that was shown goes, and the one at the page's edge goes.
    insert(&store, &trace(999, "p", "r")).await;
    store.delete_trace(&first.summaries[3].id).await.unwrap();
    store.delete_trace(&first.summaries[9].id).await.unwrap();

    let mut seen = first.summaries;
    page.cursor = first.next_cursor;
    while page.cursor.is_some() {
        let next = store.traces(&TraceQuery { filter: filter.clone(), ..Default::default() }, &page).await.unwrap();
        assert_eq!(next.has_more, next.next_cursor.is_some());
        seen.extend(next.summaries);
        page.cursor = next.next_cursor;
    }
    let ids: Vec<String> = seen.into_iter().map(|summary| summary.id).collect();
    assert_eq!(ids, (1..=25).rev().map(|n| format!("trace_{:026}", n * 2)).collect::<Vec<_>>());

    let exact = store
        .traces(&TraceQuery { filter: filter.clone(), ..Default::default() }, &Page { limit: 24, cursor: None })
        .await
        .unwrap();
    assert_eq!((exact.summaries.len(), exact.has_more, exact.next_cursor), (24, false, None));
}

#[tokio::test]
async fn bad_pages_are_refused() {
    let store = Store::in_memory().await.unwrap();
    for limit in [0, 101] {
        let page = Page { limit, cursor: None };
        assert!(matches!(store.traces(&TraceQuery::default(), &page).await, Err(StoreError::BadLimit { .. })));
    }
    for cursor in ["", "x", "abc", "zz", "ff", "é", &"a".repeat(300)] {
        let page = Page { limit: 1, cursor: Some(cursor.into()) };
        assert!(matches!(store.traces(&TraceQuery::default(), &page).await, Err(StoreError::BadCursor)), "{cursor}");
    }
}

#[tokio::test]
async fn many_writers_at_once_all_succeed() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(StoreOptions { path: folder.path().join("t.db") }).await.unwrap();
    let writers = (0..64).map(|number| {
        let store = store.clone();
        async move { insert(&store, &trace(number, "p", "r")).await }
    });
    futures::future::join_all(writers).await;
    assert_eq!(found(&store, TraceFilter::default()).await.len(), 64);
}

#[tokio::test]
async fn an_unusable_path_and_a_newer_database_say_so() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    std::fs::write(&file, "this is no database, and longer than a header of one hundred bytes ".repeat(9)).unwrap();
    for path in [folder.path().to_owned(), file.clone(), file.join("below/traces.db")] {
        let error = Store::open(StoreOptions { path: path.clone() }).await.unwrap_err();
        assert!(matches!(error, StoreError::Unusable { .. }), "{error:?}");
        assert!(error.to_string().contains(&path.display().to_string()), "{error}");
    }

    let path = folder.path().join("newer.db");
    let store = Store::open(StoreOptions { path: path.clone() }).await.unwrap();
    sqlx::query(
        "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) \
         VALUES (999, 'of the future', TRUE, x'00', 0)",
    )
    .execute(&store.pool)
    .await
    .unwrap();
    store.close().await;
    let error = Store::open(StoreOptions { path }).await.unwrap_err();
    assert!(matches!(error, StoreError::Newer { found: 999, known: 30, .. }), "{error:?}");
}

fn rollouts(number: u32, trace: &Trace) -> RolloutSet {
    let token = ForcedToken { id: trace.tokens[0].id, text: trace.tokens[0].text.clone() };
    RolloutSet {
        id: format!("roll_{number:026}"),
        object: RolloutsObject::Rollouts,
        created: 1_700_000_000,
        trace_id: Some(trace.id.clone()),
        model: trace.models.base.clone(),
        position: 0,
        answer: "1".into(),
        sampling: RolloutSampling::default(),
        alternatives_source: AlternativesSource::Given,
        stopped: false,
        original: Group::new(token, None),
        alternatives: vec![],
        with_token: Pool::default(),
        without_token: Pool::default(),
        rollouts: vec![],
        usage: RolloutUsage::default(),
    }
}

#[tokio::test]
async fn rollouts_belong_to_a_trace_and_go_with_it() {
    let store = Store::in_memory().await.unwrap();
    let trace = trace(1, "p", "r");
    let (first, second) = (rollouts(1, &trace), rollouts(2, &trace));
    let record = |set: &RolloutSet| AttachmentRow::new(set).unwrap();
    let orphan = store.attach(vec![record(&first)]).await;
    assert!(matches!(orphan, Err(StoreError::TraceGone { id }) if id == trace.id));
    assert!(AttachmentRow::new(&RolloutSet { trace_id: None, ..first.clone() }).is_err());

    insert(&store, &Trace { rollouts: vec![first.clone()], ..trace.clone() }).await;
    // The second of the two is new, and is not stored beside one that is not.
    let both = store.attach(vec![record(&second), record(&first)]).await;
    assert!(matches!(both, Err(StoreError::RolloutsExist { id }) if id == first.id));
    assert_eq!(store.attachment::<RolloutSet>(&second.id).await.unwrap(), None);
    store.attach(vec![record(&second)]).await.unwrap();
    assert_eq!(store.attachment(&second.id).await.unwrap(), Some(second.clone()));
    assert_eq!(store.trace_alone(&trace.id).await.unwrap().map(|alone| alone.rollouts), Some(vec![]));
    assert_eq!(store.trace(&trace.id).await.unwrap().unwrap().rollouts, [first.clone(), second]);

    assert!(store.delete_trace(&trace.id).await.unwrap());
    assert_eq!(store.attachment::<RolloutSet>(&first.id).await.unwrap(), None);
    assert_eq!(store.attachments::<RolloutSet>(&trace.id).await.unwrap(), []);
}
