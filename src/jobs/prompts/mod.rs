//! How a problem is put to a model: with worked examples before it when it is sampled or evaluated, and alone when a model is
//! trained on the response.

use serde::{Deserialize, Serialize};

/// The eight chain-of-thought examples of Wei et al. (arXiv 2201.11903, table 20).
const GSM8K: &str = include_str!("gsm8k.txt");
/// The four examples of Lewkowycz et al. (Minerva, arXiv 2206.14858, appendix D.2).
const MATH: &str = include_str!("math.txt");

/// What a template has in the question's place.
const QUESTION: &str = "{question}";

/// A form of prompts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum PromptFormat {
    /// `Question: …\nAnswer:` after eight examples whose answers end `The answer is N.`
    Gsm8k,
    /// `Problem:\n…\n\nSolution:` after four examples with answers in `\boxed{}`.
    Math,
    /// A template and no examples.
    Plain,
}

impl PromptFormat {
    /// The prompt of one problem without examples; training is on this. `template` is the plain form's.
    pub(super) fn bare(self, question: &str, template: &str) -> String {
        let question = question.trim();
        match self {
            PromptFormat::Gsm8k => format!("Question: {question}\nAnswer:"),
            PromptFormat::Math => format!("Problem:\n{question}\n\nSolution:"),
            PromptFormat::Plain => template.replace(QUESTION, question),
        }
    }

    /// The prompt that is drawn after.
    pub(super) fn whole(self, question: &str, template: &str) -> String {
        let bare = self.bare(question, template);
        match self {
            PromptFormat::Gsm8k => format!("{GSM8K}{bare}"),
            PromptFormat::Math => format!("{MATH}{bare}"),
            PromptFormat::Plain => bare,
        }
    }

    /// Texts at which the model has run on into a problem of its own.
    pub(super) fn stop(self) -> Vec<String> {
        match self {
            PromptFormat::Gsm8k => vec!["\n\nQuestion:".to_owned(), "Question:".to_owned()],
            PromptFormat::Math => vec!["\n\nProblem:".to_owned(), "Problem:".to_owned()],
            PromptFormat::Plain => Vec::new(),
        }
    }
}

/// Whether a template has a place for the question.
pub(super) fn is_template(template: &str) -> bool {
    template.contains(QUESTION)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn examples_come_before_the_problem_and_end_as_it_is_to_end() {
        let prompt = PromptFormat::Gsm8k.whole(" How many? ", "");
        assert!(prompt.ends_with("The answer is 8.\n\nQuestion: How many?\nAnswer:"));
        assert_eq!(prompt.matches("Question:").count(), 9);
        assert_eq!(prompt.matches("The answer is").count(), 8);
        let prompt = PromptFormat::Math.whole("What is $x$?", "");
        assert!(prompt.ends_with("I hope it is correct.\n\nProblem:\nWhat is $x$?\n\nSolution:"));
        assert_eq!((prompt.matches("Problem:").count(), prompt.matches("\\boxed").count()), (5, 4));
        assert_eq!(PromptFormat::Plain.whole("1 + 1?", "Q {question} A"), "Q 1 + 1? A");
    }
}
