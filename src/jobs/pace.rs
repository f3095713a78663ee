//! How training stands back while the server answers.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::engine::Engine;
use crate::train::Pace;

/// How many times as long as it worked training waits at most: however many requests come, it has a tenth of the time.
const PATIENCE: u32 = 9;
/// Between two looks at whether requests are still being served.
const LOOK: Duration = Duration::from_micros(500);

/// Waits while an engine serves requests.
pub(super) struct Courteous {
    engine: Arc<dyn Engine>,
    times: Mutex<Times>,
}

struct Times {
    /// When the piece of work before this rest began.
    working_since: Instant,
    rested: Duration,
}

impl Courteous {
    pub(super) fn new(engine: Arc<dyn Engine>) -> Self {
        Self { engine, times: Mutex::new(Times { working_since: Instant::now(), rested: Duration::ZERO }) }
    }
}

impl Pace for Courteous {
    fn rest(&self) {
        let mut times = self.times.lock().unwrap_or_else(PoisonError::into_inner);
        let began = Instant::now();
        if !self.engine.busy() {
            times.working_since = began;
            return;
        }
        let most = (began - times.working_since).max(LOOK) * PATIENCE;
        while self.engine.busy() && began.elapsed() < most {
            std::thread::sleep(LOOK);
        }
        times.rested += began.elapsed();
        times.working_since = Instant::now();
    }

    fn rested(&self) -> Duration {
        self.times.lock().unwrap_or_else(PoisonError::into_inner).rested
    }
}
