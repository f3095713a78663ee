//! Tokenised training data.

/// A prompt and a response as one sequence of tokens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Completion {
    /// Prompt and response.
    pub token_ids: Vec<u32>,
    /// Index of the response's first token; at least 1, for a token needs a prefix.
    pub response_start: usize,
}

/// A prompt with a better and a worse response.
#[derive(Debug, Clone, PartialEq)]
pub struct Pair {
    pub chosen: Completion,
    pub rejected: Completion,
    /// A weight for each response token; all 1 if `None`.
    pub chosen_weights: Option<Vec<f32>>,
    /// As above; for cDPO they are `1 - s_t`.
    pub rejected_weights: Option<Vec<f32>>,
}

/// What a run learns from.
#[derive(Debug, Clone, PartialEq)]
pub enum Examples {
    Completions(Vec<Completion>),
    Pairs(Vec<Pair>),
}

impl Completion {
    pub fn response(&self) -> &[u32] {
        &self.token_ids[self.response_start..]
    }

    pub fn prompt(&self) -> &[u32] {
        &self.token_ids[..self.response_start]
    }
}

impl Pair {
    /// How many tokens both begin with, of those that belong to the prompt of both.
    pub(super) fn shared_prompt(&self) -> usize {
        let most = self.chosen.response_start.min(self.rejected.response_start);
        self.chosen.token_ids.iter().zip(&self.rejected.token_ids).take(most).take_while(|(a, b)| a == b).count()
    }
}

impl Examples {
    pub fn len(&self) -> usize {
        match self {
            Examples::Completions(rows) => rows.len(),
            Examples::Pairs(rows) => rows.len(),
        }
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Tokens of one example, a shared prompt counted once.
    pub fn tokens(&self, index: usize) -> usize {
        match self {
            Examples::Completions(rows) => rows[index].token_ids.len(),
            Examples::Pairs(rows) => {
                let pair = &rows[index];
                pair.chosen.token_ids.len() + pair.rejected.token_ids.len() - pair.shared_prompt()
            }
        }
    }

    /// Tokens of an example's response, of a pair's the longer one.
    pub(super) fn longest_response(&self, index: usize) -> usize {
        match self {
            Examples::Completions(rows) => rows[index].response().len(),
            Examples::Pairs(rows) => rows[index].chosen.response().len().max(rows[index].rejected.response().len()),
        }
    }
}
