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

use crate::http2;

/// Where a request's body comes from.
pub(crate) enum Source {
    Http1(Incoming),
    Http2(http2::Incoming),
    /// It has none.
    None,
}

/// A client's body as it comes, which says that it comes.
pub(crate) struct Upload {
    body: Source,
    progress: Progress,
}

/// Whether some of an upload has been taken lately.
#[derive(Clone, Default)]
pub(crate) struct Progress(Arc<AtomicBool>);

impl Upload {
    pub(crate) fn new(body: Source) -> Self {
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
    type Error = Box<dyn std::error::Error + Send + Sync>;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let polled = match &mut self.body {
            Source::Http1(body) => Pin::new(body).poll_frame(cx).map_err(Into::into),
            Source::Http2(body) => body.poll_frame(cx).map_err(Into::into),
            Source::None => Poll::Ready(None),
        };
        if polled.is_ready() {
            self.progress.0.store(true, Relaxed);
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        match &self.body {
            Source::Http1(body) => body.is_end_stream(),
            Source::Http2(body) => body.is_end_stream(),
            Source::None => true,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.body {
            Source::Http1(body) => body.size_hint(),
            Source::Http2(body) => body.size_hint(),
            Source::None => SizeHint::with_exact(0),
        }
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
