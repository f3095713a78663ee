//! An answer as a small tree. Its depth and its number of nodes are bounded by the parser, so walking it is safe.

use num_rational::BigRational;

/// A mathematical answer.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Expr {
    Number(Literal),
    /// `1010_2`: digits in a base that is written below them.
    Based {
        digits: String,
        base: u32,
    },
    /// A variable, its subscript included: `x`, `x_1`, `alpha`.
    Symbol(String),
    /// Words: `\text{Monday}`.
    Text(String),
    Constant(Constant),
    Sum(Vec<Expr>),
    Product(Vec<Expr>),
    Negative(Box<Expr>),
    Quotient(Box<Expr>, Box<Expr>),
    Power(Box<Expr>, Box<Expr>),
    /// `\sqrt[index]{of}`.
    Root {
        index: Box<Expr>,
        of: Box<Expr>,
    },
    Function(Function, Box<Expr>),
    /// `\log_base of`.
    Log {
        base: Box<Expr>,
        of: Box<Expr>,
    },
    Binomial(Box<Expr>, Box<Expr>),
    Factorial(Box<Expr>),
    Percent(Box<Expr>),
    Degrees(Box<Expr>),
    /// `a \pm b`; the first part is absent in `\pm b`.
    PlusMinus(Option<Box<Expr>>, Box<Expr>),
    /// `1, 2` and `1 and 2` without brackets.
    List(Vec<Expr>),
    /// `(1, 2)`, `[1, 2)`: a point, a vector or an interval, told apart by nobody but the reader.
    Bracketed {
        open: char,
        close: char,
        items: Vec<Expr>,
    },
    /// `\{1, 2\}`, and `\emptyset` without items.
    Set(Vec<Expr>),
    Union(Vec<Expr>),
    Matrix(Vec<Vec<Expr>>),
    /// `first op next op next …`.
    Relation(Box<Expr>, Vec<(Relation, Expr)>),
}

/// A number as it was written.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Literal {
    pub(super) value: BigRational,
    /// Digits behind the decimal point.
    pub(super) places: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Constant {
    Pi,
    E,
    I,
    Infinity,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Function {
    Sin,
    Cos,
    Tan,
    Cot,
    Sec,
    Csc,
    Arcsin,
    Arccos,
    Arctan,
    Sinh,
    Cosh,
    Tanh,
    Ln,
    Exp,
    Abs,
    Floor,
    Ceil,
}

impl Function {
    const NAMES: [(&'static str, Function); 22] = [
        ("sin", Function::Sin),
        ("cos", Function::Cos),
        ("tan", Function::Tan),
        ("cot", Function::Cot),
        ("sec", Function::Sec),
        ("csc", Function::Csc),
        ("arcsin", Function::Arcsin),
        ("asin", Function::Arcsin),
        ("arccos", Function::Arccos),
        ("acos", Function::Arccos),
        ("arctan", Function::Arctan),
        ("atan", Function::Arctan),
        ("sinh", Function::Sinh),
        ("cosh", Function::Cosh),
        ("tanh", Function::Tanh),
        ("ln", Function::Ln),
        ("exp", Function::Exp),
        ("abs", Function::Abs),
        ("floor", Function::Floor),
        ("ceil", Function::Ceil),
        ("tg", Function::Tan),
        ("ctg", Function::Cot),
    ];

    pub(super) fn named(name: &str) -> Option<Self> {
        Self::NAMES.iter().find(|(known, _)| *known == name).map(|(_, function)| *function)
    }

    /// The function that undoes this one, as `\sin^{-1}` writes it.
    pub(super) fn inverse(self) -> Option<Self> {
        match self {
            Function::Sin => Some(Function::Arcsin),
            Function::Cos => Some(Function::Arccos),
            Function::Tan => Some(Function::Arctan),
            Function::Cot
            | Function::Sec
            | Function::Csc
            | Function::Arcsin
            | Function::Arccos
            | Function::Arctan
            | Function::Sinh
            | Function::Cosh
            | Function::Tanh
            | Function::Ln
            | Function::Exp
            | Function::Abs
            | Function::Floor
            | Function::Ceil => None,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Relation {
    Equal,
    Approximately,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    In,
}

impl Relation {
    /// The relation with its sides exchanged.
    pub(super) fn flipped(self) -> Self {
        match self {
            Relation::Less => Relation::Greater,
            Relation::LessOrEqual => Relation::GreaterOrEqual,
            Relation::Greater => Relation::Less,
            Relation::GreaterOrEqual => Relation::LessOrEqual,
            Relation::Equal | Relation::Approximately | Relation::NotEqual | Relation::In => self,
        }
    }
}
