//! Numbers and units in words.

use num_bigint::BigInt;
use num_rational::BigRational;

use super::expr::{Expr, Literal};

const ONES: [&str; 20] = [
    "zero",
    "one",
    "two",
    "three",
    "four",
    "five",
    "six",
    "seven",
    "eight",
    "nine",
    "ten",
    "eleven",
    "twelve",
    "thirteen",
    "fourteen",
    "fifteen",
    "sixteen",
    "seventeen",
    "eighteen",
    "nineteen",
];
const TENS: [&str; 8] = ["twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"];
const MAGNITUDES: [(&str, u64); 6] = [
    ("hundred", 100),
    ("thousand", 1_000),
    ("million", 1_000_000),
    ("billion", 1_000_000_000),
    ("trillion", 1_000_000_000_000),
    ("dozen", 12),
];
/// Units of two or three letters; longer words are units by their length.
const UNITS: [&str; 44] = [
    "cm", "mm", "km", "dm", "kg", "mg", "ml", "cl", "mi", "ft", "yd", "lb", "lbs", "oz", "hr", "hrs", "min", "mins",
    "sec", "secs", "mph", "kph", "kmh", "usd", "sq", "cu", "per", "pm", "am", "pts", "cal", "gal", "in", "day", "mol",
    "dol", "bps", "men", "egg", "ways", "cup", "pie", "eur", "inr",
];

/// The factor that a magnitude word stands for.
pub(super) fn magnitude(word: &str) -> Option<BigRational> {
    let found = MAGNITUDES.iter().find(|(known, _)| known.eq_ignore_ascii_case(word));
    found.map(|(_, value)| BigRational::from_integer(BigInt::from(*value)))
}

/// Whether a word behind a number names what is counted and is no mathematics.
pub(super) fn is_unit(word: &str) -> bool {
    let lowered = word.to_lowercase();
    if ["and", "or", "infinity"].contains(&lowered.as_str()) || is_mathematics(&lowered) {
        return false;
    }
    word.chars().count() > 3 || UNITS.contains(&lowered.as_str())
}

/// Whether a word is part of a formula.
pub(super) fn is_mathematics(word: &str) -> bool {
    super::expr::Function::named(word).is_some() || ["sqrt", "log", "pi", "theta", "alpha", "beta"].contains(&word)
}

/// Whether a lower-case word is a number's.
pub(super) fn is_number(word: &str) -> bool {
    ONES.contains(&word) || TENS.contains(&word)
}

/// `eight` below digits.
pub(super) fn base(word: &str) -> Option<u32> {
    let named = ONES.iter().position(|one| *one == word.trim())?;
    u32::try_from(named).ok().filter(|base| (2..=36).contains(base))
}

pub(super) fn whole(value: u32) -> Expr {
    Expr::Number(Literal { value: BigRational::from_integer(BigInt::from(value)), places: 0 })
}

/// A whole number from its digits.
pub(super) fn digits(text: &str) -> Option<Literal> {
    let value = BigInt::parse_bytes(text.as_bytes(), 10)?;
    Some(Literal { value: BigRational::from_integer(value), places: 0 })
}

/// The number at the head of a text in words: `twenty-five`, `one hundred and five dollars`, `two thirds`, `half`.
/// `None` unless only what is counted follows, in at most four words.
pub(super) fn number(text: &str) -> Option<BigRational> {
    let lowered = text.get(..text.len().min(200))?.to_lowercase();
    let mut words = lowered.split(|c: char| c.is_whitespace() || c == '-').filter(|word| !word.is_empty()).peekable();
    let (mut total, mut group, mut any, mut scaled) = (0u64, 0u64, false, false);
    while let Some(word) = words.peek().map(|word| word.trim_matches(['.', ',', '!', '*'])) {
        let one = ONES.iter().position(|known| *known == word).map(|one| one as u64);
        let ten = TENS.iter().position(|known| *known == word).map(|ten| 20 + 10 * ten as u64);
        let scale = MAGNITUDES.iter().find(|(known, _)| *known == word).map(|(_, scale)| *scale);
        // `twenty five` is a number; `five six` and `five and six` are two.
        let fits = match (one, ten) {
            (Some(0), _) => !any,
            (Some(1..10), _) => group.is_multiple_of(10) && group % 100 != 10,
            (Some(_), _) | (_, Some(_)) => group.is_multiple_of(100),
            (None, None) => false,
        };
        match (one.or(ten), scale) {
            (Some(value), _) if fits && (!any || scaled || group > 0) => group = group.checked_add(value)?,
            (None, Some(scale)) if any => {
                group = group.checked_mul(scale)?;
                if scale >= 1_000 {
                    total = total.checked_add(group)?;
                    group = 0;
                }
            }
            _ if word == "and" && scaled => {}
            _ => break,
        }
        scaled = scale.is_some();
        any = true;
        words.next();
    }
    let mut value = BigRational::from_integer(BigInt::from(total.checked_add(group)?));
    let part = words.peek().map(|word| word.trim_matches(['.', ',', '!']));
    let below = match part {
        Some("half" | "halves") => 2,
        Some("third" | "thirds") => 3,
        Some("quarter" | "quarters" | "fourth" | "fourths") => 4,
        Some("fifth" | "fifths") => 5,
        _ => 1,
    };
    if below > 1 {
        words.next();
        let above = if any { value } else { BigRational::from_integer(BigInt::from(1)) };
        value = above / BigRational::from_integer(BigInt::from(below));
    } else if !any {
        return None;
    }
    let rest: Vec<&str> = words.collect();
    let joins = |word: &&str| ["and", "or", "to"].contains(word) || is_number(word);
    let counted = rest.len() <= 4
        && !rest.iter().any(joins)
        && rest.iter().all(|word| word.chars().all(|c| c.is_alphabetic() || ".,!*".contains(c)));
    counted.then_some(value)
}
