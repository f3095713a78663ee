use super::*;

fn verdict(status: VerdictStatus, extracted: &str, at: usize) -> Verdict {
    let span = Some([at, at + extracted.len()]);
    Verdict { status, extracted: Some(extracted.to_owned()), reference: "18".to_owned(), span }
}

fn rollout(alternative: Option<usize>, index: usize, status: VerdictStatus) -> Rollout {
    let (text, verdict) = match status {
        VerdictStatus::Correct => (" A: 18.", verdict(status, "18", 9)),
        VerdictStatus::Wrong => (" A: 20.", verdict(status, "20", 9)),
        VerdictStatus::Unparsed | VerdictStatus::Timeout => {
            (" hm", Verdict { status, extracted: None, reference: "18".to_owned(), span: None })
        }
    };
    let finish_reason = FinishReason::Eos;
    Rollout { alternative, index, text: text.to_owned(), token_ids: vec![1, 2], start: 5, finish_reason, verdict }
}

fn set() -> RolloutSet {
    use super::VerdictStatus::{Correct, Timeout, Unparsed, Wrong};
    let token = |id: u32| ForcedToken { id, text: id.to_string() };
    let mut set = RolloutSet {
        id: format!("roll_{:026}", 1),
        object: RolloutsObject::Rollouts,
        created: 0,
        trace_id: None,
        model: ModelRef { id: "base".to_owned(), sha256: "00".to_owned() },
        position: 3,
        answer: "18".to_owned(),
        sampling: RolloutSampling::default(),
        alternatives_source: AlternativesSource::Sampled,
        stopped: false,
        original: Group::new(token(7), None),
        alternatives: vec![Group::new(token(8), Some(3)), Group::new(token(9), Some(1))],
        with_token: Pool::default(),
        without_token: Pool::default(),
        rollouts: vec![
            rollout(Some(1), 0, Wrong),
            rollout(Some(0), 2, Timeout),
            rollout(None, 1, Unparsed),
            rollout(Some(0), 0, Correct),
            rollout(None, 0, Wrong),
            rollout(Some(0), 1, Correct),
        ],
        usage: RolloutUsage::default(),
    };
    for (alternative, status) in
        set.rollouts.iter().map(|rollout| (rollout.alternative, rollout.verdict.status)).collect::<Vec<_>>()
    {
        set.group_mut(alternative).unwrap().count(status);
    }
    set.settle();
    set
}

#[test]
fn a_settled_set_is_sound_and_survives_json() {
    let set = set();
    assert_eq!(set.check(), Ok(()));
    assert_eq!((set.original.correct, set.original.unparsed, set.original.rate), (0, 1, Some(0.0)));
    assert_eq!((set.alternatives[0].samples, set.alternatives[0].correct, set.alternatives[0].timeout), (3, 2, 1));
    assert_eq!((set.without_token.samples, set.without_token.correct), (4, 2));
    // With 4 samples and 2 right, two draws miss both in 1 of 6 cases.
    assert!((set.without_token.pass_at_k[&2] - 5.0 / 6.0).abs() < 1e-12);
    let order: Vec<_> = set.rollouts.iter().map(|rollout| (rollout.alternative, rollout.index)).collect();
    assert_eq!(order, [(None, 0), (None, 1), (Some(0), 0), (Some(0), 1), (Some(0), 2), (Some(1), 0)]);
    let json = serde_json::to_string(&set).unwrap();
    assert_eq!(serde_json::from_str::<RolloutSet>(&json).unwrap(), set);
    assert!(serde_json::from_str::<RolloutSet>(&json.replacen("\"created\"", "\"x\":1,\"created\"", 1)).is_err());
}

#[test]
fn what_is_unsound_is_named() {
    type Change = fn(&mut RolloutSet);
    let cases: [(&str, Change); 26] = [
        ("id", |set| set.id = "trace_00000000000000000000000001".to_owned()),
        ("sampling.top_p", |set| set.sampling.top_p = 2.0),
        ("alternatives[1].token.id", |set| set.alternatives[1].token.id = 7),
        ("alternatives[1].token.id", |set| set.alternatives[1].token.id = 8),
        ("rollouts[5].alternative", |set| set.rollouts[5].alternative = Some(2)),
        ("rollouts[5].alternative", |set| set.rollouts[5].alternative = Some(usize::MAX)),
        ("rollouts[1].index", |set| set.rollouts[1].index = 0),
        ("rollouts", |set| set.rollouts.rotate_right(1)),
        ("rollouts[0].token_ids", |set| set.rollouts[0].token_ids = vec![1; 2000]),
        ("rollouts[0].verdict.span", |set| set.rollouts[0].verdict.span = Some([9, 7])),
        ("rollouts[0].verdict.span", |set| set.rollouts[0].verdict.span = Some([8, 10])),
        ("rollouts[0].verdict.span", |set| set.rollouts[0].verdict.span = Some([usize::MAX - 2, usize::MAX])),
        ("rollouts[0].verdict.span", |set| set.rollouts[0].verdict.extracted = None),
        ("rollouts[1].verdict.extracted", |set| set.rollouts[1].verdict.status = VerdictStatus::Correct),
        ("original.correct", |set| set.original.correct = 1),
        ("original.samples", |set| set.original.samples = 4),
        ("original.drawn", |set| set.original.drawn = Some(2)),
        ("alternatives[0].drawn", |set| set.alternatives[0].drawn = None),
        ("alternatives[0].drawn", |set| set.alternatives[0].drawn = Some(0)),
        ("alternatives[1].drawn", |set| set.alternatives[0].drawn = Some(1)),
        ("alternatives[0].drawn", |set| set.alternatives_source = AlternativesSource::Given),
        ("alternatives[0].unparsed", |set| set.alternatives[0].unparsed = 4),
        ("alternatives[0].rate", |set| set.alternatives[0].rate = Some(f64::NAN)),
        ("alternatives[0].interval", |set| set.alternatives[0].interval[1] = 0.99),
        ("without_token.pass_at_k", |set| {
            set.without_token.pass_at_k.insert(3, 0.5);
        }),
        ("original.logprob.base", |set| {
            set.original.logprob.insert("base".to_owned(), f32::INFINITY);
        }),
    ];
    for (field, change) in cases {
        let mut set = set();
        change(&mut set);
        assert_eq!(set.check().map_err(|defect| defect.field), Err(field.to_owned()));
    }
}
