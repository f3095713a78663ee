//! Which tensors a model of a given configuration has, and of what shape.

use super::config::ModelConfig;

/// A tensor's Hugging Face name and the shape that the configuration asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExpectedTensor {
    pub name: String,
    pub shape: Vec<usize>,
}

impl ModelConfig {
    /// Every tensor of the model, each once: a tied head is left out.
    pub fn expected_shapes(&self) -> Vec<ExpectedTensor> {
        let mut all = Vec::with_capacity(self.num_layers * 12 + 3);
        let mut push = |name: String, shape: &[usize]| all.push(ExpectedTensor { name, shape: shape.to_vec() });
        let (hidden, inner) = (self.hidden_size, self.intermediate_size);
        let (queries, keys) = (self.num_heads * self.head_dim, self.num_kv_heads * self.head_dim);
        push("model.embed_tokens.weight".to_owned(), &[self.vocab_size, hidden]);
        for layer in 0..self.num_layers {
            let attention = format!("model.layers.{layer}.self_attn");
            let projections = [
                ("q_proj", queries, hidden, self.attention_bias),
                ("k_proj", keys, hidden, self.attention_bias),
                ("v_proj", keys, hidden, self.attention_bias),
                ("o_proj", hidden, queries, self.attention_output_bias),
            ];
            for (name, rows, columns, bias) in projections {
                push(format!("{attention}.{name}.weight"), &[rows, columns]);
                if bias {
                    push(format!("{attention}.{name}.bias"), &[rows]);
                }
            }
            if self.qk_norm {
                push(format!("{attention}.q_norm.weight"), &[self.head_dim]);
                push(format!("{attention}.k_norm.weight"), &[self.head_dim]);
            }
            let mlp = format!("model.layers.{layer}.mlp");
            let projections = [("gate_proj", inner, hidden), ("up_proj", inner, hidden), ("down_proj", hidden, inner)];
            for (name, rows, columns) in projections {
                push(format!("{mlp}.{name}.weight"), &[rows, columns]);
                if self.mlp_bias {
                    push(format!("{mlp}.{name}.bias"), &[rows]);
                }
            }
            push(format!("model.layers.{layer}.input_layernorm.weight"), &[hidden]);
            push(format!("model.layers.{layer}.post_attention_layernorm.weight"), &[hidden]);
        }
        push("model.norm.weight".to_owned(), &[hidden]);
        if !self.tie_word_embeddings {
            push("lm_head.weight".to_owned(), &[self.vocab_size, hidden]);
        }
        all
    }
}
