//! The exact normal form of an answer: a fraction of two polynomials.

use num_bigint::BigInt;
use num_integer::Integer as _;
use num_rational::BigRational;
use num_traits::{One as _, Signed as _, ToPrimitive as _, Zero as _};

use super::budget::{Budget, Exhausted};
use super::expr::{Constant, Expr, Function};
use super::polynomial::{Atom, Atoms, BITS, Polynomial, bits, pay};

/// Largest `n` of an `n!` that is multiplied out.
const FACTORIAL: u32 = 2000;
/// Largest exponent that is multiplied out.
const EXPONENT: u32 = 1 << 16;
/// Factors below this are taken out of roots.
const TRIAL: u32 = 1000;

/// Why there is no normal form.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NoForm {
    Exhausted,
    /// Division by zero and the like: no value at all.
    Undefined,
    /// Not a scalar, or nothing that this form can hold.
    Unsupported,
}

impl From<Exhausted> for NoForm {
    fn from(_: Exhausted) -> Self {
        NoForm::Exhausted
    }
}

type Form = Result<Fraction, NoForm>;

/// `over / under`, not reduced: equality is by cross-multiplication.
#[derive(Debug, Clone)]
pub(super) struct Fraction {
    pub(super) over: Polynomial,
    pub(super) under: Polynomial,
}

impl Fraction {
    fn constant(value: BigRational) -> Self {
        Self { over: Polynomial::constant(value), under: Polynomial::constant(BigRational::one()) }
    }

    fn whole(over: Polynomial) -> Self {
        Self { over, under: Polynomial::constant(BigRational::one()) }
    }

    fn as_constant(&self) -> Option<BigRational> {
        let under = self.under.as_constant()?;
        let over = self.over.as_constant()?;
        (!under.is_zero()).then(|| over / under)
    }

    fn key(&self) -> String {
        match self.as_constant() {
            Some(value) => value.to_string(),
            None => format!("{}/{}", self.over.key(), self.under.key()),
        }
    }
}

/// Brings expressions into normal form, over atoms that they share.
pub(super) struct Normalizer<'a> {
    pub(super) atoms: Atoms,
    pub(super) budget: &'a mut Budget,
}

impl Normalizer<'_> {
    /// `a - b` as a polynomial that is zero if, and for independent atoms only if, they are equal.
    pub(super) fn difference(&mut self, a: &Fraction, b: &Fraction) -> Result<Polynomial, NoForm> {
        let left = a.over.times(&b.under, &self.atoms, self.budget)?;
        let right = b.over.times(&a.under, &self.atoms, self.budget)?;
        Ok(left.plus(&right, -1, self.budget)?)
    }

    pub(super) fn form(&mut self, expr: &Expr) -> Form {
        self.budget.spend(4)?;
        match expr {
            Expr::Number(number) => Ok(Fraction::constant(number.value.clone())),
            Expr::Based { digits, base } => {
                self.budget.spend((digits.len() * digits.len()) as u64)?;
                let value = BigInt::parse_bytes(digits.as_bytes(), *base).ok_or(NoForm::Undefined)?;
                Ok(Fraction::constant(BigRational::from_integer(value)))
            }
            Expr::Symbol(name) => Ok(self.atom(Atom::Free(name.clone()))),
            Expr::Constant(Constant::I) => Ok(self.atom(Atom::Imaginary)),
            Expr::Constant(constant @ (Constant::Pi | Constant::E | Constant::Infinity)) => {
                Ok(self.atom(Atom::Free(format!("\\{constant:?}"))))
            }
            Expr::Sum(terms) => {
                let mut sum = Fraction::constant(BigRational::zero());
                for term in terms {
                    let term = self.form(term)?;
                    sum = self.add(&sum, &term)?;
                }
                Ok(sum)
            }
            Expr::Product(factors) => {
                let mut product = Fraction::constant(BigRational::one());
                for factor in factors {
                    let factor = self.form(factor)?;
                    product = self.multiply(&product, &factor)?;
                }
                Ok(product)
            }
            Expr::Negative(inner) => {
                let Fraction { over, under } = self.form(inner)?;
                let over = Polynomial::constant(BigRational::zero()).plus(&over, -1, self.budget)?;
                Ok(Fraction { over, under })
            }
            Expr::Quotient(over, under) => {
                let (over, under) = (self.form(over)?, self.form(under)?);
                let under = inverse(under)?;
                self.multiply(&over, &under)
            }
            Expr::Power(base, exponent) => self.power(base, exponent),
            Expr::Root { index, of } => {
                let index = self.form(index)?.as_constant().filter(BigRational::is_integer);
                let index =
                    index.and_then(|index| index.to_integer().to_u32()).filter(|index| (2..=64).contains(index));
                let of = self.form(of)?;
                self.root(index.ok_or(NoForm::Unsupported)?, of)
            }
            Expr::Function(function, of) => self.function(*function, of),
            Expr::Log { base, of } => {
                let (base, of) = (self.form(base)?, self.form(of)?);
                Ok(self.opaque(format!("log {} {}", base.key(), of.key())))
            }
            Expr::Factorial(of) => match self.natural(of)? {
                Some(n) if n <= FACTORIAL => self.range_product(1, n).map(Fraction::constant),
                Some(_) => Err(NoForm::Exhausted),
                None => {
                    let of = self.form(of)?;
                    Ok(self.opaque(format!("{}!", of.key())))
                }
            },
            Expr::Binomial(n, k) => match (self.natural(n)?, self.natural(k)?) {
                (Some(n), Some(k)) if k > n => Ok(Fraction::constant(BigRational::zero())),
                (Some(n), Some(k)) => {
                    let k = k.min(n - k);
                    if k > FACTORIAL {
                        return Err(NoForm::Exhausted);
                    }
                    let (over, under) = (self.range_product(n - k + 1, n)?, self.range_product(1, k)?);
                    pay(&over, &under, self.budget)?;
                    Ok(Fraction::constant(over / under))
                }
                (Some(_) | None, None) | (None, Some(_)) => {
                    let (n, k) = (self.form(n)?, self.form(k)?);
                    Ok(self.opaque(format!("binom {} {}", n.key(), k.key())))
                }
            },
            Expr::Percent(of) => {
                let of = self.form(of)?;
                self.multiply(&of, &Fraction::constant(BigRational::new(1.into(), 100.into())))
            }
            Expr::Degrees(of) => {
                let (of, pi) = (self.form(of)?, self.atom(Atom::Free("\\Pi".to_owned())));
                let degree = self.multiply(&pi, &Fraction::constant(BigRational::new(1.into(), 180.into())))?;
                self.multiply(&of, &degree)
            }
            Expr::Text(_)
            | Expr::PlusMinus(..)
            | Expr::List(_)
            | Expr::Bracketed { .. }
            | Expr::Set(_)
            | Expr::Union(_)
            | Expr::Matrix(_)
            | Expr::Relation(..) => Err(NoForm::Unsupported),
        }
    }

    fn atom(&mut self, atom: Atom) -> Fraction {
        Fraction::whole(Polynomial::atom(self.atoms.place(atom)))
    }

    fn opaque(&mut self, key: String) -> Fraction {
        self.atoms.dependent = true;
        self.atom(Atom::Opaque(key))
    }

    fn add(&mut self, a: &Fraction, b: &Fraction) -> Form {
        if a.under == b.under {
            let over = a.over.clone().plus(&b.over, 1, self.budget)?;
            return Ok(Fraction { over, under: a.under.clone() });
        }
        let left = a.over.times(&b.under, &self.atoms, self.budget)?;
        let right = b.over.times(&a.under, &self.atoms, self.budget)?;
        let under = a.under.times(&b.under, &self.atoms, self.budget)?;
        Ok(Fraction { over: left.plus(&right, 1, self.budget)?, under })
    }

    fn multiply(&mut self, a: &Fraction, b: &Fraction) -> Form {
        let over = a.over.times(&b.over, &self.atoms, self.budget)?;
        let under = a.under.times(&b.under, &self.atoms, self.budget)?;
        Ok(Fraction { over, under })
    }

    fn power(&mut self, base: &Expr, exponent: &Expr) -> Form {
        let (mut base, exponent) = (self.form(base)?, self.form(exponent)?);
        let Some(value) = exponent.as_constant() else {
            return Ok(self.opaque(format!("({})^({})", base.key(), exponent.key())));
        };
        let negative = value.is_negative();
        let (over, under) = (value.numer().magnitude().to_u32(), value.denom().to_u32());
        if let Some(one) = base.as_constant().filter(|base| value.is_integer() && base.numer().magnitude().is_one()) {
            if one.is_one() {
                return Ok(base);
            }
            if one == -BigRational::one() {
                return Ok(if value.numer().is_even() { Fraction::constant(BigRational::one()) } else { base });
            }
        }
        let (Some(over), Some(under @ 1..=64)) = (over.filter(|over| *over <= EXPONENT), under) else {
            return match base.as_constant() {
                Some(zero) if zero.is_zero() && !negative => Ok(base),
                Some(_) => Err(NoForm::Exhausted),
                None => Ok(self.opaque(format!("({})^({})", base.key(), exponent.key()))),
            };
        };
        if under > 1 {
            base = self.root(under, base)?;
        }
        if over == 0 && base.over.is_zero() {
            return Err(NoForm::Undefined);
        }
        let over_power = base.over.power(over, &self.atoms, self.budget)?;
        let under_power = base.under.power(over, &self.atoms, self.budget)?;
        let power = Fraction { over: over_power, under: under_power };
        if negative { inverse(power) } else { Ok(power) }
    }

    /// The root of a number in its simplest form; of anything else, an atom of its own.
    fn root(&mut self, index: u32, of: Fraction) -> Form {
        let Some(value) = of.as_constant() else {
            return Ok(self.opaque(format!("root {index} {}", of.key())));
        };
        if value.is_zero() {
            return Ok(of);
        }
        // root(a / b) = root(a * b^(index - 1)) / b, so that equal roots have equal atoms.
        if bits(&value).saturating_mul(u64::from(index)) > BITS {
            return Err(NoForm::Exhausted);
        }
        let denominator = value.denom().clone();
        let mut left = value.numer().magnitude().clone() * denominator.magnitude().pow(index - 1);
        let mut root = Fraction::constant(BigRational::new(BigInt::one(), denominator));
        if value.is_negative() {
            if index == 2 {
                let imaginary = self.atom(Atom::Imaginary);
                root = self.multiply(&root, &imaginary)?;
            } else if index.is_odd() {
                root = self.multiply(&root, &Fraction::constant(-BigRational::one()))?;
            } else {
                return Err(NoForm::Unsupported);
            }
        }
        let words = left.bits() / 64 + 1;
        self.budget.spend(u64::from(TRIAL) * words)?;
        let (mut outside, mut kept) = (BigInt::one(), BigInt::one());
        for prime in (2..TRIAL).filter(|n| *n == 2 || n.is_odd()) {
            let mut count = 0;
            while (&left % prime).is_zero() {
                self.budget.spend(words)?;
                left /= prime;
                count += 1;
            }
            outside *= BigInt::from(prime).pow(count / index);
            match (count % index, index) {
                (0, _) => {}
                (1, 2) => root = self.times_root(&root, 2, BigInt::from(prime))?,
                (rest, _) => kept *= BigInt::from(prime).pow(rest),
            }
        }
        self.budget.spend(words * words * 64)?;
        let whole = left.nth_root(index);
        if whole.pow(index) == left {
            outside *= BigInt::from(whole);
        } else if index == 2 {
            // Below the square of the trial's end, what is left is a prime.
            self.atoms.dependent |= left.bits() > 19;
            root = self.times_root(&root, 2, left.into())?;
        } else {
            kept *= BigInt::from(left);
        }
        if !kept.is_one() {
            self.atoms.dependent = true;
            root = self.times_root(&root, index, kept)?;
        }
        self.multiply(&root, &Fraction::constant(BigRational::from_integer(outside)))
    }

    fn times_root(&mut self, factor: &Fraction, index: u32, of: BigInt) -> Form {
        let root = self.atom(Atom::Root { index, of });
        self.multiply(factor, &root)
    }

    #[expect(clippy::wildcard_enum_match_arm, reason = "a few of many kinds are meant, and any other kind is not")]
    fn function(&mut self, function: Function, of: &Expr) -> Form {
        let of = self.form(of)?;
        if let Some(value) = of.as_constant() {
            match function {
                Function::Abs => return Ok(Fraction::constant(value.abs())),
                Function::Floor => return Ok(Fraction::constant(value.floor())),
                Function::Ceil => return Ok(Fraction::constant(value.ceil())),
                _ if value.is_zero() => {
                    let at_zero = match function {
                        Function::Sin | Function::Tan | Function::Sinh | Function::Tanh => Some(BigRational::zero()),
                        Function::Cos | Function::Cosh | Function::Exp => Some(BigRational::one()),
                        _ => None,
                    };
                    if let Some(value) = at_zero {
                        return Ok(Fraction::constant(value));
                    }
                }
                _ => {}
            }
        }
        Ok(self.opaque(format!("{function:?} {}", of.key())))
    }

    /// A whole number from zero on, if the expression is one.
    fn natural(&mut self, expr: &Expr) -> Result<Option<u32>, NoForm> {
        let Some(value) = self.form(expr)?.as_constant() else { return Ok(None) };
        if !value.is_integer() || value.is_negative() {
            return Ok(None);
        }
        value.to_integer().to_u32().map(Some).ok_or(NoForm::Exhausted)
    }

    /// `from * (from + 1) * … * to`.
    fn range_product(&mut self, from: u32, to: u32) -> Result<BigRational, NoForm> {
        let mut product = BigInt::one();
        for factor in from..=to {
            self.budget.spend(1 + product.bits() / 64)?;
            product *= factor;
        }
        Ok(BigRational::from_integer(product))
    }
}

fn inverse(fraction: Fraction) -> Form {
    if fraction.over.is_zero() {
        return Err(NoForm::Undefined);
    }
    Ok(Fraction { over: fraction.under, under: fraction.over })
}
