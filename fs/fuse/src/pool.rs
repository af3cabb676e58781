//! Threads for what takes long.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;

use parking_lot::{Condvar, Mutex};

use super::latency::colocate::leave_reader;

type Job = Box<dyn FnOnce() + Send>;

/// A few threads that run jobs in the order they come. [`start`](Self::start) starts the first, and each of the
/// others is started when there is a job and no thread to do it.
///
/// A thread without a job sleeps at once: on few processors, one that looks for work keeps the client that
/// would bring it from running.
///
/// Dropping the pool waits for the jobs it was given.
pub(crate) struct Pool(Queue);

/// Gives jobs to a [`Pool`], and does not wait for them.
#[derive(Clone)]
pub(crate) struct Queue(Arc<Shared>);

struct Shared {
    /// Part of the threads' names.
    name: &'static str,
    most: usize,
    state: Mutex<State>,
    arrived: Condvar,
}

#[derive(Default)]
struct State {
    jobs: VecDeque<Job>,
    threads: Vec<JoinHandle<()>>,
    /// How many threads wait for a job.
    idle: usize,
    closed: bool,
}

impl std::fmt::Debug for Pool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Pool({})", self.0.0.name)
    }
}

impl Pool {
    /// A pool of at most so many threads.
    pub(crate) fn new(name: &'static str, most: usize) -> Self {
        Self(Queue(Arc::new(Shared {
            name,
            most,
            state: Mutex::default(),
            arrived: Condvar::new(),
        })))
    }

    /// Starts a thread, without which no job runs: some wait for the thread that reads requests, which therefore
    /// must not run them itself.
    ///
    /// # Errors
    /// Those of starting a thread.
    pub(crate) fn start(&self) -> io::Result<()> {
        let mut state = self.0.0.state.lock();
        self.0.add_thread(&mut state)
    }

    pub(crate) fn queue(&self) -> Queue {
        self.0.clone()
    }

    /// Runs a job in one of the threads.
    pub(crate) fn run(&self, job: impl FnOnce() + Send + 'static) {
        self.0.run(job);
    }

    /// Waits for the jobs it was given, and takes no more.
    pub(crate) fn end(&self) {
        let threads = {
            let mut state = self.0.0.state.lock();
            state.closed = true;
            std::mem::take(&mut state.threads)
        };
        self.0.0.arrived.notify_all();
        for thread in threads {
            if thread.join().is_err() {
                log::error!("a thread of the pool {} has panicked", self.0.0.name);
            }
        }
    }
}

impl Queue {
    /// Runs a job in one of the threads. Drops it if the pool has ended: so has the connection.
    pub(crate) fn run(&self, job: impl FnOnce() + Send + 'static) {
        let mut state = self.0.state.lock();
        if state.closed {
            return;
        }
        state.jobs.push_back(Box::new(job));
        if state.jobs.len() > state.idle
            && state.threads.len() < self.0.most
            && let Err(error) = self.add_thread(&mut state)
        {
            log::debug!("a job waits for the threads there are: {error}");
        }
        drop(state);
        self.0.arrived.notify_one();
    }

    fn add_thread(&self, state: &mut State) -> io::Result<()> {
        let shared = self.0.clone();
        let thread = std::thread::Builder::new().name(format!("plyfs-{}", shared.name));
        state.threads.push(thread.spawn(move || shared.work())?);
        Ok(())
    }
}

impl Shared {
    fn work(&self) {
        leave_reader();
        let mut state = self.state.lock();
        loop {
            match state.jobs.pop_front() {
                Some(job) => {
                    drop(state);
                    job();
                    state = self.state.lock();
                }
                None if state.closed => return,
                None => {
                    state.idle += 1;
                    self.arrived.wait(&mut state);
                    state.idle -= 1;
                }
            }
        }
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.end();
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::mpsc;

    use super::*;

    #[test]
    fn every_job_is_run_before_the_pool_ends() {
        let done = Arc::new(AtomicUsize::new(0));
        let pool = Pool::new("test", 3);
        pool.start().unwrap();
        for _ in 0..100 {
            let done = done.clone();
            pool.run(move || {
                done.fetch_add(1, Ordering::Relaxed);
            });
        }
        drop(pool);
        assert_eq!(done.load(Ordering::Relaxed), 100);
    }

    /// The thread that reads requests ran a job itself where no thread could start, and the job waited for it.
    #[test]
    fn a_job_never_runs_on_the_thread_that_gives_it() {
        let pool = Pool::new("test", 0);
        pool.start().unwrap();
        let (tell, told) = mpsc::channel();
        for _ in 0..3 {
            let tell = tell.clone();
            pool.run(move || tell.send(std::thread::current().id()).unwrap());
        }
        drop(tell);
        drop(pool);
        let threads: Vec<_> = told.iter().collect();
        assert_eq!(threads.len(), 3);
        assert!(!threads.contains(&std::thread::current().id()));
    }

    #[test]
    fn a_job_may_give_another_to_a_pool_that_has_ended() {
        let (first, second) = (Pool::new("first", 1), Pool::new("second", 1));
        first.start().unwrap();
        second.start().unwrap();
        let queue = second.queue();
        drop(second);
        first.run(move || queue.run(|| unreachable!("the pool has ended")));
        drop(first);
    }
}
