//! Files of a stored trace: JSON lines to import again, CSV for tables, HTML to look at and pass on.

mod csv;
mod html;
mod proofs;

use super::traces::no_trace;
use super::{Analysis, AnalysisError, off_the_reactor};
use crate::store::AttachmentKind;

/// The kind of file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ExportFormat {
    /// The whole trace with its rollouts and searches on one line; an import gives the same trace again.
    Jsonl,
    /// A row for each token.
    Csv,
    /// One self-contained page.
    Html,
}

/// A file made of a trace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Export {
    pub content_type: &'static str,
    /// Safe as a file name and in a header.
    pub file_name: String,
    pub bytes: Vec<u8>,
}

impl ExportFormat {
    fn content_type(self) -> &'static str {
        match self {
            ExportFormat::Jsonl => "application/x-ndjson",
            ExportFormat::Csv => "text/csv; charset=utf-8",
            ExportFormat::Html => "text/html; charset=utf-8",
        }
    }

    fn extension(self) -> &'static str {
        match self {
            ExportFormat::Jsonl => "jsonl",
            ExportFormat::Csv => "csv",
            ExportFormat::Html => "html",
        }
    }
}

impl Analysis {
    /// A stored trace as a file.
    pub async fn export(&self, id: &str, format: ExportFormat) -> Result<Export, AnalysisError> {
        let bytes = match format {
            ExportFormat::Jsonl => {
                let trace = self.store.trace_json(id).await?.ok_or_else(|| no_trace(id))?;
                let rollouts = self.store.attachments_json(AttachmentKind::Rollouts, id).await?;
                let searches = self.store.attachments_json(AttachmentKind::Search, id).await?;
                line(trace, &[("rollouts", rollouts), ("searches", searches)]).into_bytes()
            }
            ExportFormat::Csv => {
                let trace = self.trace_alone(id).await?;
                off_the_reactor(move || csv::table(&trace)).await?
            }
            ExportFormat::Html => {
                let trace = self.trace(id).await?;
                off_the_reactor(move || Ok(html::page(&trace).into_bytes())).await?
            }
        };
        // A stored id has been checked: letters, digits and an underscore.
        let file_name = format!("{id}.{}", format.extension());
        Ok(Export { content_type: format.content_type(), file_name, bytes })
    }
}

/// A trace and what belongs to it as one line: the stored texts put together, so that no number is written anew.
fn line(mut trace: String, attached: &[(&str, Vec<String>)]) -> String {
    for (field, records) in attached.iter().filter(|(_, records)| !records.is_empty()) {
        // A trace is an object that has fields.
        if trace.ends_with('}') {
            trace.pop();
            trace.push_str(&format!(",\"{field}\":["));
            trace.push_str(&records.join(","));
            trace.push_str("]}");
        }
    }
    trace.push('\n');
    trace
}

#[cfg(test)]
mod tests;
