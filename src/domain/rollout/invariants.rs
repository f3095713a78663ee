//! What holds in every set of rollouts. Checked when one is made and when one is imported.

use std::collections::{BTreeMap, HashSet};

use super::{AlternativesSource, Group, Pool, Rollout, RolloutSet};
use crate::domain::invariants::{Defect, is_id};
use crate::domain::verdict::VerdictStatus;

/// Rates are computed from counts; another machine's logarithm may differ in the last bits.
const SLACK: f64 = 1e-9;

fn defect<T>(field: impl Into<String>, message: impl Into<String>) -> Result<T, Defect> {
    Err(Defect { field: field.into(), message: message.into() })
}

/// Whether a text has the form of a set's id.
pub fn is_rollouts_id(id: &str) -> bool {
    is_id("roll_", id)
}

impl RolloutSet {
    /// Checks the relations between the fields: counts, rates, rollouts and draws agree, numbers are finite, no token
    /// stands twice, spans lie within the text.
    pub fn check(&self) -> Result<(), Defect> {
        if !is_rollouts_id(&self.id) {
            return defect("id", "must be `roll_` and 26 characters of Crockford's base 32");
        }
        if let Err(error) = self.sampling.check() {
            return defect(format!("sampling.{}", error.field), error.message);
        }
        self.check_tokens()?;
        self.check_drawn()?;
        let mut counted = self.recount()?;
        check_group(&self.original, &mut counted[0], "original")?;
        for (index, (group, counted)) in self.alternatives.iter().zip(&mut counted[1..]).enumerate() {
            check_group(group, counted, &format!("alternatives[{index}]"))?;
        }
        check_pool(&self.with_token, &Pool::of([&self.original]), "with_token")?;
        check_pool(&self.without_token, &Pool::of(&self.alternatives), "without_token")
    }

    fn check_tokens(&self) -> Result<(), Defect> {
        let mut seen = HashSet::from([self.original.token.id]);
        for (index, group) in self.alternatives.iter().enumerate() {
            if !seen.insert(group.token.id) {
                let message = format!("token {} is the original or an alternative before", group.token.id);
                return defect(format!("alternatives[{index}].token.id"), message);
            }
        }
        Ok(())
    }

    /// Exactly the alternatives that were sampled say how often they were drawn, and have as many rollouts for each time,
    /// unless the set was stopped.
    fn check_drawn(&self) -> Result<(), Defect> {
        let sampled = self.alternatives_source == AlternativesSource::Sampled;
        if self.original.drawn.is_some() {
            return defect("original.drawn", "must be absent: the response's own token is not drawn");
        }
        let mut each = None;
        for (index, group) in self.alternatives.iter().enumerate() {
            let field = || format!("alternatives[{index}].drawn");
            match (sampled, group.drawn) {
                (false, None) => {}
                (true, Some(_)) if self.stopped => {}
                (true, Some(drawn)) => {
                    let samples = group.samples.checked_div(drawn).filter(|samples| samples * drawn == group.samples);
                    if samples.is_none() || *each.get_or_insert(samples) != samples {
                        return defect(field(), "must have the same number of samples for each time as the others");
                    }
                }
                (true, None) | (false, Some(_)) => {
                    return defect(field(), "must be there exactly for alternatives that were sampled");
                }
            }
        }
        Ok(())
    }

    /// The groups as the rollouts make them, the original's first.
    fn recount(&self) -> Result<Vec<Group>, Defect> {
        let groups = std::iter::once(&self.original).chain(&self.alternatives);
        let mut counted: Vec<Group> = groups.map(|group| Group::new(group.token.clone(), group.drawn)).collect();
        let mut before: Option<&Rollout> = None;
        for (place, rollout) in self.rollouts.iter().enumerate() {
            let field = |name: &str| format!("rollouts[{place}].{name}");
            let slot = rollout.alternative.map_or(0, |index| index.saturating_add(1));
            let Some(group) = counted.get_mut(slot) else {
                return defect(field("alternative"), format!("there are {} alternatives", self.alternatives.len()));
            };
            // Ordered by group and number, every number there: so a rollout's number is how many came before it.
            if !self.stopped && rollout.index != group.samples {
                return defect(field("index"), format!("is {}, where {} is next", rollout.index, group.samples));
            }
            let after = before.replace(rollout).filter(|before| before.alternative == rollout.alternative);
            if after.is_some_and(|before| before.index >= rollout.index) {
                return defect(field("index"), "must ascend within its group");
            }
            group.count(rollout.verdict.status);
            self.check_rollout(rollout, field)?;
        }
        let sorted = self.rollouts.is_sorted_by_key(|rollout| rollout.alternative);
        if !sorted {
            return defect("rollouts", "must hold the original's first, then each alternative's in turn");
        }
        Ok(counted)
    }

    fn check_rollout(&self, rollout: &Rollout, field: impl Fn(&str) -> String) -> Result<(), Defect> {
        let Rollout { alternative: _, index: _, text, token_ids, start, finish_reason: _, verdict } = rollout;
        if token_ids.len() > self.sampling.max_tokens {
            return defect(field("token_ids"), format!("holds more than {} tokens", self.sampling.max_tokens));
        }
        let within = |[from, to]: [usize; 2], extracted: &str| {
            // Of the full response, only the rollout's own text is at hand.
            let own = |at: usize| at.checked_sub(*start);
            let length = to.checked_sub(from);
            let known = own(from).zip(own(to)).map(|(from, to)| text.get(from..to));
            length == Some(extracted.len())
                && own(to).is_none_or(|to| to <= text.len())
                && known.is_none_or(|known| known == Some(extracted))
        };
        let sound = match (verdict.span, &verdict.extracted) {
            (Some(span), Some(extracted)) => within(span, extracted),
            (None, None) => true,
            (Some(_), None) | (None, Some(_)) => false,
        };
        if !sound {
            let message = "must be the place of `extracted` in the full response, and absent without it";
            return defect(field("verdict.span"), message);
        }
        let answered = matches!(verdict.status, VerdictStatus::Correct | VerdictStatus::Wrong);
        if answered && verdict.extracted.is_none() {
            return defect(field("verdict.extracted"), format!("is missing from a {} rollout", verdict.status.name()));
        }
        Ok(())
    }
}

fn check_group(group: &Group, counted: &mut Group, name: &str) -> Result<(), Defect> {
    counted.settle();
    let counts = [
        ("samples", group.samples, counted.samples),
        ("correct", group.correct, counted.correct),
        ("unparsed", group.unparsed, counted.unparsed),
        ("timeout", group.timeout, counted.timeout),
    ];
    if let Some((field, said, are)) = counts.into_iter().find(|(_, said, are)| said != are) {
        return defect(format!("{name}.{field}"), format!("is {said}, and the rollouts make it {are}"));
    }
    if let Some((model, _)) = group.logprob.iter().find(|(_, logprob)| !logprob.is_finite()) {
        return defect(format!("{name}.logprob.{model}"), "must be finite");
    }
    let rates = group.rate.is_none() == counted.rate.is_none()
        && near(group.rate.unwrap_or_default(), counted.rate.unwrap_or_default());
    if !rates {
        return defect(format!("{name}.rate"), "must be correct / samples");
    }
    if !group.interval.iter().zip(counted.interval).all(|(said, is)| near(*said, is)) {
        return defect(format!("{name}.interval"), "must be Wilson's interval of the counts");
    }
    check_curve(&group.pass_at_k, &counted.pass_at_k, name)
}

fn check_pool(pool: &Pool, counted: &Pool, name: &str) -> Result<(), Defect> {
    for (field, said, are) in [("samples", pool.samples, counted.samples), ("correct", pool.correct, counted.correct)] {
        if said != are {
            return defect(format!("{name}.{field}"), format!("is {said}, and the groups make it {are}"));
        }
    }
    check_curve(&pool.pass_at_k, &counted.pass_at_k, name)
}

fn check_curve(said: &BTreeMap<usize, f64>, are: &BTreeMap<usize, f64>, name: &str) -> Result<(), Defect> {
    let same = said.keys().eq(are.keys()) && said.values().zip(are.values()).all(|(said, is)| near(*said, *is));
    if same { Ok(()) } else { defect(format!("{name}.pass_at_k"), "must be the estimates that the counts give") }
}

fn near(a: f64, b: f64) -> bool {
    (a - b).abs() <= SLACK
}
