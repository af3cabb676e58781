//! Threads for what takes long.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;

use parking_lot::{Condvar, Mutex};

type Job = Box<dyn FnOnce() + Send>;

/// A few threads that run jobs in the order they come.
///
/// A thread without a job sleeps at once: on few processors, one that looks for work keeps whoever
/// would bring it from running.
///
/// Dropping the pool waits for the jobs it was given.
pub(crate) struct Pool {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    queue: Mutex<Queue>,
    arrived: Condvar,
}

#[derive(Default)]
struct Queue {
    jobs: VecDeque<Job>,
    closed: bool,
}

impl std::fmt::Debug for Pool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Pool({} threads)", self.threads.len())
    }
}

impl Pool {
    /// Starts the threads; `name` is for who looks at them.
    ///
    /// # Errors
    /// If no thread can be started.
    pub(crate) fn new(name: &str, threads: usize) -> io::Result<Self> {
        let shared = Arc::new(Shared::default());
        let start = |i| {
            let shared = shared.clone();
            std::thread::Builder::new()
                .name(format!("plyfs-{name}-{i}"))
                .spawn(move || shared.work())
        };
        Ok(Self {
            threads: (0..threads).map(start).collect::<io::Result<_>>()?,
            shared,
        })
    }

    /// Runs a job in one of the threads.
    pub(crate) fn run(&self, job: impl FnOnce() + Send + 'static) {
        self.shared.queue.lock().jobs.push_back(Box::new(job));
        self.shared.arrived.notify_one();
    }
}

impl Shared {
    fn work(&self) {
        let mut queue = self.queue.lock();
        loop {
            match queue.jobs.pop_front() {
                Some(job) => {
                    drop(queue);
                    job();
                    queue = self.queue.lock();
                }
                None if queue.closed => return,
                None => self.arrived.wait(&mut queue),
            }
        }
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.shared.queue.lock().closed = true;
        self.shared.arrived.notify_all();
        for thread in self.threads.drain(..) {
            if thread.join().is_err() {
                log::error!("a thread of the pool has panicked");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[test]
    fn every_job_is_run_before_the_pool_ends() {
        let done = Arc::new(AtomicUsize::new(0));
        let pool = Pool::new("test", 3).unwrap();
        for _ in 0..100 {
            let done = done.clone();
            pool.run(move || {
                done.fetch_add(1, Ordering::Relaxed);
            });
        }
        drop(pool);
        assert_eq!(done.load(Ordering::Relaxed), 100);
    }
}
