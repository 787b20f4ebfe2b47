//! What of the process stays in memory: an idle broker should need no more than what it uses.

use std::fs;
use std::ops::Range;

use rustix::mm::{Advice, madvise};
use tracing::debug;

/// The allocator asks for huge pages; a broker that touches little of each would hold three times the memory it uses.
pub fn without_huge_pages() {
    // Where the kernel knows no huge pages there is nothing to spare.
    let _ = rustix::thread::disable_transparent_huge_pages(true);
}

/// Gives back the code that only the start needed: reading configuration, recovering logs, founding a quorum. The kernel maps
/// code in large pieces around each place that runs and does not take them away by itself; what is still needed is mapped
/// again from the page cache when it runs next.
pub fn give_back_code() {
    let own = give_back_code as fn() as usize;
    let Some(code) = fs::read_to_string("/proc/self/maps").ok().and_then(|maps| code_around(&maps, own)) else {
        return;
    };
    let (start, len) = (std::ptr::with_exposed_provenance_mut(code.start), code.len());
    #[expect(
        unsafe_code,
        reason = "code is mapped from a file that cannot change while it runs, and nobody writes to the mapping"
    )]
    let result = unsafe { madvise(start, len, Advice::LinuxDontNeed) };
    if let Err(error) = result {
        debug!(%error, "the code of the start stays in memory");
    }
}

/// The mapping of code that has this address in it. Mappings that can be written to are no business of ours.
fn code_around(maps: &str, address: usize) -> Option<Range<usize>> {
    maps.lines().find_map(|line| {
        let mut words = line.split_ascii_whitespace();
        let (start, end) = words.next()?.split_once('-')?;
        let range = usize::from_str_radix(start, 16).ok()?..usize::from_str_radix(end, 16).ok()?;
        (words.next()? == "r-xp" && range.contains(&address)).then_some(range)
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn only_code_is_given_back() {
        let maps = "1000-2000 r--p 00000000 fe:00 99 /bin/ottla\n\
                    2000-5000 r-xp 00001000 fe:00 99 /bin/ottla\n\
                    5000-6000 r--p 00004000 fe:00 99 /bin/ottla\n\
                    6000-7000 rw-p 00005000 fe:00 99 /bin/ottla\n\
                    nonsense\n";
        assert_eq!(code_around(maps, 0x2000), Some(0x2000..0x5000));
        assert_eq!(code_around(maps, 0x4fff), Some(0x2000..0x5000));
        assert_eq!(code_around(maps, 0x5000), None, "data");
        assert_eq!(code_around(maps, 0x6000), None, "data that is written to");
        assert_eq!(code_around(maps, 0x9000), None);
    }

    #[test]
    fn code_that_was_given_back_runs_on() {
        for _ in 0..3 {
            give_back_code();
        }
        let maps = fs::read_to_string("/proc/self/maps").unwrap();
        assert!(code_around(&maps, give_back_code as fn() as usize).is_some());
    }
}
