//! The local broker in a process of its own, so that its memory and its crashes are not ours.

use std::ffi::OsString;
use std::path::Path;

use super::broker::{BrokerError, TopicSpec};
use super::child::{Child, Ending};

/// The command of this program that is the broker.
const COMMAND: &str = "local-broker";
/// How the child's line begins that answers a request for a topic.
pub(crate) const ANSWER: &str = "topic ";
/// The whole answer when the topic was created; any other is a refusal.
pub(crate) const CREATED: &str = "created";

/// A broker in a child process; killed on drop, and ended when this process ends.
pub struct BrokerChild {
    child: Child,
}

impl BrokerChild {
    /// Starts the broker with these topics; blocks until it listens.
    pub fn spawn(topics: &[TopicSpec]) -> Result<Self, BrokerError> {
        let child = Child::spawn(&arguments(topics), Ending::Kill)?;
        Ok(Self { child })
    }

    /// As [`BrokerChild::spawn`] with another build of this program, for tests: their own
    /// executable has no commands.
    pub fn spawn_program(program: &Path, topics: &[TopicSpec]) -> Result<Self, BrokerError> {
        let child = Child::spawn_program(program, &arguments(topics), Ending::Kill)?;
        Ok(Self { child })
    }

    /// The address clients connect to, `127.0.0.1:PORT`.
    pub fn address(&self) -> &str {
        self.child.address()
    }

    /// The broker's process number.
    pub fn pid(&self) -> u32 {
        self.child.pid()
    }

    /// Creates a topic and waits for the broker's answer; one that exists is an error.
    pub fn create_topic(&mut self, topic: &TopicSpec) -> Result<(), BrokerError> {
        let request = format!("topic {} {}", topic.name(), topic.partitions());
        let answer = self.child.exchange(&request, ANSWER)?;
        match answer.as_str() {
            CREATED => Ok(()),
            refusal => Err(BrokerError::Refused(refusal.to_owned())),
        }
    }
}

fn arguments(topics: &[TopicSpec]) -> Vec<OsString> {
    let options = topics
        .iter()
        .flat_map(|topic| ["--topic".to_owned(), topic.to_string()]);
    std::iter::once(COMMAND.to_owned())
        .chain(options)
        .map(OsString::from)
        .collect()
}
