//! The bounded pool of database connections: the part of the sample application that runs out.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rusqlite::Connection;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::clock::Stopwatch;

/// No connection became free in time.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("no database connection became free within {} ms", .waited.as_millis())]
pub(crate) struct AcquireError {
    pub(crate) waited: Duration,
}

/// A fixed number of connections, handed out in the order of asking.
#[derive(Debug)]
pub(crate) struct Pool {
    idle: Arc<Mutex<Vec<Connection>>>,
    permits: Arc<Semaphore>,
    size: usize,
    pending: AtomicUsize,
    timeout: Duration,
}

/// One connection, until dropped.
#[derive(Debug)]
pub(crate) struct Lease {
    connection: Option<Connection>,
    idle: Arc<Mutex<Vec<Connection>>>,
    // Dropped after `drop` has put the connection back, so the next one to wait finds it.
    _permit: OwnedSemaphorePermit,
}

/// How the pool is used at this moment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Usage {
    pub(crate) used: usize,
    pub(crate) idle: usize,
    pub(crate) size: usize,
    pub(crate) pending: usize,
}

impl Pool {
    pub(crate) fn new(connections: Vec<Connection>, timeout: Duration) -> Self {
        let size = connections.len();
        Self {
            idle: Arc::new(Mutex::new(connections)),
            permits: Arc::new(Semaphore::new(size)),
            size,
            pending: AtomicUsize::new(0),
            timeout,
        }
    }

    /// Waits for a connection, at most the pool's timeout.
    pub(crate) async fn acquire(&self) -> Result<Lease, AcquireError> {
        let waiting = Stopwatch::start();
        let permit = {
            let _pending = Pending::enter(&self.pending);
            tokio::time::timeout(self.timeout, self.permits.clone().acquire_owned()).await
        };
        let error = || AcquireError { waited: waiting.elapsed() };
        let permit = permit.map_err(|_| error())?.map_err(|_| error())?;
        let connection = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        Ok(Lease { connection, idle: self.idle.clone(), _permit: permit })
    }

    pub(crate) fn usage(&self) -> Usage {
        let idle = self.permits.available_permits();
        let pending = self.pending.load(Ordering::Relaxed);
        Usage { used: self.size.saturating_sub(idle), idle, size: self.size, pending }
    }
}

impl Lease {
    /// The connection; `None` never happens while the pool holds one connection for each permit.
    pub(crate) fn connection(&mut self) -> Option<&mut Connection> {
        self.connection.as_mut()
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if let Some(connection) = self.connection.take() {
            self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(connection);
        }
    }
}

/// Counts one who waits, also when the waiting is given up.
struct Pending<'a>(&'a AtomicUsize);

impl<'a> Pending<'a> {
    fn enter(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(count)
    }
}

impl Drop for Pending<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn hands_out_what_it_has_and_refuses_in_time() {
        let connections = (0..2).map(|_| Connection::open_in_memory().unwrap()).collect();
        let pool = Pool::new(connections, Duration::from_millis(20));
        let first = pool.acquire().await.unwrap();
        let _second = pool.acquire().await.unwrap();
        assert_eq!(pool.usage(), Usage { used: 2, idle: 0, size: 2, pending: 0 });
        assert!(pool.acquire().await.unwrap_err().waited >= Duration::from_millis(20));
        drop(first);
        assert!(pool.acquire().await.unwrap().connection().is_some());
        assert_eq!(pool.usage().used, 1);
    }
}
