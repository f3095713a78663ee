//! Whether two answers say the same: values, points, sets, matrices, and what they are called.

use super::budget::{Budget, Exhausted};
use super::expr::{Expr, Relation};
use super::relation;
use super::scalar;

/// Most items of a collection that are matched in any order.
const ITEMS: usize = 256;

type Answer = Result<bool, Exhausted>;

/// Whether `given` answers `wanted`. Not symmetric: `x = 5` answers `5`, and the reference's form decides what is asked.
pub(super) fn same(wanted: &Expr, given: &Expr, budget: &mut Budget) -> Answer {
    budget.spend(8)?;
    if wanted == given {
        return Ok(true);
    }
    if let Some(split) = plus_minus(wanted) {
        return same(&split, given, budget);
    }
    if let Some(split) = plus_minus(given) {
        return same(wanted, &split, budget);
    }
    match (wanted, given) {
        (Expr::Relation(_, rest), _) if member(rest).is_some() => match member(rest) {
            Some(set) => same(set, given, budget),
            None => Ok(false),
        },
        (_, Expr::Relation(_, rest)) if member(rest).is_some() => match member(rest) {
            Some(set) => same(wanted, set, budget),
            None => Ok(false),
        },
        (Expr::Relation(first, rest), Expr::Relation(other, others)) => {
            relation::same((first, rest), (other, others), budget)
        }
        (_, Expr::Relation(..)) => match relation::intervals(given) {
            Some(parts) => in_any_order(&relation::parts(wanted), &parts, budget),
            None => any_value(wanted, given, budget),
        },
        (Expr::Relation(first, rest), _) => match relation::intervals(wanted) {
            Some(parts) => in_any_order(&parts, &relation::parts(given), budget),
            // `x = 5` is answered by `5`, and `2x + z = 1` is not answered by `1`.
            None => match (&**first, rest.last()) {
                (Expr::Symbol(_), Some((Relation::Equal, value))) => same(value, given, budget),
                // `f(x) = …`
                (Expr::Product(name), Some((Relation::Equal, value)))
                    if name.len() == 2 && name.iter().all(|part| matches!(part, Expr::Symbol(_))) =>
                {
                    same(value, given, budget)
                }
                _ => Ok(false),
            },
        },
        (Expr::List(items), Expr::List(others) | Expr::Set(others))
        | (Expr::Set(items), Expr::List(others) | Expr::Set(others)) => {
            in_any_order(&distinct(items, budget)?, &distinct(others, budget)?, budget)
        }
        // `x < 1 or x > 2` against a union of intervals.
        (Expr::List(_), Expr::Union(_)) | (Expr::Union(_), Expr::List(_)) => {
            match (relation::intervals(wanted), relation::intervals(given)) {
                (Some(parts), Some(others)) => in_any_order(&parts, &others, budget),
                _ => Ok(false),
            }
        }
        (Expr::Union(parts), Expr::Union(others)) => in_any_order(parts, others, budget),
        (
            Expr::Bracketed { open, close, items },
            Expr::Bracketed { open: other_open, close: other_close, items: others },
        ) => Ok(open == other_open && close == other_close && in_order(items, others, budget)?),
        // `1, 2` for the point `(1, 2)`, and the other way round.
        (Expr::Bracketed { open: '(', close: ')', items }, Expr::List(others))
        | (Expr::List(items), Expr::Bracketed { open: '(', close: ')', items: others }) => {
            in_order(items, others, budget)
        }
        (Expr::Set(items), other) | (other, Expr::Set(items)) if items.len() == 1 && is_scalar(other) => {
            match matches!(wanted, Expr::Set(_)) {
                true => same(&items[0], other, budget),
                false => same(other, &items[0], budget),
            }
        }
        (Expr::Matrix(rows), Expr::Matrix(others)) => {
            let shaped = rows.len() == others.len();
            Ok(shaped && all(rows.iter().zip(others), |(row, other)| in_order(row, other, budget))?)
        }
        // A vector written as a column or as a row.
        (Expr::Matrix(rows), Expr::Bracketed { items, .. }) => vector(rows, items, true, budget),
        (Expr::Bracketed { items, .. }, Expr::Matrix(rows)) => vector(rows, items, false, budget),
        (Expr::Text(text), Expr::Text(other)) => Ok(text.eq_ignore_ascii_case(other)),
        (wanted, given) if is_scalar(wanted) && is_scalar(given) => scalars(wanted, given, budget),
        _ => Ok(false),
    }
}

/// The set of `x \in S`.
fn member(rest: &[(Relation, Expr)]) -> Option<&Expr> {
    match rest {
        [(Relation::In, set)] => Some(set),
        _ => None,
    }
}

/// `a \pm b` as the two values that it stands for, at the top of an expression or behind an equals sign.
#[expect(clippy::wildcard_enum_match_arm, reason = "a few of many kinds are meant, and any other kind is not")]
fn plus_minus(expr: &Expr) -> Option<Expr> {
    match expr {
        Expr::PlusMinus(before, after) => {
            let minus = Expr::Negative(after.clone());
            Some(match before {
                Some(before) => Expr::List(vec![
                    Expr::Sum(vec![(**before).clone(), (**after).clone()]),
                    Expr::Sum(vec![(**before).clone(), minus]),
                ]),
                None => Expr::List(vec![(**after).clone(), minus]),
            })
        }
        Expr::Quotient(over, under) => {
            // `\frac{1 \pm \sqrt{5}}{2}`
            let Expr::List(values) = plus_minus(over)? else { return None };
            Some(Expr::List(values.into_iter().map(|value| Expr::Quotient(Box::new(value), under.clone())).collect()))
        }
        Expr::Relation(first, rest) => match (&**first, rest.as_slice()) {
            (Expr::Symbol(_), [(Relation::Equal, value)]) => plus_minus(value),
            _ => None,
        },
        _ => None,
    }
}

/// Whether the value that a chain of equations comes to is the wanted one; of `1/3 ≈ 0.33` either side counts.
fn any_value(wanted: &Expr, given: &Expr, budget: &mut Budget) -> Answer {
    let Expr::Relation(first, rest) = given else { return Ok(false) };
    let mut values = Vec::new();
    let mut before = &**first;
    for (relation, value) in rest {
        match relation {
            Relation::Approximately => values.push(before),
            Relation::Equal => {}
            Relation::NotEqual
            | Relation::Less
            | Relation::LessOrEqual
            | Relation::Greater
            | Relation::GreaterOrEqual
            | Relation::In => return Ok(false),
        }
        before = value;
    }
    values.push(before);
    any(values, |value| same(wanted, value, budget))
}

fn is_scalar(expr: &Expr) -> bool {
    !matches!(
        expr,
        Expr::Text(_)
            | Expr::List(_)
            | Expr::Bracketed { .. }
            | Expr::Set(_)
            | Expr::Union(_)
            | Expr::Matrix(_)
            | Expr::Relation(..)
            | Expr::PlusMinus(..)
    )
}

/// Values, with what they are counted in: a lone `50%` is 50 as well as 0.5, and a lone `30°` is 30.
fn scalars(wanted: &Expr, given: &Expr, budget: &mut Budget) -> Answer {
    match (wanted, given) {
        (Expr::Percent(a), Expr::Percent(b)) | (Expr::Degrees(a), Expr::Degrees(b)) => scalar::equal(a, b, budget),
        (Expr::Percent(a), b) => Ok(scalar::equal(a, b, budget)? || scalar::equal(wanted, b, budget)?),
        (a, Expr::Percent(b)) => Ok(scalar::equal(a, b, budget)? || scalar::equal(a, given, budget)?),
        (Expr::Degrees(a), b) | (b, Expr::Degrees(a)) => scalar::equal(a, b, budget),
        (Expr::Based { digits, base }, Expr::Based { digits: others, base: other }) => {
            Ok(base == other && digits.trim_start_matches('0') == others.trim_start_matches('0'))
        }
        // The question names the base; the digits are the answer.
        (Expr::Based { digits, .. }, Expr::Number(number)) | (Expr::Number(number), Expr::Based { digits, .. }) => {
            Ok(number.places == 0 && number.value.to_string() == digits.trim_start_matches('0'))
        }
        _ => scalar::equal(wanted, given, budget),
    }
}

fn vector(rows: &[Vec<Expr>], items: &[Expr], matrix_wanted: bool, budget: &mut Budget) -> Answer {
    let entries: Vec<Expr> = match rows {
        [row] => row.clone(),
        rows if rows.iter().all(|row| row.len() == 1) => rows.concat(),
        _ => return Ok(false),
    };
    if matrix_wanted { in_order(&entries, items, budget) } else { in_order(items, &entries, budget) }
}

fn in_order(wanted: &[Expr], given: &[Expr], budget: &mut Budget) -> Answer {
    Ok(wanted.len() == given.len() && all(wanted.iter().zip(given), |(wanted, given)| same(wanted, given, budget))?)
}

pub(super) fn in_any_order(wanted: &[Expr], given: &[Expr], budget: &mut Budget) -> Answer {
    if wanted.len() != given.len() || wanted.len() > ITEMS {
        return Ok(false);
    }
    let mut left: Vec<&Expr> = given.iter().collect();
    for wanted in wanted {
        let mut found = None;
        for (index, given) in left.iter().enumerate() {
            if same(wanted, given, budget)? {
                found = Some(index);
                break;
            }
        }
        match found {
            Some(index) => left.swap_remove(index),
            None => return Ok(false),
        };
    }
    Ok(true)
}

/// Items without exact repetitions: `\{1, 1\}` is `\{1\}`.
fn distinct(items: &[Expr], budget: &mut Budget) -> Result<Vec<Expr>, Exhausted> {
    let mut kept: Vec<Expr> = Vec::with_capacity(items.len());
    for item in items {
        budget.spend(kept.len() as u64 * 4)?;
        if !kept.contains(item) {
            kept.push(item.clone());
        }
    }
    Ok(kept)
}

fn all<T>(items: impl IntoIterator<Item = T>, mut test: impl FnMut(T) -> Answer) -> Answer {
    for item in items {
        if !test(item)? {
            return Ok(false);
        }
    }
    Ok(true)
}

fn any<T>(items: impl IntoIterator<Item = T>, mut test: impl FnMut(T) -> Answer) -> Answer {
    for item in items {
        if test(item)? {
            return Ok(true);
        }
    }
    Ok(false)
}
