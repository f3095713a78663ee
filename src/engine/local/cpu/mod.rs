//! The forward pass on the CPU: plain f32 slices, our own tiles, rayon for the threads.
//!
//! Why not candle's tensors here: scoring is a few hundred large products with light work between them, and each
//! temporary that leaves the cache costs as much as the arithmetic. Here weights are laid out once for the tile that
//! reads them, norms write straight into the next product's operand, the gated unit never stores its halves, and the
//! head keeps running sums instead of logits. The candle decoder (`super::tensor`) is the slow twin that every one of
//! these shortcuts is tested against, and what runs on a GPU.

pub(crate) mod attention;
pub(crate) mod decoder;
pub(crate) mod head;
pub(crate) mod kernel;
pub(crate) mod linear;
pub(crate) mod math;
pub(crate) mod matrix;
mod paged_attention;
pub(crate) mod pages;
mod pass;
pub(crate) mod stats;
mod step;
