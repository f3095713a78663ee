//! The scheduler on small random models: what is drawn depends on the request alone, whatever happens around it.

use futures::FutureExt;
use serde_json::json;
use tempfile::TempDir;

use super::*;
use crate::domain::model::ModelRef;
use crate::domain::sampling::{FinishReason, Sampling};
use crate::engine::generate::{Fork, GenerateRequest, GenerationEvent, GenerationUsage, Sample};
use crate::engine::local::checkpoint::{Checkpoint, ModelFiles};
use crate::engine::local::cpu::decoder::CpuModel;
use crate::engine::local::cpu::matrix::Precision;
use crate::engine::local::twin::fixture;

type Events = futures::stream::BoxStream<'static, Result<GenerationEvent, EngineError>>;

/// A base model and an adapter over it.
struct Models {
    registry: Arc<Registry<CpuModel>>,
    codec: TextCodec,
    _folders: [TempDir; 2],
}

impl Models {
    fn new() -> Self {
        Self::ending_at(&[])
    }

    /// Models whose sequences end at some tokens.
    fn ending_at(eos: &[u32]) -> Self {
        let folders = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
        let ends = json!({"eos_token_id": eos});
        std::fs::write(folders[0].path().join("generation_config.json"), ends.to_string()).unwrap();
        let checkpoint = fixture::checkpoint(folders[0].path(), &fixture::config("llama", json!({})), 5);
        Self::load(folders, checkpoint)
    }

    /// Models whose last weight is infinite.
    fn damaged() -> Self {
        let folders = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
        fixture::checkpoint(folders[0].path(), &fixture::config("llama", json!({})), 5);
        let path = folders[0].path().join("model.safetensors");
        let mut bytes = std::fs::read(&path).unwrap();
        let last = bytes.len() - 4;
        bytes[last..].copy_from_slice(&f32::INFINITY.to_le_bytes());
        std::fs::write(path, bytes).unwrap();
        let checkpoint = Checkpoint::open(&ModelFiles::Folder(folders[0].path().to_owned())).unwrap();
        Self::load(folders, checkpoint)
    }

    fn load(folders: [TempDir; 2], checkpoint: Checkpoint) -> Self {
        fixture::adapter(folders[1].path(), &checkpoint, &["q_proj", "up_proj"], 4, 6);
        let adapter = folders[1].path().to_str().unwrap();
        let roles = [(crate::domain::model::Role::Positive, Some(adapter))];
        let roles = [roles[0], (crate::domain::model::Role::Negative, None)];
        let codec = checkpoint.text.clone();
        let registry = Arc::new(Registry::load(&checkpoint, roles, Precision::AsStored).unwrap());
        Self { registry, codec, _folders: folders }
    }

    fn generator(&self, rows: usize, budget: usize) -> Generator<CpuModel> {
        Generator::new(self.registry.clone(), self.codec.clone(), CacheBudget::new(budget), rows)
    }

    fn order(&self, request: GenerateRequest) -> (Order, Events) {
        use crate::engine::local::registry::ModelSet as _;
        let model: ModelRef = self.registry.find(&request.model).unwrap();
        Order::new(request, model)
    }

    /// Serves requests that come together, and gives each one's samples and usage.
    fn serve(&self, generator: &mut Generator<CpuModel>, requests: Vec<GenerateRequest>) -> Vec<Answer> {
        let (mut orders, streams): (VecDeque<Order>, Vec<Events>) =
            requests.into_iter().map(|request| self.order(request)).unzip();
        let mut steps = 0;
        while !orders.is_empty() || generator.busy() {
            generator.admit(&mut orders);
            generator.step();
            steps += 1;
            assert!(steps < 20_000, "generation makes no headway");
            assert!(generator.budget.used() <= generator.budget.capacity());
        }
        streams.into_iter().map(answer).collect()
    }

    fn alone(&self, request: GenerateRequest) -> Answer {
        self.serve(&mut self.generator(64, PLENTY), vec![request]).remove(0)
    }
}

const PLENTY: usize = 1 << 30;

#[derive(Debug, Clone, PartialEq)]
struct Answer {
    forced: Vec<(usize, f32)>,
    /// In the order of forks and numbers.
    samples: Vec<Sample>,
    usage: GenerationUsage,
}

fn answer(stream: Events) -> Answer {
    let events: Vec<_> = stream.collect::<Vec<_>>().now_or_never().expect("a request that is over has ended");
    let mut answer = Answer { forced: vec![], samples: vec![], usage: GenerationUsage::default() };
    for event in events {
        match event.unwrap() {
            GenerationEvent::Forced { fork, logprob } => answer.forced.push((fork, logprob)),
            GenerationEvent::Sample(sample) => answer.samples.push(sample),
            GenerationEvent::Done(usage) => answer.usage = usage,
            GenerationEvent::Token { .. } => {}
        }
    }
    answer.samples.sort_by_key(|sample| (sample.fork, sample.number));
    answer
}

use futures::StreamExt as _;

fn prompt(length: u32, seed: u32) -> Vec<u32> {
    (0..length).map(|at| (at * 37 + seed * 11 + at * at) % 133).collect()
}

fn fork(keep: usize, samples: std::ops::Range<usize>) -> Fork {
    Fork { keep, forced: None, banned: None, samples }
}

fn request(token_ids: Vec<u32>, forks: Vec<Fork>) -> GenerateRequest {
    GenerateRequest {
        model: "base".to_owned(),
        token_ids,
        forks,
        sampling: Sampling { temperature: 1.0, top_p: 0.95, seed: 3, ..Sampling::default() },
        max_tokens: 40,
        stop: vec![],
        stop_from: usize::MAX,
        ignore_eos: false,
        top_logprobs: 2,
        every_token: false,
    }
}

/// Requests of all kinds: forks at several places, forced and banned tokens, an adapter, other seeds and lengths.
fn requests() -> Vec<GenerateRequest> {
    let base = request(prompt(70, 1), vec![fork(70, 0..9), fork(30, 0..4), fork(1, 2..5)]);
    let forced = Fork { keep: 33, forced: Some(9), banned: None, samples: 0..6 };
    let banned = Fork { keep: 70, forced: None, banned: Some(4), samples: 0..6 };
    vec![
        base.clone(),
        request(prompt(70, 1), vec![forced, banned]),
        GenerateRequest { model: "positive".to_owned(), ..base.clone() },
        GenerateRequest { sampling: Sampling { seed: 4, ..base.sampling }, max_tokens: 7, ..base.clone() },
        request(prompt(160, 2), vec![fork(160, 0..3)]),
    ]
}

#[test]
fn what_is_drawn_depends_on_the_request_alone() {
    let models = Models::new();
    let alone: Vec<Answer> = requests().into_iter().map(|request| models.alone(request)).collect();
    assert!(alone[0].samples[0].tokens != alone[3].samples[0].tokens, "another seed draws other tokens");
    assert!(alone[0].samples[0].tokens != alone[2].samples[0].tokens, "another model draws other tokens");
    // Many rows and few, and a budget so tight that samples keep giving up their caches.
    let page = models
        .registry
        .player(&models.order(requests().remove(0)).0.model)
        .unwrap()
        .model
        .cache(&CacheBudget::new(0))
        .growth(1);
    for (rows, budget) in [(64, PLENTY), (5, PLENTY), (64, 30 * page), (7, 12 * page)] {
        let mut generator = models.generator(rows, budget);
        let together = models.serve(&mut generator, requests());
        for (alone, together) in alone.iter().zip(together) {
            assert_eq!(alone.samples, together.samples, "{rows} rows, {} pages", budget / page);
            assert_eq!(alone.forced, together.forced);
            assert_eq!(alone.usage.generated_tokens, together.usage.generated_tokens);
        }
    }
}

#[test]
fn fewer_samples_are_the_first_of_the_same_ones() {
    let models = Models::new();
    let draw = |samples| models.alone(request(prompt(20, 1), vec![fork(20, samples)])).samples;
    let eight = draw(0..8);
    let texts = |samples: &[Sample]| samples.iter().map(|s| (s.number, s.token_ids())).collect::<Vec<_>>();
    assert_eq!(texts(&draw(0..3)), texts(&eight[..3]));
    assert_eq!(texts(&draw(5..8)), texts(&eight[5..]));
    assert_ne!(eight[0].token_ids(), eight[1].token_ids());
}

#[test]
fn a_forced_token_is_as_good_as_a_prompt_that_has_it() {
    let models = Models::new();
    let forced =
        models.alone(request(prompt(40, 1), vec![Fork { keep: 25, forced: Some(17), banned: None, samples: 0..4 }]));
    let mut longer = prompt(40, 1)[..25].to_vec();
    longer.push(17);
    let plain = models.alone(request(longer, vec![fork(26, 0..4)]));
    assert_eq!(forced.samples, plain.samples);
    let [(0, logprob)] = forced.forced[..] else { panic!("{:?}", forced.forced) };
    let before = GenerateRequest { top_logprobs: 133, max_tokens: 1, ..request(prompt(25, 1), vec![fork(25, 0..1)]) };
    let top = models.alone(before).samples[0].tokens[0].top.clone();
    assert_eq!(top.into_iter().find(|(id, _)| *id == 17), Some((17, logprob)));
}

#[test]
fn a_banned_token_is_not_drawn_first() {
    let models = Models::new();
    let greedy = |banned| {
        let fork = Fork { keep: 20, forced: None, banned, samples: 0..1 };
        let sampling = Sampling { temperature: 0.0, ..Sampling::default() };
        models.alone(GenerateRequest { sampling, ..request(prompt(20, 1), vec![fork]) }).samples[0].tokens.clone()
    };
    let likeliest = greedy(None);
    let other = greedy(Some(likeliest[0].id));
    assert_eq!(other[0].id, likeliest[0].top[1].0);
    assert_eq!(other[0].top, likeliest[0].top, "what is reported is the model's own distribution");
}

#[test]
fn the_shared_sequence_is_read_once() {
    let models = Models::new();
    let mut generator = models.generator(64, PLENTY);
    let forks: Vec<Fork> = (1..=90).map(|keep| fork(keep, 0..2)).collect();
    let first = models.serve(&mut generator, vec![request(prompt(90, 1), forks.clone())]).remove(0);
    assert_eq!((first.usage.prefill_tokens, first.usage.reused_tokens), (90, 0));
    assert_eq!(first.samples.len(), 180);
    let drawn: usize = first.samples.iter().map(|sample| sample.tokens.len()).sum();
    assert_eq!(first.usage.generated_tokens, drawn);
    let mut longer = prompt(90, 1);
    longer.extend(prompt(10, 7));
    let again = models.serve(&mut generator, vec![request(longer, vec![fork(100, 0..1)])]).remove(0);
    assert_eq!((again.usage.prefill_tokens, again.usage.reused_tokens), (10, 90));
    // Another model shares nothing.
    let other = GenerateRequest { model: "positive".to_owned(), ..request(prompt(90, 1), vec![fork(90, 0..1)]) };
    let other = models.serve(&mut generator, vec![other]).remove(0);
    assert_eq!((other.usage.prefill_tokens, other.usage.reused_tokens), (90, 0));
}

#[test]
fn a_stop_string_may_lie_across_tokens() {
    let models = Models::new();
    let free = models.alone(request(prompt(20, 1), vec![fork(20, 0..1)])).samples.remove(0);
    let text = free.text();
    let (first, second) = (&free.tokens[4].text, &free.tokens[5].text);
    let stop = format!("{}{}", &first[first.len() - 1..], second);
    let stopped = GenerateRequest { stop: vec![stop.clone()], ..request(prompt(20, 1), vec![fork(20, 0..1)]) };
    let stopped = models.alone(stopped).samples.remove(0);
    assert_eq!(stopped.finish, FinishReason::Stop);
    assert_eq!(stopped.text(), text[..text.find(&stop).unwrap()]);
    assert_eq!(stopped.token_ids(), free.token_ids()[..stopped.tokens.len()]);
    assert_eq!((free.finish, free.tokens.len()), (FinishReason::Length, 40));
}

#[test]
fn a_sequence_ends_at_each_of_its_last_tokens() {
    let free = Models::new().alone(request(prompt(20, 1), vec![fork(20, 0..4)])).samples;
    let ends = [free[0].tokens[5].id, free[1].tokens[9].id];
    let models = Models::ending_at(&ends);
    let ended = models.alone(request(prompt(20, 1), vec![fork(20, 0..4)])).samples;
    for (free, ended) in free.iter().zip(&ended) {
        let ids = free.token_ids();
        match ids.iter().position(|id| ends.contains(id)) {
            Some(last) => assert_eq!((ended.token_ids(), ended.finish), (ids[..=last].to_vec(), FinishReason::Eos)),
            None => assert_eq!((ended.token_ids(), ended.finish), (ids, FinishReason::Length)),
        }
    }
    assert!(ended.iter().any(|sample| sample.finish == FinishReason::Eos));
    let ignoring = GenerateRequest { ignore_eos: true, ..request(prompt(20, 1), vec![fork(20, 0..4)]) };
    let ids = |samples: &[Sample]| samples.iter().map(Sample::token_ids).collect::<Vec<_>>();
    assert_eq!(ids(&models.alone(ignoring).samples), ids(&free));
}

#[test]
fn logits_that_are_not_finite_fail_their_request_and_are_not_kept() {
    let models = Models::damaged();
    let mut generator = models.generator(8, PLENTY);
    let (order, mut events) = models.order(request(prompt(40, 1), vec![fork(40, 0..3)]));
    let mut orders = VecDeque::from([order]);
    generator.admit(&mut orders);
    generator.step();
    let event = events.next().now_or_never().flatten().unwrap();
    assert!(matches!(event, Err(EngineError::NonFiniteDraw { tokens: 40, .. })), "{event:?}");
    assert!(events.next().now_or_never().flatten().is_none());
    assert_eq!((generator.busy(), generator.budget.used()), (false, 0));
}

#[test]
fn a_step_that_is_lost_answers_everyone_and_keeps_nothing() {
    let models = Models::new();
    let mut generator = models.generator(8, PLENTY);
    let (mut orders, streams): (VecDeque<Order>, Vec<Events>) =
        requests().into_iter().map(|request| models.order(request)).unzip();
    generator.admit(&mut orders);
    (0..3).for_each(|_| generator.step());
    generator.fail(&EngineError::Internal("lost".to_owned()));
    for stream in streams {
        let events = stream.collect::<Vec<_>>().now_or_never().expect("a request that is lost has ended");
        assert!(matches!(events.last(), Some(Err(EngineError::Internal(_)))));
    }
    assert_eq!((generator.busy(), generator.budget.used()), (false, 0));
}

#[test]
fn tokens_are_reported_as_they_are_drawn() {
    let models = Models::new();
    let watched = GenerateRequest { every_token: true, ..request(prompt(20, 1), vec![fork(20, 0..3)]) };
    let (order, mut events) = models.order(watched);
    let mut generator = models.generator(64, PLENTY);
    let mut orders = VecDeque::from([order]);
    let mut seen = vec![vec![]; 3];
    let mut whole = vec![vec![]; 3];
    generator.admit(&mut orders);
    for step in 0.. {
        if !generator.busy() {
            break;
        }
        generator.step();
        while let Some(Some(event)) = events.next().now_or_never() {
            match event.unwrap() {
                GenerationEvent::Token { sample, token, .. } => seen[sample].push(token),
                GenerationEvent::Sample(sample) => whole[sample.number] = sample.tokens,
                GenerationEvent::Forced { .. } | GenerationEvent::Done(_) => {}
            }
        }
        // The step that reads the prompt draws the first token of each.
        assert!(seen.iter().all(|tokens| tokens.len() == step + 1), "step {step}");
    }
    assert_eq!(seen, whole);
}

#[test]
fn a_client_that_leaves_takes_its_caches_along() {
    let models = Models::new();
    let mut generator = models.generator(64, PLENTY);
    let long = GenerateRequest { max_tokens: 400, ..request(prompt(50, 1), vec![fork(50, 0..30)]) };
    let (order, events) = models.order(long);
    let mut orders = VecDeque::from([order]);
    generator.admit(&mut orders);
    (0..5).for_each(|_| generator.step());
    assert!(generator.busy());
    drop(events);
    generator.step();
    assert!(!generator.busy());
    while generator.prefixes.evict() {}
    assert_eq!(generator.budget.used(), 0);
}

#[test]
fn a_small_request_does_not_wait_for_a_large_one() {
    let models = Models::new();
    let mut generator = models.generator(8, PLENTY);
    let large = GenerateRequest { max_tokens: 60, ..request(prompt(50, 1), vec![fork(50, 0..100)]) };
    let (large, mut large_events) = models.order(large);
    let mut orders = VecDeque::from([large]);
    generator.admit(&mut orders);
    (0..10).for_each(|_| generator.step());
    let small = GenerateRequest { max_tokens: 5, ..request(prompt(30, 2), vec![fork(30, 0..1)]) };
    let (small, small_events) = models.order(small);
    orders.push_back(small);
    let mut steps = 0;
    while generator.jobs.len() != 1 || steps == 0 {
        generator.admit(&mut orders);
        generator.step();
        steps += 1;
        assert!(steps < 12, "the small request waits");
    }
    assert_eq!(answer(small_events).samples.len(), 1);
    assert!(generator.busy() && large_events.next().now_or_never().is_none_or(|event| event.is_some()));
}

#[test]
fn a_model_that_was_unloaded_meanwhile_is_an_error() {
    let models = Models::new();
    let (order, mut events) = models.order(GenerateRequest { model: "positive".to_owned(), ..requests().remove(0) });
    use crate::engine::local::registry::ModelSet as _;
    models.registry.set_roles(Default::default()).unwrap();
    models.registry.unload_adapter(&order.model.id).unwrap();
    let mut generator = models.generator(8, PLENTY);
    generator.admit(&mut VecDeque::from([order]));
    let event = events.next().now_or_never().flatten().unwrap();
    assert!(matches!(event, Err(EngineError::UnknownModel { .. })), "{event:?}");
}
