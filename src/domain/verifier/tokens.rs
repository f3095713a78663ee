//! Cuts an answer into tokens: LaTeX, plain text and Unicode signs alike. Dressing (blanks, `$`, `\left`, fonts) is gone
//! after this, and numbers are exact.

use num_bigint::BigInt;
use num_rational::BigRational;
use num_traits::pow::Pow as _;

use super::budget::{Budget, Exhausted};
use super::expr::Literal;

/// Longest answer, in bytes, that is read as mathematics; a longer one is compared as text.
pub(super) const LONGEST: usize = 4096;
/// Most digits of a number, and the largest power of ten that a literal may carry.
const DIGITS: usize = 4096;

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Token {
    Number {
        value: Literal,
        text: String,
    },
    /// A run of letters.
    Word(String),
    /// `\name`, Unicode signs included under their LaTeX names.
    Command(String),
    /// The content of `\text{…}`.
    Text(String),
    /// A sign: an operator, a bracket, or one of the signs below.
    Sign(char),
    /// `\\`, the end of a matrix's row.
    Row,
    /// `\begin{name}` and `\end{name}`.
    Begin(String),
    End(String),
}

/// LaTeX that changes how things look and not what they are.
const INVISIBLE: [&str; 27] = [
    "left",
    "right",
    "big",
    "Big",
    "bigg",
    "Bigg",
    "bigl",
    "bigr",
    "Bigl",
    "Bigr",
    "displaystyle",
    "textstyle",
    "limits",
    "quad",
    "qquad",
    "mathrm",
    "mathbf",
    "mathit",
    "bf",
    "rm",
    "it",
    "boldsymbol",
    "boxed",
    "fbox",
    "mathsf",
    "operatorname",
    "middle",
];
const TEXTS: [&str; 7] = ["text", "textbf", "textit", "textrm", "mbox", "texttt", "textsf"];

/// Unicode signs as LaTeX commands.
const SIGNS: [(char, &str); 21] = [
    ('×', "times"),
    ('·', "cdot"),
    ('⋅', "cdot"),
    ('÷', "div"),
    ('π', "pi"),
    ('√', "sqrt"),
    ('∞', "infty"),
    ('≤', "le"),
    ('≥', "ge"),
    ('≠', "ne"),
    ('≈', "approx"),
    ('±', "pm"),
    ('∈', "in"),
    ('∪', "cup"),
    ('∅', "emptyset"),
    ('°', "degree"),
    ('θ', "theta"),
    ('α', "alpha"),
    ('β', "beta"),
    ('⌊', "lfloor"),
    ('⌋', "rfloor"),
];
const SUPERSCRIPTS: [(char, char); 10] = [
    ('⁰', '0'),
    ('¹', '1'),
    ('²', '2'),
    ('³', '3'),
    ('⁴', '4'),
    ('⁵', '5'),
    ('⁶', '6'),
    ('⁷', '7'),
    ('⁸', '8'),
    ('⁹', '9'),
];
const FRACTIONS: [(char, &str, &str); 7] = [
    ('½', "1", "2"),
    ('⅓', "1", "3"),
    ('⅔', "2", "3"),
    ('¼', "1", "4"),
    ('¾', "3", "4"),
    ('⅕', "1", "5"),
    ('⅛', "1", "8"),
];

/// The tokens of an answer; `None` if it is too long or holds what no answer does.
pub(super) fn tokens(text: &str, budget: &mut Budget) -> Result<Option<Vec<Token>>, Exhausted> {
    if text.len() > LONGEST {
        return Ok(None);
    }
    budget.spend(text.len() as u64)?;
    let mut lexer = Lexer { text, at: 0, depth: 0, out: Vec::new() };
    while lexer.at < text.len() {
        if lexer.next(budget)?.is_none() {
            return Ok(None);
        }
    }
    Ok(Some(lexer.out))
}

struct Lexer<'a> {
    text: &'a str,
    at: usize,
    /// Open `(`, `[` and `\{`: inside them a comma separates items and never thousands.
    depth: usize,
    out: Vec<Token>,
}

impl<'a> Lexer<'a> {
    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    fn push(&mut self, token: Token, bytes: usize) -> Option<()> {
        self.out.push(token);
        self.at += bytes;
        Some(())
    }

    /// Reads one token or one piece of dressing.
    fn next(&mut self, budget: &mut Budget) -> Result<Option<()>, Exhausted> {
        let rest = self.rest();
        let Some(first) = rest.chars().next() else { return Ok(None) };
        let second = rest[first.len_utf8()..].chars().next();
        if first.is_ascii_digit() || first == '.' && second.is_some_and(|c| c.is_ascii_digit()) {
            return self.number(budget);
        }
        Ok(match first {
            '\\' => self.command(),
            '$' | '€' | '£' | '₹' | '¥' | '`' | '~' => {
                self.at += first.len_utf8();
                Some(())
            }
            c if c.is_whitespace() || c == '\u{200b}' => {
                self.at += c.len_utf8();
                Some(())
            }
            '*' if second == Some('*') => self.push(Token::Sign('^'), 2),
            '<' if second == Some('=') => self.push(Token::Command("le".into()), 2),
            '>' if second == Some('=') => self.push(Token::Command("ge".into()), 2),
            '!' if second == Some('=') => self.push(Token::Command("ne".into()), 2),
            '(' | '[' => {
                self.depth += 1;
                self.push(Token::Sign(first), 1)
            }
            ')' | ']' => {
                self.depth = self.depth.saturating_sub(1);
                self.push(Token::Sign(first), 1)
            }
            '\u{2212}' | '–' => self.push(Token::Sign('-'), first.len_utf8()),
            '\'' | '’' | '′' => self.push(Token::Sign('\''), first.len_utf8()),
            '+' | '-' | '*' | '/' | '^' | '_' | '{' | '}' | '|' | ',' | ';' | ':' | '=' | '<' | '>' | '!' | '%'
            | '&' => self.push(Token::Sign(first), 1),
            // A full stop at the end.
            '.' if rest.trim_end_matches(['.', ' ', '$', '*', '\n', '}']).is_empty() => {
                self.at += 1;
                Some(())
            }
            c if c.is_ascii_alphabetic() => {
                let letters = rest.bytes().take_while(u8::is_ascii_alphabetic).count();
                self.push(Token::Word(rest[..letters].to_owned()), letters)
            }
            c => self.unicode(c),
        })
    }

    fn unicode(&mut self, sign: char) -> Option<()> {
        let bytes = sign.len_utf8();
        if let Some((_, name)) = SIGNS.iter().find(|(known, _)| *known == sign) {
            return self.push(Token::Command((*name).to_owned()), bytes);
        }
        if let Some((_, digit)) = SUPERSCRIPTS.iter().find(|(known, _)| *known == sign) {
            self.out.push(Token::Sign('^'));
            return self.push(small(&digit.to_string()), bytes);
        }
        if let Some((_, above, below)) = FRACTIONS.iter().find(|(known, _, _)| *known == sign) {
            self.out.push(Token::Command("frac".to_owned()));
            self.out.push(small(above));
            return self.push(small(below), bytes);
        }
        if sign.is_alphabetic() {
            let end = self.rest().find(|c: char| !c.is_alphabetic()).unwrap_or(self.rest().len());
            return self.push(Token::Word(self.rest()[..end].to_owned()), end);
        }
        None
    }

    fn command(&mut self) -> Option<()> {
        let after = &self.rest()[1..];
        let first = after.chars().next()?;
        if !first.is_ascii_alphabetic() {
            let bytes = 1 + first.len_utf8();
            return match first {
                '\\' => self.push(Token::Row, 2),
                '{' => {
                    self.depth += 1;
                    self.push(Token::Command("{".into()), 2)
                }
                '}' => {
                    self.depth = self.depth.saturating_sub(1);
                    self.push(Token::Command("}".into()), 2)
                }
                '%' => self.push(Token::Sign('%'), 2),
                '|' => self.push(Token::Sign('|'), 2),
                '$' | '(' | ')' | '[' | ']' | ' ' | ',' | ';' | ':' | '!' | '&' | '#' | '_' => {
                    self.at += bytes;
                    Some(())
                }
                _ => None,
            };
        }
        let letters = after.bytes().take_while(u8::is_ascii_alphabetic).count();
        let name = &after[..letters];
        let mut bytes = 1 + letters;
        // `\mathrm{cm}` is words, and `\mathrm{e}` is a letter.
        let words = || {
            let inner = self.rest()[bytes..].strip_prefix('{').and_then(|inner| inner.split('}').next());
            inner.is_some_and(|inner| inner.trim().len() > 1 && inner.chars().all(|c| c.is_alphabetic() || c == ' '))
        };
        if name == "mathrm" && words() {
            return self.text_argument(bytes);
        }
        if INVISIBLE.contains(&name) {
            self.at += bytes;
            // `\left.` opens nothing.
            if matches!(name, "left" | "right") && self.rest().starts_with('.') {
                self.at += 1;
            }
            return Some(());
        }
        if TEXTS.contains(&name) || name == "begin" || name == "end" {
            let inner = self.rest()[bytes..].trim_start().strip_prefix('{')?;
            let start = self.text.len() - inner.len();
            let end = start + inner.find('}')?;
            let content = &self.text[start..end];
            bytes = end + 1 - self.at;
            return match name {
                "begin" => {
                    // `\begin{array}{cc}`: the columns say nothing.
                    let columns = self.text[end + 1..].strip_prefix('{').and_then(|columns| columns.find('}'));
                    let skipped = columns.filter(|_| content == "array").map_or(0, |columns| columns + 2);
                    self.push(Token::Begin(content.to_owned()), bytes + skipped)
                }
                "end" => self.push(Token::End(content.to_owned()), bytes),
                _ => self.push(Token::Text(content.trim().to_owned()), bytes),
            };
        }
        self.push(Token::Command(name.to_owned()), bytes)
    }

    /// The words in the braces behind a command of `bytes`.
    fn text_argument(&mut self, bytes: usize) -> Option<()> {
        let inner = self.rest()[bytes..].strip_prefix('{')?;
        let end = inner.find('}')?;
        self.push(Token::Text(inner[..end].trim().to_owned()), bytes + end + 2)
    }

    /// Digits, thousands, a fraction part, an exponent.
    fn number(&mut self, budget: &mut Budget) -> Result<Option<()>, Exhausted> {
        let rest = self.rest();
        let (mut digits, mut end) = (String::new(), 0);
        end += take(&mut digits, rest);
        if (1..=3).contains(&end) {
            while let Some(separator) = self.separator(&rest[end..]) {
                let group = &rest[end + separator..];
                if group.bytes().take_while(u8::is_ascii_digit).count() != 3 {
                    break;
                }
                digits.push_str(&group[..3]);
                end += separator + 3;
            }
        }
        let mut places = 0;
        let point = rest[end..].strip_prefix('.').or_else(|| {
            // `0,5`: no list and no thousand begins so.
            rest[end..].strip_prefix(',').filter(|_| digits == "0" && self.depth == 0)
        });
        if let Some(after) = point {
            let taken = take(&mut digits, after);
            if taken > 0 {
                places = taken;
                end += 1 + taken;
            }
        }
        if let Some((period, taken)) = repeating(&rest[end..]).filter(|_| digits.len() <= 64) {
            let head = BigInt::parse_bytes(digits.as_bytes(), 10).unwrap_or_default();
            budget.spend(period.len() as u64)?;
            let Some(period_value) = BigInt::parse_bytes(period.as_bytes(), 10) else { return Ok(None) };
            let nines = BigInt::from(10u32).pow(period.len()) - 1u32;
            let (head, tail) = (BigRational::from_integer(head), BigRational::new(period_value, nines));
            let value = (head + tail) / BigRational::from_integer(BigInt::from(10u32).pow(places));
            let text = rest[..end + taken].to_owned();
            return Ok(self.push(Token::Number { value: Literal { value, places: 0 }, text }, end + taken));
        }
        let text = rest[..end].to_owned();
        let mut exponent = -i64::try_from(places).unwrap_or(i64::MAX);
        if let Some((value, taken)) = scientific(&rest[end..]) {
            exponent += value;
            end += taken;
            places = 0;
        }
        if digits.len() > DIGITS || exponent.unsigned_abs() > DIGITS as u64 {
            return Err(Exhausted);
        }
        // Reading decimal digits is quadratic in their number.
        budget.spend((digits.len() * digits.len() / 64) as u64)?;
        let Some(whole) = BigInt::parse_bytes(digits.as_bytes(), 10) else { return Ok(None) };
        let tens = BigRational::from_integer(BigInt::from(10u32).pow(exponent.unsigned_abs()));
        let value = BigRational::from_integer(whole);
        let value = if exponent < 0 { value / tens } else { value * tens };
        let places = u32::try_from(places).unwrap_or(u32::MAX);
        Ok(self.push(Token::Number { value: Literal { value, places }, text }, end))
    }

    /// Bytes of a thousands separator that a group of three digits may follow.
    fn separator(&self, rest: &str) -> Option<usize> {
        let signs = ["{,}", "\\,", "\\!", "\\ ", "\u{a0}", "\u{202f}", ",\\!", " "];
        let plain = if self.depth == 0 && rest.starts_with(',') && !rest.starts_with(",\\!") { Some(1) } else { None };
        let digit_follows = |length: &usize| rest[*length..].starts_with(|c: char| c.is_ascii_digit());
        plain
            .or_else(|| signs.iter().find(|sign| rest.starts_with(**sign)).map(|sign| sign.len()))
            .filter(digit_follows)
    }
}

fn take(into: &mut String, text: &str) -> usize {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    into.push_str(&text[..digits]);
    digits
}

/// `\overline{6}` behind decimals: the period and the length of it all.
fn repeating(text: &str) -> Option<(&str, usize)> {
    let after = text.strip_prefix('.').unwrap_or(text);
    let inner = after.strip_prefix("\\overline{").or_else(|| after.strip_prefix("\\bar{"))?;
    let digits = inner.bytes().take_while(u8::is_ascii_digit).count();
    let closed = (1..=64).contains(&digits) && inner[digits..].starts_with('}');
    closed.then(|| (&inner[..digits], text.len() - inner.len() + digits + 1))
}

/// `e-3` behind digits: the exponent and its length.
fn scientific(text: &str) -> Option<(i64, usize)> {
    let after = text.strip_prefix(['e', 'E'])?;
    let sign = usize::from(after.starts_with(['+', '-']));
    let digits = after[sign..].bytes().take_while(u8::is_ascii_digit).count();
    if !(1..=9).contains(&digits) || after[sign + digits..].starts_with(|c: char| c.is_alphabetic()) {
        return None;
    }
    let value: i64 = after[..sign + digits].trim_start_matches('+').parse().ok()?;
    Some((value, 1 + sign + digits))
}

/// A small whole number as a token.
fn small(digits: &str) -> Token {
    let value = BigRational::from_integer(digits.bytes().fold(BigInt::from(0), |sum, b| sum * 10 + (b - b'0')));
    Token::Number { value: Literal { value, places: 0 }, text: digits.to_owned() }
}
