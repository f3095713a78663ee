//! Where a number literal begins and ends in running text: `1,234.50`, `-$5`, `3/4`, `\frac{1}{2}`, `2 1/2`,
//! `6 \times 10^{23}`. Its value is read by [`super::parse`]; this is for finding answers and their spans.

/// Most groups of three digits in a number: more than anybody writes, and few enough to read again from the middle.
const GROUPS: usize = 64;

/// A number at the head of a text, in bytes of that text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Literal {
    /// Where the literal itself begins, past blanks and a currency sign. A sign before the currency sign belongs to it.
    pub(super) start: usize,
    pub(super) end: usize,
}

/// Signs written before an amount. The backslash form is LaTeX's.
const CURRENCIES: [&str; 10] = ["US$", "\\$", "$", "€", "£", "¥", "₹", "USD ", "Rs. ", "Rs "];
const MAGNITUDES: [&str; 5] = ["hundred", "thousand", "million", "billion", "trillion"];
const SEPARATORS: [&str; 6] = [",", "{,}", "\\,", "\\!", "\u{a0}", "\u{202f}"];

/// Finds the number that `text` begins with, blanks and a currency sign before it allowed.
pub(super) fn leading(text: &str) -> Option<Literal> {
    let mut scan = Scan { text, at: 0 };
    scan.blanks();
    let mut start = scan.at;
    let signed = scan.sign();
    if CURRENCIES.iter().any(|sign| scan.eat(sign)) {
        scan.blanks();
        if !signed {
            start = scan.at;
            let _sign = scan.sign();
        }
    }
    scan.blanks();
    scan.rational()?;
    Some(Literal { start, end: scan.at })
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

    fn sign(&mut self) -> bool {
        self.eat("-") || self.eat("\u{2212}") || self.eat("+")
    }

    /// Runs `read`, and goes back where it started if that fails.
    fn attempt(&mut self, read: impl FnOnce(&mut Self) -> Option<()>) -> Option<()> {
        let before = self.at;
        let outcome = read(self);
        if outcome.is_none() {
            self.at = before;
        }
        outcome
    }

    /// A decimal, fraction, mixed number or number with a magnitude word.
    fn rational(&mut self) -> Option<()> {
        if self.attempt(Self::latex_fraction).is_some() {
            return Some(());
        }
        self.decimal()?;
        let _scientific = self.attempt(Self::power_of_ten);
        let mixed = |scan: &mut Self| {
            scan.blanks();
            scan.attempt(Self::plain_fraction).or_else(|| scan.attempt(Self::latex_fraction))
        };
        if self.attempt(mixed).is_some() {
            return Some(());
        }
        let divided = self.attempt(|scan| {
            (scan.eat(" / ") || scan.eat("/")).then_some(())?;
            scan.rest().starts_with(|c: char| c.is_ascii_digit()).then_some(())?;
            scan.decimal()
        });
        if divided.is_some() {
            // `1/2/3` is a date or a path, not a number.
            let clean = !self.rest().trim_start().starts_with('/') && !self.rest().starts_with(char::is_alphanumeric);
            return clean.then_some(());
        }
        let _magnitude = self.attempt(Self::magnitude);
        Some(())
    }

    /// `1/2`: the fraction of a mixed number.
    fn plain_fraction(&mut self) -> Option<()> {
        let above: u32 = self.digits()?.parse().ok()?;
        self.eat("/").then_some(())?;
        let below: u32 = self.digits()?.parse().ok()?;
        (above < below).then_some(())
    }

    fn digits(&mut self) -> Option<&'a str> {
        let digits = &self.rest()[..digits_at(self.rest())];
        self.at += digits.len();
        (!digits.is_empty()).then_some(digits)
    }

    /// `\frac{a}{b}`, its `\dfrac` and `\tfrac` forms, and `\frac12`.
    fn latex_fraction(&mut self) -> Option<()> {
        ["\\frac", "\\dfrac", "\\tfrac"].iter().any(|name| self.eat(name)).then_some(())?;
        self.argument()?;
        self.argument()
    }

    /// A LaTeX argument that holds a plain decimal: `{12}` or a single digit.
    fn argument(&mut self) -> Option<()> {
        self.blanks();
        if self.eat("{") {
            self.blanks();
            self.decimal()?;
            self.blanks();
            return self.eat("}").then_some(());
        }
        self.rest().starts_with(|c: char| c.is_ascii_digit()).then(|| self.at += 1)
    }

    /// Digits with thousands separators, a fraction part and an exponent.
    fn decimal(&mut self) -> Option<()> {
        let start = self.at;
        self.at += digits_at(self.rest());
        if (1..=3).contains(&(self.at - start)) {
            for _ in 0..GROUPS {
                let Some(separator) = SEPARATORS.iter().find(|sign| self.rest().starts_with(**sign)) else { break };
                if digits_at(&self.rest()[separator.len()..]) != 3 {
                    break;
                }
                self.at += separator.len() + 3;
            }
        }
        if let Some(after) = self.rest().strip_prefix('.') {
            // The dot of `18.` ends a sentence.
            let places = digits_at(after);
            self.at += if places > 0 { 1 + places } else { 0 };
        }
        if self.at == start {
            return None;
        }
        let _exponent = self.attempt(|scan| {
            (scan.eat("e") || scan.eat("E")).then_some(())?;
            scan.exponent()
        });
        Some(())
    }

    /// `\times 10^{23}`.
    fn power_of_ten(&mut self) -> Option<()> {
        self.blanks();
        ["\\times", "\\cdot", "×", "x", "*"].iter().any(|sign| self.eat(sign)).then_some(())?;
        self.blanks();
        self.eat("10^").then_some(())?;
        let braced = self.eat("{");
        self.exponent()?;
        (!braced || self.eat("}")).then_some(())
    }

    /// A signed exponent of at most six digits.
    fn exponent(&mut self) -> Option<()> {
        let _sign = self.sign();
        self.digits().filter(|digits| digits.len() <= 6).map(|_| ())
    }

    /// ` million` and its like.
    fn magnitude(&mut self) -> Option<()> {
        self.blanks();
        let rest = self.rest();
        let word = MAGNITUDES.iter().find(|word| {
            rest.get(..word.len()).is_some_and(|head| head.eq_ignore_ascii_case(word))
                && !rest[word.len()..].starts_with(char::is_alphanumeric)
        })?;
        self.at += word.len();
        Some(())
    }
}

fn digits_at(text: &str) -> usize {
    text.bytes().take_while(u8::is_ascii_digit).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_literal_is_what_is_measured() {
        let measured = |text: &'static str| leading(text).map(|found| &text[found.start..found.end]);
        for (text, literal) in [
            (" $1,234.50 per day", "1,234.50"),
            ("-$5.", "-$5"),
            ("$-5", "-5"),
            ("18.", "18"),
            ("1,5", "1"),
            ("12 eggs", "12"),
            ("3/day", "3"),
            ("2 3/1", "2"),
            ("2 1/2 cups", "2 1/2"),
            ("3\\frac{1}{4} cups", "3\\frac{1}{4}"),
            ("10 / 4 is", "10 / 4"),
            ("6.02 \\times 10^{23} atoms", "6.02 \\times 10^{23}"),
            ("5e", "5"),
            ("1.5e-3 m", "1.5e-3"),
            ("5 million people", "5 million"),
            ("5 millions", "5"),
        ] {
            assert_eq!(measured(text), Some(literal), "{text:?}");
        }
    }

    #[test]
    fn what_is_no_number_is_refused() {
        for text in ["", "eggs", "$", "-", ".", "1/2/3", "\\frac{x}{2}", "\\frac{1}"] {
            assert_eq!(leading(text), None, "{text:?}");
        }
    }
}
