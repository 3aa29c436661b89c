//! Pages and counts, compared with what sorting everything gives.

use proptest::prelude::*;

use super::super::marks;
use super::*;
use crate::recording::Outcome;

#[derive(Debug, Clone)]
struct Vod {
    id: String,
    name: String,
    stream: String,
    created_ms: i64,
    started_ms: i64,
    outcome: Outcome,
    root: PathBuf,
}

impl Vod {
    fn of(id: u8, name: u8, stream: u8, created_ms: i64) -> Self {
        Self {
            id: format!("Id{id}xY"),
            name: format!("{}{}.mp4", if name.is_multiple_of(2) { "Room" } else { "rOOm" }, name / 2),
            stream: format!("s{stream}"),
            created_ms,
            started_ms: 10 - created_ms / 2,
            outcome: if name.is_multiple_of(3) { Outcome::Salvaged } else { Outcome::Kept },
            root: format!("/root{}", id % 3).into(),
        }
    }

    fn known(&self) -> IndexedVod<'_> {
        let words = SearchText {
            id: &self.id,
            name: &self.name,
            stream_id: &self.stream,
            stream_name: &self.stream,
            description: None,
            metadata: None,
        };
        let marks = marks::of(self.outcome, false, true, false);
        IndexedVod { words, created_ms: self.created_ms, started_ms: self.started_ms, marks, root: &self.root }
    }
}

/// What a page is by sorting everything.
fn expected(vods: &[Vod], selection: &Selection<'_>, (offset, limit): (usize, usize)) -> (usize, Vec<String>) {
    let is_found = |vod: &&Vod| {
        let words = [&vod.id, &vod.name, &vod.stream].map(|text| text.to_lowercase());
        (selection.everywhere || selection.roots.contains(&vod.root))
            && (selection.marks.is_any() || vod.outcome == Outcome::Salvaged)
            && selection.stream.is_none_or(|stream| vod.stream == stream)
            && selection.search.is_none_or(|search| words.iter().any(|text| text.contains(&search.to_lowercase())))
    };
    let mut wanted: Vec<_> = vods.iter().filter(is_found).collect();
    let by_created = |vod: &Vod| (vod.created_ms, vod.id.to_lowercase());
    wanted.sort_by_key(|vod| {
        let name = (selection.order == Order::Name).then(|| vod.name.to_lowercase());
        let start = (selection.order == Order::Start).then_some(vod.started_ms);
        (name, start, by_created(vod))
    });
    if selection.descending {
        wanted.reverse();
    }
    (wanted.len(), wanted.into_iter().skip(offset).take(limit).map(|vod| vod.id.clone()).collect())
}

fn asked(ranked: &VodIndex, selection: &Selection<'_>, page: (usize, usize)) -> (usize, Vec<String>) {
    let found = ranked.find(selection);
    let count = found.as_ref().map_or_else(|| ranked.count(selection), |found| found.count);
    (count, ranked.page(selection, found.as_ref(), page))
}

fn compare(ranked: &VodIndex, vods: &[Vod]) {
    let all: Vec<PathBuf> = ["/root0", "/root1", "/root2", "/unknown"].map(PathBuf::from).to_vec();
    for roots in [&all[..], &all[1..2], &all[..2], &all[3..]] {
        for (stream, search) in
            [(None, None), (Some("s1"), None), (None, Some("OOM1")), (Some("s0"), Some("d1")), (None, Some("zz"))]
        {
            for order in [Order::Created, Order::Start, Order::Name] {
                let plain = Selection { roots, stream, search, order, ..Selection::default() };
                compare_pages(ranked, vods, &plain);
                compare_pages(ranked, vods, &Selection { descending: true, everywhere: true, ..plain });
                let marks = Marks::default().outcome(Outcome::Salvaged).delivered();
                compare_pages(ranked, vods, &Selection { marks, descending: true, ..plain });
            }
        }
    }
}

fn compare_pages(ranked: &VodIndex, vods: &[Vod], selection: &Selection<'_>) {
    for page in [(0, 50), (1, 2), (3, 0), (usize::MAX, usize::MAX), (1000, 1)] {
        assert_eq!(asked(ranked, selection, page), expected(vods, selection, page), "{selection:?} {page:?}");
    }
    let start = |id: &String| vods.iter().find(|vod| vod.id == *id).map(|vod| vod.started_ms);
    let ids = asked(ranked, selection, (0, usize::MAX)).1;
    let starts = ranked.starts(selection, ranked.find(selection).as_ref());
    assert_eq!(starts, ids.iter().filter_map(start).collect::<Vec<_>>());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn pages_and_counts_are_those_of_sorting_everything(
        first in prop::collection::vec((0..30u8, 0..12u8, 0..3u8, 0..6i64), 0..30),
        changes in prop::collection::vec((0..30u8, 0..12u8, 0..3u8, 0..6i64, any::<bool>()), 0..40),
    ) {
        let (mut ranked, mut vods) = (VodIndex::default(), Vec::<Vod>::new());
        for (id, name, stream, created_ms) in first {
            let vod = Vod::of(id, name, stream, created_ms);
            ranked.add_unsorted(vod.known());
            if vods.iter().all(|known| known.id != vod.id) {
                vods.push(vod);
            }
        }
        ranked.sort();
        compare(&ranked, &vods);
        for (id, name, stream, created_ms, is_removed) in changes {
            let vod = Vod::of(id, name, stream, created_ms);
            ranked.update(&vod.id, (!is_removed).then(|| vod.known()));
            vods.retain(|known| known.id != vod.id);
            if !is_removed {
                vods.push(vod);
            }
        }
        compare(&ranked, &vods);
    }
}
