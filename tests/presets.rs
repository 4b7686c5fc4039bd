//! Presets: what the samples of each source come to, in any order and however often. The figures
//! are counted by hand.

use std::collections::BTreeSet;

use crate::support::feeds::{converges, dump, feed, preset, sent};
use crate::support::pure::context;
use dealpulse::config::presets;
use dealpulse::event::Value as EventValue;
use dealpulse::event::decode::Context;
use dealpulse::event::feed::{Explained, Format, Message};
use dealpulse::event::mapping::Mapping;
use dealpulse::record::{Entity, SCHEMA};
use serde_json::{Value, json};

async fn figures(format: Format, name: &str) -> Value {
    converges(&feed(format, preset(name)), &dump(name)).await
}

#[tokio::test]
async fn odoo_a_row_is_a_lead_or_a_deal_won_though_archived_and_open_though_once_closed() {
    let figures = figures(Format::Debezium, "odoo").await;
    // Deal 1 was a lead, is won and archived; 2 is lost; 3 was won and is open again; 5 is gone; 6
    // is archived, but not with a probability of 0.
    let closed = &figures["win_rate"]["all"];
    assert_eq!(
        closed["opened"],
        json!({"deals": 4, "open": 2, "won": 1, "lost": 1})
    );
    assert_eq!(closed["amount"]["XXX"]["won"], "1000.00");
    assert_eq!(closed["amount"]["XXX"]["lost"], "500.50");
    assert_eq!(
        figures["forecast"]["all"]["amount"]["XXX"]["amount"],
        "780.25"
    );
    assert_eq!(figures["lead_source"]["all"]["leads"], 1);
    // The deal names a person, who counts as their company.
    assert_eq!(
        figures["clv"]["region=57"]["bookings"]["XXX"]["value"],
        "1000.00"
    );
    assert_eq!(figures["clv"]["all"]["customers"], 1);
}

#[test]
fn odoos_sources_teams_and_reasons_have_their_names_from_their_own_tables() {
    let feed = feed(Format::Debezium, preset("odoo"));
    let mut labels = BTreeSet::new();
    for (offset, message) in (0..).zip(dump("odoo")) {
        let of = Message {
            key: Some(&message.key),
            value: message.value.as_deref(),
        };
        let decoded = feed.decode(&message.topic, of, &context(offset));
        let of_labels = decoded.assertions.iter();
        for said in of_labels.filter(|said| said.entity == Entity::LABEL) {
            let texts = said.values.iter().filter_map(|(_, value)| match value {
                EventValue::Text(text) => Some(&**text),
                _ => None,
            });
            let texts: Vec<&str> = texts.collect();
            labels.insert(format!("{}: {}", said.id, texts.join(" ")));
        }
    }
    let expected = [
        "lost_reason-3: lost_reason Too expensive 3",
        "source-2: source Newsletter 2",
        "source-3: source Search engine 3",
        "team-1: team Sales 1",
    ];
    assert_eq!(labels, expected.map(str::to_owned).into());
}

/// Odoo's mapping, but with the stages' own table to say which are won, as the preset suggests it.
fn odoo_by_stages() -> String {
    let text = preset("odoo");
    let suggested = text.lines().filter_map(|line| line.strip_prefix("#   "));
    let suggested: Vec<&str> = suggested.collect();
    let is_of_row = |line: &&str| {
        !(line.starts_with("status = { cases = [{ when = { stage_id")
            || line.starts_with("closed_at ="))
    };
    let kept: Vec<&str> = text.lines().filter(is_of_row).collect();
    assert_eq!(kept.len() + 2, text.lines().count());
    let kept = kept.join("\n").replace("\"crm_stage\", ", "");
    format!("{kept}\n{}\n", suggested.join("\n"))
}

#[tokio::test]
async fn a_stage_that_is_renamed_moves_nothing_and_one_that_is_flagged_otherwise_moves_its_deals() {
    let feed = feed(Format::Debezium, &odoo_by_stages());
    let row = |table: &str, lsn: i64, columns: Value| {
        let source = json!({"table": table, "lsn": lsn, "ts_us": 1_772_618_400_000_000_i64 + lsn});
        let key = json!({"id": columns["id"]});
        let value = json!({"op": "u", "before": null, "after": columns, "source": source});
        sent(&format!("od.public.{table}"), &key, &value)
    };
    let stage = |lsn, id: i64, name: &str, is_won: bool| {
        row(
            "crm_stage",
            lsn,
            json!({"id": id, "name": name, "is_won": is_won}),
        )
    };
    let deal = |lsn, id: i64, stage: i64, active: bool, probability: f64| {
        let columns = json!({"id": id, "type": "opportunity", "active": active, "stage_id": stage, "probability": probability,
            "expected_revenue": 100.0, "create_date": 1_770_000_000_000_000_i64, "date_closed": 1_770_600_000_000_000_i64});
        row("crm_lead", lsn, columns)
    };
    let mut messages = vec![
        deal(1, 1, 3, true, 60.0),
        deal(2, 2, 4, true, 100.0),
        deal(3, 3, 3, true, 60.0),
        deal(4, 3, 3, false, 0.0),
        stage(5, 3, "Proposition", false),
        stage(6, 4, "Won", true),
    ];
    for (more, [open, won, lost]) in [
        (vec![], [1, 1, 1]),
        (
            vec![stage(7, 4, "Closed", true), stage(8, 3, "Offer", false)],
            [1, 1, 1],
        ),
        (vec![stage(9, 3, "Offer", true)], [0, 2, 1]),
        (vec![stage(10, 4, "Closed", false)], [1, 1, 1]),
        (vec![deal(11, 3, 4, true, 20.0)], [2, 1, 0]),
        (vec![deal(12, 3, 3, true, 100.0)], [1, 2, 0]),
    ] {
        messages.extend(more);
        let figures = converges(&feed, &messages).await;
        let expected = json!({"deals": 3, "open": open, "won": won, "lost": lost});
        assert_eq!(figures["win_rate"]["all"]["opened"], expected);
    }
    // The sample, in which no stage is flagged otherwise, but a won deal is archived.
    let figures = converges(&feed, &dump("odoo")).await;
    let expected = json!({"deals": 4, "open": 2, "won": 0, "lost": 2});
    assert_eq!(figures["win_rate"]["all"]["opened"], expected);
}

#[tokio::test]
async fn suitecrm_records_in_the_bin_are_gone_and_accounts_are_rows_of_their_own() {
    let figures = figures(Format::Debezium, "suitecrm").await;
    // Opportunity 4 is in the bin, 5 is gone.
    let closed = &figures["win_rate"]["all"];
    assert_eq!(
        closed["opened"],
        json!({"deals": 3, "open": 1, "won": 1, "lost": 1})
    );
    assert_eq!(
        closed["amount"]["XXX"],
        json!({"won": "12000.30", "lost": "400.00", "rate": 0.967743})
    );
    assert_eq!(figures["lead_source"]["all"]["converted"], 1);
    assert_eq!(
        figures["lead_source"]["source=Campaign"]["revenue"]["XXX"],
        "12000.30"
    );
    assert_eq!(
        figures["clv"]["region=DE"]["bookings"]["XXX"]["value"],
        "12000.30"
    );
    let activities = &figures["activities"]["all"];
    assert_eq!(
        (
            &activities["call"],
            &activities["meeting"],
            &activities["task"]
        ),
        (&json!(1), &json!(1), &json!(1))
    );
    assert_eq!(
        activities["overdue"], 1,
        "the call that is planned, and not the one that is not held"
    );
}

#[test]
fn suitecrms_link_in_the_bin_does_not_take_the_account_away_from_its_opportunity() {
    let feed = feed(Format::Debezium, preset("suitecrm"));
    let links: Vec<_> = dump("suitecrm")
        .into_iter()
        .filter(|message| message.topic.ends_with(".accounts_opportunities"))
        .collect();
    let says_something = links.iter().map(|message| {
        let of = Message {
            key: Some(&message.key),
            value: message.value.as_deref(),
        };
        let decoded = feed.decode(&message.topic, of, &context(0));
        assert_eq!(decoded.assertions.len(), 1);
        !decoded.assertions[0].values.is_empty()
    });
    assert_eq!(
        says_something.collect::<Vec<_>>(),
        [true, false, true, true]
    );
}

#[tokio::test]
async fn espocrm_flattened_rows_are_read_like_wrapped_ones() {
    let figures = figures(Format::Debezium, "espocrm").await;
    // Opportunity 4 is removed, 5 is gone.
    let closed = &figures["win_rate"]["all"];
    assert_eq!(
        closed["opened"],
        json!({"deals": 3, "open": 1, "won": 1, "lost": 1})
    );
    assert_eq!(closed["amount"]["EUR"]["won"], "12000.30");
    assert_eq!(closed["amount"]["USD"]["lost"], "400.00");
    assert_eq!(figures["lead_source"]["all"]["leads"], 2);
    assert_eq!(
        figures["lead_source"]["source=Campaign"]["revenue"]["EUR"],
        "12000.30"
    );
    let activities = &figures["activities"]["all"];
    assert_eq!(
        (&activities["done"], &activities["overdue"]),
        (&json!(3), &json!(0))
    );
}

#[tokio::test]
async fn a_web_forms_submissions_are_leads_by_their_source() {
    let figures = figures(Format::Json, "web-form").await;
    let leads = &figures["lead_source"];
    assert_eq!(leads["all"]["leads"], 5);
    assert_eq!(leads["source=newsletter"]["leads"], 2);
    assert_eq!(leads["source=google"]["leads"], 2);
    assert_eq!(leads["source="]["leads"], 1, "a source that is blank");
}

#[tokio::test]
async fn woocommerces_orders_are_payments_once_they_are_paid_and_their_refunds_take_off() {
    let figures = figures(Format::Json, "woocommerce").await;
    // 701 and 706 of customer 25, 702 of customer 26 and 704 of a guest; 703 failed, 705 was
    // deleted. 702 was refunded wholly and 706 in part.
    let clv = &figures["clv"]["all"];
    assert_eq!(clv["revenue"]["EUR"]["payments"], 4);
    assert_eq!(clv["revenue"]["EUR"]["received"], "260.49");
    assert_eq!(clv["revenue"]["EUR"]["refunds"], 2);
    assert_eq!(clv["revenue"]["EUR"]["returned"], "90.00");
    assert_eq!(clv["payments"]["EUR"]["customers"], 2);
    assert_eq!(
        figures["clv"]["region=DE"]["payments"]["EUR"]["value"],
        "150.50"
    );
}

#[tokio::test]
async fn shopifys_orders_are_payments_and_the_transactions_of_their_refunds_take_off() {
    let figures = figures(Format::Json, "shopify").await;
    // The first is refunded in part, the second wholly; the third was voided, the fourth is of
    // nobody, the fifth was deleted.
    let clv = &figures["clv"]["all"];
    assert_eq!(clv["revenue"]["USD"]["received"], "438.50");
    assert_eq!(clv["revenue"]["USD"]["refunds"], 2, "one failed");
    assert_eq!(clv["revenue"]["USD"]["returned"], "75.50");
    assert_eq!(
        figures["clv"]["region=US"]["payments"]["USD"]["value"],
        "353.00"
    );
    assert_eq!(
        figures["clv"]["region=CA"]["payments"]["USD"]["value"],
        "0.00"
    );
}

#[test]
fn every_column_of_a_preset_is_in_its_sample() {
    for name in presets::NAMES {
        let format = match name {
            "salesforce" | "hubspot" | "pipedrive" => continue, // their samples are in tests/feeds.rs, and have a few fields each
            "odoo" | "suitecrm" | "espocrm" => Format::Debezium,
            _ => Format::Json,
        };
        let feed = feed(format, preset(name));
        let rules = feed.mapping().rules.iter();
        let mut unseen: BTreeSet<(String, String)> = rules
            .flat_map(|rule| rule.columns())
            .map(|(key, column)| (key, column.to_owned()))
            .collect();
        for (offset, message) in (0..).zip(dump(name)) {
            let of = Message {
                key: Some(&message.key),
                value: message.value.as_deref(),
            };
            let context = Context {
                timestamp: Some(1_772_618_400_000_000),
                ..context(offset)
            };
            for explained in feed.explain(&message.topic, of, &context) {
                if let Explained::Read { cells, .. } = explained {
                    for (key, column, _) in cells.into_iter().filter(|(.., cell)| cell.is_some()) {
                        unseen.remove(&(key, column));
                    }
                }
            }
        }
        assert!(unseen.is_empty(), "{name}: no message has {unseen:?}");
    }
}

#[test]
fn what_a_preset_suggests_can_be_written() {
    // A suggestion is a line of a comment, further in than the rest.
    let suggested = |preset: &str| {
        let line = preset.lines().find_map(|line| line.strip_prefix("#   "));
        line.expect("a suggestion").to_owned()
    };
    for (name, instead_of) in [
        ("woocommerce", "account_id = \"customer_id\""),
        ("web-form", "id = \"submission_id\""),
    ] {
        let text = preset(name);
        assert!(text.contains(instead_of), "{name}");
        let changed = text.replace(instead_of, &suggested(text));
        let mapping = Mapping::parse(&changed, &SCHEMA).expect(name);
        assert!(mapping.hashes().is_some(), "{name}");
    }
}
