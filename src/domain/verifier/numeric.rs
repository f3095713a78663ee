//! The value of an answer at a point, in complex floating point. Decides only where the exact form cannot.

use num_complex::Complex64;
use num_traits::ToPrimitive as _;

use super::budget::{Budget, Exhausted};
use super::expr::{Constant, Expr, Function};

/// Points at which two expressions are compared, and how many must have a value.
const POINTS: u64 = 8;
const NEEDED: usize = 3;
/// Largest difference, relative to the larger value.
const TOLERANCE: f64 = 1e-9;

/// Whether two expressions have the same values at several fixed points. What has no value in too many of them is equal
/// to nothing.
pub(super) fn equal(a: &Expr, b: &Expr, budget: &mut Budget) -> Result<bool, Exhausted> {
    let mut agreed = 0;
    for point in 0..POINTS {
        let (a, b) = (value(a, point, budget)?, value(b, point, budget)?);
        if !a.is_finite() || !b.is_finite() {
            continue;
        }
        let scale = a.norm().max(b.norm()).max(1e-4);
        if (a - b).norm() > TOLERANCE * scale {
            return Ok(false);
        }
        agreed += 1;
    }
    Ok(agreed >= NEEDED)
}

/// The value of an expression without variables; `None` if it has none or is not real.
pub(super) fn real(expr: &Expr, budget: &mut Budget) -> Result<Option<f64>, Exhausted> {
    let value = value(expr, 0, budget)?;
    Ok((value.is_finite() && value.im.abs() <= TOLERANCE * value.norm().max(1e-4)).then_some(value.re))
}

fn none() -> Complex64 {
    Complex64::new(f64::NAN, f64::NAN)
}

/// A variable's value at a point: positive at the first half of them, for roots and logarithms, and of either sign later.
fn at_point(name: &str, point: u64) -> f64 {
    // FNV-1a, then the finaliser of splitmix64: the same everywhere, and unlike for like names.
    let seed = name
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325 ^ point, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3));
    let mut mixed = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^= mixed >> 31;
    let share = (mixed >> 11) as f64 / (1u64 << 53) as f64;
    let size = 0.3 + 2.4 * share;
    if point >= POINTS / 2 && mixed & 1 == 1 { -size } else { size }
}

fn value(expr: &Expr, point: u64, budget: &mut Budget) -> Result<Complex64, Exhausted> {
    budget.spend(4)?;
    Ok(match expr {
        Expr::Number(number) => Complex64::from(number.value.to_f64().unwrap_or(f64::NAN)),
        Expr::Based { digits, base } => {
            let fold = |sum: f64, digit: char| sum * f64::from(*base) + digit.to_digit(36).map_or(f64::NAN, f64::from);
            Complex64::from(digits.chars().fold(0.0, fold))
        }
        Expr::Symbol(name) => Complex64::from(at_point(name, point)),
        Expr::Constant(Constant::Pi) => Complex64::from(std::f64::consts::PI),
        Expr::Constant(Constant::E) => Complex64::from(std::f64::consts::E),
        Expr::Constant(Constant::I) => Complex64::i(),
        Expr::Constant(Constant::Infinity) => none(),
        Expr::Sum(terms) => {
            let mut sum = Complex64::from(0.0);
            for term in terms {
                sum += value(term, point, budget)?;
            }
            sum
        }
        Expr::Product(factors) => {
            let mut product = Complex64::from(1.0);
            for factor in factors {
                product *= value(factor, point, budget)?;
            }
            product
        }
        Expr::Negative(inner) => -value(inner, point, budget)?,
        Expr::Quotient(over, under) => value(over, point, budget)? / value(under, point, budget)?,
        Expr::Power(base, exponent) => power(value(base, point, budget)?, value(exponent, point, budget)?),
        Expr::Root { index, of } => {
            let (index, of) = (value(index, point, budget)?, value(of, point, budget)?);
            // The odd root of a negative number is negative, and not the principal one.
            if of.im == 0.0 && of.re < 0.0 && index.re % 2.0 == 1.0 {
                Complex64::from(-(-of.re).powf(1.0 / index.re))
            } else {
                power(of, Complex64::from(1.0) / index)
            }
        }
        Expr::Function(function, of) => apply(*function, value(of, point, budget)?),
        Expr::Log { base, of } => value(of, point, budget)?.ln() / value(base, point, budget)?.ln(),
        Expr::Percent(of) => value(of, point, budget)? / 100.0,
        Expr::Degrees(of) => value(of, point, budget)? * std::f64::consts::PI / 180.0,
        Expr::Factorial(of) => factorial(value(of, point, budget)?),
        Expr::Binomial(n, k) => {
            let (n, k) = (value(n, point, budget)?, value(k, point, budget)?);
            factorial(n) / factorial(k) / factorial(n - k)
        }
        Expr::Text(_)
        | Expr::PlusMinus(..)
        | Expr::List(_)
        | Expr::Bracketed { .. }
        | Expr::Set(_)
        | Expr::Union(_)
        | Expr::Matrix(_)
        | Expr::Relation(..) => none(),
    })
}

fn power(base: Complex64, exponent: Complex64) -> Complex64 {
    if exponent.im == 0.0 && exponent.re.fract() == 0.0 && exponent.re.abs() < 1e6 {
        return base.powi(exponent.re as i32);
    }
    if base.im == 0.0 && base.re >= 0.0 && exponent.im == 0.0 {
        return Complex64::from(base.re.powf(exponent.re));
    }
    base.powc(exponent)
}

fn factorial(of: Complex64) -> Complex64 {
    if of.im == 0.0 && of.re.fract() == 0.0 && (0.0..=170.0).contains(&of.re) {
        return Complex64::from((1..=of.re as u32).map(f64::from).product::<f64>());
    }
    none()
}

fn apply(function: Function, of: Complex64) -> Complex64 {
    let rounded = |round: fn(f64) -> f64| match of.im == 0.0 {
        true => Complex64::from(round(of.re)),
        false => none(),
    };
    match function {
        Function::Sin => of.sin(),
        Function::Cos => of.cos(),
        Function::Tan => of.tan(),
        Function::Cot => of.cos() / of.sin(),
        Function::Sec => of.cos().inv(),
        Function::Csc => of.sin().inv(),
        Function::Arcsin => of.asin(),
        Function::Arccos => of.acos(),
        Function::Arctan => of.atan(),
        Function::Sinh => of.sinh(),
        Function::Cosh => of.cosh(),
        Function::Tanh => of.tanh(),
        Function::Ln => of.ln(),
        Function::Exp => of.exp(),
        Function::Abs => Complex64::from(of.norm()),
        Function::Floor => rounded(f64::floor),
        Function::Ceil => rounded(f64::ceil),
    }
}
