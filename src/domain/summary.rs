//! A list row: what a page needs to show of a trace without its body.

use serde::{Deserialize, Serialize};

use super::model::{ModelRef, PerModel};
use super::trace::{Trace, Usage};
use super::verdict::VerdictStatus;

/// Longest excerpt in characters.
const EXCERPT: usize = 240;
/// Most points of a sparkline, and most positions listed.
const POINTS: usize = 48;

/// A trace in a list.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TraceSummary {
    pub id: String,
    /// Unix seconds.
    pub created: i64,
    pub models: PerModel<ModelRef>,
    /// Begins at the prompt's last `Question:` or `Problem:`, for the examples before it are the same in every prompt.
    pub prompt_excerpt: String,
    pub response_excerpt: String,
    pub verdict: Option<VerdictStatus>,
    pub critical_count: usize,
    /// The first 48 critical positions.
    pub critical: Vec<usize>,
    /// The lowest `s_t`.
    pub min_score: Option<f64>,
    /// `s_t` along the response in at most 48 equal stretches, of each the lowest; empty without scores.
    pub sparkline: Vec<Option<f64>>,
    pub tags: Vec<String>,
    pub usage: Usage,
}

impl TraceSummary {
    pub fn of(trace: &Trace) -> Self {
        let scores: Vec<Option<f64>> = trace.tokens.iter().map(|token| token.score).collect();
        let min_score = lowest(&scores);
        TraceSummary {
            id: trace.id.clone(),
            created: trace.created,
            models: trace.models.clone(),
            prompt_excerpt: excerpt(last_question(&trace.prompt.text)),
            response_excerpt: excerpt(&trace.response.text),
            verdict: trace.verdict.as_ref().map(|verdict| verdict.status),
            critical_count: trace.critical.len(),
            critical: trace.critical.iter().copied().take(POINTS).collect(),
            min_score,
            sparkline: if min_score.is_some() { sparkline(&scores) } else { Vec::new() },
            tags: trace.tags.clone(),
            usage: trace.usage,
        }
    }
}

fn lowest(scores: &[Option<f64>]) -> Option<f64> {
    scores.iter().flatten().copied().reduce(f64::min)
}

/// Downsamples by minimum, for a critical token is a dip that an average would hide.
fn sparkline(scores: &[Option<f64>]) -> Vec<Option<f64>> {
    let points = scores.len().min(POINTS);
    (0..points).map(|i| lowest(&scores[i * scores.len() / points..(i + 1) * scores.len() / points])).collect()
}

fn last_question(prompt: &str) -> &str {
    let at = ["Question:", "Problem:"].iter().filter_map(|word| prompt.rfind(word)).max();
    &prompt[at.unwrap_or(0)..]
}

fn excerpt(text: &str) -> String {
    let text = text.trim();
    match text.char_indices().nth(EXCERPT) {
        Some((end, _)) => format!("{}…", text[..end].trim_end()),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sparkline_keeps_every_dip() {
        let mut scores = vec![Some(0.9); 1000];
        scores[777] = Some(0.001);
        let line = sparkline(&scores);
        assert_eq!(line.len(), 48);
        assert_eq!(line.iter().filter(|score| **score == Some(0.001)).count(), 1);
        assert_eq!(line[777 * 48 / 1000], Some(0.001));
        assert_eq!(sparkline(&scores[..3]), scores[..3]);
        assert_eq!(sparkline(&[]), []);
    }

    #[test]
    fn excerpts_are_cut_between_characters_and_begin_at_the_last_question() {
        assert_eq!(excerpt(&"é".repeat(300)).chars().count(), 241);
        assert_eq!(excerpt("  short "), "short");
        assert_eq!(last_question("Question: one\nAnswer: 1\n\nQuestion: two\nAnswer:"), "Question: two\nAnswer:");
        assert_eq!(last_question("plain"), "plain");
    }
}
