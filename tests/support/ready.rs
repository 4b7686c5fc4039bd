//! Waiting for a server that a test started.

use std::process::Child;
use std::time::{Duration, Instant};

/// Looks again and again until a server is ready. `look` says what it answers until then, and `log`
/// what it wrote.
pub fn until_ready(
    process: &mut Child,
    within: Duration,
    mut look: impl FnMut() -> Result<(), String>,
    log: impl Fn() -> String,
) {
    let deadline = Instant::now() + within;
    while let Err(answer) = look() {
        let ended = process.try_wait().expect("it can be asked for its end");
        assert!(
            ended.is_none() && Instant::now() < deadline,
            "a server is not ready ({ended:?}): {answer}\n{}",
            log()
        );
        std::thread::sleep(Duration::from_millis(50));
    }
}
