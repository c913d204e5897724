//! Lists through a table: to join one at its end and to leave it from anywhere costs a few writes.

const NONE: u32 = u32::MAX;

/// By place in the table.
#[derive(Clone, Copy, Debug)]
pub(crate) struct List {
    first: u32,
    last: u32,
}

/// What an entry of the table keeps for each list it may be in.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Links {
    before: u32,
    after: u32,
}

impl Default for List {
    fn default() -> Self {
        Self { first: NONE, last: NONE }
    }
}

impl Default for Links {
    fn default() -> Self {
        Self { before: NONE, after: NONE }
    }
}

impl List {
    pub(crate) fn first(&self) -> Option<u32> {
        (self.first != NONE).then_some(self.first)
    }

    pub(crate) fn last(&self) -> Option<u32> {
        (self.last != NONE).then_some(self.last)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.first == NONE
    }

    /// `links`: those of an entry for lists of this kind, of which it is in none.
    pub(crate) fn push<T>(&mut self, at: u32, table: &mut [T], links: impl Fn(&mut T) -> &mut Links) {
        *links(&mut table[at as usize]) = Links { before: self.last, after: NONE };
        match self.last {
            NONE => self.first = at,
            last => links(&mut table[last as usize]).after = at,
        }
        self.last = at;
    }

    /// It must be in this list.
    pub(crate) fn remove<T>(&mut self, at: u32, table: &mut [T], links: impl Fn(&mut T) -> &mut Links) {
        let Links { before, after } = *links(&mut table[at as usize]);
        match before {
            NONE => self.first = after,
            before => links(&mut table[before as usize]).after = after,
        }
        match after {
            NONE => self.last = before,
            after => links(&mut table[after as usize]).before = before,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entries(list: List, table: &[Links]) -> Vec<u32> {
        std::iter::successors(list.first(), |&at| Some(table[at as usize].after).filter(|&next| next != NONE)).collect()
    }

    #[test]
    fn whoever_leaves_the_others_stay_in_order() {
        for (leaves, left) in [(0, [1, 2]), (1, [0, 2]), (2, [0, 1])] {
            let (mut list, mut table) = (List::default(), vec![Links::default(); 3]);
            (0..3).for_each(|at| list.push(at, &mut table, |links| links));
            list.remove(leaves, &mut table, |links| links);
            assert_eq!(entries(list, &table), left);
            assert_eq!((list.first(), list.last()), (Some(left[0]), Some(left[1])));
            left.into_iter().for_each(|at| list.remove(at, &mut table, |links| links));
            assert!(list.is_empty() && list.last().is_none());
        }
    }
}
