//! Whether two expressions have the same value: exactly, by normal form, where that decides, and else at fixed points.

use num_rational::BigRational;
use num_traits::{Signed as _, ToPrimitive as _};

use super::budget::{Budget, Exhausted};
use super::expr::Expr;
use super::normal::{Fraction, NoForm, Normalizer};
use super::numeric;
use super::polynomial::{Atoms, Polynomial};

/// Decimal places from which on a decimal may stand for a fraction or an irrational number: `0.333333` is `1/3`, and
/// `0.33` is not.
const PLACES: u32 = 6;
/// Significant digits that such a decimal must have.
const SIGNIFICANT: i32 = 4;

/// Whether two scalars are equal.
pub(super) fn equal(a: &Expr, b: &Expr, budget: &mut Budget) -> Result<bool, Exhausted> {
    let mut normalizer = Normalizer { atoms: Atoms::default(), budget: &mut *budget };
    let exact = exact(a, b, &mut normalizer);
    let dependent = normalizer.atoms.dependent;
    match exact {
        Ok(Exact::Equal) => return Ok(true),
        Ok(Exact::Different(values)) => {
            if places(a).or(places(b)).is_some() {
                return rounded(a, b, values, budget);
            }
            // Of independent atoms, different polynomials are different values.
            if !dependent {
                return Ok(false);
            }
        }
        Err(NoForm::Undefined) => return Ok(false),
        Err(NoForm::Unsupported) => {}
        // Too large to multiply out. With variables its values still tell; a number is just too large.
        Err(NoForm::Exhausted) if !has_symbols(a) && !has_symbols(b) => return Err(Exhausted),
        Err(NoForm::Exhausted) => {}
    }
    numeric::equal(a, b, budget)
}

/// How two normal forms compare.
enum Exact {
    Equal,
    /// With both values, where they are rational numbers.
    Different(Option<(BigRational, BigRational)>),
}

fn exact(a: &Expr, b: &Expr, normalizer: &mut Normalizer<'_>) -> Result<Exact, NoForm> {
    let (left, right) = (normalizer.form(a)?, normalizer.form(b)?);
    if normalizer.difference(&left, &right)?.is_zero() {
        return Ok(Exact::Equal);
    }
    Ok(Exact::Different(constant(&left).zip(constant(&right))))
}

fn constant(fraction: &Fraction) -> Option<BigRational> {
    Some(fraction.over.as_constant()? / fraction.under.as_constant()?)
}

/// The decimal places of a plain decimal that has enough of them to be somebody's rounding.
#[expect(clippy::wildcard_enum_match_arm, reason = "a few of many kinds are meant, and any other kind is not")]
fn places(expr: &Expr) -> Option<u32> {
    match expr {
        Expr::Number(number) => Some(number.places).filter(|places| *places >= PLACES),
        Expr::Negative(inner) | Expr::Percent(inner) => places(inner),
        _ => None,
    }
}

/// Whether a long decimal is the other value, rounded or cut off at its last place or at a double's precision.
fn rounded(
    a: &Expr,
    b: &Expr,
    exact: Option<(BigRational, BigRational)>,
    budget: &mut Budget,
) -> Result<bool, Exhausted> {
    let places = places(a).into_iter().chain(places(b)).min().unwrap_or(PLACES);
    let place = 10f64.powi(-i32::try_from(places.min(300)).unwrap_or(300));
    let (difference, size) = match exact {
        Some((a, b)) => {
            let size = a.abs().to_f64().unwrap_or(f64::INFINITY);
            ((a - b).abs().to_f64().unwrap_or(f64::INFINITY), size)
        }
        None => match (numeric::real(a, budget)?, numeric::real(b, budget)?) {
            (Some(a), Some(b)) => ((a - b).abs(), a.abs()),
            _ => return Ok(false),
        },
    };
    let noise = size * 2f64.powi(-50);
    Ok(size >= place * 10f64.powi(SIGNIFICANT - 1) && difference < place.max(noise))
}

/// Whether an expression has variables.
fn has_symbols(expr: &Expr) -> bool {
    match expr {
        Expr::Symbol(_) => true,
        Expr::Sum(parts) | Expr::Product(parts) => parts.iter().any(has_symbols),
        Expr::Negative(inner)
        | Expr::Function(_, inner)
        | Expr::Factorial(inner)
        | Expr::Percent(inner)
        | Expr::Degrees(inner) => has_symbols(inner),
        Expr::Quotient(a, b) | Expr::Power(a, b) | Expr::Binomial(a, b) => has_symbols(a) || has_symbols(b),
        Expr::Root { index: a, of: b } | Expr::Log { base: a, of: b } => has_symbols(a) || has_symbols(b),
        Expr::Number(_)
        | Expr::Based { .. }
        | Expr::Text(_)
        | Expr::Constant(_)
        | Expr::PlusMinus(..)
        | Expr::List(_)
        | Expr::Bracketed { .. }
        | Expr::Set(_)
        | Expr::Union(_)
        | Expr::Matrix(_)
        | Expr::Relation(..) => false,
    }
}

/// How two differences of an equation's sides relate: the sign of `a / b` where that is a number other than zero.
pub(super) fn proportion(a: &Expr, b: &Expr, budget: &mut Budget) -> Result<Option<bool>, Exhausted> {
    let mut normalizer = Normalizer { atoms: Atoms::default(), budget };
    let forms = normalizer.form(a).and_then(|a| Ok((a, normalizer.form(b)?)));
    let (a, b) = match forms {
        Ok(forms) => forms,
        Err(NoForm::Exhausted) => return Err(Exhausted),
        Err(NoForm::Undefined | NoForm::Unsupported) => return Ok(None),
    };
    let one = Polynomial::constant(BigRational::from_integer(1.into()));
    let cross = |a: &Polynomial, b: &Polynomial, normalizer: &mut Normalizer<'_>| {
        if *b == one { Ok(a.clone()) } else { a.times(b, &normalizer.atoms, normalizer.budget) }
    };
    let (left, right) = (cross(&a.over, &b.under, &mut normalizer)?, cross(&b.over, &a.under, &mut normalizer)?);
    let ratio = left.ratio(&right, normalizer.budget)?;
    Ok(ratio.map(|ratio| ratio.is_positive()))
}
