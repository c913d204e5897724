//! The body of a request on its way to an endpoint.

use std::{
    future::Future,
    pin::{Pin, pin},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use tokio::time::timeout;

/// A client's body as it comes, which says that it comes.
pub(crate) struct Upload {
    body: Incoming,
    progress: Progress,
}

/// Whether some of an upload has been taken lately.
#[derive(Clone, Default)]
pub(crate) struct Progress(Arc<AtomicBool>);

impl Upload {
    pub(crate) fn new(body: Incoming) -> Self {
        Self { body, progress: Progress::default() }
    }

    pub(crate) fn progress(&self) -> Progress {
        self.progress.clone()
    }
}

impl Progress {
    /// Waits for the answer, for `limit` after the last of the upload that moved (at most for twice that). `None`: it
    /// does not come. A long upload is no late answer.
    pub(crate) async fn wait<T>(&self, limit: Duration, answer: impl Future<Output = T>) -> Option<T> {
        let mut answer = pin!(answer);
        loop {
            match timeout(limit, &mut answer).await {
                Ok(answer) => return Some(answer),
                Err(_) if self.0.swap(false, Relaxed) => {}
                Err(_) => return None,
            }
        }
    }
}

impl Body for Upload {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<hyper::Result<Frame<Bytes>>>> {
        let polled = Pin::new(&mut self.body).poll_frame(cx);
        if polled.is_ready() {
            self.progress.0.store(true, Relaxed);
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn an_upload_that_moves_is_waited_for() {
        let (progress, limit) = (Progress::default(), Duration::from_secs(10));
        let upload = async {
            for _ in 0..5 {
                tokio::time::sleep(Duration::from_secs(9)).await;
                progress.0.store(true, Relaxed);
            }
        };
        assert_eq!(progress.wait(limit, upload).await, Some(()));
        assert_eq!(progress.wait(limit, tokio::time::sleep(Duration::from_secs(9))).await, Some(()));
        assert_eq!(progress.wait(limit, tokio::time::sleep(Duration::from_secs(60))).await, None);
    }
}
