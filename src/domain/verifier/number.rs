//! Exact numbers as answers write them: `1,234.50`, `-3/4`, `\frac{1}{2}`, `1.5e-3`, `2 1/2`, `6 \times 10^{23}`.
//!
//! No floating point: `93.75` equals `375/4`, and `0.333` does not equal `1/3`. Every size is capped (38 significant
//! digits, six digits of exponent), so that no input can make a comparison slow or large; what is beyond the caps is
//! not a number here and is compared as text.

/// A rational number in one canonical form, so that equal values are equal structures.
///
/// Its value is `±(numerator / denominator) * 2^twos * 5^fives`, where numerator and denominator share no factor and
/// neither is divisible by 2 or 5. Keeping the powers of ten as exponents represents `1e400` exactly in a few bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Number {
    negative: bool,
    numerator: u128,
    denominator: u128,
    twos: i64,
    fives: i64,
}

/// An unsigned decimal: `digits * 10^exponent`.
#[derive(Debug, Clone, Copy)]
struct Decimal {
    digits: u128,
    exponent: i64,
}

/// A number at the head of a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Leading {
    pub(super) value: Number,
    /// Where the literal itself begins, past blanks and a currency sign. A sign before the currency sign belongs to it.
    pub(super) start: usize,
    /// Where the literal ends.
    pub(super) end: usize,
}

/// Signs written before an amount. The backslash form is LaTeX's.
const CURRENCIES: [&str; 10] = ["US$", "\\$", "$", "€", "£", "¥", "₹", "USD ", "Rs. ", "Rs "];
const MAGNITUDES: [(&str, i64); 5] =
    [("hundred", 2), ("thousand", 3), ("million", 6), ("billion", 9), ("trillion", 12)];

impl Number {
    fn new(negative: bool, above: Decimal, below: Decimal) -> Option<Self> {
        if below.digits == 0 {
            return None;
        }
        if above.digits == 0 {
            return Some(Number { negative: false, numerator: 0, denominator: 1, twos: 0, fives: 0 });
        }
        let (mut numerator, up_twos, up_fives) = without_tens(above.digits);
        let (mut denominator, down_twos, down_fives) = without_tens(below.digits);
        let shared = greatest_common_divisor(numerator, denominator);
        numerator /= shared;
        denominator /= shared;
        let exponent = above.exponent - below.exponent;
        Some(Number {
            negative,
            numerator,
            denominator,
            twos: up_twos - down_twos + exponent,
            fives: up_fives - down_fives + exponent,
        })
    }
}

/// Takes the factors 2 and 5 out of a number above zero and counts them.
fn without_tens(mut value: u128) -> (u128, i64, i64) {
    let twos = value.trailing_zeros();
    value >>= twos;
    let mut fives = 0;
    while value.is_multiple_of(5) {
        value /= 5;
        fives += 1;
    }
    (value, i64::from(twos), fives)
}

fn greatest_common_divisor(mut a: u128, mut b: u128) -> u128 {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}

/// Reads the number that `text` begins with, blanks and a currency sign before it allowed.
pub(super) fn leading(text: &str) -> Option<Leading> {
    let mut scan = Scan { text, at: 0 };
    scan.blanks();
    let mut start = scan.at;
    let mut negative = scan.sign();
    let signed = scan.at > start;
    if scan.currency() {
        scan.blanks();
        if !signed {
            start = scan.at;
            negative = scan.sign();
        }
    }
    if scan.at > start {
        scan.blanks();
    }
    let (above, below) = scan.rational()?;
    let value = Number::new(negative, above, below)?;
    Some(Leading { value, start, end: scan.at })
}

/// A cursor over a text; every method moves past what it read, or stays where it was.
struct Scan<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Scan<'a> {
    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    fn eat(&mut self, token: &str) -> bool {
        let found = self.rest().starts_with(token);
        if found {
            self.at += token.len();
        }
        found
    }

    fn blanks(&mut self) {
        let rest = self.rest();
        self.at += rest.len() - rest.trim_start_matches([' ', '\t', '\u{a0}', '\u{202f}']).len();
    }

    /// True for a minus. A plus is read and means nothing.
    fn sign(&mut self) -> bool {
        let negative = self.eat("-") || self.eat("\u{2212}");
        if !negative {
            let _plus = self.eat("+");
        }
        negative
    }

    fn currency(&mut self) -> bool {
        CURRENCIES.iter().any(|sign| self.eat(sign))
    }

    /// A decimal, fraction, mixed number or number with a magnitude word, as numerator and denominator.
    fn rational(&mut self) -> Option<(Decimal, Decimal)> {
        if let Some(fraction) = self.latex_fraction() {
            return Some(fraction);
        }
        let whole = self.decimal()?;
        let whole = self.power_of_ten(whole)?;
        let after = self.at;
        self.blanks();
        if let Some((above, below)) = self.plain_fraction().or_else(|| self.latex_fraction())
            && let Some(mixed) = mixed(whole, above, below)
        {
            return Some((mixed, below));
        }
        self.at = after;
        if self.slash()
            && let Some(below) = self.decimal()
        {
            // `1/2/3` is a date or a path, not a number.
            let clean = !self.rest().trim_start().starts_with('/') && !self.rest().starts_with(char::is_alphanumeric);
            return clean.then_some((whole, below));
        }
        self.at = after;
        Some((self.magnitude(whole), Decimal { digits: 1, exponent: 0 }))
    }

    /// `/`, with a blank on both sides or on neither, before a digit.
    fn slash(&mut self) -> bool {
        let found = self.eat(" / ") || self.eat("/");
        found && self.rest().starts_with(|c: char| c.is_ascii_digit())
    }

    /// `1/2`: the fraction of a mixed number.
    fn plain_fraction(&mut self) -> Option<(Decimal, Decimal)> {
        let before = self.at;
        let above = self.integer();
        if above.is_some() && self.eat("/") {
            let below = self.integer();
            if let (Some(above), Some(below)) = (above, below) {
                return Some((above, below));
            }
        }
        self.at = before;
        None
    }

    fn integer(&mut self) -> Option<Decimal> {
        let digits = digits_at(self.rest());
        let value = collect(self.rest()[..digits].bytes(), 0)?;
        self.at += digits;
        (digits > 0).then_some(value)
    }

    /// `\frac{a}{b}`, its `\dfrac` and `\tfrac` forms, and `\frac12`.
    fn latex_fraction(&mut self) -> Option<(Decimal, Decimal)> {
        let before = self.at;
        let found = ["\\frac", "\\dfrac", "\\tfrac"].iter().any(|name| self.eat(name));
        if found
            && let Some(above) = self.argument()
            && let Some(below) = self.argument()
        {
            return Some((above, below));
        }
        self.at = before;
        None
    }

    /// A LaTeX argument that holds a plain decimal: `{12}` or a single digit.
    fn argument(&mut self) -> Option<Decimal> {
        self.blanks();
        if self.eat("{") {
            self.blanks();
            let value = self.decimal()?;
            self.blanks();
            return self.eat("}").then_some(value);
        }
        let digit = self.rest().bytes().next().filter(u8::is_ascii_digit)?;
        self.at += 1;
        Some(Decimal { digits: u128::from(digit - b'0'), exponent: 0 })
    }

    /// Digits with thousands separators, a fraction part and an exponent.
    fn decimal(&mut self) -> Option<Decimal> {
        let whole = self.grouped_digits();
        let mut fraction = "";
        if let Some(after) = self.rest().strip_prefix('.') {
            fraction = &after[..digits_at(after)];
            // The dot of `18.` ends a sentence.
            if !fraction.is_empty() {
                self.at += 1 + fraction.len();
            }
        }
        if whole.is_empty() && fraction.is_empty() {
            return None;
        }
        let digits = whole.bytes().filter(u8::is_ascii_digit).chain(fraction.bytes());
        let mut value = collect(digits, i64::try_from(fraction.len()).ok()?)?;
        if self.rest().starts_with(['e', 'E']) {
            let before = self.at;
            self.at += 1;
            match self.exponent() {
                Some(exponent) => value.exponent += exponent,
                None => self.at = before,
            }
        }
        Some(value)
    }

    /// `1234`, `1,234` or LaTeX's `1{,}234` and `1\,234`, as the text between; a separator needs three digits after it.
    fn grouped_digits(&mut self) -> &'a str {
        let text = self.rest();
        let mut end = digits_at(text);
        if (1..=3).contains(&end) {
            // Far past what a `u128` holds, and short enough that reading again from the middle costs nothing.
            let most = end + 64 * 4;
            while end < most
                && let Some(separator) =
                    [",", "{,}", "\\,", "\\!", "\u{202f}"].iter().find(|s| text[end..].starts_with(**s))
            {
                let group = &text[end + separator.len()..];
                if digits_at(group) != 3 {
                    break;
                }
                end += separator.len() + 3;
            }
        }
        self.at += end;
        &text[..end]
    }

    /// `\times 10^{6}`, `× 10^6`, `x 10^6`, `* 10^6` after a decimal.
    fn power_of_ten(&mut self, value: Decimal) -> Option<Decimal> {
        let before = self.at;
        self.blanks();
        if ["\\times", "\\cdot", "×", "x", "*"].iter().any(|sign| self.eat(sign)) {
            self.blanks();
            if self.eat("10^") {
                let braced = self.eat("{");
                let exponent = self.exponent()?;
                if braced && !self.eat("}") {
                    return None;
                }
                return Some(Decimal { exponent: value.exponent + exponent, ..value });
            }
        }
        self.at = before;
        Some(value)
    }

    /// A signed exponent of at most six digits.
    fn exponent(&mut self) -> Option<i64> {
        let negative = self.sign();
        let digits = digits_at(self.rest());
        if !(1..=6).contains(&digits) {
            return None;
        }
        let value: i64 = self.rest()[..digits].parse().ok()?;
        self.at += digits;
        Some(if negative { -value } else { value })
    }

    /// ` million` and its like.
    fn magnitude(&mut self, value: Decimal) -> Decimal {
        let before = self.at;
        self.blanks();
        for (word, exponent) in MAGNITUDES {
            let rest = self.rest();
            let found = rest.get(..word.len()).is_some_and(|head| head.eq_ignore_ascii_case(word));
            if found && !rest[word.len()..].starts_with(char::is_alphanumeric) {
                self.at += word.len();
                return Decimal { exponent: value.exponent + exponent, ..value };
            }
        }
        self.at = before;
        value
    }
}

/// The numerator of `whole + above/below` over `below`; `None` unless it is a proper mixed number of modest size.
fn mixed(whole: Decimal, above: Decimal, below: Decimal) -> Option<Decimal> {
    let plain = |value: Decimal| value.digits.checked_mul(10u128.checked_pow(u32::try_from(value.exponent).ok()?)?);
    let (whole, above, below) = (plain(whole)?, plain(above)?, plain(below)?);
    if above >= below {
        return None;
    }
    let digits = whole.checked_mul(below)?.checked_add(above)?;
    Some(Decimal { digits, exponent: 0 })
}

fn digits_at(text: &str) -> usize {
    text.bytes().take_while(u8::is_ascii_digit).count()
}

/// Folds digits, of which the last `places` stand behind the point. `None` beyond 38 significant digits.
fn collect(digits: impl Iterator<Item = u8>, places: i64) -> Option<Decimal> {
    let mut value: u128 = 0;
    // Zeros wait until another digit follows: trailing ones become the exponent, however many there are.
    let mut zeros: u32 = 0;
    for digit in digits {
        if digit == b'0' {
            zeros = zeros.saturating_add(1);
            continue;
        }
        if value > 0 {
            value = value.checked_mul(10u128.checked_pow(zeros)?)?;
        }
        value = value.checked_mul(10)?.checked_add(u128::from(digit - b'0'))?;
        zeros = 0;
    }
    let exponent = if value == 0 { 0 } else { i64::from(zeros) - places };
    Some(Decimal { digits: value, exponent })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number(text: &str) -> Number {
        leading(text).unwrap_or_else(|| panic!("{text:?} is a number")).value
    }

    #[test]
    fn equal_values_are_equal_however_they_are_written() {
        for (a, b) in [
            ("93.75", "375/4"),
            ("1,234.50", "1234.5"),
            ("1{,}234", "1234"),
            ("$1,000,000", "1e6"),
            ("\\$18", "18.00"),
            ("-$5", "$-5"),
            ("\u{2212}5", "-5.0"),
            ("\\frac{1}{2}", ".5"),
            ("\\dfrac12", "0.5"),
            ("-\\frac{ 3 }{ 4 }", "-0.75"),
            ("2 1/2", "2.5"),
            ("3\\frac{1}{4}", "13/4"),
            ("10 / 4", "2.5"),
            ("6.02 \\times 10^{23}", "602000000000000000000000"),
            ("5 x 10^-3", "0.005"),
            ("1.5e-3", "0.0015"),
            ("5 million", "5,000,000"),
            ("-0", "0.000"),
            ("0/7", "0"),
            ("1e400", "10e399"),
            ("007", "7"),
            ("+3", "3"),
        ] {
            assert_eq!(number(a), number(b), "{a} and {b}");
        }
    }

    #[test]
    fn different_values_differ() {
        for (a, b) in
            [("0.333", "1/3"), ("0.3333333333333333333", "1/3"), ("18", "-18"), ("5", "50"), ("1e400", "1e401")]
        {
            assert_ne!(number(a), number(b), "{a} and {b}");
        }
    }

    #[test]
    fn the_literal_is_what_is_measured() {
        let measured = |text: &'static str| leading(text).map(|found| &text[found.start..found.end]);
        assert_eq!(measured(" $1,234.50 per day"), Some("1,234.50"));
        assert_eq!(measured("-$5."), Some("-$5"));
        assert_eq!(measured("18."), Some("18"));
        assert_eq!(measured("1,5"), Some("1"));
        assert_eq!(measured("12 eggs"), Some("12"));
        assert_eq!(measured("3/day"), Some("3"));
        assert_eq!(measured("2 3/1"), Some("2"));
        assert_eq!(measured("5e"), Some("5"));
        assert_eq!(measured("5 millions"), Some("5"));
    }

    #[test]
    fn what_is_no_number_or_too_large_is_refused() {
        for text in ["", "eggs", "$", "-", ".", "1/0", "\\frac{1}{0}", "1/2/3", "\\frac{x}{2}", "\\frac{1}"] {
            assert_eq!(leading(text), None, "{text:?}");
        }
        assert_eq!(leading(&"7".repeat(100_000)), None);
        assert_eq!(leading("5 x 10^99999999"), None);
        // Zeros cost nothing.
        assert_eq!(number(&format!("1{}", "0".repeat(50_000))).twos, 50_000);
        assert_eq!(number(&format!("0.{}1", "0".repeat(50_000))).fives, -50_001);
    }
}
