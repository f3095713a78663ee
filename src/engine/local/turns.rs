//! Who has the device next, where both scoring and generation want it.

/// Scoring and generation share the device's time in halves. A scoring pass is long and cannot be parted; generation's
/// steps are short, and make up for it one after another, also while no new score has come yet.
#[derive(Debug, Default)]
pub(super) struct Turns {
    /// Seconds that generation is to have before the next scoring pass; below zero where a step took more than that.
    owed: f64,
}

impl Turns {
    /// Whether scores that wait go before a step of a generation.
    pub(super) fn scoring_is_next(&self) -> bool {
        self.owed <= 0.0
    }

    /// A scoring pass took some time, and a generation waited for it or did not.
    pub(super) fn scored(&mut self, seconds: f64, generation_waited: bool) {
        self.owed = if generation_waited { self.owed + seconds } else { 0.0 };
    }

    /// A step took some time. Steps that nobody else wanted to be in the place of earn nothing but the last.
    pub(super) fn stepped(&mut self, seconds: f64) {
        self.owed = (self.owed - seconds).max(-seconds);
    }

    /// No generation is left.
    pub(super) fn generation_ended(&mut self) {
        self.owed = 0.0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs the device for a while: passes of `pass` seconds that come `gap` seconds after each other's end, and steps of
    /// 0.1 seconds. What each had.
    fn share(pass: f64, gap: f64) -> [f64; 2] {
        let (mut turns, mut now, mut next_score, mut had) = (Turns::default(), 0.0, 0.0, [0.0; 2]);
        while now < 1000.0 {
            if next_score <= now && turns.scoring_is_next() {
                turns.scored(pass, true);
                (now, had[0]) = (now + pass, had[0] + pass);
                next_score = now + gap;
            } else {
                turns.stepped(0.1);
                (now, had[1]) = (now + 0.1, had[1] + 0.1);
            }
        }
        had
    }

    #[test]
    fn each_has_half_of_the_time() {
        // Also where the next score comes a moment after the last one was answered.
        for (pass, gap) in [(10.0, 0.0), (10.0, 0.01), (0.3, 0.01), (0.05, 0.0)] {
            let [scoring, generation] = share(pass, gap);
            assert!((scoring / generation - 1.0).abs() < 0.1, "{pass} {gap}: {scoring} and {generation}");
        }
    }

    #[test]
    fn a_score_goes_first_where_nothing_is_owed() {
        let mut turns = Turns::default();
        (0..100).for_each(|_| turns.stepped(1.0));
        assert!(turns.scoring_is_next());
        turns.scored(5.0, false);
        assert!(turns.scoring_is_next());
        turns.scored(5.0, true);
        assert!(!turns.scoring_is_next());
        turns.generation_ended();
        assert!(turns.scoring_is_next());
    }
}
