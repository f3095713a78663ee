//! The primaries of an answer's grammar: numbers, names, functions, brackets, sets, matrices; and units, which are
//! skipped.

use super::budget::Exhausted;
use super::expr::{Constant, Expr, Function};
use super::parse::{Parsed, Parser, parse};
use super::tokens::Token;
use super::words;

const GREEK: [&str; 22] = [
    "alpha",
    "beta",
    "gamma",
    "delta",
    "epsilon",
    "varepsilon",
    "zeta",
    "eta",
    "theta",
    "kappa",
    "lambda",
    "mu",
    "nu",
    "xi",
    "rho",
    "sigma",
    "tau",
    "phi",
    "varphi",
    "psi",
    "omega",
    "Delta",
];
const MATRICES: [&str; 6] = ["matrix", "pmatrix", "bmatrix", "Bmatrix", "smallmatrix", "array"];

impl Parser<'_> {
    pub(super) fn primary(&mut self) -> Parsed {
        let Some(token) = self.peek().cloned() else { return Ok(None) };
        match token {
            Token::Number { value, text } => {
                self.at += 1;
                if self.is('_') && text.bytes().all(|b| b.is_ascii_digit()) {
                    return Ok(self.base().map(|base| Expr::Based { digits: text, base }));
                }
                Ok(Some(Expr::Number(value)))
            }
            Token::Word(word) => {
                self.at += 1;
                self.word(&word)
            }
            Token::Text(text) => {
                self.at += 1;
                if text.starts_with(|c: char| c.is_ascii_digit()) {
                    return self.nested(|parser| parse(&text, parser.budget));
                }
                Ok(Some(Expr::Text(text)))
            }
            Token::Command(name) => self.command(&name),
            Token::Sign('(' | '[') => self.bracket(),
            Token::Sign('{') => self.group(),
            Token::Sign('|') => self.bars(),
            Token::Begin(name) if MATRICES.contains(&name.as_str()) => self.matrix(),
            Token::Sign(_) | Token::Row | Token::Begin(_) | Token::End(_) => Ok(None),
        }
    }

    /// Whether the next token begins a factor of an implicit product behind `last`.
    pub(super) fn begins_factor(&self, last: Option<&Expr>) -> bool {
        match self.peek() {
            // `2 3` is no product, and `x 3` is not written either; `3!2!` is.
            Some(Token::Number { .. }) => matches!(last, Some(Expr::Factorial(_))),
            Some(Token::Text(_)) => false,
            Some(Token::Word(word)) => !matches!(word.as_str(), "and" | "or"),
            Some(Token::Command(name)) => match name.as_str() {
                "frac" | "dfrac" | "tfrac" => !matches!(last, Some(Expr::Text(_))),
                "{" => false,
                name => {
                    GREEK.contains(&name)
                        || Function::named(name).is_some()
                        || ["pi", "sqrt", "log", "lg", "binom", "infty", "lfloor", "lceil", "lvert", "imath"]
                            .contains(&name)
                }
            },
            Some(Token::Sign('(' | '{')) => true,
            Some(Token::Sign('|')) => self.bars == 0,
            Some(Token::Sign(_) | Token::Row | Token::Begin(_) | Token::End(_)) | None => false,
        }
    }

    /// Skips a unit behind a value: `\text{ cm}^2`, `dollars`, `km/h`, `per day`.
    pub(super) fn unit(&mut self) -> bool {
        let per = self.is('/');
        let named = match self.ahead(usize::from(per)) {
            Some(Token::Text(text)) => !matches!(text.trim_matches([',', ' ']), "and" | "or" | ""),
            Some(Token::Word(word)) => words::is_unit(word),
            _ => false,
        };
        if !named {
            return false;
        }
        self.at += 1 + usize::from(per);
        if self.is('^') {
            let braced = usize::from(self.ahead(1) == Some(&Token::Sign('{')));
            if matches!(self.ahead(1 + braced), Some(Token::Number { .. })) {
                self.at += 2 + 2 * braced;
            }
        }
        true
    }

    /// A run of letters: a function, a constant, or variables side by side.
    fn word(&mut self, word: &str) -> Parsed {
        let lowered = word.to_ascii_lowercase();
        if let Some(function) = Function::named(&lowered) {
            return self.function(function);
        }
        match lowered.as_str() {
            "sqrt" => return self.root(),
            "log" => return self.logarithm(),
            "pi" => return Ok(Some(Expr::Constant(Constant::Pi))),
            "infinity" | "inf" | "oo" => return Ok(Some(Expr::Constant(Constant::Infinity))),
            _ => {}
        }
        if GREEK.contains(&word) {
            return self.symbol(word.to_owned());
        }
        // `xy` is a product; a longer run is a word, and no mathematics.
        if word.len() > 3
            || !word.is_ascii()
            || words::is_number(&lowered)
            || ["and", "or", "the", "is", "no", "yes", "not"].contains(&lowered.as_str())
        {
            return Ok(None);
        }
        let mut letters = Vec::new();
        let mut names = word.chars().peekable();
        while let Some(name) = names.next() {
            let letter = match name {
                'e' => Expr::Constant(Constant::E),
                'i' => Expr::Constant(Constant::I),
                name if names.peek().is_none() => match self.symbol(name.to_string())? {
                    Some(symbol) => symbol,
                    None => return Ok(None),
                },
                name => Expr::Symbol(name.to_string()),
            };
            letters.push(letter);
        }
        if letters.len() == 1 {
            return Ok(letters.pop());
        }
        // An exponent behind the run belongs to its last letter.
        if self.eat('^') {
            let exponent = if self.is('{') { self.group()? } else { self.power()? };
            let (Some(exponent), Some(last)) = (exponent, letters.pop()) else { return Ok(None) };
            letters.push(Expr::Power(Box::new(last), Box::new(exponent)));
        }
        Ok(Some(Expr::Product(letters)))
    }

    /// A variable with its subscript.
    fn symbol(&mut self, mut name: String) -> Parsed {
        if !self.eat('_') {
            return Ok(Some(Expr::Symbol(name)));
        }
        name.push('_');
        let braced = self.eat('{');
        loop {
            match self.peek() {
                Some(Token::Number { text, .. }) => name.push_str(text),
                Some(Token::Word(text) | Token::Text(text)) => name.push_str(text),
                Some(Token::Sign(sign @ (',' | '+' | '-'))) if braced => name.push(*sign),
                _ => return Ok(None),
            }
            self.at += 1;
            if !braced || self.eat('}') {
                return Ok(Some(Expr::Symbol(name)));
            }
        }
    }

    /// `_2` and `_{16}` behind digits.
    fn base(&mut self) -> Option<u32> {
        self.at += 1;
        let braced = self.eat('{');
        let base = match self.peek() {
            Some(Token::Number { text, .. }) => text.parse().ok().filter(|base| (2..=36).contains(base))?,
            Some(Token::Text(word) | Token::Word(word)) => words::base(word)?,
            _ => return None,
        };
        self.at += 1;
        (!braced || self.eat('}')).then_some(base)
    }

    fn command(&mut self, name: &str) -> Parsed {
        self.at += 1;
        if let Some(function) = Function::named(name) {
            return self.function(function);
        }
        if GREEK.contains(&name) {
            return self.symbol(name.to_owned());
        }
        match name {
            "pi" => Ok(Some(Expr::Constant(Constant::Pi))),
            "infty" => Ok(Some(Expr::Constant(Constant::Infinity))),
            "imath" => Ok(Some(Expr::Constant(Constant::I))),
            "frac" | "dfrac" | "tfrac" | "cfrac" => self.pair(Expr::Quotient),
            "binom" | "dbinom" | "tbinom" => self.pair(Expr::Binomial),
            "sqrt" => self.root(),
            "log" | "lg" => self.logarithm(),
            "emptyset" | "varnothing" => Ok(Some(Expr::Set(Vec::new()))),
            "{" => self.nested(|parser| {
                if parser.eat_command(&["}"]) {
                    return Ok(Some(Expr::Set(Vec::new())));
                }
                let items = parser.items()?;
                Ok(if parser.eat_command(&["}"]) { items.map(Expr::Set) } else { None })
            }),
            "lfloor" => self.fenced("rfloor", Function::Floor),
            "lceil" => self.fenced("rceil", Function::Ceil),
            "lvert" => self.fenced("rvert", Function::Abs),
            _ => Ok(None),
        }
    }

    fn fenced(&mut self, close: &str, function: Function) -> Parsed {
        self.nested(|parser| {
            let inside = parser.sum()?;
            let closed = parser.eat_command(&[close]);
            Ok(inside.filter(|_| closed).map(|inside| Expr::Function(function, Box::new(inside))))
        })
    }

    fn pair(&mut self, make: fn(Box<Expr>, Box<Expr>) -> Expr) -> Parsed {
        let Some(above) = self.argument()? else { return Ok(None) };
        let Some(below) = self.argument()? else { return Ok(None) };
        Ok(Some(make(Box::new(above), Box::new(below))))
    }

    /// A command's argument: a group, or one token, of a number its first digit.
    fn argument(&mut self) -> Parsed {
        if let Some(Token::Number { value, text }) = self.tokens.get(self.at)
            && text.len() > 1
            && value.places == 0
            && text.bytes().all(|b| b.is_ascii_digit())
        {
            let (head, tail) = text.split_at(1);
            let (Some(first), Some(rest)) = (words::digits(head), words::digits(tail)) else { return Ok(None) };
            self.tokens[self.at] = Token::Number { text: tail.to_owned(), value: rest };
            return Ok(Some(Expr::Number(first)));
        }
        self.nested(|parser| parser.primary())
    }

    fn root(&mut self) -> Parsed {
        self.nested(|parser| {
            let mut index = None;
            if parser.eat('[') {
                index = parser.sum()?;
                if index.is_none() || !parser.eat(']') {
                    return Ok(None);
                }
            }
            let Some(of) = parser.argument()? else { return Ok(None) };
            let index = Box::new(index.unwrap_or_else(|| words::whole(2)));
            Ok(Some(Expr::Root { index, of: Box::new(of) }))
        })
    }

    fn logarithm(&mut self) -> Parsed {
        self.nested(|parser| {
            let mut base = words::whole(10);
            if parser.eat('_') {
                match parser.argument()? {
                    Some(given) => base = given,
                    None => return Ok(None),
                }
            }
            let Some(of) = parser.applied()? else { return Ok(None) };
            Ok(Some(Expr::Log { base: Box::new(base), of: Box::new(of) }))
        })
    }

    /// A function with its argument, and an exponent between them: `\sin^2 x`, `\sin^{-1} x`.
    fn function(&mut self, mut function: Function) -> Parsed {
        self.nested(|parser| {
            let mut exponent = None;
            if parser.eat('^') {
                exponent = if parser.is('{') { parser.group()? } else { parser.argument()? };
                let Some(given) = &exponent else { return Ok(None) };
                if matches!(given, Expr::Negative(one) if **one == words::whole(1)) {
                    let Some(inverse) = function.inverse() else { return Ok(None) };
                    function = inverse;
                    exponent = None;
                }
            }
            let Some(of) = parser.applied()? else { return Ok(None) };
            let applied = Expr::Function(function, Box::new(of));
            Ok(Some(match exponent {
                Some(exponent) => Expr::Power(Box::new(applied), Box::new(exponent)),
                None => applied,
            }))
        })
    }

    /// What a function is applied to: a bracket, or the factors up to the next sign or function.
    fn applied(&mut self) -> Parsed {
        if self.is('(') || self.is('{') || self.is('[') {
            return self.primary();
        }
        let mut factors = Vec::new();
        if self.eat('-') {
            factors.push(Expr::Negative(Box::new(words::whole(1))));
        }
        loop {
            let Some(factor) = self.power()? else { return Ok(None) };
            factors.push(factor);
            let another_function = match self.peek() {
                Some(Token::Command(name) | Token::Word(name)) => {
                    Function::named(name).is_some() || ["log", "lg"].contains(&name.as_str())
                }
                _ => false,
            };
            if another_function || self.is('(') || self.is('{') || !self.begins_factor(None) {
                break;
            }
        }
        Ok(Some(if factors.len() == 1 { factors.remove(0) } else { Expr::Product(factors) }))
    }

    /// `(1, 2]`; a single value in round or square brackets is that value.
    fn bracket(&mut self) -> Parsed {
        self.nested(|parser| {
            let Some(Token::Sign(open)) = parser.peek().cloned() else { return Ok(None) };
            parser.at += 1;
            let bars = std::mem::take(&mut parser.bars);
            let items = parser.items()?;
            parser.bars = bars;
            let Some(mut items) = items else { return Ok(None) };
            let close = if parser.eat(')') {
                ')'
            } else if parser.eat(']') {
                ']'
            } else {
                return Ok(None);
            };
            if items.len() == 1 && (open == '(') == (close == ')') {
                return Ok(items.pop());
            }
            Ok(Some(Expr::Bracketed { open, close, items }))
        })
    }

    /// `{…}`, which groups; with several items inside, a set by somebody who forgot the backslash.
    pub(super) fn group(&mut self) -> Parsed {
        self.nested(|parser| {
            parser.at += 1;
            let bars = std::mem::take(&mut parser.bars);
            let items = parser.items()?;
            parser.bars = bars;
            let Some(mut items) = items else { return Ok(None) };
            if !parser.eat('}') {
                return Ok(None);
            }
            Ok(if items.len() == 1 { items.pop() } else { Some(Expr::Set(items)) })
        })
    }

    fn bars(&mut self) -> Parsed {
        self.nested(|parser| {
            parser.at += 1;
            parser.bars += 1;
            let inside = parser.sum()?;
            parser.bars -= 1;
            let closed = parser.eat('|');
            Ok(inside.filter(|_| closed).map(|inside| Expr::Function(Function::Abs, Box::new(inside))))
        })
    }

    fn matrix(&mut self) -> Parsed {
        self.nested(|parser| {
            parser.at += 1;
            let mut rows = vec![Vec::new()];
            loop {
                match parser.peek() {
                    Some(Token::End(_)) => {
                        parser.at += 1;
                        break;
                    }
                    Some(Token::Row) => {
                        parser.at += 1;
                        rows.push(Vec::new());
                    }
                    Some(Token::Sign('&')) => parser.at += 1,
                    Some(_) => {
                        let Some(cell) = parser.sum()? else { return Ok(None) };
                        if let Some(row) = rows.last_mut() {
                            row.push(cell);
                        }
                    }
                    None => return Ok(None),
                }
            }
            rows.retain(|row: &Vec<Expr>| !row.is_empty());
            Ok::<_, Exhausted>((!rows.is_empty()).then_some(Expr::Matrix(rows)))
        })
    }
}
