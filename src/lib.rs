//! Linchpin: find the critical token of a wrong chain of thought.
//!
//! # The idea
//! A wrong solution often hangs on one token: before it the model can still reach the right answer, after it (almost)
//! never. Contrastive estimation ([arXiv 2411.19943](https://arxiv.org/abs/2411.19943)) points at such tokens with three
//! models: the base, a *positive* one fine-tuned on right solutions and a *negative* one fine-tuned on wrong ones. Where
//! the positive model finds a token unlikely and the negative one likely, its score `s_t` is low.
//!
//! # The rooms
//! Code lives in rooms, and an arrow means "may import"; a test (`tests/it/rooms.rs`) reads the imports and fails on any
//! other arrow.
//!
//! ```text
//! main, cli  ->  everything: parses settings, wires the rooms together, shuts down
//! http       ->  analysis, domain       the only room that knows axum, statuses and the wire's shapes
//! analysis   ->  engine, store, domain  the use cases: score, complete, list, export, import, load, swap
//! engine     ->  domain                 what runs models; the only room that knows tensors
//! store      ->  domain                 what keeps traces; the only room that knows SQL
//! domain     ->  (serde, thiserror)     trajectories, scores, rules, verdicts: plain values, no async
//! ```
//!
//! # A request walked through
//! `POST /v1/score` with a prompt and a response:
//!
//! 1. [`http`] checks the key and the body's size, parses the JSON into a DTO that knows no unknown field, and turns it
//!    into an [`analysis::ScoreInput`]: from here on every value is in its range. A refusal names its field.
//! 2. [`analysis`] has the engine's tokenizer turn both texts into one sequence of ids, together, and find the response's
//!    first token by the tokenizer's own byte offsets. Text is never tokenised again after this point.
//! 3. [`engine`] checks the length against the context and takes a place in the bounded queue; a full queue is a 429. The
//!    future that waits holds a ticket: a client that goes away drops it, which frees the place or stops the pass at its
//!    next layer.
//! 4. The device thread takes trajectories off the queue, a few short ones or a long one, and runs one *pass*: base,
//!    positive and negative are rows of the same batch. Every weight is read once for all rows; the rows of an adapter
//!    add their own low-rank part inside the same register tile. Attention is causal and by sequence, so that nothing in
//!    the pass depends on what else is in it: alone or together, a trajectory gets the same bits.
//! 5. Only the response's positions go through the LM head, in slices of the vocabulary. No row of logits is ever whole in
//!    memory: each slice leaves running sums (log-sum-exp, entropy, the normaliser of equation (3), counts for the rank,
//!    the likeliest tokens), merged in the vocabulary's order.
//! 6. [`analysis`] flags critical tokens by the request's rule, grades the final answer if a reference was given, stores
//!    the trace in one transaction, and returns it; [`http`] writes it out.
//!
//! `POST /v1/completions` and `/v1/chat/completions` go the same way to [`analysis::CompletionRun`], whose stream of events
//! is the work itself: the engine draws as it is read, into one JSON answer or into server-sent events, and a dropped answer
//! cancels the rest.
//!
//! # What computes
//! [`engine::local`] has two decoders. `cpu` is written for speed: weights laid out once for the tile that reads them,
//! norms that write straight into the next product's operand, quantised weights widened panel by panel and never copied
//! whole. `tensor` is the same model in candle tensors, one plain operation a line: it runs on GPUs, and it is the slow
//! twin that every shortcut of the other is tested against. Both are tested against transformers and peft by the
//! fidelity suite (`tests/fidelity`).

pub mod analysis;
pub mod config;
pub mod domain;
pub mod engine;
pub mod http;
pub mod store;
