//! Threads for what takes long.

use std::io;
use std::thread::JoinHandle;

use crossbeam_channel::{Sender, unbounded};

type Job = Box<dyn FnOnce() + Send>;

/// A few threads that run jobs in the order they come.
///
/// Dropping the pool waits for the jobs it was given.
#[derive(Debug)]
pub(crate) struct Pool {
    jobs: Option<Sender<Job>>,
    threads: Vec<JoinHandle<()>>,
}

impl Pool {
    /// Starts the threads; `name` is for who looks at them.
    ///
    /// # Errors
    /// If no thread can be started.
    pub(crate) fn new(name: &str, threads: usize) -> io::Result<Self> {
        let (jobs, queue) = unbounded::<Job>();
        let start = |i| {
            let queue = queue.clone();
            std::thread::Builder::new()
                .name(format!("plyfs-{name}-{i}"))
                .spawn(move || queue.iter().for_each(|job| job()))
        };
        Ok(Self {
            jobs: Some(jobs),
            threads: (0..threads).map(start).collect::<io::Result<_>>()?,
        })
    }

    /// Runs a job in one of the threads.
    pub(crate) fn run(&self, job: impl FnOnce() + Send + 'static) {
        if let Some(jobs) = &self.jobs
            && let Err(unsent) = jobs.send(Box::new(job))
        {
            // The threads live as long as the pool; were they gone, late is better than never.
            (unsent.0)();
        }
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.jobs = None;
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
