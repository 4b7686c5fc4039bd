//! Events to be sent, and what became of them.

use super::pipeline::Setup;

/// A structured CloudEvent.
pub fn event(kind: &str, subject: &str, time: &str, data: &str) -> Vec<u8> {
    let event = format!(
        r#"{{"specversion":"1.0","id":"1","source":"crm","type":"crm.{kind}","subject":"{subject}","time":"{time}","data":{{{data}}}}}"#
    );
    event.into_bytes()
}

/// A lead that can be read.
pub fn lead(id: &str) -> Vec<u8> {
    event(
        "lead.upserted",
        id,
        "2026-03-04T10:00:00Z",
        r#""lead_source":"web","status":"open","created_at":"2026-03-04""#,
    )
}

/// A deal with these data.
pub fn deal(id: &str, data: &str) -> Vec<u8> {
    event("deal.upserted", id, "2026-03-04T10:00:00Z", data)
}

/// Bytes that are no event and can't be compressed.
pub fn noise(count: usize) -> Vec<u8> {
    let mut state = 1u64;
    let next = || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    };
    std::iter::repeat_with(next).take(count).collect()
}

/// The ids a table of a pipeline's database holds.
pub async fn ids(setup: &Setup, table: &str) -> Vec<String> {
    let sql = format!("SELECT id FROM {table} FINAL WHERE deleted = 0 ORDER BY id");
    let text = setup
        .store()
        .fetch("reading ids", &sql, "TSV")
        .await
        .expect("ids");
    String::from_utf8_lossy(&text)
        .lines()
        .map(str::to_owned)
        .collect()
}
