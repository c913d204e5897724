//! What an operator asks of the running process through its admin socket. The process as a whole carries it out,
//! not the server: only it knows where its configuration and its program are.

use tokio::sync::{mpsc, oneshot};

/// Commands that wait to be carried out; they take their turns. More are told to come back.
const MOST_WAITING: usize = 8;

/// `POST /reload` and its like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    /// Read the configuration again, as SIGHUP asks.
    Reload,
    /// End every session and then the process, as SIGTERM asks.
    Drain,
    /// Start the program anew, give it the listening sockets, and then drain, as SIGUSR2 asks.
    Upgrade,
}

/// One that somebody waits for.
#[derive(Debug)]
pub struct Command {
    /// What shall be done.
    pub verb: Verb,
    answer: oneshot::Sender<Outcome>,
}

/// What became of a command, in words.
pub type Outcome = Result<String, String>;

impl Verb {
    /// Its name on the command line and, behind `/`, its path.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Reload => "reload",
            Self::Drain => "drain",
            Self::Upgrade => "upgrade",
        }
    }

    pub(crate) fn at(path: &str) -> Option<Self> {
        let word = path.strip_prefix('/')?;
        [Self::Reload, Self::Drain, Self::Upgrade].into_iter().find(|verb| verb.word() == word)
    }
}

impl Command {
    /// Tells who asked.
    pub fn answer(self, outcome: Outcome) {
        // Whoever does not wait any more does not want to know.
        let _ = self.answer.send(outcome);
    }
}

/// Where commands come in.
#[derive(Clone)]
pub(crate) struct Inbox(mpsc::Sender<Command>);

impl Inbox {
    pub(crate) fn new() -> (Self, mpsc::Receiver<Command>) {
        let (sender, receiver) = mpsc::channel(MOST_WAITING);
        (Self(sender), receiver)
    }

    /// Returns what became of it; `None` when there is no room for another, or nobody to carry it out.
    pub(crate) async fn ask(&self, verb: Verb) -> Option<Outcome> {
        let (answer, outcome) = oneshot::channel();
        self.0.try_send(Command { verb, answer }).ok()?;
        outcome.await.ok()
    }
}
