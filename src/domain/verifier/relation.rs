//! Equations and inequalities: equal up to a factor, up to their sides' order, or as the interval that they describe.

use super::budget::{Budget, Exhausted};
use super::equal;
use super::expr::{Constant, Expr, Relation};
use super::scalar;

/// A chain `first op next op next …`.
type Chain<'a> = (&'a Expr, &'a [(Relation, Expr)]);

/// Whether two chains say the same.
pub(super) fn same(wanted: Chain<'_>, given: Chain<'_>, budget: &mut Budget) -> Result<bool, Exhausted> {
    // `x = 2 + 3 = 5`: an assignment's value is at the end.
    if let (Some((name, value)), Some((other, others))) = (assignment(wanted), assignment(given))
        && name == other
    {
        return equal::same(value, others, budget);
    }
    if wanted.1.len() != given.1.len() {
        return Ok(false);
    }
    Ok(links(wanted, given, budget)? || links(wanted, reversed(given).as_chain(), budget)?)
}

fn assignment(chain: Chain<'_>) -> Option<(&str, &Expr)> {
    match (chain.0, chain.1.last()) {
        (Expr::Symbol(name), Some((_, value))) if chain.1.iter().all(|(relation, _)| *relation == Relation::Equal) => {
            Some((name, value))
        }
        _ => None,
    }
}

struct Reversed(Expr, Vec<(Relation, Expr)>);

impl Reversed {
    fn as_chain(&self) -> Chain<'_> {
        (&self.0, &self.1)
    }
}

fn reversed(chain: Chain<'_>) -> Reversed {
    let mut sides = vec![chain.0.clone()];
    sides.extend(chain.1.iter().map(|(_, side)| side.clone()));
    let relations: Vec<Relation> = chain.1.iter().rev().map(|(relation, _)| relation.flipped()).collect();
    let mut sides = sides.into_iter().rev();
    let first = sides.next().unwrap_or_else(|| chain.0.clone());
    Reversed(first, relations.into_iter().zip(sides).collect())
}

/// Whether every link of one chain is the other's, up to a factor.
fn links(wanted: Chain<'_>, given: Chain<'_>, budget: &mut Budget) -> Result<bool, Exhausted> {
    let (mut left, mut other_left) = (wanted.0, given.0);
    for ((relation, right), (other, other_right)) in wanted.1.iter().zip(given.1) {
        if !link((left, *relation, right), (other_left, *other, other_right), budget)? {
            return Ok(false);
        }
        (left, other_left) = (right, other_right);
    }
    Ok(true)
}

type Link<'a> = (&'a Expr, Relation, &'a Expr);

fn link(wanted: Link<'_>, given: Link<'_>, budget: &mut Budget) -> Result<bool, Exhausted> {
    if wanted.1 == given.1 && equal::same(wanted.0, given.0, budget)? && equal::same(wanted.2, given.2, budget)? {
        return Ok(true);
    }
    let difference = |link: Link<'_>| Expr::Sum(vec![link.0.clone(), Expr::Negative(Box::new(link.2.clone()))]);
    let symmetric = matches!(wanted.1, Relation::Equal | Relation::NotEqual);
    match scalar::proportion(&difference(wanted), &difference(given), budget)? {
        Some(positive) if symmetric || positive => Ok(wanted.1 == given.1),
        Some(_) => Ok(wanted.1 == given.1.flipped()),
        None => Ok(false),
    }
}

/// The intervals that inequalities of one variable describe; `None` if it is none.
#[expect(clippy::wildcard_enum_match_arm, reason = "a few of many kinds are meant, and any other kind is not")]
pub(super) fn intervals(expr: &Expr) -> Option<Vec<Expr>> {
    match expr {
        Expr::Relation(first, rest) => interval(first, rest).map(|interval| vec![interval]),
        Expr::List(items) => items.iter().map(intervals).collect::<Option<Vec<_>>>().map(|parts| parts.concat()),
        Expr::Union(parts) => Some(parts.clone()),
        _ => None,
    }
}

/// The parts of a union, or the expression as its own only part.
pub(super) fn parts(expr: &Expr) -> Vec<Expr> {
    if let Expr::Union(parts) = expr { parts.clone() } else { vec![expr.clone()] }
}

fn interval(first: &Expr, rest: &[(Relation, Expr)]) -> Option<Expr> {
    let infinity = || Expr::Constant(Constant::Infinity);
    let minus_infinity = || Expr::Negative(Box::new(infinity()));
    let bracketed = |open, low, high, close| Expr::Bracketed { open, close, items: vec![low, high] };
    let (low, below, variable, above, high) = match (first, rest) {
        (Expr::Symbol(_), [(relation, bound)]) if !matches!(bound, Expr::Symbol(_)) => {
            return match relation {
                Relation::Less => Some(bracketed('(', minus_infinity(), bound.clone(), ')')),
                Relation::LessOrEqual => Some(bracketed('(', minus_infinity(), bound.clone(), ']')),
                Relation::Greater => Some(bracketed('(', bound.clone(), infinity(), ')')),
                Relation::GreaterOrEqual => Some(bracketed('[', bound.clone(), infinity(), ')')),
                Relation::Equal | Relation::Approximately | Relation::NotEqual | Relation::In => None,
            };
        }
        (bound, [(relation, variable @ Expr::Symbol(_))]) => {
            return interval(variable, &[(relation.flipped(), bound.clone())]);
        }
        (low, [(below, variable), (above, high)]) => (low, below, variable, above, high),
        _ => return None,
    };
    if !matches!(variable, Expr::Symbol(_)) {
        return None;
    }
    let (low, below, above, high) = match below {
        Relation::Less | Relation::LessOrEqual => (low, *below, *above, high),
        Relation::Greater | Relation::GreaterOrEqual => (high, above.flipped(), below.flipped(), low),
        Relation::Equal | Relation::Approximately | Relation::NotEqual | Relation::In => return None,
    };
    let open = if below == Relation::LessOrEqual { '[' } else { '(' };
    let close = match above {
        Relation::Less => ')',
        Relation::LessOrEqual => ']',
        Relation::Greater
        | Relation::GreaterOrEqual
        | Relation::Equal
        | Relation::Approximately
        | Relation::NotEqual
        | Relation::In => return None,
    };
    Some(bracketed(open, low.clone(), high.clone(), close))
}
