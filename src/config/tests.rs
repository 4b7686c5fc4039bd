//! What is refused, and what is taken.

use super::*;

const GOOD: &str = "version = 1\n\n[kafka]\nbrokers = \"k:9092\"\n\n[[topics]]\nname = \"crm.eu\"\nid_namespace = \"eu\"\n\n[[topics]]\nname = \"crm.us\"\nid_namespace = \"us\"\n\n[log]\npartitions = 4\n\n[serve]\nlisten = \"127.0.0.1:0\"\n";

fn parse(text: &str) -> Result<Config, ConfigError> {
    Config::parse(text, Path::new("dealpulse.toml"), &Environment::new())
}

fn problem(from: &str, to: &str) -> String {
    assert!(GOOD.contains(from), "{from}");
    parse(&GOOD.replacen(from, to, 1)).unwrap_err().to_string()
}

#[test]
fn a_good_file_is_taken_with_the_defaults_under_it() {
    let config = parse(GOOD).unwrap();
    assert_eq!(
        (
            config.log.partitions,
            config.top,
            config.definitions.time_zone.as_str()
        ),
        (Some(4), 20, "UTC")
    );
    assert_eq!(config.topics[1].namespace.as_deref(), Some("us"));
}

#[test]
fn the_environment_goes_over_the_file_and_secrets_are_never_shown() {
    let environment = Environment::from([
        ("DEALPULSE_KAFKA_BROKERS".to_owned(), "other:1".to_owned()),
        ("DEALPULSE_KAFKA_PASSWORD".to_owned(), "hunter2".to_owned()),
        (
            "DEALPULSE_CLICKHOUSE_PASSWORD".to_owned(),
            "hunter3".to_owned(),
        ),
        (
            "DEALPULSE_SCHEMA_REGISTRY_URL".to_owned(),
            "https://registry/ccompat/".to_owned(),
        ),
        (
            "DEALPULSE_SCHEMA_REGISTRY_USERNAME".to_owned(),
            "me".to_owned(),
        ),
        (
            "DEALPULSE_SCHEMA_REGISTRY_PASSWORD".to_owned(),
            "hunter4".to_owned(),
        ),
    ]);
    let config = Config::parse(GOOD, Path::new("x"), &environment).unwrap();
    assert_eq!(
        (
            config.kafka.brokers.as_str(),
            config.clickhouse.password.as_str()
        ),
        ("other:1", "hunter3")
    );
    assert_eq!(config.kafka.properties["sasl.password"], "hunter2");
    let registry = config.schema_registry.as_ref().unwrap();
    assert_eq!(
        (
            registry.url.as_str(),
            registry.username.as_str(),
            registry.password.as_str()
        ),
        ("https://registry/ccompat", "me", "hunter4")
    );
    assert!(!format!("{config:?}").contains("hunter"));
}

#[test]
fn every_contradiction_is_refused_with_its_line_and_the_fix() {
    for (from, to, expected) in [
        (
            "version = 1",
            "version = 2",
            "dealpulse.toml:1: version: 2 is no version",
        ),
        (
            "partitions = 4",
            "partitions = 0",
            "dealpulse.toml:15: log.partitions: write 1 to 10000",
        ),
        (
            "name = \"crm.us\"",
            "name = \"crm.eu\"",
            "dealpulse.toml:11: topics[1].name: `crm.eu` is listed twice",
        ),
        (
            "name = \"crm.us\"",
            "name = \"crm us\"",
            "dealpulse.toml:11: topics[1].name: `crm us`; Kafka takes",
        ),
        (
            "id_namespace = \"us\"\n",
            "",
            "topics[1].id_namespace: either every topic has",
        ),
        (
            "id_namespace = \"us\"",
            "id_namespace = \"u/s\"",
            "dealpulse.toml:12: topics[1].id_namespace",
        ),
        (
            "listen = \"127.0.0.1:0\"",
            "listen = \"9464\"",
            "dealpulse.toml:18: serve.listen: `9464` is no address",
        ),
        (
            "[log]",
            "[definitions]\ntime_zone = \"Mars\"\n[log]",
            "dealpulse.toml:15: definitions.time_zone: `Mars` is no IANA time zone",
        ),
        (
            "[log]",
            "[clickhouse]\nurl = \"tcp://x\"\n[log]",
            "clickhouse.url: `tcp://x`; write ClickHouse's HTTP address",
        ),
        (
            "[log]",
            "[clickhouse]\npassword_file = \"/nowhere/secret\"\n[log]",
            "put it there, or into DEALPULSE_CLICKHOUSE_PASSWORD",
        ),
        (
            "[[topics]]\nname = \"crm.eu\"",
            "[[topics]]\nformat = \"xml\"\nname = \"crm.eu\"",
            "topics[0].format: `xml` is no format",
        ),
        (
            "name = \"crm.us\"",
            "name = \"crm.us\"\nencoding = \"avro\"",
            "dealpulse.toml:12: topics[1].encoding: events of ours are JSON",
        ),
        (
            "name = \"crm.us\"",
            "name = \"crm.us\"\nencoding = \"avro\"\nformat = \"json\"\npreset = \"hubspot\"",
            "dealpulse.toml:12: topics[1].encoding: messages in Avro or Protobuf need the `url` of a [schema_registry]",
        ),
        (
            "[log]",
            "[schema_registry]\nurl = \"registry:8081\"\n[log]",
            "dealpulse.toml:15: schema_registry.url: `registry:8081`; write the registry's address",
        ),
        (
            "[log]",
            "[schema_registry]\nurl = \"http://me:hunter2@registry\"\n[log]",
            "write the registry's address like http://127.0.0.1:8081, and the user beside it",
        ),
    ] {
        let problem = problem(from, to);
        assert!(
            problem.contains(expected),
            "{problem}\nexpected: {expected}"
        );
    }
}

#[test]
fn an_unknown_key_is_refused_with_its_place() {
    let problem = problem("brokers", "brokres");
    assert!(
        problem.contains("line 4") && problem.contains("unknown field `brokres`"),
        "{problem}"
    );
}

/// The problem of a configuration whose only topic is a web form's with this mapping.
fn with_mapping(mapping: &str, more: &str, environment: &Environment) -> Result<Config, String> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("dealpulse.toml");
    std::fs::write(dir.path().join("forms.toml"), mapping).unwrap();
    let text = format!(
        "version = 1\n[[topics]]\nname = \"forms\"\nformat = \"json\"\nmapping = \"forms.toml\"\n{more}"
    );
    Config::parse(&text, &path, environment).map_err(|error| error.to_string())
}

const HASHING: &str =
    "[[records]]\ntable = \"forms\"\nentity = \"lead\"\nid = { column = \"email\", hash = true }\n";

#[test]
fn hashing_needs_a_key_of_the_environment_or_a_file_and_another_key_is_another_mapping() {
    let none = Environment::new();
    let refused = with_mapping(HASHING, "", &none).unwrap_err();
    for expected in [
        "dealpulse.toml:5: topics[0].mapping",
        "records[0].id: `hash` needs a key",
        "DEALPULSE_HASH_KEY",
        "hash_key_file",
    ] {
        assert!(refused.contains(expected), "{refused}");
    }
    let with = |secret: &str| Environment::from([(HASH_KEY.to_owned(), secret.to_owned())]);
    let (one, two) = ("1".repeat(32), "2".repeat(32));
    let config = with_mapping(HASHING, "", &with(&one)).unwrap();
    assert!(!format!("{config:?}").contains(&one), "never printed");
    let other = with_mapping(HASHING, "", &with(&two)).unwrap();
    assert_ne!(config.topics[0].mapping, other.topics[0].mapping);
    assert!(!config.topics[0].mapping.as_ref().unwrap().contains(&one));
    let short = with_mapping(HASHING, "", &with("secret")).unwrap_err();
    assert!(short.contains("the key has 6 characters"), "{short}");
    let plain = HASHING.replace(", hash = true", "");
    let mapping = |key| {
        with_mapping(&plain, "", &key).unwrap().topics[0]
            .mapping
            .clone()
    };
    assert_eq!(
        mapping(with(&one)),
        mapping(none),
        "nothing is hashed with it"
    );

    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("key");
    std::fs::write(&file, format!("{one}\n")).unwrap();
    let section = format!("[personal_data]\nhash_key_file = \"{}\"\n", file.display());
    let of_file = with_mapping(HASHING, &section, &Environment::new()).unwrap();
    assert_eq!(of_file.topics[0].mapping, config.topics[0].mapping);
}

#[test]
fn dead_letters_are_redacted_only_where_something_is_hashed_with_a_key() {
    let key = Environment::from([(HASH_KEY.to_owned(), "1".repeat(32))]);
    let kept = |config: Config| config.topics[0].kept.clone();
    let redacted = "dead_letters = \"redacted\"\n";
    assert!(matches!(
        kept(with_mapping(HASHING, redacted, &key).unwrap()),
        Kept::Redacted(_)
    ));
    let plain = HASHING.replace(", hash = true", "");
    let refused = with_mapping(&plain, redacted, &key).unwrap_err();
    assert!(
        refused.contains(":6: topics[0].dead_letters: `redacted` keeps hashes"),
        "{refused}"
    );
    let withheld = "dead_letters = \"withheld\"\n";
    assert!(matches!(
        kept(with_mapping(&plain, withheld, &key).unwrap()),
        Kept::Withheld(_)
    ));
    let refused = with_mapping(&plain, withheld, &Environment::new()).unwrap_err();
    assert!(refused.contains("DEALPULSE_HASH_KEY"), "{refused}");
    assert!(matches!(
        kept(with_mapping(&plain, "", &key).unwrap()),
        Kept::Whole
    ));
}
