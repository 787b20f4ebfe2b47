//! A snapshot holds the whole image, and a snapshot at any offset and the entries behind it give the image that a replay of
//! everything gives.

use ottla_metadata::{MetadataImage, snapshot};
use ottla_protocol::Offset;

use super::{Invariant, View};

#[derive(Debug)]
pub struct SnapshotAndTailEqualReplay;

impl Invariant for SnapshotAndTailEqualReplay {
    fn name(&self) -> &'static str {
        "snapshot and tail equal replay"
    }

    fn at_end(&mut self, view: &View<'_>) -> Result<(), String> {
        let log = view.quorum.log();
        let replay = |image: &mut MetadataImage, from: usize, to: usize| {
            for (offset, entry) in log.iter().enumerate().take(to).skip(from) {
                image.replay_entry(Offset(offset as i64), entry.epoch, &entry.records);
            }
        };
        let mut whole = MetadataImage::default();
        replay(&mut whole, 0, log.len());
        let expected = snapshot::encode(&whole);
        let mut image = MetadataImage::default();
        // How the image looks is compared often, for that is cheap; how it goes on, a few times.
        for at in (0..log.len()).step_by(3) {
            let from = usize::try_from(image.offset.0 + 1).unwrap_or(0);
            replay(&mut image, from, at);
            let back = snapshot::decode(&snapshot::encode(&image)).map_err(|error| error.to_string())?;
            if back != image {
                return Err(format!("a snapshot at {at} of {} has not all that the image had", log.len()));
            }
        }
        let mut image = MetadataImage::default();
        let step = (log.len() / 4).max(1);
        for at in (0..log.len()).step_by(step) {
            let from = usize::try_from(image.offset.0 + 1).unwrap_or(0);
            replay(&mut image, from, at);
            let mut resumed = snapshot::decode(&snapshot::encode(&image)).map_err(|error| error.to_string())?;
            replay(&mut resumed, at, log.len());
            if snapshot::encode(&resumed) != expected {
                return Err(format!("a snapshot at {at} of {} leads elsewhere", log.len()));
            }
        }
        for (node, image) in view.quorum.images() {
            if image.offset == whole.offset && snapshot::encode(image) != expected {
                return Err(format!("controller {node} has another image"));
            }
        }
        Ok(())
    }
}
