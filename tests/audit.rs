//! `dealpulse audit` as a process over the real engine: an export is found complete, or what is
//! wrong is counted and named.

use std::fs;
use std::path::Path;

use crate::support::crm::Crm;
use crate::support::stored::{Stored, code_and_output, generated};
use serde_json::{Value as Json, json};
use tempfile::TempDir;

/// When the exports were made: after all that happened, but for what a test lets happen later.
const AS_OF: &str = "2026-01-01T00:00:00Z";
const BEFORE: &str = "2025-12-31T23:00:00.000Z";
const LATER: &str = "2026-01-02T00:00:00.000Z";

fn event(kind: &str, id: &str, time: &str, data: &Json) -> String {
    json!({ "specversion": "1.0", "id": id, "source": "crm", "type": format!("crm.{kind}"), "subject": id, "time": time, "data": data }).to_string()
}

/// A database of an organisation's events, and the CRM they came out of.
async fn organisation(name: &str, namespace: Option<&'static str>) -> (Stored, Crm) {
    let mut stored = Stored::new(name).await;
    stored.setup.namespace = namespace;
    let lines = generated(80);
    stored.feed(&lines).await;
    (stored, Crm::of(&lines))
}

/// The export: deals as CSV, leads and accounts as NDJSON.
struct Files {
    directory: TempDir,
    more: Vec<String>,
}

impl Files {
    fn of(crm: &Crm) -> Files {
        let files = Files {
            directory: tempfile::tempdir().unwrap(),
            more: Vec::new(),
        };
        let (table, mapping) = crm.to_csv("deal", "deals.csv");
        files.write("deals.csv", &table);
        files.write("mapping.toml", &mapping);
        files.write(
            "people.ndjson",
            &(crm.to_ndjson("lead", AS_OF) + &crm.to_ndjson("account", AS_OF)),
        );
        files
    }

    fn with(mut self, arguments: &[&str]) -> Files {
        self.more
            .extend(arguments.iter().map(|argument| (*argument).to_owned()));
        self
    }

    fn path(&self, name: &str) -> String {
        self.directory
            .path()
            .join(name)
            .to_str()
            .unwrap()
            .to_owned()
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(Path::new(&self.path(name)), text).unwrap();
    }

    fn append(&self, name: &str, text: &str) {
        let before = fs::read_to_string(self.path(name)).unwrap();
        self.write(name, &format!("{before}{text}\n"));
    }

    async fn audit(&self, stored: &Stored) -> (i32, String) {
        let (deals, people, mapping) = (
            self.path("deals.csv"),
            self.path("people.ndjson"),
            self.path("mapping.toml"),
        );
        let mut arguments = vec![
            "--against",
            &deals,
            &people,
            "--mapping",
            &mapping,
            "--as-of",
            AS_OF,
        ];
        arguments.extend(self.more.iter().map(String::as_str));
        code_and_output(&stored.setup.ask("audit", &arguments).await)
    }

    async fn json(self, stored: &Stored) -> (i32, Json) {
        let (code, text) = self.with(&["--json", "--show", "1000"]).audit(stored).await;
        (
            code,
            serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}")),
        )
    }
}

/// The findings of a kind: entity, id, field, the value in the export, the value in the facts.
fn found(audit: &Json, kind: &str) -> Vec<[String; 5]> {
    let text = |value: &Json| value.as_str().unwrap_or_default().to_owned();
    let list = audit[kind]
        .as_array()
        .unwrap_or_else(|| panic!("no {kind} in {audit:#}"));
    let mut list: Vec<[String; 5]> = list
        .iter()
        .map(|found| ["entity", "id", "field", "export", "facts"].map(|name| text(&found[name])))
        .collect();
    list.sort();
    list
}

fn lines(expected: &[[&str; 5]]) -> Vec<[String; 5]> {
    let mut expected: Vec<[String; 5]> = expected
        .iter()
        .map(|line| line.map(str::to_owned))
        .collect();
    expected.sort();
    expected
}

#[tokio::test]
async fn an_export_of_what_was_fed_is_complete() {
    let (stored, crm) = organisation("complete", None).await;
    let (code, audit) = Files::of(&crm).json(&stored).await;
    assert_eq!((code, &audit["failures"]), (0, &0.into()), "{audit:#}");
    for kind in ["lead", "deal", "account"] {
        let live = crm.live(kind).count();
        assert!(live > 20);
        let expected = json!({ "exported": live, "facts": live, "missing": 0, "surplus": 0, "changed_since": 0 });
        assert_eq!(audit["records"][kind], expected, "{kind}");
    }
    let deals = crm.live("deal").count();
    for field in [
        "amount",
        "status",
        "closed_at",
        "created_at",
        "owner_id",
        "account_id",
    ] {
        assert_eq!(
            audit["values"][format!("deal.{field}")],
            json!({ "compared": deals, "different": 0, "changed_since": 0 }),
            "{field}"
        );
    }
    assert!(
        audit["values"]
            .as_object()
            .unwrap()
            .keys()
            .any(|name| name.starts_with("lead.custom.")),
        "{audit:#}"
    );

    let (code, text) = Files::of(&crm).audit(&stored).await;
    assert_eq!(code, 0);
    assert!(
        text.contains("The facts are complete: they equal the export."),
        "{text}"
    );
}

#[tokio::test]
async fn whatever_is_wrong_is_found_and_named() {
    let (mut stored, mut crm) = organisation("wrong", None).await;
    let ids = |kind: &str| {
        crm.live(kind)
            .map(|(id, _)| id.to_owned())
            .collect::<Vec<_>>()
    };
    let (deals, accounts, leads) = (ids("deal"), ids("account"), ids("lead"));
    let amount = |at: usize| {
        crm.0[&("deal".to_owned(), deals[at].clone())]
            .get("amount")
            .as_str()
            .unwrap()
            .to_owned()
    };
    let (old, since) = (amount(2), amount(3));

    // In the CRM: one removed, one added, one changed, a custom field changed, one deleted and
    // exported as deleted.
    crm.0.remove(&("deal".to_owned(), deals[0].clone()));
    crm.record("deal", "D-new").set("amount", "5".into());
    crm.record("deal", &deals[2])
        .set("amount", "123456.75".into());
    crm.record("lead", &leads[0])
        .set("custom.campaign", "of another name".into());
    crm.0.remove(&("account".to_owned(), accounts[0].clone()));
    let export = || {
        let files = Files::of(&crm);
        files.append(
            "people.ndjson",
            &event("account.deleted", &accounts[0], AS_OF, &json!({})),
        );
        files
    };

    // In the facts: one deleted, one merged; and since the export one changed, one new, one
    // deleted.
    stored
        .feed(&[
            event("deal.deleted", &deals[1], BEFORE, &json!({})),
            event(
                "account.merged",
                &accounts[1],
                BEFORE,
                &json!({ "merged_into": accounts[2] }),
            ),
            event(
                "deal.upserted",
                &deals[3],
                LATER,
                &json!({ "amount": "77.5" }),
            ),
            event("deal.upserted", "D-later", LATER, &json!({ "amount": "1" })),
            event("lead.deleted", &leads[1], LATER, &json!({})),
        ])
        .await;

    let (code, audit) = export().json(&stored).await;
    assert_eq!(code, 4, "{audit:#}");
    let merged = format!("merged into {}", accounts[2]);
    assert_eq!(
        found(&audit, "missing"),
        lines(&[
            ["deal", "D-new", "", "live", "not there"],
            ["deal", &deals[1], "", "live", "deleted"],
            ["account", &accounts[1], "", "live", &merged],
        ])
    );
    assert_eq!(
        found(&audit, "surplus"),
        lines(&[
            ["deal", &deals[0], "", "not there", "live"],
            ["account", &accounts[0], "", "deleted", "live"]
        ])
    );
    let shown = |amount: &str| {
        dealpulse::event::Decimal::parse(amount)
            .unwrap()
            .to_string()
    };
    let campaign = found(&audit, "different")
        .into_iter()
        .find(|found| found[0] == "lead")
        .unwrap_or_else(|| panic!("{audit:#}"))[4]
        .clone();
    assert_eq!(
        found(&audit, "different"),
        lines(&[
            ["deal", &deals[2], "amount", "123456.75", &shown(&old)],
            [
                "lead",
                &leads[0],
                "custom.campaign",
                "of another name",
                &campaign
            ],
        ])
    );
    assert_eq!(
        found(&audit, "changed_since"),
        lines(&[
            ["deal", &deals[3], "amount", &shown(&since), "77.50"],
            ["deal", "D-later", "", "not there", "live"],
            ["lead", &leads[1], "", "live", "deleted"],
        ])
    );
    assert_eq!(audit["failures"], 7);
    assert_eq!(audit["records"]["deal"]["missing"], 2);
    assert_eq!(audit["values"]["deal.amount"]["changed_since"], 1);

    let (code, text) = export().with(&["--show", "1"]).audit(&stored).await;
    assert_eq!(code, 4);
    let amount = format!(
        "deal {}, amount: 123456.75 in the export, {} in the facts",
        deals[2],
        shown(&old)
    );
    assert!(
        text.contains(&amount) || text.contains("custom.campaign: of another name in the export"),
        "{text}"
    );
    assert!(
        text.contains("… and 2 more")
            && text.contains("The facts differ from the export in 7 places."),
        "{text}"
    );
}

#[tokio::test]
async fn only_the_fields_asked_for_are_compared() {
    let (stored, mut crm) = organisation("fields", None).await;
    let id = crm.live("deal").next().unwrap().0.to_owned();
    crm.record("deal", &id).set("amount", "123456.75".into());
    let (code, audit) = Files::of(&crm)
        .with(&["--fields", "status,owner_id"])
        .json(&stored)
        .await;
    assert_eq!(code, 0, "{audit:#}");
    let compared: Vec<&String> = audit["values"].as_object().unwrap().keys().collect();
    assert_eq!(
        compared,
        [
            "lead.owner_id",
            "lead.status",
            "deal.owner_id",
            "deal.status",
            "account.owner_id"
        ]
        .iter()
        .collect::<Vec<_>>()
    );
    let (code, _) = Files::of(&crm)
        .with(&["--fields", "amount"])
        .audit(&stored)
        .await;
    assert_eq!(code, 4);

    let (code, text) = Files::of(&crm)
        .with(&["--fields", "amuont"])
        .audit(&stored)
        .await;
    assert!(
        code == 1
            && text
                .contains("no record has a field `amuont`; there are account_id, active, amount"),
        "{code}: {text}"
    );
    let (code, text) = Files::of(&crm)
        .with(&["--fields", "custom.nobody"])
        .audit(&stored)
        .await;
    assert!(
        code == 1 && text.contains("the export has no `custom.nobody`"),
        "{code}: {text}"
    );
}

#[tokio::test]
async fn ids_are_qualified_like_those_of_the_topics() {
    let (mut stored, crm) = organisation("qualified", Some("eu")).await;
    let (code, audit) = Files::of(&crm).json(&stored).await;
    assert_eq!((code, &audit["failures"]), (0, &0.into()), "{audit:#}");
    let (code, audit) = Files::of(&crm)
        .with(&["--namespace", "eu"])
        .json(&stored)
        .await;
    assert_eq!(
        (code, &audit["records"]["deal"]["exported"]),
        (0, &crm.live("deal").count().into()),
        "{audit:#}"
    );

    // Another CRM's records are no surplus of this one's export.
    stored.setup.namespace = Some("us");
    stored
        .feed(&[event(
            "deal.upserted",
            "D-1",
            BEFORE,
            &json!({ "amount": "1" }),
        )])
        .await;
    stored.setup.namespace = Some("eu");
    let (code, _) = Files::of(&crm).audit(&stored).await;
    assert_eq!(code, 0);

    let (code, text) = Files::of(&crm)
        .with(&["--namespace", "asia"])
        .audit(&stored)
        .await;
    assert!(
        code == 1
            && text.contains("--namespace `asia` is no id_namespace of a topic; there are eu"),
        "{code}: {text}"
    );
}

#[tokio::test]
async fn what_of_the_export_can_not_be_read_is_reported_and_nothing_is_called_complete() {
    let (stored, crm) = organisation("rejected", None).await;
    let files = Files::of(&crm);
    files.append("people.ndjson", "{\"specversion\":\"1.0\"");
    let (code, text) = files.audit(&stored).await;
    assert_eq!(code, 5, "{text}");
    assert!(
        text.contains("rejected, and so not compared: 1 not_json")
            && text.contains("1 items could not"),
        "{text}"
    );

    files.write("people.ndjson", "");
    let (deals, people) = (files.path("deals.csv"), files.path("people.ndjson"));
    let (code, text) = code_and_output(&stored.setup.ask("audit", &["--against", &people]).await);
    assert!(
        code == 1 && text.contains("nothing in the export could be read"),
        "{code}: {text}"
    );
    let (code, text) = code_and_output(&stored.setup.ask("audit", &["--against", &deals]).await);
    assert!(
        code == 1 && text.contains("is a table: give the meaning of its columns with --mapping"),
        "{code}: {text}"
    );
}
