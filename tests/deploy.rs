//! The deploy files, without Docker: what Compose would make of them is read and held against what
//! each program takes.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::support::clickhouse::{DEALPULSE, spawn};
use crate::support::kafka::{Kafka, Watchdog};
use crate::support::monitoring::{program, succeeds};
use crate::support::pipeline::{blocking, start};
use dealpulse::config::{Config, Environment};
use serde_json::Value;

fn read(path: impl AsRef<Path>) -> String {
    let path = path.as_ref();
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// A program that `make deploy-tools` installs.
fn tool(name: &str) -> PathBuf {
    let cache = std::env::var_os("DEALPULSE_CACHE").filter(|path| !path.is_empty());
    let cache = cache.map_or_else(
        || PathBuf::from(std::env::var_os("HOME").unwrap_or_default()).join(".cache/dealpulse"),
        PathBuf::from,
    );
    let versions = read("mk/deploy.mk");
    let directory = versions
        .lines()
        .find_map(|line| line.strip_prefix("DEPLOY_TOOLS_DIR := $(DEALPULSE_CACHE)/"))
        .expect("mk/deploy.mk names the directory");
    let path = cache.join(directory).join(name);
    assert!(path.exists(), "there is no {name}: run make deploy-tools");
    path
}

/// The Compose file as Docker Compose understands it, with the defaults of its variables.
fn compose() -> Value {
    let text = succeeds(
        Command::new(tool("docker-compose"))
            .args([
                "-f",
                "deploy/docker-compose.yml",
                "config",
                "--format",
                "json",
            ])
            .env_clear()
            .env("HOME", std::env::temp_dir()),
    );
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

fn services(compose: &Value) -> &serde_json::Map<String, Value> {
    compose["services"].as_object().expect("services")
}

fn texts(list: &Value) -> Vec<String> {
    let list = list.as_array().map_or(&[][..], Vec::as_slice);
    let text = |value: &Value| value.as_str().expect("a text").to_owned();
    list.iter().map(text).collect()
}

/// The value of an option, as `--name=value`.
fn option(command: &[String], name: &str) -> String {
    let found = command
        .iter()
        .find_map(|word| word.strip_prefix(name)?.strip_prefix('='));
    found
        .unwrap_or_else(|| panic!("no {name} in {command:?}"))
        .to_owned()
}

/// The configuration of the instances, with other places than Compose's.
fn config(environment: &[(&str, &str)]) -> Config {
    let path = Path::new("deploy/dealpulse.toml");
    let environment = environment
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    let environment: Environment = environment.collect();
    Config::parse(&read(path), path, &environment).unwrap_or_else(|error| panic!("{error}"))
}

#[test]
fn every_image_has_one_exact_version_and_is_stated_once() {
    let compose = compose();
    let images: BTreeSet<&str> = services(&compose)
        .values()
        .map(|service| service["image"].as_str().expect("an image"))
        .collect();
    let files = read("deploy/docker-compose.yml");
    for image in images {
        let (name, tag) = image.rsplit_once(':').expect("a tag");
        let is_ours = name == "dealpulse";
        assert!(
            is_ours || tag.matches('.').count() >= 2,
            "{image} is not exact"
        );
        assert_eq!(files.matches(image).count(), 1, "{image}");
    }
    let bases: Vec<String> = read("deploy/Dockerfile")
        .lines()
        .filter_map(|line| Some(line.strip_prefix("FROM ")?.split(' ').next()?.to_owned()))
        .collect();
    assert_eq!(bases.len(), 2);
    for base in bases {
        let tag = base.split_once(':').expect("a tag").1;
        assert!(
            tag.contains("-slim") && tag.chars().filter(char::is_ascii_digit).count() >= 4,
            "{base}"
        );
    }
}

#[test]
fn every_path_that_is_mounted_exists() {
    let compose = compose();
    let mut mounted = 0;
    for (name, service) in services(&compose) {
        for volume in service["volumes"].as_array().into_iter().flatten() {
            let source = volume["source"].as_str().expect("a source");
            if volume["type"] == "bind" {
                assert!(Path::new(source).exists(), "{name}: {source}");
                assert_eq!(volume["read_only"], true, "{name}: {source}");
                mounted += 1;
            } else {
                assert!(compose["volumes"].get(source).is_some(), "{name}: {source}");
            }
        }
        for secret in service["secrets"].as_array().into_iter().flatten() {
            let file = &compose["secrets"][secret["source"].as_str().unwrap()]["file"];
            assert!(Path::new(file.as_str().unwrap()).exists(), "{name}: {file}");
        }
    }
    assert!(mounted >= 4, "{mounted}");
}

#[test]
fn what_one_service_calls_another_is_its_name_and_its_port() {
    let compose = compose();
    let config = config(&[]);
    let kafka = &services(&compose)["kafka"]["environment"];
    assert_eq!(
        kafka["KAFKA_ADVERTISED_LISTENERS"],
        format!("PLAINTEXT://{}", config.kafka.brokers)
    );
    assert_eq!(config.clickhouse.url, "http://clickhouse:8123");
    assert_eq!(
        services(&compose)["clickhouse"]["environment"]["CLICKHOUSE_USER"],
        config.clickhouse.user
    );
    assert_eq!(config.listen.to_string(), "0.0.0.0:9464");
    let prometheus = read("deploy/prometheus/prometheus.yml");
    for (expected, service) in [
        ("names: [dealpulse]", "dealpulse"),
        ("port: 9464", "dealpulse"),
        ("targets: [alertmanager:9093]", "alertmanager"),
        ("grafana: http://localhost:3000", "grafana"),
    ] {
        assert!(prometheus.contains(expected), "{expected}");
        assert!(services(&compose).contains_key(service), "{service}");
    }
    // Published on loopback, under the port each listens on.
    for (service, port) in [
        ("dealpulse", 9464),
        ("grafana", 3000),
        ("prometheus", 9090),
        ("alertmanager", 9093),
    ] {
        let published = &services(&compose)[service]["ports"][0];
        assert_eq!(published["target"], port, "{service}");
        assert_eq!(published["published"], port.to_string(), "{service}");
        assert_eq!(published["host_ip"], "127.0.0.1", "{service}");
    }
    for service in ["topics", "generator"] {
        let command = texts(&services(&compose)[service]["command"]);
        assert_eq!(
            option(&command, "--topic"),
            config.topics[0].name,
            "{service}"
        );
    }
    // Dealpulse is given ClickHouse's password, by a variable that it reads.
    let password = services(&compose)["clickhouse"]["environment"]["CLICKHOUSE_PASSWORD"].as_str();
    let environment = services(&compose)["dealpulse"]["environment"]
        .as_object()
        .expect("variables");
    let environment = environment
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str().unwrap()));
    let given = self::config(&environment.collect::<Vec<_>>())
        .clickhouse
        .password;
    assert_eq!(Some(given.as_str()), password);
}

#[test]
fn grafana_is_given_the_variables_its_data_sources_ask_for_and_a_user_who_may_only_read() {
    let compose = compose();
    let given = &services(&compose)["grafana"]["environment"];
    let provisioned = read("grafana/provisioning/datasources/dealpulse.yaml");
    let is_name = |c: char| c.is_ascii_uppercase() || c == '_';
    let asked: BTreeSet<&str> = provisioned
        .lines()
        .filter(|line| !line.trim_start().starts_with('#'))
        .filter_map(|line| line.split_once('$')?.1.split(|c| !is_name(c)).next())
        .collect();
    assert!(asked.len() >= 6, "{asked:?}");
    for name in asked {
        assert!(given.get(name).is_some(), "Grafana is not given {name}");
    }
    let clickhouse = &services(&compose)["clickhouse"]["environment"];
    assert_eq!(
        given["CLICKHOUSE_PASSWORD"],
        clickhouse["GRAFANA_CLICKHOUSE_PASSWORD"]
    );
    let config = config(&[]);
    assert_eq!(given["CLICKHOUSE_DATABASE"], config.clickhouse.database);
    assert_eq!(
        format!(
            "http://{}:{}",
            given["CLICKHOUSE_HOST"].as_str().unwrap(),
            given["CLICKHOUSE_PORT"].as_str().unwrap()
        ),
        config.clickhouse.url
    );
    let user = read("deploy/clickhouse/grafana.xml");
    assert!(user.contains(&format!("<{}>", given["CLICKHOUSE_USER"].as_str().unwrap())));
    assert!(user.contains(&format!("GRANT SELECT ON {}.*", config.clickhouse.database)));
    // Where the dashboards are mounted, and the one that is shown first.
    let mounts = services(&compose)["grafana"]["volumes"].as_array().unwrap();
    let target = mounts.iter().find(|mount| {
        mount["source"]
            .as_str()
            .unwrap()
            .ends_with("grafana/dashboards")
    });
    let target = target.expect("the dashboards")["target"].as_str().unwrap();
    let provider = read("grafana/provisioning/dashboards/dealpulse.yaml");
    assert!(provider.contains(&format!("path: {target}\n")), "{target}");
    let home = given["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
        .as_str()
        .unwrap();
    let home = home.strip_prefix(target).expect("a mounted dashboard");
    assert!(
        Path::new(&format!("grafana/dashboards{home}")).exists(),
        "{home}"
    );
}

#[test]
fn an_alertmanager_reads_the_secrets_that_are_given_to_it() {
    let compose = compose();
    let given = services(&compose)["alertmanager"]["secrets"]
        .as_array()
        .expect("secrets");
    let given: BTreeSet<String> = given
        .iter()
        .map(|secret| format!("/run/secrets/{}", secret["source"].as_str().unwrap()))
        .collect();
    let read_there: BTreeSet<String> = read("deploy/alertmanager/alertmanager.yml")
        .lines()
        .filter_map(|line| Some(line.split_once("_file: ")?.1.to_owned()))
        .collect();
    assert_eq!(given, read_there);
}

#[test]
fn programs_take_the_options_they_are_given() {
    let compose = compose();
    let listed = |names: &[&str]| {
        let output = Command::new(program(names)).arg("--help").output().unwrap();
        let text = [output.stdout, output.stderr].concat();
        String::from_utf8_lossy(&text).into_owned()
    };
    for (service, names) in [
        ("prometheus", &["prometheus"][..]),
        ("alertmanager", &["prometheus-alertmanager", "alertmanager"]),
    ] {
        let help = listed(names);
        for word in texts(&services(&compose)[service]["command"]) {
            let name = word.split('=').next().unwrap();
            assert!(help.contains(name), "{service} has no {name}");
        }
    }
}

#[test]
fn hadolint_finds_nothing_in_the_dockerfile() {
    succeeds(Command::new(tool("hadolint")).arg("deploy/Dockerfile"));
}

#[test]
fn the_image_is_built_with_what_the_makefile_asks_for_and_runs_as_nobody_in_particular() {
    let dockerfile = read("deploy/Dockerfile");
    let prerequisites = read("mk/prerequisites.mk");
    let build_tools = prerequisites.split_once("\nbuild-tools:").unwrap().1;
    let build_tools = build_tools.split_once("\nrust:").unwrap().0;
    let packages: BTreeSet<&str> = build_tools
        .split("missing=\"$$missing ")
        .skip(1)
        .flat_map(|part| part.split('"').next().unwrap().split(' '))
        .collect();
    assert!(packages.len() >= 6, "{packages:?}");
    let (build, run) = dockerfile.split_once("\nFROM debian").expect("two stages");
    for package in packages {
        assert!(
            build.contains(&format!(" {package}")),
            "the build lacks {package}"
        );
    }
    let oldest = read("Cargo.toml");
    let oldest = oldest
        .lines()
        .find_map(|line| line.strip_prefix("rust-version = \""))
        .unwrap();
    let number = |text: &str| -> Vec<u32> {
        let digits = text.split(|c: char| !c.is_ascii_digit());
        digits
            .filter_map(|part| part.parse().ok())
            .take(2)
            .collect()
    };
    let rust = build.split_once("FROM rust:").unwrap().1;
    assert!(
        number(rust) >= number(oldest),
        "Rust of the image is too old"
    );
    let user = run
        .lines()
        .find_map(|line| line.strip_prefix("USER "))
        .expect("a user");
    assert_ne!(user, "0");
    assert!(run.contains("HEALTHCHECK") && run.contains("/healthz"));
}

/// Cargo reads the whole of the manifest, with every target that it names, in a folder that has
/// what the image's build is given.
#[test]
fn the_build_is_given_all_that_it_reads() {
    let ignore = read("deploy/Dockerfile.dockerignore");
    let given: Vec<&str> = ignore
        .lines()
        .filter_map(|line| line.strip_prefix('!'))
        .collect();
    let folder = tempfile::tempdir().unwrap();
    for name in &given {
        let copied = Command::new("cp")
            .arg("-r")
            .arg(name)
            .arg(folder.path())
            .status()
            .unwrap();
        assert!(copied.success(), "{name}");
    }
    succeeds(
        Command::new(env!("CARGO"))
            .args([
                "metadata",
                "--no-deps",
                "--offline",
                "--locked",
                "--format-version=1",
            ])
            .current_dir(folder.path()),
    );
    let mut sources = Vec::new();
    collect(Path::new("src"), &mut sources);
    let included = sources
        .iter()
        .filter(|path| !path.ends_with("tests.rs"))
        .flat_map(|path| {
            let text = read(path);
            let names = text
                .split("include_str!(\"")
                .skip(1)
                .map(|rest| rest.split('"').next().unwrap().to_owned());
            let folder = path.parent().unwrap().to_owned();
            names.map(move |name| folder.join(name)).collect::<Vec<_>>()
        });
    for file in included {
        let file =
            fs::canonicalize(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        let relative = file
            .strip_prefix(fs::canonicalize(".").unwrap())
            .unwrap()
            .to_owned();
        let first = relative.components().next().unwrap();
        assert!(
            given
                .iter()
                .any(|name| Path::new(name).components().next() == Some(first)),
            "{} is not given to the build",
            relative.display()
        );
    }
}

fn collect(folder: &Path, out: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, out);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            out.push(path);
        }
    }
}

/// The settings of Compose's broker as its image makes them of the environment: `KAFKA_LOG_DIRS` is
/// `log.dirs`.
fn broker_settings(compose: &Value) -> BTreeMap<String, String> {
    let environment = services(compose)["kafka"]["environment"]
        .as_object()
        .expect("an environment");
    let setting = |name: &str| {
        name.strip_prefix("KAFKA_")
            .map(|rest| rest.to_lowercase().replace('_', "."))
    };
    environment
        .iter()
        .filter_map(|(name, value)| Some((setting(name)?, value.as_str()?.to_owned())))
        .collect()
}

/// All of it together, each program as Compose starts it but for its addresses: Kafka with the
/// broker's settings, the topic with its own, the pipeline with the committed configuration, and
/// the generator, live.
#[tokio::test(flavor = "multi_thread")]
async fn what_compose_starts_works_together() {
    let compose = compose();
    let settings = broker_settings(&compose);
    assert!(settings.len() > 10, "{settings:?}");
    let is_place = |name: &str| {
        name.contains("listener")
            || name.contains("quorum")
            || name == "log.dirs"
            || name == "node.id"
    };
    let settings: Vec<(&str, &str)> = settings
        .iter()
        .filter(|(name, _)| !is_place(name))
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .collect();
    let kafka = Kafka::start_with(&settings).await;
    let topic = texts(&services(&compose)["topics"]["command"]);
    let (name, partitions) = (option(&topic, "--topic"), option(&topic, "--partitions"));
    let of_topic = option(&topic, "--config");
    let of_topic = of_topic.split_once('=').expect("key=value");
    kafka
        .create_topic(&name, partitions.parse().unwrap(), &[of_topic])
        .await;

    let clickhouse = blocking(|| spawn(None)).await;
    let mut text = read("deploy/dealpulse.toml");
    for (there, here) in [
        ("kafka:9092", kafka.bootstrap()),
        ("http://clickhouse:8123", clickhouse.url()),
        ("0.0.0.0:9464", "127.0.0.1:0".to_owned()),
    ] {
        assert!(text.contains(there), "{there}");
        text = text.replace(there, &here);
    }
    let pipeline = start("compose", text).await;
    let words = texts(&services(&compose)["generator"]["command"]);
    let words = words
        .into_iter()
        .map(|word| match word.starts_with("--brokers=") {
            true => format!("--brokers={}", kafka.bootstrap()),
            false => word,
        });
    let generator = RefCell::new(Started::new(Command::new(DEALPULSE).args(words)));
    let has_ended = || {
        generator
            .borrow_mut()
            .0
            .try_wait()
            .expect("a child")
            .is_some()
    };
    pipeline
        .wait("the generator's events are folded and shown", || {
            assert!(!has_ended(), "the generator goes on with the present");
            let metrics = pipeline.metrics();
            metrics.sum("dealpulse_assertions_folded_total", "") > 10_000.0
                && metrics.0.contains("dealpulse_lead_source_leads{")
        })
        .await;
    let metrics = pipeline.metrics();
    assert_eq!(metrics.sum("dealpulse_dead_letters_total", ""), 0.0);
}

/// A process that ends with the test.
struct Started(std::process::Child, Watchdog);

impl Started {
    fn new(command: &mut Command) -> Started {
        let process = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .expect("the program can be started");
        let watchdog = Watchdog::over(&process);
        Started(process, watchdog)
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        self.1.dismiss();
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
