//! Reads an answer as mathematics: a recursive descent over [`tokens`], with a bound on its depth.
//!
//! `list > relation > union > sum > product > power > primary`, the usual precedences; what stands for values only
//! (units, words behind a number) is dropped on the way. The primaries are in [`super::primary`].

use num_rational::BigRational;

use super::budget::{Budget, Exhausted};
use super::expr::{Expr, Literal, Relation};
use super::tokens::{Token, tokens};
use super::words;

/// Deepest nesting that is read. A person's answer nests five deep.
const DEPTH: u32 = 40;
/// Most `!`, `%` and `'` behind one value.
const POSTFIXES: usize = 8;

/// An answer's tree or none; the error is the budget's.
pub(super) type Parsed<T = Expr> = Result<Option<T>, Exhausted>;

/// The whole of `text` as one answer; `None` if it is not mathematics.
pub(super) fn parse(text: &str, budget: &mut Budget) -> Parsed {
    let Some(tokens) = tokens(text, budget)? else { return Ok(None) };
    let mut parser = Parser { tokens, at: 0, depth: 0, bars: 0, budget };
    let Some(answer) = parser.list()? else { return Ok(None) };
    while parser.eat(',') || parser.eat(';') || parser.eat(':') {}
    Ok(if parser.peek().is_none() { Some(answer) } else { None })
}

pub(super) struct Parser<'a> {
    pub(super) tokens: Vec<Token>,
    pub(super) at: usize,
    depth: u32,
    /// Open `|`, which look like closing ones.
    pub(super) bars: usize,
    pub(super) budget: &'a mut Budget,
}

impl Parser<'_> {
    pub(super) fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.at)
    }

    pub(super) fn ahead(&self, by: usize) -> Option<&Token> {
        self.tokens.get(self.at + by)
    }

    pub(super) fn eat(&mut self, sign: char) -> bool {
        let found = self.is(sign);
        self.at += usize::from(found);
        found
    }

    pub(super) fn is(&self, sign: char) -> bool {
        self.peek() == Some(&Token::Sign(sign))
    }

    pub(super) fn is_command(&self, names: &[&str]) -> bool {
        matches!(self.peek(), Some(Token::Command(name)) if names.contains(&name.as_str()))
    }

    pub(super) fn eat_command(&mut self, names: &[&str]) -> bool {
        let found = self.is_command(names);
        self.at += usize::from(found);
        found
    }

    /// Goes one level down, with `read` as what is there.
    pub(super) fn nested<T>(&mut self, read: impl FnOnce(&mut Self) -> Parsed<T>) -> Parsed<T> {
        self.depth += 1;
        if self.depth > DEPTH {
            return Err(Exhausted);
        }
        self.budget.spend(4)?;
        let outcome = read(self);
        self.depth -= 1;
        outcome
    }

    /// Answers side by side: `1, 2 and 3`.
    pub(super) fn list(&mut self) -> Parsed {
        Ok(self.items()?.map(|mut items| if items.len() == 1 { items.remove(0) } else { Expr::List(items) }))
    }

    /// The items of a list; at least one.
    pub(super) fn items(&mut self) -> Parsed<Vec<Expr>> {
        let mut items = Vec::new();
        loop {
            let Some(item) = self.relation()? else { return Ok(None) };
            items.push(item);
            let before = self.at;
            let mut separated = false;
            while self.separator() {
                separated = true;
            }
            let goes_on = match self.peek() {
                None => false,
                Some(Token::Sign(')' | ']' | '}')) => false,
                Some(Token::Command(name)) => name != "}",
                Some(_) => true,
            };
            if !separated || !goes_on {
                self.at = before;
                return Ok(Some(items));
            }
        }
    }

    fn separator(&mut self) -> bool {
        let found = match self.peek() {
            Some(Token::Sign(',' | ';')) => true,
            Some(Token::Word(word) | Token::Text(word)) => {
                matches!(word.trim_matches([',', ' ']), "and" | "or" | "")
            }
            Some(Token::Command(name)) => matches!(name.as_str(), "lor" | "vee" | "land" | "wedge"),
            _ => false,
        };
        self.at += usize::from(found);
        found
    }

    fn relation(&mut self) -> Parsed {
        let Some(first) = self.union()? else { return Ok(None) };
        let mut rest = Vec::new();
        while let Some(relation) = self.relation_sign() {
            let Some(next) = self.union()? else { return Ok(None) };
            rest.push((relation, next));
        }
        Ok(Some(if rest.is_empty() { first } else { Expr::Relation(Box::new(first), rest) }))
    }

    #[expect(clippy::wildcard_enum_match_arm, reason = "a few of many kinds are meant, and any other kind is not")]
    fn relation_sign(&mut self) -> Option<Relation> {
        let relation = match self.peek()? {
            Token::Sign('=') => Relation::Equal,
            Token::Sign('<') => Relation::Less,
            Token::Sign('>') => Relation::Greater,
            Token::Command(name) => match name.as_str() {
                "lt" => Relation::Less,
                "gt" => Relation::Greater,
                "le" | "leq" | "leqslant" => Relation::LessOrEqual,
                "ge" | "geq" | "geqslant" => Relation::GreaterOrEqual,
                "ne" | "neq" => Relation::NotEqual,
                "approx" | "simeq" | "sim" | "doteq" => Relation::Approximately,
                "equiv" => Relation::Equal,
                "in" => Relation::In,
                _ => return None,
            },
            _ => return None,
        };
        self.at += 1;
        Some(relation)
    }

    fn union(&mut self) -> Parsed {
        let Some(first) = self.sum()? else { return Ok(None) };
        let mut parts = vec![first];
        while self.eat_command(&["cup"]) {
            let Some(next) = self.sum()? else { return Ok(None) };
            parts.push(next);
        }
        Ok(Some(if parts.len() == 1 { parts.remove(0) } else { Expr::Union(parts) }))
    }

    /// Terms with their signs. `\pm` splits what is before it from what is behind it.
    pub(super) fn sum(&mut self) -> Parsed {
        let mut terms = Vec::new();
        let mut negative = false;
        if self.eat_command(&["pm"]) {
            return self.plus_minus(None);
        }
        while self.is('+') || self.is('-') {
            negative ^= self.is('-');
            self.at += 1;
        }
        loop {
            let Some(term) = self.product()? else { return Ok(None) };
            terms.push(if negative { Expr::Negative(Box::new(term)) } else { term });
            if self.eat_command(&["pm"]) {
                return self.plus_minus(Some(sum_of(terms)));
            }
            if !(self.is('+') || self.is('-')) {
                return Ok(Some(sum_of(terms)));
            }
            negative = false;
            while self.is('+') || self.is('-') {
                negative ^= self.is('-');
                self.at += 1;
            }
        }
    }

    fn plus_minus(&mut self, before: Option<Expr>) -> Parsed {
        self.nested(|parser| Ok(parser.sum()?.map(|after| Expr::PlusMinus(before.map(Box::new), Box::new(after)))))
    }

    /// Factors, above and below the stroke. `a/b/c` is kept flat: walking it must not need a deep stack.
    fn product(&mut self) -> Parsed {
        let Some(first) = self.power()? else { return Ok(None) };
        let (mut above, mut below) = (vec![first], Vec::new());
        loop {
            self.budget.spend(1)?;
            if self.unit() {
                continue;
            }
            let times = self.eat('*') || self.eat_command(&["times", "cdot", "ast"]) || self.times_letter(&above);
            if !times && (self.eat('/') || self.eat_command(&["div"]) || self.eat(':')) {
                let Some(next) = self.signed_power()? else { return Ok(None) };
                below.push(next);
                continue;
            }
            if !times {
                if let Some(mixed) = self.mixed(&above, &below)? {
                    above = vec![mixed];
                    continue;
                }
                if !self.begins_factor(above.last().filter(|_| below.is_empty())) {
                    break;
                }
            }
            let Some(next) = self.signed_power()? else { return Ok(None) };
            above.push(next);
        }
        let above = product_of(above);
        Ok(Some(match below.is_empty() {
            true => above,
            false => Expr::Quotient(Box::new(above), Box::new(product_of(below))),
        }))
    }

    /// `2 x 10^3`, the letter as a sign.
    fn times_letter(&mut self, above: &[Expr]) -> bool {
        let found = matches!(self.peek(), Some(Token::Word(word)) if word == "x")
            && matches!(self.ahead(1), Some(Token::Number { .. }))
            && matches!(above, [Expr::Number(_)]);
        self.at += usize::from(found);
        found
    }

    /// `2 1/2` and `2\frac{1}{2}`, behind the whole number that was read already.
    fn mixed(&mut self, above: &[Expr], below: &[Expr]) -> Parsed {
        let ([Expr::Number(whole)], []) = (above, below) else { return Ok(None) };
        if whole.places > 0 || !whole.value.is_integer() {
            return Ok(None);
        }
        let before = self.at;
        let fraction = if self.is_command(&["frac", "dfrac", "tfrac", "cfrac"]) {
            self.power()?
        } else if let (
            Some(Token::Number { value, .. }),
            Some(Token::Sign('/')),
            Some(Token::Number { value: under, .. }),
        ) = (self.peek(), self.ahead(1), self.ahead(2))
        {
            let pair = (value.clone(), under.clone());
            self.at += 3;
            Some(Expr::Quotient(Box::new(Expr::Number(pair.0)), Box::new(Expr::Number(pair.1))))
        } else {
            None
        };
        if let Some(Expr::Quotient(over, under)) = &fraction
            && let (Expr::Number(over), Expr::Number(under)) = (&**over, &**under)
            && over.value < under.value
            && over.value.is_integer()
            && under.value.is_integer()
        {
            let value: BigRational = &whole.value + &over.value / &under.value;
            return Ok(Some(Expr::Number(Literal { value, places: 0 })));
        }
        self.at = before;
        Ok(None)
    }

    fn signed_power(&mut self) -> Parsed {
        let mut negative = false;
        while self.is('+') || self.is('-') {
            negative ^= self.is('-');
            self.at += 1;
        }
        Ok(self.power()?.map(|power| if negative { Expr::Negative(Box::new(power)) } else { power }))
    }

    /// A value with its exponent.
    pub(super) fn power(&mut self) -> Parsed {
        self.nested(|parser| {
            let Some(base) = parser.postfixed()? else { return Ok(None) };
            if !parser.eat('^') {
                return Ok(Some(base));
            }
            if let Some(dressed) = parser.degrees_or_ordinal(&base) {
                return Ok(Some(dressed));
            }
            let exponent = match parser.is('{') {
                true => parser.group()?,
                false => parser.signed_power()?,
            };
            let Some(exponent) = exponent else { return Ok(None) };
            Ok(Some(Expr::Power(Box::new(base), Box::new(exponent))))
        })
    }

    /// `30^\circ` and `5^{\text{th}}`, behind the `^`.
    #[expect(clippy::wildcard_enum_match_arm, reason = "a few of many kinds are meant, and any other kind is not")]
    fn degrees_or_ordinal(&mut self, base: &Expr) -> Option<Expr> {
        let braced = usize::from(self.is('{'));
        let found = match self.ahead(braced)? {
            Token::Command(name) if ["circ", "degree"].contains(&name.as_str()) => {
                Expr::Degrees(Box::new(base.clone()))
            }
            Token::Text(word) if ["st", "nd", "rd", "th"].contains(&word.as_str()) => base.clone(),
            _ => return None,
        };
        if braced == 1 && self.ahead(2) != Some(&Token::Sign('}')) {
            return None;
        }
        self.at += 1 + 2 * braced;
        if matches!(self.peek(), Some(Token::Word(scale)) if ["C", "F"].contains(&scale.as_str())) {
            self.at += 1;
        }
        Some(found)
    }

    fn postfixed(&mut self) -> Parsed {
        let Some(mut value) = self.primary()? else { return Ok(None) };
        for _ in 0..POSTFIXES {
            if self.eat('!') {
                value = Expr::Factorial(Box::new(value));
            } else if self.eat('%') || self.eat_word(&["percent", "percentage", "pct"]) {
                value = Expr::Percent(Box::new(value));
            } else if self.eat_command(&["degree", "degrees"]) || self.eat_word(&["degrees", "degree"]) {
                value = Expr::Degrees(Box::new(value));
            } else if let (Expr::Number(number), Some(Token::Word(word))) = (&value, self.peek())
                && let Some(magnitude) = words::magnitude(word)
            {
                let places = 0;
                value = Expr::Number(Literal { value: &number.value * magnitude, places });
                self.at += 1;
            } else if self.is('\'') {
                self.at += 1;
                if let Expr::Symbol(name) = &mut value {
                    name.push('\'');
                }
            } else {
                return Ok(Some(value));
            }
        }
        Err(Exhausted)
    }

    pub(super) fn eat_word(&mut self, known: &[&str]) -> bool {
        let found = match self.peek() {
            Some(Token::Word(word) | Token::Text(word)) => known.contains(&word.to_lowercase().as_str()),
            _ => false,
        };
        self.at += usize::from(found);
        found
    }
}

fn sum_of(mut terms: Vec<Expr>) -> Expr {
    if terms.len() == 1 { terms.remove(0) } else { Expr::Sum(terms) }
}

fn product_of(mut factors: Vec<Expr>) -> Expr {
    if factors.len() == 1 { factors.remove(0) } else { Expr::Product(factors) }
}
