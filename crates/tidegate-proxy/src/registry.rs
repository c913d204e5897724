//! Every live session of a worker: for drain, reload, and whoever wants to end one.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    sync::Arc,
    task::{Context, Waker},
};

use slab::Slab;
use tidegate_config::Route;
use tidegate_session::Order;

use crate::endpoint::Endpoint;

/// The sessions of one worker.
#[derive(Default)]
pub(crate) struct Registry {
    sessions: RefCell<Slab<Rc<Live>>>,
}

/// What others know of a live session.
pub(crate) struct Live {
    pub(crate) id: u32,
    pub(crate) route: Arc<Route>,
    /// `None`: it never got one.
    pub(crate) endpoint: Option<Arc<Endpoint>>,
    /// Boxed: most are never given one.
    order: Cell<Option<Box<Order>>>,
    hurried: Cell<bool>,
    waker: RefCell<Option<Waker>>,
}

/// A session's own place in the registry; it leaves when this is dropped.
pub(crate) struct Entry {
    registry: Rc<Registry>,
    key: usize,
    live: Rc<Live>,
}

impl Registry {
    pub(crate) fn enter(self: &Rc<Self>, id: u32, route: Arc<Route>, endpoint: Option<Arc<Endpoint>>) -> Entry {
        let live = Rc::new(Live {
            id,
            route,
            endpoint,
            order: Cell::new(None),
            hurried: Cell::new(false),
            waker: RefCell::new(None),
        });
        let key = self.sessions.borrow_mut().insert(live.clone());
        Entry { registry: self.clone(), key, live }
    }

    /// The live sessions, in no order that means anything.
    pub(crate) fn all(&self) -> Vec<Rc<Live>> {
        self.sessions.borrow().iter().map(|(_, live)| live.clone()).collect()
    }
}

impl Live {
    /// Tells the session that it is to end. A later order than one it has already is forgotten.
    pub(crate) fn order(&self, order: Order) {
        let planned = self.order.take().filter(|planned| planned.at <= order.at);
        self.order.set(Some(planned.unwrap_or_else(|| Box::new(order))));
        self.wake();
    }

    /// Tells the session to wait for nothing any more.
    pub(crate) fn hurry(&self) {
        self.hurried.set(true);
        self.wake();
    }

    fn wake(&self) {
        if let Some(waker) = &*self.waker.borrow() {
            waker.wake_by_ref();
        }
    }
}

impl Entry {
    pub(crate) fn id(&self) -> u32 {
        self.live.id
    }

    pub(crate) fn order(&self, order: Order) {
        self.live.order(order);
    }

    pub(crate) fn route(&self) -> &Route {
        &self.live.route
    }

    /// What it was ordered since the last call, which also says whom to wake for the next.
    #[inline]
    pub(crate) fn take_order(&self, cx: &Context<'_>) -> Option<Order> {
        let mut waker = self.live.waker.borrow_mut();
        if !waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            *waker = Some(cx.waker().clone());
        }
        self.live.order.take().map(|order| *order)
    }
}

impl Entry {
    /// Whether it was told to hurry since the last call.
    pub(crate) fn take_hurry(&self) -> bool {
        self.live.hurried.take()
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.registry.sessions.borrow_mut().remove(self.key);
    }
}
