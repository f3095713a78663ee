//! Polynomials over atoms with exact coefficients: the form in which equal answers look the same.
//!
//! An atom is a variable, `\pi`, `i`, the square root of a prime, or anything that is not taken apart. Powers of roots and
//! of `i` are reduced as they arise. Every operation pays for its size before it is done.

use std::collections::BTreeMap;

use num_bigint::BigInt;
use num_integer::Integer as _;
use num_rational::BigRational;
use num_traits::{One as _, Zero as _};

use super::budget::{Budget, Exhausted};

/// Largest number, in bits: a little under ten thousand decimal digits.
pub(super) const BITS: u64 = 1 << 15;

/// What a polynomial is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Atom {
    /// Independent of every other atom: a variable, `\pi`, `e`, infinity.
    Free(String),
    /// `i`.
    Imaginary,
    /// The `index`-th root of a whole number above one.
    Root { index: u32, of: BigInt },
    /// What is not taken apart, by a text that equal things have in common.
    Opaque(String),
}

/// The atoms of the expressions that are compared; an atom is its place here.
#[derive(Debug, Default)]
pub(super) struct Atoms {
    known: Vec<Atom>,
    /// Whether some atom may be expressed by others, so that different forms prove nothing.
    pub(super) dependent: bool,
}

impl Atoms {
    pub(super) fn place(&mut self, atom: Atom) -> u32 {
        let place = self.known.iter().position(|known| *known == atom).unwrap_or_else(|| {
            self.known.push(atom);
            self.known.len() - 1
        });
        u32::try_from(place).unwrap_or(u32::MAX)
    }
}

/// Atoms with their exponents, by place.
type Monomial = Vec<(u32, u32)>;

#[derive(Debug, Clone, PartialEq)]
pub(super) struct Polynomial {
    terms: BTreeMap<Monomial, BigRational>,
}

impl Polynomial {
    pub(super) fn constant(value: BigRational) -> Self {
        let terms = if value.is_zero() { BTreeMap::new() } else { BTreeMap::from([(Vec::new(), value)]) };
        Self { terms }
    }

    pub(super) fn atom(place: u32) -> Self {
        Self { terms: BTreeMap::from([(vec![(place, 1)], BigRational::one())]) }
    }

    pub(super) fn is_zero(&self) -> bool {
        self.terms.is_empty()
    }

    /// The value of a polynomial without atoms.
    pub(super) fn as_constant(&self) -> Option<BigRational> {
        match self.terms.len() {
            0 => Some(BigRational::zero()),
            1 => self.terms.get(&Vec::new()).cloned(),
            _ => None,
        }
    }

    /// The factor by which `other` has to be taken to be this; `None` if there is none, and for zero.
    pub(super) fn ratio(&self, other: &Self, budget: &mut Budget) -> Result<Option<BigRational>, Exhausted> {
        let (Some((_, over)), Some((_, under))) = (self.terms.first_key_value(), other.terms.first_key_value()) else {
            return Ok(None);
        };
        pay(over, under, budget)?;
        let ratio = over / under;
        let scaled = other.times(&Self::constant(ratio.clone()), &Atoms::default(), budget)?;
        Ok((scaled == *self).then_some(ratio))
    }

    pub(super) fn plus(mut self, other: &Self, sign: i32, budget: &mut Budget) -> Result<Self, Exhausted> {
        for (monomial, coefficient) in &other.terms {
            let entry = self.terms.entry(monomial.clone()).or_insert_with(BigRational::zero);
            pay(entry, coefficient, budget)?;
            if sign < 0 {
                *entry -= coefficient;
            } else {
                *entry += coefficient;
            }
            if entry.is_zero() {
                self.terms.remove(monomial);
            }
        }
        Ok(self)
    }

    pub(super) fn times(&self, other: &Self, atoms: &Atoms, budget: &mut Budget) -> Result<Self, Exhausted> {
        let mut product = Self { terms: BTreeMap::new() };
        for (left, a) in &self.terms {
            for (right, b) in &other.terms {
                pay(a, b, budget)?;
                budget.spend(40 + (left.len() + right.len()) as u64 * 4)?;
                let mut coefficient = a * b;
                let monomial = reduced(merged(left, right)?, &mut coefficient, atoms, budget)?;
                let entry = product.terms.entry(monomial).or_insert_with(BigRational::zero);
                pay(entry, &coefficient, budget)?;
                *entry += coefficient;
            }
        }
        product.terms.retain(|_, coefficient| !coefficient.is_zero());
        Ok(product)
    }

    pub(super) fn power(&self, exponent: u32, atoms: &Atoms, budget: &mut Budget) -> Result<Self, Exhausted> {
        let (mut result, mut base, mut left) = (Self::constant(BigRational::one()), self.clone(), exponent);
        // The result's size is known beforehand, and it costs nothing to refuse it.
        let bits = self.terms.values().map(bits).max().unwrap_or(0);
        let trivial = self.terms.values().all(|value| value.numer().magnitude().is_one() && value.is_integer());
        if !trivial && bits.saturating_mul(u64::from(exponent)) > 2 * BITS {
            return Err(Exhausted);
        }
        while left > 0 {
            if left.is_odd() {
                result = result.times(&base, atoms, budget)?;
            }
            left /= 2;
            if left > 0 {
                base = base.times(&base, atoms, budget)?;
            }
        }
        Ok(result)
    }

    /// A text that only this polynomial has.
    pub(super) fn key(&self) -> String {
        use std::fmt::Write as _;
        let mut key = String::new();
        for (monomial, coefficient) in &self.terms {
            let _ = write!(key, "{coefficient}{monomial:?}");
        }
        key
    }
}

fn merged(left: &Monomial, right: &Monomial) -> Result<Monomial, Exhausted> {
    let mut all: Monomial = Vec::with_capacity(left.len() + right.len());
    let (mut i, mut j) = (0, 0);
    while i < left.len() || j < right.len() {
        let next = match (left.get(i), right.get(j)) {
            (Some(a), Some(b)) if a.0 == b.0 => {
                (i, j) = (i + 1, j + 1);
                (a.0, a.1.checked_add(b.1).ok_or(Exhausted)?)
            }
            (Some(a), b) if b.is_none_or(|b| a.0 < b.0) => {
                i += 1;
                *a
            }
            (_, Some(b)) => {
                j += 1;
                *b
            }
            (_, None) => break,
        };
        all.push(next);
    }
    Ok(all)
}

/// Takes whole powers out of roots and of `i`, into the coefficient.
fn reduced(
    monomial: Monomial,
    coefficient: &mut BigRational,
    atoms: &Atoms,
    budget: &mut Budget,
) -> Result<Monomial, Exhausted> {
    let mut kept = Vec::with_capacity(monomial.len());
    for (place, mut exponent) in monomial {
        match atoms.known.get(place as usize) {
            Some(Atom::Imaginary) => {
                if exponent / 2 % 2 == 1 {
                    *coefficient = -&*coefficient;
                }
                exponent %= 2;
            }
            Some(Atom::Root { index, of }) if exponent >= *index => {
                let whole = exponent / index;
                if of.bits().saturating_mul(u64::from(whole)) > BITS {
                    return Err(Exhausted);
                }
                let factor = BigRational::from_integer(of.pow(whole));
                pay(coefficient, &factor, budget)?;
                *coefficient *= factor;
                exponent %= index;
            }
            Some(Atom::Root { .. } | Atom::Free(_) | Atom::Opaque(_)) | None => {}
        }
        if exponent > 0 {
            kept.push((place, exponent));
        }
    }
    Ok(kept)
}

pub(super) fn bits(value: &BigRational) -> u64 {
    value.numer().bits() + value.denom().bits()
}

/// Pays for one operation on two numbers, and refuses numbers that are too large.
pub(super) fn pay(a: &BigRational, b: &BigRational, budget: &mut Budget) -> Result<(), Exhausted> {
    let bits = bits(a) + bits(b);
    if bits > 4 * BITS {
        return Err(Exhausted);
    }
    let words = bits / 64 + 1;
    budget.spend(words * words)
}
