//! Debezium's feeds as they really come: a PostgreSQL with tables of a Redmine and an Odoo,
//! captured by Kafka Connect into a real broker in four forms at once (JSON without and with
//! schemas, unwrapped, Avro through a schema registry), and read by one pipeline, in which each
//! form has a namespace of its own. After whatever happened to the tables, the records of every
//! form are what the tables hold.

use std::time::Instant;

use crate::support::clients;
use crate::support::connect::{Connect, SchemaRegistry};
use crate::support::pipeline::{Pipeline, Setup, TIMEOUT, blocking, engines};
use crate::support::postgres::Postgres;

const FORMS: [&str; 4] = ["plain", "schemas", "unwrapped", "avro"];
const TABLES: [&str; 4] = ["issues", "custom_values", "users", "crm_lead"];
const PARTITIONS: i32 = 2;
const REDMINE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/schemas/presets/redmine.toml");
const ODOO: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/tests/fixtures/feeds/crm_lead.toml"
);

/// The columns of Redmine 5's tables that the preset reads, and some of each other type; of Odoo
/// 17's those of its mapping.
const SCHEMA: &str = "
    CREATE TABLE issues (id serial PRIMARY KEY, tracker_id int NOT NULL, project_id int NOT NULL DEFAULT 1, subject varchar NOT NULL DEFAULT '',
        description text, due_date date, status_id int NOT NULL, assigned_to_id int, lock_version int NOT NULL DEFAULT 0, created_on timestamp,
        updated_on timestamp, done_ratio int NOT NULL DEFAULT 0, estimated_hours double precision, is_private boolean NOT NULL DEFAULT false, closed_on timestamp);
    CREATE TABLE custom_values (id serial PRIMARY KEY, customized_type varchar(30) NOT NULL DEFAULT '', customized_id int NOT NULL DEFAULT 0,
        custom_field_id int NOT NULL DEFAULT 0, value text);
    CREATE TABLE users (id serial PRIMARY KEY, login varchar NOT NULL DEFAULT '', lastname varchar(255) NOT NULL DEFAULT '', type varchar);
    CREATE TABLE crm_lead (id serial PRIMARY KEY, name varchar NOT NULL, active boolean, probability double precision, expected_revenue numeric,
        prorated_revenue numeric(12, 2) NOT NULL DEFAULT 0, stage_id int, user_id int, date_deadline date, date_closed timestamp, create_date timestamp);";

/// What was there before anything was captured.
const BEFORE: &str = "
    INSERT INTO users (login, lastname, type) VALUES ('ana', 'Ana', 'User'), ('', 'Sales', 'Group');
    INSERT INTO issues (tracker_id, subject, status_id, assigned_to_id, created_on, closed_on) VALUES
        (4, 'Größe', 7, 1, '2026-03-01 10:00:00.123456', NULL), (5, 'a lead', 8, NULL, '2026-03-02 00:00:00', NULL),
        (4, 'won', 9, 2, '1969-12-31 23:59:59.5', '2026-03-03 12:00:00'), (4, 'to go', 10, 1, '2026-03-04 09:00:00', '2026-03-05 09:00:00');
    INSERT INTO custom_values (customized_type, customized_id, custom_field_id, value) VALUES
        ('Issue', 1, 1, '12.50'), ('Issue', 1, 2, 'EUR'), ('Issue', 2, 3, 'web'), ('Issue', 3, 1, '12.300000000000001'), ('Issue', 3, 2, 'USD'),
        ('Issue', 3, 4, NULL), ('Issue', 4, 6, '2026-06-01'), ('Project', 1, 1, '99');
    INSERT INTO crm_lead (name, active, probability, expected_revenue, prorated_revenue, stage_id, user_id, date_deadline, date_closed, create_date) VALUES
        ('one', true, 12.5, 12500.00, 1562.50, 1, 2, '2026-05-05', NULL, '2026-03-01 10:00:00'), ('two', true, 100, 0.1, 0.1, 4, 3, NULL, '2026-03-02 11:00:00', '2026-02-01 10:00:00'),
        ('three', false, 0, -7, -0.01, 2, NULL, '1969-12-31', '2026-03-03 11:00:00', '2026-02-01 10:00:00'), ('four', true, NULL, NULL, 0, NULL, NULL, NULL, NULL, NULL);";

/// New rows, changed ones, a lead that becomes a deal, changed keys, deleted rows; several changes
/// of one row in one transaction.
const CHANGES: &str = "
    INSERT INTO issues (tracker_id, subject, status_id, created_on) VALUES (4, 'new', 7, '2026-03-06 10:00:00'), (5, 'new lead', 7, '2026-03-06 11:00:00');
    UPDATE issues SET status_id = 9, closed_on = '2026-03-07 10:00:00', description = repeat('x', 20000) WHERE id = 1;
    UPDATE issues SET tracker_id = 4, status_id = 7 WHERE id = 2;
    UPDATE issues SET id = 103, subject = 'moved' WHERE id = 3;
    UPDATE custom_values SET customized_id = 103 WHERE customized_id = 3;
    DELETE FROM custom_values WHERE customized_id = 4;
    DELETE FROM issues WHERE id = 4;
    UPDATE custom_values SET value = '' WHERE customized_id = 1 AND custom_field_id = 2;
    DELETE FROM custom_values WHERE id = 5;
    INSERT INTO custom_values (customized_type, customized_id, custom_field_id, value) VALUES ('Issue', 5, 1, '1.23455');
    UPDATE users SET login = 'ana.b' WHERE id = 1;
    BEGIN;
    UPDATE crm_lead SET expected_revenue = 1 WHERE id = 1;
    UPDATE crm_lead SET expected_revenue = 99999999999.9999, prorated_revenue = 9999999999.99 WHERE id = 1;
    COMMIT;
    UPDATE crm_lead SET id = 102 WHERE id = 2;
    DELETE FROM crm_lead WHERE id = 3;
    INSERT INTO crm_lead (name, active, probability, expected_revenue, stage_id) VALUES ('five', false, 0, 5.5, 1);";

/// Further changes, while nothing captures them.
const MEANWHILE: &str = "
    UPDATE issues SET status_id = 10, closed_on = '2026-03-08 10:00:00.000001', assigned_to_id = NULL WHERE id = 1;
    DELETE FROM issues WHERE id = 103;
    INSERT INTO issues (tracker_id, subject, status_id, created_on) VALUES (5, 'another lead', 7, '2026-03-08 10:00:00');
    UPDATE custom_values SET value = '13' WHERE customized_id = 1 AND custom_field_id = 1;
    DELETE FROM custom_values WHERE customized_id = 2 AND custom_field_id = 3;
    UPDATE crm_lead SET active = false, probability = 0, date_deadline = '2027-01-01' WHERE id = 102;
    DELETE FROM crm_lead WHERE id = 4;";

/// A table that is emptied and filled again, with some of the rows as they were.
const TRUNCATED: &str = "
    CREATE TEMPORARY TABLE kept AS SELECT * FROM crm_lead;
    TRUNCATE crm_lead;
    INSERT INTO crm_lead SELECT * FROM kept;
    UPDATE crm_lead SET expected_revenue = 4.25 WHERE id = 1;";

/// Changes before a new snapshot: of what is deleted while nobody looks, no snapshot tells.
const BEFORE_A_SNAPSHOT: &str = "
    UPDATE issues SET status_id = 9, subject = 'won in the end' WHERE id = 1;
    INSERT INTO issues (tracker_id, subject, status_id, created_on) VALUES (4, 'unseen', 7, '2026-03-09 10:00:00');
    INSERT INTO custom_values (customized_type, customized_id, custom_field_id, value) VALUES ('Issue', 8, 1, '77.7');
    UPDATE crm_lead SET name = 'renamed', prorated_revenue = 2 WHERE id = 5;";

/// What is to be found of each form, from the tables; and in the facts, where NAMESPACE is the
/// form's.
const SAME: [(&str, &str, &str); 4] = [
    (
        "redmine",
        "SELECT i.id, i.subject, i.assigned_to_id, i.status_id, CASE i.status_id WHEN 9 THEN 'won' WHEN 10 THEN 'lost' ELSE 'open' END,
            (extract(epoch FROM i.created_on) * 1000000)::bigint, (extract(epoch FROM i.closed_on) * 1000000)::bigint,
            (SELECT trim_scale(round(value::numeric, 4)) FROM custom_values WHERE customized_type = 'Issue' AND customized_id = i.id AND custom_field_id = 1),
            (SELECT value FROM custom_values WHERE customized_type = 'Issue' AND customized_id = i.id AND custom_field_id = 2),
            (SELECT value FROM custom_values WHERE customized_type = 'Issue' AND customized_id = i.id AND custom_field_id = 3)
            FROM issues i WHERE tracker_id = 4",
        "SELECT id, name, owner_id, stage, status, toUnixTimestamp64Micro(created_at), toUnixTimestamp64Micro(closed_at), amount, currency, lead_source FROM deals",
    ),
    (
        "redmine",
        "SELECT i.id, i.assigned_to_id, (extract(epoch FROM i.created_on) * 1000000)::bigint,
            (SELECT value FROM custom_values WHERE customized_type = 'Issue' AND customized_id = i.id AND custom_field_id = 3) FROM issues i WHERE tracker_id = 5",
        "SELECT id, owner_id, toUnixTimestamp64Micro(created_at), lead_source FROM leads",
    ),
    (
        "redmine",
        "SELECT id, CASE type WHEN 'User' THEN login ELSE lastname END FROM users",
        "SELECT id, name FROM users",
    ),
    (
        "odoo",
        "SELECT id, name, user_id, stage_id, CASE WHEN active = false AND probability = 0 THEN 'lost' WHEN stage_id = 4 THEN 'won' ELSE 'open' END,
            trim_scale(expected_revenue), trim_scale(probability::numeric / 100), date_deadline, (extract(epoch FROM date_closed) * 1000000)::bigint,
            (extract(epoch FROM create_date) * 1000000)::bigint, prorated_revenue FROM crm_lead",
        "SELECT id, name, owner_id, stage, status, amount, probability, toDate32(expected_close_date), toUnixTimestamp64Micro(closed_at), \
            toUnixTimestamp64Micro(created_at), custom['prorated'] FROM deals",
    ),
];

struct World {
    postgres: Postgres,
    setup: Setup,
}

impl World {
    /// Waits until the records of every form are what the tables hold.
    async fn until_same(&self, when: &str) {
        let since = Instant::now();
        for (source, of_tables, of_facts) in SAME {
            let mut expected = self.postgres.run(of_tables);
            expected.sort();
            assert!(!expected.is_empty(), "{of_tables}");
            for form in FORMS {
                let namespace = format!("{source}_{form}/");
                let sql =
                    format!("{of_facts} FINAL WHERE deleted = 0 AND startsWith(id, '{namespace}')");
                loop {
                    let found = self.setup.store().fetch("the facts", &sql, "TSV").await;
                    let found = String::from_utf8(found.expect("an answer").to_vec());
                    let found = found.unwrap().replace(&namespace, "").replace("\\N", "");
                    let mut found: Vec<&str> = found.lines().collect();
                    found.sort_unstable();
                    if found == expected {
                        break;
                    }
                    assert!(
                        since.elapsed() < TIMEOUT,
                        "{when}, {form}: the records\n{}\nare not those of the tables\n{}",
                        found.join("\n"),
                        expected.join("\n")
                    );
                    tokio::time::sleep(std::time::Duration::from_millis(100)).await;
                }
            }
        }
        println!("{when}: the same after {:?}", since.elapsed());
    }
}

/// The tables of the topics of every form, and the registry.
fn inputs(registry: &SchemaRegistry) -> String {
    let mut inputs = format!("[schema_registry]\nurl = \"{}\"\n", registry.url());
    for form in FORMS {
        let encoding = if form == "avro" { "avro" } else { "json" };
        for table in TABLES {
            let (source, mapping) = match table {
                "crm_lead" => ("odoo", ODOO),
                _ => ("redmine", REDMINE),
            };
            inputs += &format!(
                "[[topics]]\nname = \"{}\"\nformat = \"debezium\"\nencoding = \"{encoding}\"\nmapping = \"{mapping}\"\nid_namespace = \"{source}_{form}\"\n",
                topic(form, table)
            );
        }
    }
    inputs
}

fn topic(form: &str, table: &str) -> String {
    format!("{form}.public.{table}")
}

/// What each form's connector has besides.
fn connectors(registry: &SchemaRegistry) -> [(&'static str, String); 4] {
    let plain = "key.converter=org.apache.kafka.connect.json.JsonConverter\nkey.converter.schemas.enable=false\n\
        value.converter=org.apache.kafka.connect.json.JsonConverter\nvalue.converter.schemas.enable=false\ndecimal.handling.mode=string\n";
    let unwrapped = "transforms=unwrap\ntransforms.unwrap.type=io.debezium.transforms.ExtractNewRecordState\n\
        transforms.unwrap.delete.tombstone.handling.mode=rewrite\ntransforms.unwrap.add.fields=op,table,lsn,source.ts_us\n";
    let avro = registry.converter("key") + &registry.converter("value");
    [
        ("plain", plain.to_owned()),
        ("schemas", String::new()),
        ("unwrapped", unwrapped.to_owned()),
        ("avro", avro),
    ]
}

/// The forms are what they are said to be.
fn assert_forms(brokers: &str) {
    for (form, is_so) in [
        (
            "plain",
            (|value| value.starts_with("{\"before\":null,")) as fn(&str) -> bool,
        ),
        ("schemas", |value| {
            value.starts_with("{\"schema\":{") && value.contains("\"op\":\"r\"")
        }),
        ("unwrapped", |value| {
            value.contains("\"payload\":{\"id\":") && value.contains("\"__op\":\"r\"")
        }),
        ("avro", |value| {
            value.starts_with('\0') && !value.contains('{')
        }),
    ] {
        let messages = clients::read(brokers, &topic(form, "users"), PARTITIONS, 2);
        for (.., value) in messages {
            assert!(is_so(&value), "{form}: {value}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_records_of_every_form_are_what_the_tables_hold() {
    let engines = engines().await;
    let brokers = engines.kafka.bootstrap();
    for form in FORMS {
        for table in TABLES {
            engines
                .kafka
                .create_topic(&topic(form, table), PARTITIONS, &[])
                .await;
        }
    }
    let (postgres, registry) = blocking(|| {
        let postgres = Postgres::start();
        postgres.run(SCHEMA);
        postgres.run(BEFORE);
        (postgres, SchemaRegistry::start())
    })
    .await;
    let topics: Vec<String> = FORMS
        .iter()
        .flat_map(|form| TABLES.map(|table| topic(form, table)))
        .collect();
    let names: Vec<&str> = topics.iter().map(String::as_str).collect();
    let mut setup = Setup::new("debezium", &brokers, &engines.clickhouse.url(), &names);
    setup.inputs = Some(inputs(&registry));
    let pipeline: Pipeline = setup.start().await;
    let tables = TABLES.map(|table| format!("public.{table}")).join(",");
    let connectors = connectors(&registry);
    let mut world = World { postgres, setup };
    let mut connect;
    (world, connect) = blocking({
        let brokers = brokers.clone();
        move || {
            let connect = Connect::start(&brokers, &world.postgres, &tables, &connectors);
            (world, connect)
        }
    })
    .await;
    world.until_same("after the snapshot").await;
    assert_forms(&brokers);

    world.postgres.run(CHANGES);
    world.until_same("after changes").await;

    (world, connect) = blocking(move || {
        connect.restart(false, || drop(world.postgres.run(MEANWHILE)));
        (world, connect)
    })
    .await;
    world.until_same("after a crash of Connect").await;

    world.postgres.run(TRUNCATED);
    world
        .until_same("after a truncated table was filled again")
        .await;

    (world, connect) = blocking(move || {
        connect.restart(true, || {
            world.postgres.drop_replication_slots();
            world.postgres.run(BEFORE_A_SNAPSHOT);
        });
        (world, connect)
    })
    .await;
    world.until_same("after another snapshot").await;

    // That a table was emptied is said in three forms, unwrapped it is left out; it is a dead
    // letter, and nothing else is.
    world.setup.settled().await;
    let metrics = pipeline.metrics();
    assert_eq!(
        metrics.sum("dealpulse_dead_letters_total", "reason=\"not_an_event\""),
        3.0
    );
    assert_eq!(metrics.sum("dealpulse_dead_letters_total", ""), 3.0);
    let listed = world.setup.ask("dlq list", &["--json"]).await;
    let listed = String::from_utf8(listed.stdout).unwrap();
    assert_eq!(
        listed.matches("`crm_lead` was truncated").count(),
        3,
        "{listed}"
    );
    drop((pipeline, connect));
}
