//! Sound recordings of the same stream beside a crashed one: their headers tell how it is coded.

use super::error::Result;
use super::reader::RangeReader;
use super::run::ArchiveJob;
use crate::deliver::PinnedObject;
use crate::finish;
use crate::recording::Container;
use crate::salvage::Reference;

/// So many are asked at most.
const MOST_SIBLINGS: usize = 8;

/// The headers of the objects in the same directory whose names are most alike.
pub fn references_beside(job: &ArchiveJob<'_>, object: &PinnedObject) -> Result<Vec<Reference>> {
    let relative = job.relative(&object.key);
    let directory = relative.rsplit_once('/').map_or("", |(directory, _)| directory);
    let (mut page, mut nearest) = (None, Vec::<(usize, PinnedObject)>::new());
    loop {
        let listed = job.targets.objects_in(job.url, directory, page)?;
        let others = listed.objects.into_iter().filter(|other| other.key != object.key && may_teach(other));
        nearest.extend(others.map(|other| (alike(&other.key, &object.key), other)));
        nearest.sort_by(|a, b| b.0.cmp(&a.0).then_with(|| b.1.modified_ms.cmp(&a.1.modified_ms)));
        nearest.truncate(MOST_SIBLINGS);
        page = listed.next;
        if page.is_none() {
            break;
        }
    }
    let taught = |(_, other): &(usize, PinnedObject)| {
        let mut reader = RangeReader::new(job.targets, other);
        finish::reference_elsewhere(&mut reader, other.size_bytes)
    };
    Ok(nearest.iter().filter_map(taught).collect())
}

fn may_teach(other: &PinnedObject) -> bool {
    let extension = other.key.rsplit_once('.').map(|(_, extension)| extension);
    extension.and_then(Container::from_extension).is_some_and(Container::is_iso) && other.is_addressable()
}

fn alike(a: &str, b: &str) -> usize {
    a.bytes().zip(b.bytes()).take_while(|(a, b)| a == b).count()
}
