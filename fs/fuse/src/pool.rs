//! Threads for what takes long.

use std::collections::VecDeque;
use std::sync::Arc;
use std::thread::JoinHandle;

use parking_lot::{Condvar, Mutex};

use super::latency::colocate::leave_reader;

type Job = Box<dyn FnOnce() + Send>;

/// A few threads that run jobs in the order they come. Each is started when there is a job and no thread
/// to do it.
///
/// A thread without a job sleeps at once: on few processors, one that looks for work keeps the client that
/// would bring it from running.
///
/// Dropping the pool waits for the jobs it was given.
pub(crate) struct Pool {
    shared: Arc<Shared>,
    /// For who looks at the threads.
    name: &'static str,
    most: usize,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

#[derive(Default)]
struct Shared {
    queue: Mutex<Queue>,
    arrived: Condvar,
}

#[derive(Default)]
struct Queue {
    jobs: VecDeque<Job>,
    /// How many threads wait for one.
    idle: usize,
    closed: bool,
}

impl std::fmt::Debug for Pool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Pool({})", self.name)
    }
}

impl Pool {
    /// A pool of at most so many threads.
    pub(crate) fn new(name: &'static str, most: usize) -> Self {
        Self {
            shared: Arc::new(Shared::default()),
            name,
            most,
            threads: Mutex::default(),
        }
    }

    /// Runs a job in one of the threads.
    pub(crate) fn run(&self, job: impl FnOnce() + Send + 'static) {
        let waits = {
            let mut queue = self.shared.queue.lock();
            queue.jobs.push_back(Box::new(job));
            queue.jobs.len() > queue.idle
        };
        self.shared.arrived.notify_one();
        if waits && !self.add_thread() {
            // No other thread can: late is better than never.
            let job = self.shared.queue.lock().jobs.pop_front();
            if let Some(job) = job {
                job();
            }
        }
    }

    /// Starts one more thread, if there may be more. `false` if there is none at all.
    fn add_thread(&self) -> bool {
        let mut threads = self.threads.lock();
        if threads.len() < self.most {
            let shared = self.shared.clone();
            let thread = std::thread::Builder::new().name(format!("plyfs-{}", self.name));
            match thread.spawn(move || shared.work()) {
                Ok(thread) => threads.push(thread),
                Err(error) => log::warn!("cannot start a thread: {error}"),
            }
        }
        !threads.is_empty()
    }
}

impl Shared {
    fn work(&self) {
        leave_reader();
        let mut queue = self.queue.lock();
        loop {
            match queue.jobs.pop_front() {
                Some(job) => {
                    drop(queue);
                    job();
                    queue = self.queue.lock();
                }
                None if queue.closed => return,
                None => {
                    queue.idle += 1;
                    self.arrived.wait(&mut queue);
                    queue.idle -= 1;
                }
            }
        }
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.shared.queue.lock().closed = true;
        self.shared.arrived.notify_all();
        for thread in self.threads.get_mut().drain(..) {
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
        let pool = Pool::new("test", 3);
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
