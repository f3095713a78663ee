//! The seven linear layers of a decoder block, as a key.

use super::checkpoint::ModelConfig;

/// A linear layer of a decoder block.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Projection {
    Query,
    Key,
    Value,
    Output,
    Gate,
    Up,
    Down,
}

impl Projection {
    pub(crate) const ALL: [Projection; 7] = [
        Projection::Query,
        Projection::Key,
        Projection::Value,
        Projection::Output,
        Projection::Gate,
        Projection::Up,
        Projection::Down,
    ];

    /// The module's name inside its block, as Hugging Face and PEFT write it.
    pub(crate) fn module(self) -> &'static str {
        match self {
            Projection::Query => "self_attn.q_proj",
            Projection::Key => "self_attn.k_proj",
            Projection::Value => "self_attn.v_proj",
            Projection::Output => "self_attn.o_proj",
            Projection::Gate => "mlp.gate_proj",
            Projection::Up => "mlp.up_proj",
            Projection::Down => "mlp.down_proj",
        }
    }

    /// `[outputs, inputs]` of its weight.
    pub(crate) fn shape(self, config: &ModelConfig) -> [usize; 2] {
        let queries = config.num_heads * config.head_dim;
        let keys = config.num_kv_heads * config.head_dim;
        match self {
            Projection::Query => [queries, config.hidden_size],
            Projection::Key | Projection::Value => [keys, config.hidden_size],
            Projection::Output => [config.hidden_size, queries],
            Projection::Gate | Projection::Up => [config.intermediate_size, config.hidden_size],
            Projection::Down => [config.hidden_size, config.intermediate_size],
        }
    }

    pub(crate) fn has_bias(self, config: &ModelConfig) -> bool {
        match self {
            Projection::Query | Projection::Key | Projection::Value => config.attention_bias,
            Projection::Output => config.attention_output_bias,
            Projection::Gate | Projection::Up | Projection::Down => config.mlp_bias,
        }
    }
}

/// One value for each projection.
pub(crate) struct ProjectionMap<T>([T; 7]);

impl<T> ProjectionMap<T> {
    pub(crate) fn from_fn(value: impl FnMut(Projection) -> T) -> Self {
        Self(Projection::ALL.map(value))
    }

    pub(crate) fn try_from_fn<E>(mut value: impl FnMut(Projection) -> Result<T, E>) -> Result<Self, E> {
        let mut failed = None;
        let values = Projection::ALL.map(|projection| {
            if failed.is_some() {
                return None;
            }
            value(projection).map_err(|error| failed = Some(error)).ok()
        });
        match (failed, Self::whole(values)) {
            (Some(error), _) => Err(error),
            (None, Some(map)) => Ok(map),
            (None, None) => unreachable!("a value is missing only after a failure"),
        }
    }

    fn whole(values: [Option<T>; 7]) -> Option<Self> {
        let [Some(q), Some(k), Some(v), Some(o), Some(gate), Some(up), Some(down)] = values else {
            return None;
        };
        Some(Self([q, k, v, o, gate, up, down]))
    }

    pub(crate) fn values(&self) -> impl Iterator<Item = &T> {
        self.0.iter()
    }

    pub(crate) fn get(&self, projection: Projection) -> &T {
        &self.0[projection as usize]
    }
}
