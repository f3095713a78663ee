//! A trainer without a model: it takes its steps, tells them, and writes an adapter's folder. A test may hold it, or make its
//! run diverge. Its checkpoint is the number of steps that are done.

use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Condvar, Mutex};

use linchpin::jobs::{Trainer, TrainingWork};
use linchpin::train::{Observer, Outcome, StepMetrics, TrainError};

pub(crate) struct FakeTrainer {
    /// Steps that may be taken; plenty until a test takes them away.
    steps: Mutex<usize>,
    more: Condvar,
    /// The step that diverges, from 1; 0 for none.
    pub(crate) diverges_at: AtomicUsize,
    /// What every run was asked for: the number of examples, and its objective.
    pub(crate) runs: Mutex<Vec<String>>,
}

impl Default for FakeTrainer {
    fn default() -> Self {
        Self {
            steps: Mutex::new(usize::MAX),
            more: Condvar::new(),
            diverges_at: AtomicUsize::new(0),
            runs: Mutex::default(),
        }
    }
}

impl FakeTrainer {
    /// Lets runs take this many more steps.
    pub(crate) fn allow(&self, steps: usize) {
        *self.steps.lock().unwrap() = steps;
        self.more.notify_all();
    }

    fn wait_for_step(&self, observer: &mut dyn Observer, step: usize, total: usize) -> Result<(), TrainError> {
        let mut steps = self.steps.lock().unwrap();
        loop {
            if observer.before_pass(step, total).is_break() {
                return Err(TrainError::Cancelled);
            }
            if *steps > 0 {
                *steps -= 1;
                return Ok(());
            }
            steps = self.more.wait_timeout(steps, std::time::Duration::from_millis(5)).unwrap().0;
        }
    }
}

impl Trainer for FakeTrainer {
    fn train(&self, work: &TrainingWork, observer: &mut dyn Observer) -> Result<Outcome, TrainError> {
        let TrainingWork { plan, examples, folder, output, start_adapter: _ } = work;
        self.runs.lock().unwrap().push(format!("{} {:?}", examples.len(), plan.objective));
        let total = plan.arguments.steps(examples.len());
        let checkpoint = folder.join("step");
        let resumed_from: Option<usize> = std::fs::read_to_string(&checkpoint).ok().map(|text| text.parse().unwrap());
        for step in resumed_from.unwrap_or(0)..total {
            self.wait_for_step(observer, step, total)?;
            if self.diverges_at.load(SeqCst) == step + 1 {
                let (what, rows) = ("the loss".to_owned(), vec![0]);
                return Err(TrainError::Diverged { step: step + 1, rows, what, last_checkpoint: Some(step) });
            }
            let values = vec![("loss", 1.0 / (step + 1) as f64), ("learning_rate", plan.arguments.learning_rate)];
            observer.logged(StepMetrics { step: step + 1, epoch: (step + 1) as f64 / total as f64, values });
            std::fs::write(&checkpoint, (step + 1).to_string()).unwrap();
            observer.saved(step + 1);
        }
        std::fs::write(output.join("adapter_config.json"), "{}").unwrap();
        std::fs::write(output.join("adapter_model.safetensors"), [0, 1, 2]).unwrap();
        Ok(Outcome { steps: total, resumed_from })
    }
}
