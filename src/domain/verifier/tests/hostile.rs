//! What nobody writes in good faith: no input hangs a verdict, overflows the stack or panics.

use super::*;

#[test]
fn what_is_too_much_work_is_a_timeout_and_always_the_same() {
    for (answer, reference) in [
        ("10^{10^{10}}", "10^{10^{11}}"),
        ("2^{3^{4^{5}}}", "7"),
        ("(((9!)!)!)!", "7"),
        ("100000!", "7"),
        ("7^{1000000}", "7"),
        ("1e99999", "7"),
        ("\\binom{1000000}{500000}", "7"),
    ] {
        for _ in 0..2 {
            assert_eq!(graded(&format!("\\boxed{{{answer}}}"), reference).0, VerdictStatus::Timeout, "{answer}");
        }
    }
    let deep = format!("\\boxed{{{}1{}}}", "(".repeat(500), ")".repeat(500));
    assert_eq!(graded(&deep, "1").0, VerdictStatus::Timeout);
}

/// Seconds that are far more than any verdict takes, on a machine that has other things to do.
const SOON: f64 = 10.0;

/// Runs `work` on a stack far smaller than a thread's own, and says how long it took.
fn on_a_small_stack(work: impl FnOnce() + Send + 'static) -> std::time::Duration {
    let started = std::time::Instant::now();
    std::thread::Builder::new().stack_size(512 << 10).spawn(work).unwrap().join().unwrap();
    started.elapsed()
}

#[test]
fn hostile_text_neither_hangs_nor_overflows_the_stack() {
    for piece in [
        "\\boxed{",
        "#### ",
        "The answer is ",
        "answer:",
        "1,111",
        "9",
        "0",
        "1e",
        "{",
        "$",
        "(",
        "\u{2212}",
        "é3",
        "\\frac{",
        "a:\n",
        "Question:",
        "\nQ",
        "1 1/",
        "**",
        "answer is\n",
        ".",
        "-",
        "=",
        "1/2/",
        "\\",
        " million",
        "[",
        "]",
        "\\{",
        "|x",
        "2^",
        "x_",
        "!",
        "\\sqrt",
        "\\sqrt[",
        "\\sin ",
        "+1",
        "*x",
        "/y",
        "\\pm",
        "x,",
        "\\left(",
        "\\begin{pmatrix}",
        "&1",
        "\\\\",
        "9^9",
        "(x+y+z)^9",
        "1<x",
        "\\cup",
        "\\text{",
        "'",
        "%",
        "°",
        "answer is $x$ ",
        "\\boxed{1} and ",
    ] {
        let text = piece.repeat(100_000 / piece.len());
        let took = on_a_small_stack(move || {
            let _ = grade(&text, &text);
            let _ = grade(&format!("The answer is {text}"), "10^10^10^10");
            let _ = grade(&text, "9999999!");
            for length in [350, 4000] {
                let short = text.get(..text.floor_char_boundary(length)).unwrap_or_default();
                let _ = grade(&format!("\\boxed{{{short}}}"), "x^2+1");
                let _ = grade("\\boxed{x^2+1}", short);
                let _ = grade(&format!("The answer is ${short}$"), short);
            }
        });
        assert!(took.as_secs_f64() < SOON, "{piece:?} took {took:?}");
    }
}

/// Pieces in random order: parsers meet what nobody writes.
#[test]
fn random_mixtures_are_graded_without_a_panic() {
    let pieces = [
        "\\boxed{",
        "}",
        "{",
        "(",
        ")",
        "[",
        "]",
        "\\{",
        "\\}",
        "1",
        "23",
        "0.5",
        ",",
        " ",
        "x",
        "y_1",
        "^",
        "_",
        "+",
        "-",
        "*",
        "/",
        "=",
        "<",
        "\\le",
        "\\frac",
        "\\sqrt",
        "\\pi",
        "\\pm",
        "|",
        "!",
        "%",
        "$",
        "\\(",
        "\\)",
        "\\text{a}",
        "and",
        " or ",
        "é",
        "½",
        "²",
        "e5",
        "\\sin",
        "\\log_2",
        "\\infty",
        "\\cup",
        "\\in",
        "\\begin{pmatrix}",
        "&",
        "\\\\",
        "\\end{pmatrix}",
        "\n",
        "A: ",
        "#### ",
        ".",
        "The answer is ",
        "\\overline{3}",
        "\\left",
        "\\right.",
        "°",
        "million",
        "'",
        ":",
        "i",
        "\\binom",
        "\u{a0}",
        "“",
    ];
    let mut state = 7u64;
    let mut draw = move |below: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % below
    };
    for _ in 0..20_000 {
        let mut mixture = |most: usize| (0..=draw(most)).map(|_| pieces[draw(pieces.len())]).collect::<String>();
        let (response, reference) = (mixture(12), mixture(6));
        let _ = graded(&response, &reference);
        let _ = graded(&format!("\\boxed{{{response}}}"), &response);
    }
}

#[test]
fn ten_megabytes_of_anything_are_read_once() {
    for piece in ["(", "{", "\\boxed{", "[", "$", "9", "answer is (", " ", "\n"] {
        let text = piece.repeat((10 << 20) / piece.len());
        let took = on_a_small_stack(move || drop(grade(&text, "7")));
        assert!(took.as_secs_f64() < SOON, "{piece:?} took {took:?}");
    }
}

#[test]
fn towers_of_work_end_soon() {
    let wide = (0..200).map(|i| format!("(x_{i}+y_{i})")).collect::<String>();
    let roots = "\\sqrt{2+".repeat(35) + "2" + &"}".repeat(35);
    let list = (0..600).map(|i| format!("{i}.5")).collect::<Vec<_>>().join(", ");
    let reversed = (0..600).rev().map(|i| format!("{i}.5")).collect::<Vec<_>>().join(", ");
    let digits = "7".repeat(4000);
    for (answer, reference) in [
        (wide.clone(), wide.replace('+', "-")),
        ("(a+b+c+d+e+f)^{60}".to_owned(), "(a+b+c+d+e-f)^{60}".to_owned()),
        ("(a+b+c+d+e+f)^{60}+1".to_owned(), "1+(f+e+d+c+b+a)^{60}".to_owned()),
        (roots.clone(), roots.replacen("+2}", "+3}", 1)),
        (list, reversed),
        (digits.clone(), format!("{digits}+1")),
        (format!("\\sqrt{{{digits}}}"), format!("\\sqrt{{{digits}+1}}")),
        (format!("{digits}^{{2}}"), format!("{digits}^{{3}}")),
        ("x^{65536}".to_owned(), "x^{65535}".to_owned()),
        ("(x+1)^{65536}".to_owned(), "(x+1)^{65535}".to_owned()),
        ("1/(1+1/(".repeat(18) + "x" + &"))".repeat(18), "x".to_owned()),
        ("2000!".to_owned(), "1999!".to_owned()),
    ] {
        let what = format!("{answer:.40}");
        let took = on_a_small_stack(move || drop(grade(&format!("\\boxed{{{answer}}}"), &reference)));
        assert!(took.as_secs_f64() < SOON, "{what} took {took:?}");
    }
}
