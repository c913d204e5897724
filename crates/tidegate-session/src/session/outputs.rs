//! What a session asks for, until it is fetched.

use std::collections::VecDeque;

use crate::Output;

/// In order. Boxed, and gone when there is nothing more: mostly there is nothing.
#[derive(Debug, Default)]
pub(super) struct Outputs(
    #[expect(clippy::box_collection, reason = "an idle session has none, and each has the room for it")]
    Option<Box<VecDeque<Output>>>,
);

impl Outputs {
    pub(super) fn push_back(&mut self, output: Output) {
        self.0.get_or_insert_default().push_back(output);
    }

    #[inline]
    pub(super) fn pop_front(&mut self) -> Option<Output> {
        let outputs = self.0.as_mut()?;
        let next = outputs.pop_front();
        if outputs.is_empty() {
            self.0 = None;
        }
        next
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    pub(super) fn retain(&mut self, keep: impl FnMut(&Output) -> bool) {
        if let Some(outputs) = &mut self.0 {
            outputs.retain(keep);
        }
        self.0.take_if(|outputs| outputs.is_empty());
    }
}
