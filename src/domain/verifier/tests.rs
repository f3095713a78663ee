use super::*;

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
    wrong("The answer is 50%.", "0.5");
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

#[test]
fn hostile_text_neither_hangs_nor_panics() {
    let started = std::time::Instant::now();
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
    ] {
        let text = piece.repeat(200_000 / piece.len());
        let _ = grade(&text, &text);
        let _ = grade(&format!("The answer is {text}"), "10^10^10^10");
        let _ = grade(&text, "9999999!");
    }
    assert!(started.elapsed().as_secs() < 20, "took {:?}", started.elapsed());
}
