//! The table of traces: insert with tags, rollouts and searches, get, delete, and filtered pages.

use sqlx::{QueryBuilder, Sqlite};

use super::{AttachmentRow, Store, StoreError};
use crate::domain::summary::TraceSummary;
use crate::domain::trace::Trace;
use crate::domain::verdict::VerdictStatus;

/// A trace in the form in which it is stored. Making one is pure computation, so that it can be done off the reactor.
#[derive(Debug, Clone)]
pub struct TraceRecord {
    summary: TraceSummary,
    summary_json: String,
    search_text: String,
    body: String,
    attachments: Vec<AttachmentRow>,
}

/// Which traces to list. Every field that is set must hold.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TraceFilter {
    pub verdict: Option<VerdictStatus>,
    /// The id of a model in any role.
    pub model: Option<String>,
    /// Text within the prompt or the response, upper and lower case alike.
    pub q: Option<String>,
    pub has_critical: Option<bool>,
    pub tag: Option<String>,
    /// Unix seconds: this one or later.
    pub created_after: Option<i64>,
    /// Unix seconds: before this one.
    pub created_before: Option<i64>,
}

/// What a list of traces is ordered by. Equals come newest first; what has no number comes last.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum TraceSort {
    #[default]
    Created,
    /// The lowest score of any token.
    MinScore,
    CriticalCount,
}

/// The order of a list of traces.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TraceOrder {
    pub by: TraceSort,
    pub ascending: bool,
}

/// Which traces to list, and how.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TraceQuery {
    pub filter: TraceFilter,
    pub order: TraceOrder,
    /// How many of the first ones to leave out, in a list that no cursor begins.
    pub offset: usize,
}

/// Where a page of a list begins, by the order of the list.
enum Begin {
    /// Behind a trace, in a list by time: traces that come or go meanwhile neither repeat nor hide others.
    Behind(String),
    /// So many traces from the first one.
    Offset(i64),
}

/// Which part of a list to give.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// 1 to [`Page::MAX`].
    pub limit: usize,
    /// Where the page before ended; opaque to the client.
    pub cursor: Option<String>,
}

/// A part of a list of traces.
#[derive(Debug, Clone, PartialEq)]
pub struct TracePage {
    pub summaries: Vec<TraceSummary>,
    /// Traces that pass the filter, on all pages.
    pub total: u64,
    pub has_more: bool,
    /// Set exactly when there is more.
    pub next_cursor: Option<String>,
}

impl Page {
    pub const DEFAULT: usize = 20;
    pub const MAX: usize = 100;

    /// Refuses a page of another length.
    pub(super) fn check(&self) -> Result<(), StoreError> {
        match (1..=Page::MAX).contains(&self.limit) {
            true => Ok(()),
            false => Err(StoreError::BadLimit { limit: self.limit, max: Page::MAX }),
        }
    }
}

impl Default for Page {
    fn default() -> Self {
        Page { limit: Page::DEFAULT, cursor: None }
    }
}

impl TraceRecord {
    pub fn new(trace: &Trace) -> Result<Self, StoreError> {
        let unwritable = |error: serde_json::Error| StoreError::Internal(format!("a trace is not JSON: {error}"));
        let summary = TraceSummary::of(trace);
        Ok(TraceRecord {
            summary_json: serde_json::to_string(&summary).map_err(unwritable)?,
            summary,
            search_text: searchable(&format!("{}\n{}", trace.prompt.text, trace.response.text)),
            body: serde_json::to_string(trace).map_err(unwritable)?,
            attachments: (trace.rollouts.iter().map(AttachmentRow::new))
                .chain(trace.searches.iter().map(AttachmentRow::new))
                .collect::<Result<_, _>>()?,
        })
    }
}

impl Store {
    /// Stores a trace with its tags, rollouts and searches, all or nothing. Fails with [`StoreError::Exists`] if its id is taken.
    pub async fn insert_trace(&self, record: TraceRecord) -> Result<(), StoreError> {
        let TraceRecord { summary, summary_json, search_text, body, attachments } = record;
        let mut transaction = self.pool.begin().await?;
        let inserted = sqlx::query(
            "INSERT INTO traces (id, created, verdict, base_model, positive_model, negative_model, min_score, \
             critical_count, search_text, summary, body) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)",
        )
        .bind(&summary.id)
        .bind(summary.created)
        .bind(summary.verdict.map(VerdictStatus::name))
        .bind(&summary.models.base.id)
        .bind(summary.models.positive.as_ref().map(|model| &model.id))
        .bind(summary.models.negative.as_ref().map(|model| &model.id))
        .bind(summary.min_score)
        .bind(i64::try_from(summary.critical_count).unwrap_or(i64::MAX))
        .bind(search_text)
        .bind(summary_json)
        .bind(body)
        .execute(&mut *transaction)
        .await;
        match inserted {
            Err(sqlx::Error::Database(error)) if error.is_unique_violation() => {
                return Err(StoreError::Exists { id: summary.id });
            }
            outcome => outcome?,
        };
        for tag in &summary.tags {
            sqlx::query("INSERT INTO trace_tags (trace_id, tag) VALUES ($1, $2) ON CONFLICT DO NOTHING")
                .bind(&summary.id)
                .bind(tag)
                .execute(&mut *transaction)
                .await?;
        }
        for row in attachments {
            row.insert(&mut transaction).await?;
        }
        transaction.commit().await?;
        Ok(())
    }

    /// A trace's JSON without its rollouts and searches, exactly as it was stored.
    pub async fn trace_json(&self, id: &str) -> Result<Option<String>, StoreError> {
        Ok(sqlx::query_scalar("SELECT body FROM traces WHERE id = $1").bind(id).fetch_optional(&self.pool).await?)
    }

    /// A trace without its rollouts and searches.
    pub async fn trace_alone(&self, id: &str) -> Result<Option<Trace>, StoreError> {
        let Some(body) = self.trace_json(id).await? else {
            return Ok(None);
        };
        let damaged = |reason: String| StoreError::Damaged { id: id.to_owned(), reason };
        // A long trace is megabytes of JSON: reading it must not hold up other requests.
        let trace = tokio::task::spawn_blocking(move || serde_json::from_str(&body))
            .await
            .map_err(|error| StoreError::Internal(error.to_string()))?
            .map_err(|error| damaged(error.to_string()))?;
        Ok(Some(trace))
    }

    /// A trace with its rollouts and searches.
    pub async fn trace(&self, id: &str) -> Result<Option<Trace>, StoreError> {
        let Some(mut trace) = self.trace_alone(id).await? else {
            return Ok(None);
        };
        trace.rollouts = self.attachments(id).await?;
        trace.searches = self.attachments(id).await?;
        Ok(Some(trace))
    }

    /// Removes a trace, its tags, rollouts and searches; false if there was none.
    pub async fn delete_trace(&self, id: &str) -> Result<bool, StoreError> {
        let done = sqlx::query("DELETE FROM traces WHERE id = $1").bind(id).execute(&self.pool).await?;
        Ok(done.rows_affected() > 0)
    }

    /// A page of the traces that pass the filter.
    pub async fn traces(&self, wanted: &TraceQuery, page: &Page) -> Result<TracePage, StoreError> {
        page.check()?;
        let TraceQuery { filter, order, offset } = wanted;
        let begin = match &page.cursor {
            None => Begin::Offset(i64::try_from(*offset).unwrap_or(i64::MAX)),
            Some(cursor) => Begin::read(cursor, *order)?,
        };
        let mut query = QueryBuilder::<Sqlite>::new("SELECT id, summary FROM traces WHERE 1 = 1");
        push_filter(&mut query, filter);
        if let Begin::Behind(id) = &begin {
            query.push(if order.ascending { " AND id > " } else { " AND id < " }).push_bind(id.clone());
        }
        query.push(order.clause());
        // One more than asked for tells whether there is more.
        query.push(" LIMIT ").push_bind(page.limit as i64 + 1);
        if let Begin::Offset(offset) = begin {
            query.push(" OFFSET ").push_bind(offset);
        }
        let mut count = QueryBuilder::<Sqlite>::new("SELECT COUNT(*) FROM traces WHERE 1 = 1");
        push_filter(&mut count, filter);
        let total: i64 = count.build_query_scalar().fetch_one(&self.pool).await?;
        let mut rows: Vec<(String, String)> = query.build_query_as().fetch_all(&self.pool).await?;
        let has_more = rows.len() > page.limit;
        rows.truncate(page.limit);
        let next_cursor = rows.last().filter(|_| has_more).map(|(id, _)| begin.behind(id, rows.len(), *order));
        let summaries = rows
            .into_iter()
            .map(|(id, json)| {
                serde_json::from_str(&json).map_err(|error| StoreError::Damaged { id, reason: error.to_string() })
            })
            .collect::<Result<_, _>>()?;
        Ok(TracePage { summaries, total: u64::try_from(total).unwrap_or_default(), has_more, next_cursor })
    }
}

impl TraceOrder {
    /// Ids sort by time.
    fn clause(self) -> &'static str {
        match (self.by, self.ascending) {
            (TraceSort::Created, false) => " ORDER BY id DESC",
            (TraceSort::Created, true) => " ORDER BY id",
            (TraceSort::MinScore, false) => " ORDER BY min_score IS NULL, min_score DESC, id DESC",
            (TraceSort::MinScore, true) => " ORDER BY min_score IS NULL, min_score, id DESC",
            (TraceSort::CriticalCount, false) => " ORDER BY critical_count DESC, id DESC",
            (TraceSort::CriticalCount, true) => " ORDER BY critical_count, id DESC",
        }
    }
}

impl Begin {
    /// How the cursor of a place by number begins; no id does.
    const OFFSET: &str = "+";

    fn read(cursor: &str, order: TraceOrder) -> Result<Self, StoreError> {
        let text = decode_cursor(cursor)?;
        match (text.strip_prefix(Self::OFFSET), order.by) {
            (Some(offset), _) => {
                let offset = offset.parse().ok().filter(|offset| *offset >= 0);
                offset.map(Self::Offset).ok_or(StoreError::BadCursor)
            }
            (None, TraceSort::Created) => Ok(Self::Behind(text)),
            (None, TraceSort::MinScore | TraceSort::CriticalCount) => Err(StoreError::BadCursor),
        }
    }

    /// The cursor of what follows a page of `rows` traces that ends with `id`.
    fn behind(&self, id: &str, rows: usize, order: TraceOrder) -> String {
        match (order.by, self) {
            (TraceSort::MinScore | TraceSort::CriticalCount, Self::Offset(offset)) => {
                encode_cursor(&format!("{}{}", Self::OFFSET, offset.saturating_add(rows as i64)))
            }
            (TraceSort::Created, _) | (_, Self::Behind(_)) => encode_cursor(id),
        }
    }
}

fn push_filter(query: &mut QueryBuilder<Sqlite>, filter: &TraceFilter) {
    let TraceFilter { verdict, model, q, has_critical, tag, created_after, created_before } = filter;
    if let Some(verdict) = verdict {
        query.push(" AND verdict = ").push_bind(verdict.name());
    }
    if let Some(model) = model {
        query.push(" AND (base_model = ").push_bind(model.clone());
        query.push(" OR positive_model = ").push_bind(model.clone());
        query.push(" OR negative_model = ").push_bind(model.clone()).push(")");
    }
    if let Some(q) = q {
        query.push(" AND search_text LIKE ").push_bind(containing(q)).push(" ESCAPE '\\'");
    }
    match has_critical {
        Some(true) => {
            query.push(" AND critical_count > 0");
        }
        Some(false) => {
            query.push(" AND critical_count = 0");
        }
        None => {}
    }
    if let Some(after) = created_after {
        query.push(" AND created >= ").push_bind(*after);
    }
    if let Some(before) = created_before {
        query.push(" AND created < ").push_bind(*before);
    }
    if let Some(tag) = tag {
        query.push(" AND EXISTS (SELECT 1 FROM trace_tags WHERE trace_tags.trace_id = traces.id AND trace_tags.tag = ");
        query.push_bind(tag.clone()).push(")");
    }
}

/// Lower case in every script. A NUL would end a text for LIKE, and PostgreSQL refuses it.
fn searchable(text: &str) -> String {
    text.to_lowercase().replace('\0', " ")
}

/// A LIKE pattern for texts that contain `text` literally.
fn containing(text: &str) -> String {
    let mut pattern = String::with_capacity(text.len() + 2);
    pattern.push('%');
    for c in searchable(text).chars() {
        if matches!(c, '%' | '_' | '\\') {
            pattern.push('\\');
        }
        pattern.push(c);
    }
    pattern.push('%');
    pattern
}

/// Hexadecimal, so that clients take it for what it is: opaque, and safe in a URL.
pub(super) fn encode_cursor(id: &str) -> String {
    id.bytes().map(|byte| format!("{byte:02x}")).collect()
}

pub(super) fn decode_cursor(cursor: &str) -> Result<String, StoreError> {
    const LONGEST: usize = 256;
    if cursor.is_empty() || cursor.len() > LONGEST || !cursor.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err(StoreError::BadCursor);
    }
    let bytes = cursor
        .as_bytes()
        .chunks(2)
        .map(|pair| std::str::from_utf8(pair).ok().filter(|pair| pair.len() == 2))
        .map(|pair| pair.and_then(|pair| u8::from_str_radix(pair, 16).ok()))
        .collect::<Option<Vec<u8>>>();
    bytes.and_then(|bytes| String::from_utf8(bytes).ok()).ok_or(StoreError::BadCursor)
}
