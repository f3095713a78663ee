//! What holds in every trace. Checked when one is made and when one is imported, so that whoever reads a stored trace
//! may rely on it.

use std::collections::HashSet;

use super::model::PerModel;
use super::trace::{Token, TopToken, Trace};

/// Most tags of a trace.
pub const MAX_TAGS: usize = 32;
/// Longest tag in characters.
pub const MAX_TAG: usize = 64;

/// The first thing that is wrong with a trace.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {message}")]
pub struct Defect {
    /// Such as `tokens[3].end`.
    pub field: String,
    pub message: String,
}

fn defect<T>(field: impl Into<String>, message: impl Into<String>) -> Result<T, Defect> {
    Err(Defect { field: field.into(), message: message.into() })
}

/// Refuses too many, empty, overlong and repeated tags, and control characters in them.
pub fn check_tags(tags: &[String]) -> Result<(), Defect> {
    if tags.len() > MAX_TAGS {
        return defect("tags", format!("a trace has at most {MAX_TAGS} tags, not {}", tags.len()));
    }
    for (index, tag) in tags.iter().enumerate() {
        let length = tag.chars().count();
        if !(1..=MAX_TAG).contains(&length) || tag.chars().any(char::is_control) || tag.trim() != tag {
            let message =
                format!("a tag is 1 to {MAX_TAG} characters, none a control character, no blanks at its ends");
            return defect(format!("tags[{index}]"), message);
        }
        if tags[..index].contains(tag) {
            return defect(format!("tags[{index}]"), format!("{tag:?} is given twice"));
        }
    }
    Ok(())
}

/// Whether a text has the form of a trace's id: `trace_` and 26 characters of Crockford's base 32.
pub fn is_trace_id(id: &str) -> bool {
    is_id("trace_", id)
}

/// Whether a text is a prefix and 26 characters of Crockford's base 32.
pub(super) fn is_id(prefix: &str, id: &str) -> bool {
    let Some(ulid) = id.strip_prefix(prefix) else {
        return false;
    };
    // The first character carries 3 bits only: a ULID has 128.
    ulid.len() == 26
        && ulid.starts_with(|c: char| ('0'..='7').contains(&c))
        && ulid.bytes().all(|b| matches!(b, b'0'..=b'9' | b'A'..=b'Z') && !matches!(b, b'I' | b'L' | b'O' | b'U'))
}

impl Trace {
    /// Checks every relation between the fields: offsets lie within the text and between its characters, positions
    /// count from 0, the critical list and the tokens' flags agree, numbers are finite, lengths match.
    pub fn check(&self) -> Result<(), Defect> {
        if !is_trace_id(&self.id) {
            return defect("id", "must be `trace_` and 26 characters of Crockford's base 32");
        }
        if !(self.beta.is_finite() && self.beta >= 0.0) {
            return defect("beta", "must be a number of at least 0");
        }
        if let Err(error) = self.rule.check() {
            return defect("rule.value", error.to_string());
        }
        if !(self.timing.queue_ms.is_finite() && self.timing.compute_ms.is_finite()) {
            return defect("timing", "must be finite");
        }
        check_tags(&self.tags)?;
        self.check_lengths()?;
        let mut start = 0;
        for (index, token) in self.tokens.iter().enumerate() {
            self.check_token(index, token, start)?;
            start = token.start;
        }
        self.check_critical()?;
        self.check_verdict()?;
        self.check_rollouts()?;
        self.check_searches()
    }

    fn check_lengths(&self) -> Result<(), Defect> {
        if self.tokens.is_empty() {
            return defect("tokens", "must hold at least one token");
        }
        if self.prompt.token_ids.is_empty() {
            return defect("prompt.token_ids", "must hold at least one token");
        }
        if self.usage.response_tokens != self.tokens.len() {
            let message = format!("is {}, and there are {} tokens", self.usage.response_tokens, self.tokens.len());
            return defect("usage.response_tokens", message);
        }
        if self.usage.prompt_tokens != self.prompt.token_ids.len() {
            let (said, are) = (self.usage.prompt_tokens, self.prompt.token_ids.len());
            return defect("usage.prompt_tokens", format!("is {said}, and the prompt has {are} token ids"));
        }
        Ok(())
    }

    fn check_token(&self, index: usize, token: &Token, earliest: usize) -> Result<(), Defect> {
        let field = |name: &str| format!("tokens[{index}].{name}");
        if token.position != index {
            return defect(field("position"), format!("is {}, where {index} is next", token.position));
        }
        let text = &self.response.text;
        if token.start > token.end || token.end > text.len() {
            let message = format!("{}..{} is not within the response's {} bytes", token.start, token.end, text.len());
            return defect(field("end"), message);
        }
        if !text.is_char_boundary(token.start) || !text.is_char_boundary(token.end) {
            return defect(field("start"), "the token begins or ends inside a character of the response");
        }
        if token.start < earliest {
            return defect(field("start"), "the token begins before the one ahead of it");
        }
        self.check_numbers(&token.logprob, |name| field(&format!("logprob.{name}")))?;
        self.check_numbers(&token.entropy, |name| field(&format!("entropy.{name}")))?;
        if !self.same_roles(&token.rank) {
            return defect(field("rank"), "must have a number for each of the trace's models, and for no other");
        }
        self.check_score(token.score, || field("score"))?;
        for (place, top) in token.top.iter().enumerate() {
            let TopToken { id: _, text: _, logprob, score } = top;
            self.check_numbers(logprob, |name| field(&format!("top[{place}].{name}")))?;
            self.check_score(*score, || field(&format!("top[{place}].score")))?;
        }
        Ok(())
    }

    fn same_roles<T>(&self, values: &PerModel<T>) -> bool {
        values.positive.is_some() == self.models.positive.is_some()
            && values.negative.is_some() == self.models.negative.is_some()
    }

    fn check_numbers(&self, values: &PerModel<f32>, field: impl Fn(&str) -> String) -> Result<(), Defect> {
        if !self.same_roles(values) {
            return defect(
                field("base"),
                "must stand beside a number for each of the trace's models, and for no other",
            );
        }
        let named = [("base", Some(values.base)), ("positive", values.positive), ("negative", values.negative)];
        match named.iter().find(|(_, value)| value.is_some_and(|value| !value.is_finite())) {
            Some((name, _)) => defect(field(name), "must be finite"),
            None => Ok(()),
        }
    }

    fn check_score(&self, score: Option<f64>, field: impl Fn() -> String) -> Result<(), Defect> {
        let contrasted = self.models.positive.is_some() && self.models.negative.is_some();
        match score {
            Some(score) if !(0.0..=1.0).contains(&score) => defect(field(), "must lie between 0 and 1"),
            Some(_) if !contrasted => defect(field(), "needs a positive and a negative model"),
            Some(_) | None => Ok(()),
        }
    }

    fn check_critical(&self) -> Result<(), Defect> {
        let flagged = self.tokens.iter().filter(|token| token.critical).map(|token| token.position);
        if !flagged.eq(self.critical.iter().copied()) {
            return defect("critical", "must list the positions of the tokens that are flagged critical, ascending");
        }
        Ok(())
    }

    fn check_verdict(&self) -> Result<(), Defect> {
        let Some(verdict) = &self.verdict else { return Ok(()) };
        match (verdict.span, &verdict.extracted) {
            (Some([start, end]), Some(extracted)) if self.response.text.get(start..end) == Some(extracted) => Ok(()),
            (None, None) => Ok(()),
            (Some(_) | None, Some(_) | None) => {
                defect("verdict.span", "must be the place of `extracted` in the response, and absent without it")
            }
        }
    }

    fn check_rollouts(&self) -> Result<(), Defect> {
        let mut ids = HashSet::new();
        for (index, set) in self.rollouts.iter().enumerate() {
            let field = |name: &str| format!("rollouts[{index}].{name}");
            set.check().map_err(|Defect { field: inner, message }| Defect { field: field(&inner), message })?;
            if set.trace_id.as_ref() != Some(&self.id) {
                return defect(field("trace_id"), "must be the trace's id");
            }
            let Some(token) = self.tokens.get(set.position) else {
                return defect(
                    field("position"),
                    format!("is {}, and there are {} tokens", set.position, self.tokens.len()),
                );
            };
            if token.id != set.original.token.id {
                return defect(field("original.token.id"), format!("is not the token {} at its position", token.id));
            }
            if !ids.insert(&set.id) {
                return defect(field("id"), "is given twice");
            }
        }
        Ok(())
    }

    fn check_searches(&self) -> Result<(), Defect> {
        for (index, search) in self.searches.iter().enumerate() {
            let field = |name: &str| format!("searches[{index}].{name}");
            search
                .check(self.tokens.len())
                .map_err(|Defect { field: inner, message }| Defect { field: field(&inner), message })?;
            if search.trace_id.as_ref() != Some(&self.id) {
                return defect(field("trace_id"), "must be the trace's id");
            }
            let token = search.critical.and_then(|at| self.tokens.get(at)).map(|token| token.id);
            if token != search.token.as_ref().map(|token| token.id) {
                return defect(field("token.id"), "is not the token at the critical position");
            }
            if self.searches[..index].iter().any(|before| before.id == search.id) {
                return defect(field("id"), "is given twice");
            }
        }
        Ok(())
    }
}
