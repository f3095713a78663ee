use super::*;

mod hostile;

/// The status and the extracted text, whose span is checked on the way.
fn graded(response: &str, reference: &str) -> (VerdictStatus, Option<String>) {
    let verdict = grade(response, reference);
    if let (Some([start, end]), Some(extracted)) = (verdict.span, &verdict.extracted) {
        assert_eq!(&response[start..end], extracted);
    } else {
        assert_eq!((verdict.span, &verdict.extracted), (None, &None));
    }
    (verdict.status, verdict.extracted)
}

fn extracted(response: &str) -> Option<String> {
    graded(response, "-").1
}

#[track_caller]
fn correct(response: &str, reference: &str) {
    assert_eq!(graded(response, reference).0, VerdictStatus::Correct, "{response:?} against {reference:?}");
}

#[track_caller]
fn wrong(response: &str, reference: &str) {
    assert_eq!(graded(response, reference).0, VerdictStatus::Wrong, "{response:?} against {reference:?}");
}

#[test]
fn every_usual_form_is_found() {
    for response in [
        "9 * 2 = 18\n#### 18",
        "####18",
        "So 9 * 2 = 18. The answer is 18.",
        "The answer is 18",
        "the answer is: $18.",
        "The answer is **18**.",
        "The answer is $18$ dollars.",
        "The answer is $\\boxed{18}$.",
        "The answer is \\(18\\).",
        "The answer is:\n\n\\[\\boxed{18}\\]",
        "The answer is 18 because 9 times 2 is 18 and not 20.",
        "The answer is 18, since she sells 9.",
        "The answer is x = 18.",
        "9 * 2 = 18\nA: 18",
        "9 * 2 = 18\nA: $18.00",
        "9 * 2 = 18\nA: 18 dollars a day",
        "work\n**Answer:** 18",
        "work\nAnswer: 18",
        "work\n### Final Answer\n18",
        "Final answer: 18",
        "Final Answer: The final answer is $18$. I hope it is correct.",
        "**Final Answer**: 18 dollars",
        "The answer is <<9*2=18>>18 dollars.",
        "The final answer is 9 eggs * 2 dollars / egg = <<9*2=18>>18 dollars.",
        "so \\boxed{18}.",
        "so \\fbox{18}.",
        "so \\boxed 18",
        "so \\boxed{\\text{18}}",
        "so \\boxed{18\\text{ dollars}}",
        "so \\boxed{\\$18}",
        "so \\boxed{18\\%}",
        "so \\boxed{18^\\circ}",
        "She makes 9 * 2 = <<9*2=18>>18 dollars.",
        "She makes $18 every day.",
    ] {
        correct(response, "18");
    }
}

#[test]
fn the_first_final_answer_counts_and_not_what_comes_after() {
    correct("The answer is 18.\n\nQuestion: How many?\nAnswer: 5\nThe answer is 5.", "18");
    correct("She makes $18.\n\nQuestion: There are 7 cars. How many?", "18");
    correct("She makes $18.Question: There are 7 cars.", "18");
    correct("so $\\boxed{18}$.\n\nProblem: Find 3.\nSolution: \\boxed{3}", "18");
    correct("A: 18\nQ: And 7?\nA: 7", "18");
    correct("It is 18.\n\n**Question 2:** And 7?", "18");
    correct("The answer is 18. The answer is 20.", "18");
    correct("It makes 18<|im_end|>7", "18");
    wrong("The answer is 17. No, the answer is 18.", "18");
    // A response that repeats the question first is its own.
    correct("Question: 9 * 2?\nThe answer is 18.", "18");
}

#[test]
fn headings_and_running_text_are_not_answers() {
    correct("#### Step 1\nTake 3.\n#### Step 2\nTake 4.\n#### 7", "7");
    correct("#### 1. Count the eggs\nThere are 12.\nThe answer is 12.", "12");
    correct("A: She eats 3 of 16 eggs.\nShe sells 13 eggs.\n#### 26", "26");
    correct("A: Let's think. She eats 3 of 16, so the answer is 13.", "13");
    correct("The answer is found by adding 3 and 4. The answer is 7.", "7");
    correct("She got 24 answers * 2 points/answer = 48 points.\n#### 50", "50");
    correct("The first answer was 600.\n#### 50", "50");
    correct("Bananas: 3\nA: 7", "7");
    correct("She is 12 on the 3rd day.", "12");
    correct("- 18 apples", "18");
    correct("9-18", "18");
    correct("It fell to -18.", "-18");
}

#[test]
fn numbers_are_compared_exactly() {
    correct("The answer is 93.75.", "375/4");
    correct("The answer is \\frac{375}{4}.", "93.75");
    correct("The answer is $1,234.50.", "1234.5");
    correct("The answer is -3.", "\u{2212}3");
    correct("The answer is 2 1/2 cups.", "2.5");
    correct("\\boxed{6.02 \\times 10^{23}}", "6.02e23");
    correct("The answer is 5 million.", "5,000,000");
    correct("The answer is 50%.", "50");
    correct("The answer is 50\\%.", "50%");
    correct("The answer is 50%.", "0.5");
    wrong("The answer is 0.333.", "1/3");
    wrong("The answer is 180.", "18");
    wrong("The answer is 2x.", "2");
    wrong("The answer is 2\\pi.", "2");
    wrong("\\boxed{2\\sqrt{3}}", "2");
    wrong("\\boxed{18, 20}", "18");
    wrong("\\boxed{3!}", "3");
    wrong("The answer is 18 and 20.", "18");
    wrong("The answer is 5:30.", "5");
}

#[test]
fn answers_that_are_not_numbers_are_compared_as_folded_text() {
    correct("The answer is Monday.", "monday");
    correct("\\boxed{x^2 + 1}", "x^2+1");
    correct("\\boxed{\\text{Monday}}", "Monday");
    correct("The answer is (B).", "B");
    correct("\\boxed{\\left( 3, \\dfrac{\\pi}{2} \\right)}", "(3,\\frac{\\pi}{2})");
    correct("The answer is June 5.", "June 5");
    correct("work\nA: Yes", "yes");
    wrong("The answer is Tuesday.", "Monday");
    wrong("The answer is 5.", "Monday");
    wrong("The answer is 5.", "");
}

#[test]
fn nothing_found_is_unparsed() {
    for response in ["", "   \n", "I do not know.", "\\boxed{", "\\boxed{}", "####", "A:", "The answer is", "Answer:\n"]
    {
        assert_eq!(graded(response, "18"), (VerdictStatus::Unparsed, None), "{response:?}");
    }
}

#[test]
fn what_is_extracted_is_as_it_was_written() {
    assert_eq!(extracted("The answer is $1,234.50 per day."), Some("1,234.50".into()));
    assert_eq!(extracted("\\boxed{\\frac{1}{2}}"), Some("\\frac{1}{2}".into()));
    assert_eq!(extracted("He owes €93,75 … #### 93.75"), Some("93.75".into()));
    assert_eq!(extracted("\\boxed{ {a} + {b{c}} } and }"), Some("{a} + {b{c}}".into()));
}

#[test]
fn a_reference_may_be_a_whole_solution() {
    let verdict = grade("The answer is 42.", "She has 40 and gets 2, so 40+2=<<40+2=42>>42.\n#### 42");
    assert_eq!((verdict.status, verdict.reference.as_str()), (VerdictStatus::Correct, "42"));
    let verdict = grade("\\boxed{1/2}", "Thus $x = \\boxed{\\frac{1}{2}}$.");
    assert_eq!((verdict.status, verdict.reference.as_str()), (VerdictStatus::Correct, "\\frac{1}{2}"));
}

/// Grades pairs of a reference and an answer, the answer in a box; gives the pairs with another status.
#[track_caller]
fn table(pairs: &[(&str, &str)], expected: VerdictStatus) {
    let response = |answer: &str| format!("So it is $\\boxed{{{answer}}}$.");
    let others: Vec<_> = pairs
        .iter()
        .map(|(reference, answer)| (*reference, *answer, graded(&response(answer), reference)))
        .filter(|(_, _, (status, _))| *status != expected)
        .collect();
    assert!(others.is_empty(), "not {expected:?}: {others:#?}");
}

#[test]
fn equal_mathematics_is_equal_however_it_is_written() {
    table(
        &[
            ("\\frac{1}{2}", "0.5"),
            ("\\frac12", "\\dfrac{2}{4}"),
            ("2\\frac{1}{2}", "5/2"),
            ("½", "1/2"),
            ("\\sqrt{8}", "2\\sqrt{2}"),
            ("\\sqrt{6}", "\\sqrt{2}\\cdot\\sqrt3"),
            ("\\frac{1}{\\sqrt{2}}", "\\frac{\\sqrt{2}}{2}"),
            ("\\sqrt[3]{16}", "2\\sqrt[3]{2}"),
            ("1+\\sqrt{2}", "\\sqrt{3+2\\sqrt{2}}"),
            ("\\frac{\\sqrt{5}-1}{2}", "\\frac{2}{1+\\sqrt{5}}"),
            ("\\frac{\\pi}{2}", "\\pi/2"),
            ("2\\pi", "2*pi"),
            ("x^2+2x+1", "(x+1)^2"),
            ("\\frac{x^2-1}{x-1}", "x+1"),
            ("3x^2y - y", "y(3x^2-1)"),
            ("e^{2x}", "(e^x)^2"),
            ("2^{n+1}", "2\\cdot 2^n"),
            ("\\sin^2 x", "1-\\cos^2 x"),
            ("\\sin 2x", "2\\sin x\\cos x"),
            ("\\log_2 8", "3"),
            ("\\ln 8", "3\\ln 2"),
            ("\\frac{1}{2}", "\\sin(30^\\circ)"),
            ("5!", "120"),
            ("\\binom{5}{2}", "10"),
            ("2^{100}", "1267650600228229401496703205376"),
            ("3+4i", "4i+3"),
            ("-1", "e^{i\\pi}"),
            ("i", "\\sqrt{-1}"),
            ("|x|", "\\sqrt{x^2}"),
            ("10^{10^{10}}", "10^{10^{10}}"),
            ("6.02 \\times 10^{23}", "6.02e23"),
            ("1,234", "1234"),
            ("1{,}234{,}567", "1234567"),
            ("x = 5", "5"),
            ("5", "x = 5"),
            ("y = 2x + 1", "2x+1"),
            ("2x + 4y = 6", "x = 3 - 2y"),
            ("x > 3", "3 < x"),
            ("x > 3", "(3, \\infty)"),
            ("1 < x \\le 2", "(1, 2]"),
            ("x \\in [1, 2]", "[1,2]"),
            ("(-\\infty, 1) \\cup (2, \\infty)", "(2,\\infty)\\cup(-\\infty,1)"),
            ("x<1 \\text{ or } x>2", "(-\\infty,1)\\cup(2,\\infty)"),
            ("(1, \\frac{1}{2})", "\\left(1, 0.5\\right)"),
            ("1, 2", "2, 1"),
            ("1, 2", "\\{2, 1\\}"),
            ("\\pm 2", "2, -2"),
            ("1 \\pm \\sqrt{2}", "1-\\sqrt2, 1+\\sqrt2"),
            ("\\emptyset", "\\{\\}"),
            ("5 \\text{ or } 6", "5, 6"),
            ("\\begin{pmatrix} 1 & 2 \\\\ 3 & 4 \\end{pmatrix}", "\\begin{bmatrix}1&2\\\\3&\\frac{8}{2}\\end{bmatrix}"),
            ("\\begin{pmatrix} 1 \\\\ 2 \\end{pmatrix}", "(1, 2)"),
            ("90^\\circ", "90"),
            ("12\\text{ cm}^2", "12"),
            ("12", "12\\,\\mathrm{cm}"),
            ("\\$5.00", "5"),
            ("3:2", "3:2"),
            ("2516_8", "2516_{8}"),
            ("2516_8", "2516"),
            ("\\text{Monday}", "monday"),
            ("B", "\\text{(B)}"),
            ("(B)", "B"),
            ("B", "(B) 12"),
            ("\\frac{1}{3}", "0.333333"),
            ("\\sqrt{2}", "1.41421356"),
            ("\\pi", "\\pi \\approx 3.14"),
            ("0.3", "0.30000000000000004"),
            ("five", "5"),
            ("\\frac{1}{6}", "0.1\\overline{6}"),
            ("\\frac{1}{3}", "0.\\overline{3}"),
            ("15", "\\frac{6!}{2!4!}"),
        ],
        VerdictStatus::Correct,
    );
}

#[test]
fn different_mathematics_is_different() {
    table(
        &[
            ("\\frac{1}{3}", "0.33"),
            ("\\frac{1}{3}", "0.3333"),
            ("\\pi", "3.14"),
            ("\\pi", "\\frac{22}{7}"),
            ("\\sqrt{2}", "1.4142"),
            ("0", "0.0000001"),
            ("\\sqrt{8}", "\\sqrt{2}"),
            ("\\sqrt{x^2}", "x"),
            ("x+1", "y+1"),
            ("x = 5", "y = 5"),
            ("x^2 + 1", "x^2 - 1"),
            ("2x + z = 1", "1"),
            ("x > 3", "x \\ge 3"),
            ("x > 3", "x < 3"),
            ("(1, 2)", "(2, 1)"),
            ("(1, 2)", "[1, 2]"),
            ("1, 2", "1, 2, 3"),
            ("1, 2", "1"),
            ("2516_8", "2516_7"),
            ("2516_8", "1358"),
            ("\\frac{1}{0}", "5"),
            ("2^{100}", "2^{101}"),
            ("10^{20}", "10^{20}+1"),
            ("B", "C"),
            ("B", "(C) 12"),
            ("50\\%", "5"),
            ("3", "3!"),
            ("\\text{Monday}", "5"),
            ("5", "\\text{five or six}"),
        ],
        VerdictStatus::Wrong,
    );
}

#[test]
fn what_says_several_values_is_no_single_one() {
    for (response, reference) in [
        ("The answer is between 5 and 6.", "6"),
        ("The answer is not 5.", "5"),
        ("The answer is 2 hours and 30 minutes.", "2"),
        ("The answer is 5 to 1.", "5"),
        ("\\boxed{A, B}", "A"),
        ("Thus $x = 5$ or $x = -5$.", "-5"),
    ] {
        wrong(response, reference);
    }
    correct("Thus $x = 5$ or $x = -5$.", "5, -5");
    correct("so $\\boxed{5}$ and $\\boxed{7}$", "7, 5");
}

#[test]
fn numbers_in_words_answer_numbers() {
    for (words, number) in [
        ("five", "5"),
        ("Twenty-five eggs", "25"),
        ("one hundred and five", "105"),
        ("two thousand three hundred", "2300"),
        ("two thirds", "2/3"),
        ("half", "0.5"),
    ] {
        correct(&format!("The answer is {words}."), number);
    }
    for words in ["five and six", "five six", "zero five", "a five-sided figure of one or two"] {
        wrong(&format!("The answer is {words}."), "11");
    }
}

#[test]
fn percent_is_read_as_the_reference_means_it() {
    for (answer, reference) in [
        ("50%", "50"),
        ("50%", "50%"),
        ("50%", "0.5"),
        ("50%", "1/2"),
        ("0.5", "50%"),
        ("50", "50\\%"),
        ("12.5\\%", "12.5"),
    ] {
        correct(&format!("The answer is ${answer}$."), reference);
    }
    for (answer, reference) in [("5%", "50%"), ("50%", "0.05"), ("500", "50%")] {
        wrong(&format!("The answer is ${answer}$."), reference);
    }
}
