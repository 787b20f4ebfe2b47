//! A disk whose power can be cut: an ext4 file system in a file, behind a loop device, that forgets when asked everything
//! it was not told to flush. What a process leaves in the page cache survives its death, but not this.
//!
//! It is a cut of the file system's own memory: blocks that it had handed down are there afterwards. What a drive
//! with a cache of its own may lose on top of that is tried by the crash states of `ottla-storage`.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use tempfile::TempDir;

use crate::{cache, process};

/// `EXT4_IOC_SHUTDOWN` without a flush of the file system's journal.
const CUT: &str = "import fcntl, os, struct, sys
fcntl.ioctl(os.open(sys.argv[1], os.O_RDONLY), 0x8004587D, struct.pack('I', 2))";

/// Unmounted and removed when dropped.
pub struct PowerDisk {
    dir: TempDir,
}

impl PowerDisk {
    /// Why there is none here.
    pub fn missing() -> Option<&'static str> {
        if !Path::new("/dev/loop-control").exists() {
            return Some("no loop devices");
        }
        let found = |program: &str| ["/sbin", "/usr/sbin"].iter().any(|dir| Path::new(dir).join(program).exists());
        if !found("mkfs.ext4") {
            return Some("mkfs.ext4 is not installed");
        }
        let id = process::run(Command::new("id").arg("-u"), b"", Duration::from_secs(10));
        (id.stdout.trim() != "0").then_some("only root can mount a disk")
    }

    /// A fresh one of this size (the file is sparse).
    ///
    /// # Errors
    /// What the system said when it could not be made or mounted.
    pub fn new(megabytes: u64) -> Result<PowerDisk, String> {
        let dir = tempfile::Builder::new().prefix("disk").tempdir_in(cache::dir("run")).map_err(|e| e.to_string())?;
        let disk = PowerDisk { dir };
        let image = File::create(disk.image()).map_err(|e| e.to_string())?;
        image.set_len(megabytes << 20).map_err(|e| e.to_string())?;
        fs::create_dir(disk.root()).map_err(|e| e.to_string())?;
        run(Command::new("/sbin/mkfs.ext4").args(["-q", "-m", "0"]).arg(disk.image()))?;
        disk.mount()?;
        Ok(disk)
    }

    /// A folder on it.
    pub fn data_dir(&self) -> PathBuf {
        self.root().join("data")
    }

    /// Cuts the power and restores it. Nothing may run on the disk: what would still be written is lost as well.
    ///
    /// # Errors
    /// What the system said when it did not come back.
    pub fn cut(&self) -> Result<(), String> {
        self.fail()?;
        self.mend()
    }

    /// From now on all that is asked of the disk fails with an I/O error.
    ///
    /// # Errors
    /// What the system said.
    pub fn fail(&self) -> Result<(), String> {
        run(Command::new("python3").args(["-c", CUT]).arg(self.root()))
    }

    /// A disk that has failed is there again. Nobody may use it meanwhile.
    ///
    /// # Errors
    /// What the system said when it did not come back.
    pub fn mend(&self) -> Result<(), String> {
        run(Command::new("umount").arg(self.root()))?;
        self.mount()
    }

    /// Takes all of its space but so many bytes.
    ///
    /// # Errors
    /// What the system said.
    pub fn fill(&self, left: u64) -> Result<(), String> {
        let mut command = Command::new("df");
        command.args(["--output=avail", "--block-size=1"]).arg(self.root());
        let told = process::run(&mut command, b"", Duration::from_secs(30));
        let avail = told.stdout.lines().last().and_then(|line| line.trim().parse::<u64>().ok());
        let taken = avail.ok_or_else(|| format!("{command:?}: {told}"))?.saturating_sub(left);
        run(Command::new("fallocate").args(["-l", &taken.max(1).to_string()]).arg(self.filler()))
    }

    /// Gives the space back that `fill` has taken.
    ///
    /// # Errors
    /// What the system said.
    pub fn empty(&self) -> Result<(), String> {
        fs::remove_file(self.filler()).map_err(|error| error.to_string())
    }

    fn filler(&self) -> PathBuf {
        self.root().join("filler")
    }

    fn mount(&self) -> Result<(), String> {
        run(Command::new("mount").args(["-o", "loop"]).args([self.image(), self.root()]))
    }

    fn image(&self) -> PathBuf {
        self.dir.path().join("image")
    }

    fn root(&self) -> PathBuf {
        self.dir.path().join("root")
    }
}

impl Drop for PowerDisk {
    fn drop(&mut self) {
        // Lazily: a broker that a failed test has left may still be on it.
        run(Command::new("umount").arg("-l").arg(self.root())).ok();
    }
}

fn run(command: &mut Command) -> Result<(), String> {
    let output = process::run(command, b"", Duration::from_secs(300));
    if output.code == 0 { Ok(()) } else { Err(format!("{command:?}: {output}")) }
}
