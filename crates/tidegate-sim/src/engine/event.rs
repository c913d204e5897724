//! What can happen next.

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Event {
    Script(u32),
    /// The client's attempt reaches a proxy.
    Arrive(u32),
    /// It is accepted.
    Enter(u32, u32),
    Patience(u32),
    /// A held client leg is let go.
    Free(u32, u32),
    Fault(u32, u32),
    Busy(u32, u32),
    DialTimeout(u32, u32),
    /// Every endpoint has failed it: it is told at the end of its wait.
    Exhausted(u32, u32),
    Leave(u32, u32),
    Work(u16),
    Policy(u8),
    Restart(u16),
    Scale,
    Ready,
    Sample,
}

impl Event {
    /// Whom it happens to.
    pub(super) fn client(&self) -> Option<usize> {
        match *self {
            Self::Arrive(client)
            | Self::Enter(client, _)
            | Self::Patience(client)
            | Self::Free(client, _)
            | Self::Fault(client, _)
            | Self::Busy(client, _)
            | Self::DialTimeout(client, _)
            | Self::Exhausted(client, _)
            | Self::Leave(client, _) => Some(client as usize),
            _ => None,
        }
    }
}
