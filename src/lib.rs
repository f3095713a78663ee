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
//! http       ->  analysis, jobs, domain the only room that knows axum, statuses and the wire's shapes
//! jobs       ->  train, analysis, ...   offline jobs over data sets, and who works on them; imports whatever is below
//! analysis   ->  engine, store, domain  the use cases: score, roll out, search, complete, list, load, swap
//! train      ->  engine, domain         what trains models
//! engine     ->  domain                 what runs models; with train the only room that knows tensors
//! store      ->  domain                 what keeps traces, data sets and jobs; the only room that knows SQL
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
//! # Samples drawn
//! Rollouts, searches and completions all ask the engine for the same thing: a *tree of samples*
//! ([`engine::GenerateRequest`]): one sequence, forks of it, samples from each.
//!
//! 1. The request waits in the same bounded queue. The device thread admits it when the memory for its shared sequence and
//!    one of its samples is there, and takes turns between scoring and generation, by time.
//! 2. The shared sequence is looked up among those read before, and what is missing is read, some hundred tokens a step
//!    beside the rows that draw. Keys and values lie in pages of 32 positions. A fork shares its pages, and whoever writes
//!    into a shared page takes a copy.
//! 3. In each *step* every request has its share of the rows, and a row that ends makes room for the next. Queries whose
//!    sequences share a page meet it in one product, so a prefix that 64 rollouts have in common is read once for all.
//! 4. A draw depends on the seed, the tokens before it and the sample's number: random numbers are counter-based, and a
//!    row's logits are the same bits whatever else is in the step, also after the row had to give up its memory and read
//!    again what it drew. So asking for fewer samples gives the first of the same ones, in any request.
//! 5. Text is given out as whole characters, and never a part of what may turn out to be a stop string.
//!
//! # Rollouts walked through
//! `POST /v1/rollouts` with a trace's id and a position:
//!
//! 1. [`analysis`] reads the trace, keeps its tokens before the position, and asks [`engine`] for alternatives at that
//!    fork: draws of one token with the response's own banned, or the likeliest tokens. The caller's own need no asking.
//! 2. One generation draws all rollouts: a fork for the response's token and for each alternative, over the same kept
//!    tokens. The answer is a stream that owns the generation, so a client that goes away stops it.
//! 3. Each sample is graded as a whole response as it finishes, away from the threads that serve requests, and counted.
//! 4. The set is checked, stored with its trace, and given out: at once, or as the last event of a stream.
//!
//! # A search walked through
//! `POST /v1/searches` with a trace's id:
//!
//! 1. [`analysis`] reads the trace. How likely the model makes each token bounds how hope can change there; where the
//!    trace was made with other weights, one score asks the model.
//! 2. [`domain::search`], which knows no engine, names the positions and numbers of the samples to draw next.
//! 3. They are one generation, a fork for each position; its samples are graded like rollouts and told to the search, which
//!    plans the next round or is done.
//! 4. The record is checked, stored with its trace, and given out: at once, or as the last event of a stream.
//!
//! # A job walked through
//! `POST /v1/jobs` with a kind and a configuration; [`jobs`] says more:
//!
//! 1. [`jobs`] lays the settings over the published ones, checks them, links the data set into the job's folder and stores
//!    the record. The answer is a 202: the rest happens whether or not anybody waits.
//! 2. The process's one runner claims the job in [`store`] under a lease, looks through its rows, and runs its stages. Those
//!    that draw or score take places in the engine's queue like any request, and wait where the queue is full; those that
//!    train have a thread of their own in [`train`].
//! 3. What happens is appended to the job's events, which `GET /v1/jobs/{id}/events` replays and follows.
//! 4. A process that is killed renews no lease. The next one claims the job and goes on from finished stages, whole groups of
//!    lines, and the last checkpoint.
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
pub mod jobs;
pub mod store;
pub mod train;
