//! A real Redmine on a test's PostgreSQL, without its web server: what a team does in it is a
//! script by its own models. It comes from `make redmine-tools`.

use std::path::Path;
use std::process::Command;

use super::postgres::Postgres;

/// Where Debian keeps it.
const HOME: &str = "/usr/share/redmine";

pub struct Redmine {
    database: String,
}

impl Redmine {
    /// Makes its tables in an empty database, with the data every Redmine begins with.
    pub fn on(postgres: &Postgres) -> Redmine {
        assert!(
            Path::new(HOME).is_dir(),
            "there is no Redmine in {HOME}: run make redmine-tools"
        );
        let redmine = Redmine {
            database: format!("postgresql://postgres@127.0.0.1:{}/postgres", postgres.port),
        };
        redmine.run(&["rake", "db:migrate"], &[]);
        redmine.run(
            &["rake", "redmine:load_default_data"],
            &[("REDMINE_LANG", "en")],
        );
        redmine
    }

    /// Runs a step of the story in tests/redmine/sales.rb.
    pub fn act(&self, step: &str) {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/redmine/sales.rb");
        self.run(&["rails", "runner", script], &[("STEP", step)]);
    }

    fn run(&self, arguments: &[&str], environment: &[(&str, &str)]) {
        let mut command = Command::new("bundle");
        command
            .arg("exec")
            .args(arguments)
            .current_dir(HOME)
            .env("RAILS_ENV", "production")
            .env("DATABASE_URL", &self.database)
            .env("SECRET_KEY_BASE", "0".repeat(64))
            .envs(environment.iter().copied());
        let output = command.output().unwrap_or_else(|error| {
            panic!("bundle can't be run ({error}): run make redmine-tools")
        });
        assert!(
            output.status.success(),
            "{arguments:?}: {}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
    }
}
