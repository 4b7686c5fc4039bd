//! A CRM made up by a test: its records after all its events, exported as a CRM exports them.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};
use serde_json::{Map, Value as Json, json};

/// One record: each field as last asserted, with the time and sequence of the assertion.
#[derive(Debug, Clone, Default)]
pub struct Entry {
    fields: BTreeMap<String, ((String, u64), Json)>,
}

/// Records by kind and id.
#[derive(Debug, Clone, Default)]
pub struct Crm(pub BTreeMap<(String, String), Entry>);

impl Entry {
    fn assert(&mut self, field: &str, clock: &(String, u64), value: &Json) {
        let known = self
            .fields
            .entry(field.to_owned())
            .or_insert_with(|| (clock.clone(), value.clone()));
        if known.0 <= *clock {
            *known = (clock.clone(), value.clone());
        }
    }

    pub fn get(&self, field: &str) -> &Json {
        self.fields
            .get(field)
            .map_or(&Json::Null, |(_, value)| value)
    }

    /// Asserts a value later than all events.
    pub fn set(&mut self, field: &str, value: Json) {
        self.assert(field, &("9".into(), 0), &value);
    }

    pub fn is_live(&self) -> bool {
        self.get("deleted") != true && self.get("merged_into").is_null()
    }
}

impl Crm {
    /// What events, one a line in any order, come to. Times are UTC and written alike, so that they
    /// sort as texts.
    pub fn of(lines: &[String]) -> Crm {
        let mut crm = Crm::default();
        for line in lines {
            let event: Json = serde_json::from_str(line).expect("an event");
            let text = |name: &str| event[name].as_str().unwrap_or_default().to_owned();
            let kind: Vec<String> = text("type").split('.').map(str::to_owned).collect();
            let clock = (text("time"), text("sequence").parse().unwrap_or_default());
            let entry = crm.0.entry((kind[1].clone(), text("subject"))).or_default();
            match kind[2].as_str() {
                "deleted" => entry.assert("deleted", &clock, &true.into()),
                "restored" => entry.assert("deleted", &clock, &false.into()),
                _ => {}
            }
            for (name, value) in event["data"].as_object().into_iter().flatten() {
                match value.as_object().filter(|_| name == "custom") {
                    Some(custom) => custom.iter().for_each(|(name, value)| {
                        entry.assert(&format!("custom.{name}"), &clock, value)
                    }),
                    None => entry.assert(name, &clock, value),
                }
            }
        }
        crm
    }

    pub fn record(&mut self, kind: &str, id: &str) -> &mut Entry {
        self.0.entry((kind.to_owned(), id.to_owned())).or_default()
    }

    pub fn live(&self, kind: &str) -> impl Iterator<Item = (&str, &Entry)> {
        self.0
            .iter()
            .filter(move |((of, _), entry)| of == kind && entry.is_live())
            .map(|((_, id), entry)| (id.as_str(), entry))
    }

    /// The live records of a kind as NDJSON, each asserted at `time`.
    pub fn to_ndjson(&self, kind: &str, time: &str) -> String {
        let line = |(id, entry): (&str, &Entry)| {
            let (mut data, mut custom) = (Map::new(), Map::new());
            for (name, (_, value)) in entry.fields.iter().filter(|(name, _)| *name != "deleted") {
                match name.strip_prefix("custom.") {
                    Some(name) => custom.insert(name.to_owned(), value.clone()),
                    None => data.insert(name.clone(), value.clone()),
                };
            }
            data.insert("custom".into(), custom.into());
            let kind = format!("crm.{kind}.upserted");
            json!({ "specversion": "1.0", "id": id, "source": "export", "type": kind, "subject": id, "time": time, "data": data }).to_string() + "\n"
        };
        self.live(kind).map(line).collect()
    }

    /// The live records of a kind as CSV, and the mapping that explains it. Creation is given as
    /// the local day alone.
    pub fn to_csv(&self, kind: &str, file: &str) -> (String, String) {
        let names: BTreeSet<&String> = self
            .live(kind)
            .flat_map(|(_, entry)| entry.fields.keys())
            .filter(|name| *name != "deleted")
            .collect();
        let mut writer = csv::Writer::from_writer(Vec::new());
        writer
            .write_record(std::iter::once("Id").chain(names.iter().map(|name| name.as_str())))
            .expect("a header");
        for (id, entry) in self.live(kind) {
            let cells = names.iter().map(|name| cell(name, entry.get(name)));
            writer
                .write_record(std::iter::once(id.to_owned()).chain(cells))
                .expect("a row");
        }
        let table = String::from_utf8(writer.into_inner().expect("in memory")).expect("UTF-8");
        let mut mapping = format!(
            "[[records]]\nfile = \"{file}\"\nentity = \"{kind}\"\nid = \"Id\"\n[records.fields]\n"
        );
        let (custom, own): (Vec<_>, Vec<_>) = names
            .into_iter()
            .partition(|name| name.starts_with("custom."));
        own.iter()
            .for_each(|name| mapping.push_str(&format!("{name} = \"{name}\"\n")));
        mapping.push_str("[records.custom]\n");
        custom.iter().for_each(|name| {
            mapping.push_str(&format!(
                "{} = \"{name}\"\n",
                name.trim_start_matches("custom.")
            ))
        });
        (table, mapping)
    }
}

fn cell(name: &str, value: &Json) -> String {
    let instant = match value {
        // Some sources send epoch milliseconds.
        Json::Number(millis) if name.ends_with("_at") => {
            DateTime::from_timestamp_millis(millis.as_i64().expect("milliseconds"))
        }
        Json::String(text) if name == "created_at" => text.parse::<DateTime<Utc>>().ok(),
        _ => None,
    };
    match (value, instant) {
        (Json::Null, _) => String::new(),
        (_, Some(at)) if name == "created_at" => at
            .with_timezone(&chrono_tz::Europe::Berlin)
            .format("%Y-%m-%d")
            .to_string(),
        (_, Some(at)) => at.to_rfc3339(),
        (Json::String(text), None) => text.clone(),
        (other, None) => other.to_string(),
    }
}
