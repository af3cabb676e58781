//! Workloads that read and write data.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use super::super::layers::fill;
use super::{Place, Watch};

/// Size of the file for random access.
const RANDOM_FILE: usize = 16 << 20;
const BLOCK: usize = 4096;

pub fn write_128(place: &Place<'_>, watch: &mut Watch) -> io::Result<()> {
    let mut file = File::create_new(place.room()?.join("f"))?;
    let count = place.scale.names * 25;
    watch.time(count, || {
        (0..count).try_for_each(|_| file.write_all(&[7; 128]))?;
        drop(file);
        Ok(())
    })
}

pub fn write_sequential(place: &Place<'_>, watch: &mut Watch) -> io::Result<()> {
    let mut file = File::create_new(place.room()?.join("f"))?;
    let data = vec![7; 128 << 10];
    let size = place.scale.stream_mib;
    watch.time(size, || {
        (0..size * 8).try_for_each(|_| file.write_all(&data))?;
        drop(file);
        Ok(())
    })
}

fn read_all(path: &Path) -> io::Result<usize> {
    let mut buffer = vec![0; 128 << 10];
    let mut file = File::open(path)?;
    let mut total = 0;
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(total),
            read => total += read,
        }
    }
}

pub fn read_sequential_first(place: &Place<'_>, watch: &mut Watch) -> io::Result<()> {
    let path = place.merged().join("big");
    watch.time_some(|| Ok((read_all(&path)? >> 20, ())))
}

pub fn read_sequential(place: &Place<'_>, watch: &mut Watch) -> io::Result<()> {
    let path = place.merged().join("big");
    read_all(&path)?;
    watch.time_some(|| Ok((read_all(&path)? >> 20, ())))
}

/// A file for random access, in the upper layer and written out.
fn upper_file(place: &Place<'_>) -> io::Result<(PathBuf, File)> {
    let path = place.room()?.join("f");
    let mut file = File::options()
        .read(true)
        .write(true)
        .create_new(true)
        .open(&path)?;
    fill(&mut file, RANDOM_FILE)?;
    file.sync_all()?;
    Ok((path, file))
}

/// Offsets of blocks, in an order that no reader can guess.
fn offsets(count: usize) -> impl Iterator<Item = u64> {
    let mut state = 1_u64;
    std::iter::repeat_with(move || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (state >> 33) % (RANDOM_FILE / BLOCK) as u64 * BLOCK as u64
    })
    .take(count)
}

pub fn read_random(place: &Place<'_>, watch: &mut Watch) -> io::Result<()> {
    let (_, file) = upper_file(place)?;
    let mut buffer = [0; BLOCK];
    let count = place.scale.names * 10;
    watch.time(count, || {
        offsets(count).try_for_each(|offset| file.read_exact_at(&mut buffer, offset))
    })
}

pub fn write_random(place: &Place<'_>, watch: &mut Watch) -> io::Result<()> {
    let (_, file) = upper_file(place)?;
    let count = place.scale.names * 10;
    watch.time(count, || {
        offsets(count).try_for_each(|offset| file.write_all_at(&[7; BLOCK], offset))?;
        drop(file);
        Ok(())
    })
}

pub fn fsync(place: &Place<'_>, watch: &mut Watch) -> io::Result<()> {
    /// A disk may take long for each.
    const LONGEST: Duration = Duration::from_millis(300);
    let file = File::create_new(place.room()?.join("f"))?;
    let count = place.scale.names;
    watch.time_some(|| {
        let start = Instant::now();
        let mut done = 0;
        while done < count && (done % 16 != 0 || start.elapsed() < LONGEST) {
            file.write_all_at(&[7; BLOCK], 0)?;
            file.sync_all()?;
            done += 1;
        }
        Ok((done, ()))
    })
}

/// Mapping is unsafe in Rust; Python does it, and touches the pages in one call of C. It prints the
/// seconds.
fn by_python(place: &Place<'_>, watch: &mut Watch, work: &str) -> io::Result<()> {
    let (path, file) = upper_file(place)?;
    drop(file);
    let program = format!(
        "import mmap, sys, time\n\
         file = open(sys.argv[1], 'r+b')\n\
         pages = mmap.mmap(file.fileno(), 0)\n\
         start = time.perf_counter()\n\
         {work}\n\
         print(time.perf_counter() - start)\n"
    );
    let output = Command::new("python3")
        .arg("-c")
        .arg(program)
        .arg(&path)
        .output();
    let output = output.map_err(|error| io::Error::other(format!("python3: {error}")))?;
    let said = String::from_utf8_lossy(&output.stdout);
    let seconds = said
        .trim()
        .parse()
        .map_err(|_| io::Error::other(String::from_utf8_lossy(&output.stderr).into_owned()))?;
    watch.add_time(RANDOM_FILE / BLOCK, Duration::from_secs_f64(seconds));
    Ok(())
}

pub fn mmap_read(place: &Place<'_>, watch: &mut Watch) -> io::Result<()> {
    by_python(place, watch, "pages[0::4096]")
}

pub fn mmap_write(place: &Place<'_>, watch: &mut Watch) -> io::Result<()> {
    let work = "pages[0::4096] = b'x' * (len(pages) // 4096)\npages.flush()";
    by_python(place, watch, work)
}
