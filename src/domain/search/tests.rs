//! Definition (1) as both strategies find it, on outcomes that were drawn beforehand.

use super::*;

pub(super) const RULE: SearchRule = SearchRule { samples: 64, tail: 0.05 };

pub(super) const PLAN: SearchPlan = SearchPlan {
    rule: RULE,
    strategy: Strategy::Adaptive,
    fallback: Fallback::None,
    confidence: 0.95,
    budget: 0.1,
    round: 1024,
};

/// Every outcome of a trajectory: by position and sample, whether it is right, and how many tokens it has.
pub(super) struct Outcomes {
    pub(super) right: Vec<Vec<bool>>,
    pub(super) tokens: Vec<usize>,
}

impl Outcomes {
    /// Counts of right ones, the right ones evenly among the samples.
    pub(super) fn of(counts: &[usize]) -> Self {
        let spread = |&count: &usize| (0..64).map(|i| (i + 1) * count / 64 > i * count / 64).collect();
        let tokens = (0..counts.len()).map(|at| counts.len() - at).collect();
        Outcomes { right: counts.iter().map(spread).collect(), tokens }
    }

    pub(super) fn counts(&self) -> Vec<usize> {
        self.right.iter().map(|samples| samples.iter().filter(|right| **right).count()).collect()
    }

    /// Runs a search to its end; also gives the number of rounds.
    pub(super) fn run(&self, mut search: Search) -> (Conclusion, usize) {
        for rounds in 0.. {
            let draws = search.next_round();
            if draws.is_empty() {
                return (search.conclusion().unwrap().clone(), rounds);
            }
            for Draw { position, samples } in draws {
                for number in samples {
                    search.record(position, self.right[position][number], self.tokens[position]);
                }
            }
        }
        unreachable!()
    }

    pub(super) fn search(&self, plan: SearchPlan) -> Conclusion {
        // Nothing is known of the tokens' probabilities: these curves go where they like.
        self.run(Search::new(plan, &vec![0.0; self.right.len()], (0..self.right.len()).collect())).0
    }
}

fn both(counts: &[usize], fallback: Fallback) -> [(Option<usize>, Reason); 2] {
    // A budget that decides nothing: these trajectories are short.
    let plan = SearchPlan { fallback, budget: 1.0, ..PLAN };
    [Strategy::Exhaustive, Strategy::Adaptive].map(|strategy| {
        let found = Outcomes::of(counts).search(SearchPlan { strategy, ..plan });
        (found.critical, found.reason)
    })
}

#[test]
fn both_strategies_find_the_first_zero_after_the_last_hope() {
    for (counts, critical) in [
        (&[50, 48, 44, 0, 0, 0, 0, 0][..], 3),
        (&[0, 0, 0, 0, 0], 0),
        (&[50, 0, 20, 22, 0, 0, 0], 4),
        (&[50, 45, 20, 10, 5, 2, 1, 0, 0, 0], 7),
        (&[50, 45, 0, 3, 2, 0, 0, 0], 2),
        (&[50, 45, 50, 0], 3),
    ] {
        assert_eq!(both(counts, Fallback::None), [(Some(critical), Reason::Found); 2], "{counts:?}");
        assert_eq!(both(counts, Fallback::LastZero), [(Some(critical), Reason::Found); 2], "{counts:?}");
    }
}

#[test]
fn a_trajectory_that_keeps_hope_has_none_or_by_the_fallback_its_last_zero() {
    for (counts, last_zero) in
        [(&[50, 0, 0, 40, 30][..], Some(2)), (&[50, 40, 30, 60], None), (&[0, 9, 60, 9], Some(0))]
    {
        assert_eq!(both(counts, Fallback::None), [(None, Reason::NoCritical); 2], "{counts:?}");
        let reason = if last_zero.is_some() { Reason::LastZero } else { Reason::NoCritical };
        assert_eq!(both(counts, Fallback::LastZero), [(last_zero, reason); 2], "{counts:?}");
    }
}

#[test]
fn the_exhaustive_search_draws_every_sample_once_and_says_how_each_position_is_decided() {
    let found = Outcomes::of(&[50, 2, 0, 4, 0]).search(SearchPlan { strategy: Strategy::Exhaustive, ..PLAN });
    let decided: Vec<_> = found.positions.iter().map(|outcome| outcome.decided).collect();
    assert_eq!(decided, [Decided::Hopeful, Decided::Tail, Decided::Zero, Decided::Hopeful, Decided::Zero]);
    assert!(found.positions.iter().all(|outcome| outcome.samples == 64));
    assert_eq!((found.critical, found.confidence), (Some(4), 1.0));
    assert_eq!((found.tokens, found.exhaustive_tokens), (64 * 15, 64 * 15));
}

#[test]
fn an_exhaustive_search_costs_what_it_draws_also_where_the_response_has_ended() {
    let mut outcomes = Outcomes::of(&[50, 0, 0, 0]);
    outcomes.tokens = vec![3, 2, 0, 0];
    let found = outcomes.search(SearchPlan { strategy: Strategy::Exhaustive, ..PLAN });
    assert_eq!((found.tokens, found.exhaustive_tokens), (64 * 5, 64 * 5));
}

#[test]
fn a_round_draws_no_more_than_it_may_and_at_least_one_position() {
    for (round, most) in [(1024, 16 * 64), (200, 3 * 64), (1, 64)] {
        let plan = SearchPlan { strategy: Strategy::Exhaustive, round, ..PLAN };
        let draws = Search::new(plan, &[0.5; 40], (0..40).collect()).next_round();
        assert_eq!(draws.iter().map(|draw| draw.samples.len()).sum::<usize>(), most);
    }
}

#[test]
fn the_adaptive_search_draws_all_samples_of_its_answer_and_few_others() {
    let counts: Vec<usize> = (0..120).map(|at| if at < 70 { 40 } else { 0 }).collect();
    let found = Outcomes::of(&counts).search(PLAN);
    assert_eq!((found.critical, found.reason), (Some(70), Reason::Found));
    assert!(found.confidence >= 0.95);
    let of = |at: usize| found.positions.iter().find(|outcome| outcome.position == at).unwrap();
    assert_eq!((of(70).samples, of(70).decided), (64, Decided::Zero));
    assert_eq!(of(69).decided, Decided::Hopeful);
    assert!(of(69).samples < 32);
    assert_eq!(found.exhaustive_tokens, 64 * 120 * 121 / 2);
    assert!(found.tokens * 10 < found.exhaustive_tokens, "{} of {}", found.tokens, found.exhaustive_tokens);
}

#[test]
fn a_spent_budget_ends_the_search_and_is_said() {
    // Hope that hovers about the tail: only nearly all samples would tell.
    let counts: Vec<usize> =
        (0..200).map(|at| if at < 100 { [3, 4, 2, 5][at % 4] } else { [2, 1, 0, 1][at % 4] }).collect();
    let found = Outcomes::of(&counts).search(PLAN);
    assert_eq!(found.reason, Reason::BudgetSpent);
    assert!(found.confidence < 0.95);
    assert!(found.tokens * 9 < found.exhaustive_tokens);
}

#[test]
fn positions_that_the_fallback_leaves_out_count_against_its_confidence() {
    let mut search = Search::new(PLAN, &[0.5; 4], (0..4).collect());
    assert!(search.last_zero_round(&[0.001; 4], &[1.0; 4], 1000.0, 0.97).is_empty());
    let found = search.conclusion().unwrap();
    assert_eq!((found.critical, found.reason), (None, Reason::NoCritical));
    assert!((found.confidence - 0.966).abs() < 1e-12);
}

#[test]
fn only_candidates_are_looked_at_and_definition_1_is_read_over_them() {
    let outcomes = Outcomes::of(&[50, 48, 44, 0, 0, 0, 0, 0]);
    for strategy in [Strategy::Exhaustive, Strategy::Adaptive] {
        let plan = SearchPlan { strategy, ..PLAN };
        let (found, _) = outcomes.run(Search::new(plan, &[0.5; 8], vec![1, 4, 6]));
        assert_eq!(found.critical, Some(4));
        assert!(found.positions.iter().all(|outcome| [1, 4, 6].contains(&outcome.position)));
        assert_eq!(found.exhaustive_tokens, 64 * 36);
        let (none, _) = outcomes.run(Search::new(plan, &[0.5; 8], vec![]));
        assert_eq!((none.critical, none.reason, none.tokens), (None, Reason::NoCritical, 0));
    }
}

#[test]
fn samples_are_numbered_on_and_never_asked_for_twice() {
    let mut search = Search::new(PLAN, &[0.5; 40], (0..40).collect());
    let mut drawn = vec![0; 40];
    loop {
        let draws = search.next_round();
        if draws.is_empty() {
            break;
        }
        for Draw { position, samples } in draws {
            assert_eq!(samples.start, drawn[position]);
            drawn[position] = samples.end;
            samples.for_each(|_| {
                search.record(position, position < 20, 40 - position);
            });
        }
    }
    assert!(drawn.iter().all(|samples| *samples <= 64));
    assert!(search.next_round().is_empty());
    assert_eq!(search.conclusion().unwrap().critical, Some(20));
}
