//! A trace as one page that needs nothing else: no script, no fonts, no network.
//!
//! Everything from the trace is escaped: prompts and model output are strangers' text.

use std::fmt::{self, Display, Write};

use super::proofs::write_proofs;
use crate::domain::critical::CriticalRule;
use crate::domain::model::PerModel;
use crate::domain::trace::{Token, Trace};
use crate::domain::verdict::{Verdict, VerdictStatus};

const STYLE: &str = include_str!("page.css");
/// Where the scale is neutral when the rule names no score of its own.
const NEUTRAL: f64 = 0.05;
/// The score at which the orange side is fullest.
const FULL: f64 = 1e-4;

/// The page's HTML.
pub(super) fn page(trace: &Trace) -> String {
    let mut page = String::with_capacity(4096 + trace.tokens.len() * 300);
    // Writing to a String never fails.
    let _ = write_page(&mut page, trace);
    page
}

fn write_page(out: &mut String, trace: &Trace) -> fmt::Result {
    let scale = Scale::of(trace);
    write!(
        out,
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n\
         <title>{id} · Linchpin</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n<main>\n",
        id = Escaped(&trace.id),
    )?;
    write_head(out, trace)?;
    write!(
        out,
        "<h2>Prompt</h2>\n<details{}><summary>{} tokens</summary>\n<pre class=\"prompt\">\n{}</pre></details>\n",
        if trace.prompt.text.len() <= 1500 { " open" } else { "" },
        trace.usage.prompt_tokens,
        Escaped(&trace.prompt.text)
    )?;
    writeln!(out, "<h2>Response</h2>")?;
    write_legend(out, trace, &scale)?;
    write_response(out, trace, &scale)?;
    write_critical(out, trace)?;
    write_proofs(out, trace)?;
    write_facts(out, trace)?;
    out.write_str("</main>\n</body>\n</html>\n")
}

fn write_head(out: &mut String, trace: &Trace) -> fmt::Result {
    writeln!(out, "<header><h1>{}</h1>", Escaped(&trace.id))?;
    if let Some(verdict) = &trace.verdict {
        write_verdict(out, verdict)?;
    }
    for tag in &trace.tags {
        write!(out, "<span class=\"tag\">{}</span> ", Escaped(tag))?;
    }
    writeln!(out, "</header>")
}

fn write_verdict(out: &mut String, verdict: &Verdict) -> fmt::Result {
    let (symbol, class) = match verdict.status {
        VerdictStatus::Correct => ("✓", "correct"),
        VerdictStatus::Wrong => ("✗", "wrong"),
        VerdictStatus::Unparsed | VerdictStatus::Timeout => ("?", "open"),
    };
    write!(out, "<p class=\"verdict {class}\"><strong>{symbol} {}</strong>", verdict.status.name())?;
    match &verdict.extracted {
        Some(extracted) => write!(out, " — answered <q>{}</q>,", Escaped(extracted))?,
        None => write!(out, " — no final answer found,")?,
    }
    writeln!(out, " reference <q>{}</q></p>", Escaped(&verdict.reference))
}

/// Colours by `log s`: orange below the neutral score, blue above it. Orange and blue stay apart for every common form
/// of colour blindness, and critical tokens are marked by more than colour.
struct Scale {
    neutral: f64,
}

impl Scale {
    fn of(trace: &Trace) -> Self {
        let neutral = match trace.rule {
            CriticalRule::Threshold { value } if value > FULL && value < 1.0 => value,
            CriticalRule::Threshold { .. } | CriticalRule::Lowest { .. } | CriticalRule::Quantile { .. } => NEUTRAL,
        };
        Scale { neutral }
    }

    /// The side and the strength of a score's colour, 0 to 1. The blue side is kept pale: most tokens are on it.
    fn colour(&self, score: f64) -> (&'static str, f64) {
        let distance = score.max(FULL).ln() - self.neutral.ln();
        if distance <= 0.0 {
            ("lo", 0.15 + 0.75 * distance / (FULL.ln() - self.neutral.ln()))
        } else {
            ("hi", 0.4 * distance / -self.neutral.ln())
        }
    }
}

fn write_legend(out: &mut String, trace: &Trace, scale: &Scale) -> fmt::Result {
    if trace.tokens.iter().all(|token| token.score.is_none()) {
        return writeln!(
            out,
            "<p class=\"note\">No scores: the positive or the negative role was empty. Hover a token for the base model's numbers.</p>"
        );
    }
    let rule = match trace.rule {
        CriticalRule::Threshold { value } => format!("s ≤ {value}"),
        CriticalRule::Lowest { k } => format!("the {k} lowest"),
        CriticalRule::Quantile { value } => format!("the lowest {} %", (value * 1e6).round() / 1e4),
    };
    write!(out, "<p class=\"legend\"><span>score s, log scale:</span> ")?;
    let mut steps = vec![FULL, 0.001, 0.01, scale.neutral, 0.1, 0.3, 1.0];
    steps.sort_by(f64::total_cmp);
    steps.dedup();
    for step in steps {
        let (side, strength) = scale.colour(step);
        let (mark, class) = if step == scale.neutral { ("▾ ", " neutral") } else { ("", "") };
        let at_most = if step == FULL { "≤ " } else { "" };
        write!(out, "<span class=\"step {side}{class}\" style=\"--a:{strength:.3}\">{mark}{at_most}{step}</span>")?;
    }
    writeln!(
        out,
        " <span>critical ({}): <span class=\"t crit lo\" style=\"--a:.6\">token</span></span></p>\n\
         <p class=\"note\">Hover a token for its numbers. A low score: the positive model finds the token unlikely, the negative one does not.</p>",
        Escaped(&rule)
    )
}

fn write_response(out: &mut String, trace: &Trace, scale: &Scale) -> fmt::Result {
    out.write_str("<pre class=\"response\">")?;
    let text = &trace.response.text;
    // Tokens may share a character: its text is written once, with the first of them.
    let mut written = 0;
    for token in &trace.tokens {
        let between = text.get(written..token.start).unwrap_or_default();
        write!(out, "{}", Escaped(between))?;
        let own = text.get(token.start.max(written)..token.end).unwrap_or_default();
        written = written.max(token.end);
        write_token(out, token, own, scale)?;
    }
    writeln!(out, "{}</pre>", Escaped(text.get(written..).unwrap_or_default()))
}

fn write_token(out: &mut String, token: &Token, own: &str, scale: &Scale) -> fmt::Result {
    write!(out, "<span class=\"t")?;
    if token.critical {
        write!(out, " crit")?;
    }
    match token.score {
        Some(score) => {
            let (side, strength) = scale.colour(score);
            write!(out, " {side}\" style=\"--a:{strength:.3}\"")?;
        }
        None => write!(out, "\"")?,
    }
    write!(out, " title=\"{}\">", Escaped(&tooltip(token)))?;
    if own.is_empty() {
        // A part of a character that is shown already, or a token without text.
        write!(out, "<i>▯</i>")?;
    } else if own.trim_matches(['\n', '\r']).is_empty() {
        write!(out, "<i>↵</i>{}", Escaped(own))?;
    } else {
        write!(out, "{}", Escaped(own))?;
    }
    write!(out, "</span>")
}

fn tooltip(token: &Token) -> String {
    let mut text = format!("position {}   token {} {:?}\n", token.position, token.id, token.text);
    match token.score {
        Some(score) => text.push_str(&format!("s = {score:.6}{}\n", if token.critical { "   critical" } else { "" })),
        None => text.push_str("no score\n"),
    }
    for (name, logprob, rank, entropy) in models(token) {
        text.push_str(&format!("{name}: logprob {logprob:.4}   rank {rank}   entropy {entropy:.3}\n"));
    }
    text.truncate(text.trim_end().len());
    text
}

/// What each model that took part says of a token.
fn models(token: &Token) -> impl Iterator<Item = (&'static str, f32, u32, f32)> {
    let Token { logprob, rank, entropy, .. } = token;
    let one = |name, logprob: Option<f32>, rank: Option<u32>, entropy: Option<f32>| {
        logprob.zip(rank).zip(entropy).map(|((logprob, rank), entropy)| (name, logprob, rank, entropy))
    };
    [
        one("base", Some(logprob.base), Some(rank.base), Some(entropy.base)),
        one("positive", logprob.positive, rank.positive, entropy.positive),
        one("negative", logprob.negative, rank.negative, entropy.negative),
    ]
    .into_iter()
    .flatten()
}

fn write_critical(out: &mut String, trace: &Trace) -> fmt::Result {
    if trace.critical.is_empty() {
        return Ok(());
    }
    writeln!(
        out,
        "<h2>Critical tokens</h2>\n<div class=\"scroll\"><table>\n<thead><tr><th>position<th>token<th>s<th>base<th>positive<th>negative<th>likeliest instead</tr></thead>\n<tbody>"
    )?;
    for token in trace.tokens.iter().filter(|token| token.critical) {
        write!(
            out,
            "<tr><td>{}<td><code>{}</code><td>{}",
            token.position,
            Escaped(&format!("{:?}", token.text)),
            Number(token.score)
        )?;
        write_three(out, &token.logprob)?;
        write!(out, "<td>")?;
        for other in token.top.iter().filter(|other| other.id != token.id).take(5) {
            let probability = other.logprob.base.exp();
            write!(out, "<code>{}</code> {probability:.3} ", Escaped(&format!("{:?}", other.text)))?;
        }
        writeln!(out, "</tr>")?;
    }
    writeln!(
        out,
        "</tbody></table></div>\n<p class=\"note\">Log probabilities in nats; alternatives with the base model's probability.</p>"
    )
}

fn write_three(out: &mut String, values: &PerModel<f32>) -> fmt::Result {
    for value in [Some(values.base), values.positive, values.negative] {
        write!(out, "<td>{}", Number(value.map(f64::from)))?;
    }
    Ok(())
}

fn write_facts(out: &mut String, trace: &Trace) -> fmt::Result {
    writeln!(out, "<h2>Made by</h2>\n<dl>")?;
    let models = [
        ("base", Some(&trace.models.base)),
        ("positive", trace.models.positive.as_ref()),
        ("negative", trace.models.negative.as_ref()),
    ];
    for (role, model) in models {
        match model {
            Some(model) => {
                let (id, sha256) = (Escaped(&model.id), Escaped(&model.sha256));
                writeln!(out, "<dt>{role}<dd>{id} <span class=\"hash\">{sha256}</span>")?;
            }
            None => writeln!(out, "<dt>{role}<dd>—")?,
        }
    }
    writeln!(
        out,
        "<dt>beta<dd>{}\n<dt>response<dd>{} tokens\n<dt>created<dd>{}\n</dl>",
        trace.beta,
        trace.usage.response_tokens,
        moment(trace.created)
    )
}

/// A time as a reader writes it; the number itself where it lies outside every calendar.
pub(super) fn moment(unix_seconds: i64) -> String {
    match jiff::Timestamp::from_second(unix_seconds) {
        Ok(time) => time.strftime("%Y-%m-%d %H:%M:%S UTC").to_string(),
        Err(_) => format!("{unix_seconds} (Unix seconds)"),
    }
}

/// A number with four digits behind the point, or small ones in scientific form; a dash for none.
pub(super) struct Number(pub(super) Option<f64>);

impl Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(value) if value != 0.0 && value.abs() < 1e-3 => write!(f, "{value:.2e}"),
            Some(value) => write!(f, "{value:.4}"),
            None => f.write_str("—"),
        }
    }
}

/// Text for an element or a quoted attribute.
pub(super) struct Escaped<'a>(pub(super) &'a str);

impl Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = self.0;
        while let Some(at) = rest.find(['&', '<', '>', '"', '\'', '\0', '\r']) {
            f.write_str(&rest[..at])?;
            f.write_str(match rest.as_bytes()[at] {
                b'&' => "&amp;",
                b'<' => "&lt;",
                b'>' => "&gt;",
                b'"' => "&quot;",
                b'\'' => "&#39;",
                b'\r' => "&#13;",
                // HTML has no way to write a NUL.
                _ => "\u{fffd}",
            })?;
            rest = &rest[at + 1..];
        }
        f.write_str(rest)
    }
}
