//! What rollouts say of a trace, on its page: the searches along it, and what came of other tokens in a token's place.

use std::fmt::{self, Write};

use super::html::{Escaped, Number};
use crate::domain::rollout::{Group, RolloutSet};
use crate::domain::search::{Decided, PositionOutcome, Reason, SearchRecord};
use crate::domain::trace::Trace;

/// Writes the trace's searches and rollouts, each with its table folded.
pub(super) fn write_proofs(out: &mut String, trace: &Trace) -> fmt::Result {
    if !trace.searches.is_empty() {
        writeln!(out, "<h2>Searches for the critical token</h2>")?;
    }
    for search in &trace.searches {
        write_search(out, trace, search)?;
    }
    if !trace.rollouts.is_empty() {
        writeln!(out, "<h2>Rollouts</h2>")?;
    }
    for set in &trace.rollouts {
        write_rollouts(out, set)?;
    }
    Ok(())
}

fn write_search(out: &mut String, trace: &Trace, search: &SearchRecord) -> fmt::Result {
    let outcome = match search.reason {
        Reason::Found => "after it no rollout is right, and hope never comes back",
        Reason::NoCritical => "no token satisfies the definition",
        Reason::LastZero => "the last token after which no rollout is right",
        Reason::BudgetSpent => "the likeliest one when the budget was spent",
        Reason::Stopped => "the likeliest one when it was stopped",
    };
    write!(out, "<p>")?;
    if let (Some(position), Some(token)) = (search.critical, &search.token) {
        write!(out, "<strong>{position} <code>{}</code></strong>: ", Escaped(&format!("{:?}", token.text)))?;
    }
    writeln!(
        out,
        "{outcome} (confidence {:.3}, {} rollouts of <em>{}</em>, right answer <q>{}</q>)</p>",
        search.confidence,
        search.usage.samples,
        Escaped(&search.model.id),
        Escaped(&search.answer)
    )?;
    open_table(out, &["position", "token", "right", "rate", "95%", "decided"])?;
    for outcome in &search.positions {
        let PositionOutcome { position, samples, correct, rate, interval, decided } = outcome;
        let text = trace.tokens.get(*position).map(|token| format!("{:?}", token.text)).unwrap_or_default();
        let decided = match decided {
            Decided::Hopeful => "hope",
            Decided::Zero => "none",
            Decided::Tail => "in the tail",
            Decided::Open => "open",
        };
        write!(out, "<tr><td>{position}<td><code>{}</code><td>{correct} / {samples}", Escaped(&text))?;
        writeln!(out, "<td>{}<td>{}<td>{decided}</tr>", Number(Some(*rate)), Interval(*interval))?;
    }
    close_table(out)
}

fn write_rollouts(out: &mut String, set: &RolloutSet) -> fmt::Result {
    writeln!(
        out,
        "<p><strong>{} <code>{}</code></strong>: {} rollouts of <em>{}</em> at temperature {}, right answer <q>{}</q>{}</p>",
        set.position,
        Escaped(&format!("{:?}", set.original.token.text)),
        set.rollouts.len(),
        Escaped(&set.model.id),
        set.sampling.temperature,
        Escaped(&set.answer),
        if set.stopped { ", stopped" } else { "" }
    )?;
    open_table(out, &["token", "right", "rate", "95%"])?;
    write_group(out, &set.original, " (the response’s)")?;
    for group in &set.alternatives {
        write_group(out, group, "")?;
    }
    close_table(out)
}

fn write_group(out: &mut String, group: &Group, note: &str) -> fmt::Result {
    write!(out, "<tr><td><code>{}</code>{note}", Escaped(&format!("{:?}", group.token.text)))?;
    write!(out, "<td>{} / {}<td>{}", group.correct, group.samples, Number(group.rate))?;
    writeln!(out, "<td>{}</tr>", Interval(group.interval))
}

fn open_table(out: &mut String, heads: &[&str]) -> fmt::Result {
    write!(out, "<details><summary>numbers</summary><div class=\"scroll\"><table>\n<thead><tr>")?;
    for head in heads {
        write!(out, "<th>{head}")?;
    }
    writeln!(out, "</tr></thead>\n<tbody>")
}

fn close_table(out: &mut String) -> fmt::Result {
    writeln!(out, "</tbody></table></div></details>")
}

/// An interval of a rate.
struct Interval([f64; 2]);

impl fmt::Display for Interval {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [low, high] = self.0;
        write!(f, "{low:.3}–{high:.3}")
    }
}
