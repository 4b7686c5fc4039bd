//! The demonstration, as it is started: what its page shows while its clock is still behind today.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::time::{SystemTime, UNIX_EPOCH};

use crate::support::clickhouse::{DEALPULSE, raw, wait_until};

/// Ended with the test, also with one that fails.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn matured_cohorts_contacts_and_stages_are_shown_before_the_clock_has_caught_up() {
    // The organisation's clock stays where it started, 30 days ago.
    let arguments = "demo --listen 127.0.0.1:0 --speed 0 --catch-up-days 30 --history-days 100 --deals-per-day 4";
    let mut demo = Command::new(DEALPULSE)
        .args(arguments.split(' '))
        .stdout(Stdio::piped())
        .spawn()
        .map(Running)
        .unwrap();
    // The pipe stays open: what is printed to a closed one ends the program.
    let mut output = BufReader::new(demo.0.stdout.take().unwrap()).lines();
    let line = output.next().unwrap().unwrap();
    let address = line.split_once("http://").unwrap().1;
    let address: SocketAddr = address.split_once('/').unwrap().0.parse().unwrap();
    let line = output.next().unwrap().unwrap();
    assert!(
        line.contains(&format!("a Prometheus scrapes http://{address}/metrics")),
        "{line}"
    );
    let gauge = |name: &str| {
        let request = "GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
        let text = raw(address, request.as_bytes());
        let line = text.lines().find(|line| line.starts_with(name))?;
        line.rsplit_once(' ')?.1.parse::<f64>().ok()
    };
    for days in [30, 60] {
        let leads =
            format!("dealpulse_close_rate_within_{days}d_leads{{window=\"28d\",dimension=\"all\"");
        wait_until("there are matured leads", || gauge(&leads) > Some(0.0));
    }
    for (figure, dimension) in [
        ("contacts_new", "all"),
        ("contacted_wins_with_contact", "all"),
        ("stage_conversion_won", "all"),
        ("time_in_stage_samples", "stage"),
    ] {
        let counted = format!("dealpulse_{figure}{{window=\"28d\",dimension=\"{dimension}\"");
        wait_until(figure, || gauge(&counted) > Some(0.0));
    }
    let today = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let watermark = gauge("dealpulse_watermark_timestamp_seconds").unwrap();
    let behind = (today.as_secs_f64() - watermark) / 86_400.0;
    assert!(
        (29.9..131.0).contains(&behind),
        "complete up to {behind} days ago, though nothing has happened yet in the last 30"
    );
}
