//! The least there is to do with an event of the deal workload: read its JSON into a typed struct
//! that borrows from it.
//!
//! The cost of the path is compared with this, because the ratio holds on any machine.

use dealpulse::local::generate::GeneratedEvent;
use serde::Deserialize;

#[derive(Deserialize)]
#[allow(dead_code)] // they only have to be read
struct Envelope<'a> {
    specversion: &'a str,
    id: &'a str,
    source: &'a str,
    r#type: &'a str,
    subject: &'a str,
    time: &'a str,
    data: Deal<'a>,
}

#[derive(Deserialize)]
#[allow(dead_code)]
struct Deal<'a> {
    name: Option<&'a str>,
    account_id: Option<&'a str>,
    lead_id: Option<&'a str>,
    lead_source: Option<&'a str>,
    owner_id: Option<&'a str>,
    team: Option<&'a str>,
    region: Option<&'a str>,
    stage: Option<&'a str>,
    stage_entered_at: Option<&'a str>,
    status: Option<&'a str>,
    probability: Option<f64>,
    amount: Option<&'a str>,
    currency: Option<&'a str>,
    product: Option<&'a str>,
    deal_type: Option<&'a str>,
    created_at: Option<&'a str>,
    expected_close_date: Option<&'a str>,
    closed_at: Option<&'a str>,
}

/// Reads every event, and keeps none.
pub fn parse(events: &[GeneratedEvent]) {
    for event in events {
        let read: Envelope<'_> =
            serde_json::from_slice(&event.payload).expect("an event of the deal workload");
        std::hint::black_box(&read);
    }
}
