use std::path::Path;
use std::sync::Arc;

use signal::{Labels, LogLine, Matcher, Nanos};

use super::footer::LogBlockMeta;
use super::*;
use crate::block::PageCache;
use crate::block_file::{BlockError, BlockOrigin, WriteBlockError};
use crate::column::Rows;
use crate::disk::{Disk, MemoryDisk};
use crate::rows::{Line, Needle, RowGroup};

fn labels(service: usize) -> Labels {
    Labels::from_pairs([("service", format!("s{service}")), ("env", "prod".to_owned())])
}

fn group(from: i64, count: i64) -> RowGroup {
    let lines: Vec<_> = (from..from + count).map(|n| (n, format!("{{\"n\":{n},\"id\":\"{n:032x}\"}}"))).collect();
    let none = Labels::empty();
    let lines: Vec<_> = lines.iter().map(|(at, line)| Line { at: Nanos(*at), line, metadata: &none }).collect();
    RowGroup::seal(&lines)
}

/// Two streams share the first group, the second goes on in another.
fn write(disk: &Arc<dyn Disk>, file: &Path) -> LogBlockMeta {
    let origin = BlockOrigin { level: 1, sources: vec![4, 5] };
    let mut writer = LogBlockWriter::create(Arc::clone(disk), file, origin).unwrap();
    let (first, second) = (writer.push_group(&group(0, 100)).unwrap(), writer.push_group(&group(100, 50)).unwrap());
    let run = |group, rows: std::ops::Range<u32>, base: i64| Run {
        group,
        first: Nanos(base + i64::from(rows.start)),
        last: Nanos(base + i64::from(rows.end) - 1),
        rows,
    };
    writer.push_run(&labels(0), run(first, 0..30, 0)).unwrap();
    writer.push_run(&labels(1), run(first, 30..100, 0)).unwrap();
    writer.push_run(&labels(1), run(second, 0..50, 100)).unwrap();
    writer.finish().unwrap()
}

fn lines(block: &LogBlock, runs: &[Run]) -> Vec<LogLine> {
    let read = |run: &Run| {
        let group = block.group(run.group).unwrap();
        let mut rows = Rows::all(group.rows() as usize);
        rows.retain(run.rows.start as usize..run.rows.end as usize);
        group.lines(&rows).unwrap()
    };
    runs.iter().flat_map(read).collect()
}

#[test]
fn a_block_answers_as_its_groups_do() {
    let disk: Arc<dyn Disk> = Arc::new(MemoryDisk::new());
    let file = Path::new("/00000001.block");
    let meta = write(&disk, file);
    assert_eq!((meta.lines, meta.range), (150, Some((Nanos(0), Nanos(149)))));
    let block = LogBlock::open(&*disk, file, &Arc::new(PageCache::new(1 << 20))).unwrap();
    assert_eq!((block.meta(), block.groups()), (&meta, 2));
    assert_eq!(block.streams().map(|(labels, _)| labels.clone()).collect::<Vec<_>>(), [labels(0), labels(1)]);
    let found: Vec<_> = block.select(&[Matcher::equal("service", "s1")]).collect();
    let [(_, runs)] = found.as_slice() else { panic!("one stream: {found:?}") };
    let times: Vec<i64> = lines(&block, runs).iter().map(|line| line.at.0).collect();
    assert_eq!(times, (30..150).collect::<Vec<_>>());
    let needle = Needle::new(&format!("{:032x}", 42));
    for _ in 0..2 {
        let held: Vec<usize> =
            (0..2).map(|number| block.group(number).unwrap().candidates(&needle).unwrap().count()).collect();
        assert_eq!(held, [1, 0], "from the file and from the cache");
    }
}

#[test]
fn a_flipped_byte_is_found_or_does_no_harm() {
    let memory = Arc::new(MemoryDisk::new());
    let disk: Arc<dyn Disk> = Arc::clone(&memory) as _;
    let good_file = Path::new("/good.block");
    write(&disk, good_file);
    let good = disk.read(good_file).unwrap();
    let cache = Arc::new(PageCache::new(1 << 20));
    let read_all = |file: &Path| -> Result<Vec<LogLine>, BlockError> {
        let block = LogBlock::open(&*disk, file, &cache)?;
        let mut all = Vec::new();
        for number in 0..block.groups() {
            let group = block.group(number)?;
            let lines = group.lines(&Rows::all(group.rows() as usize));
            all.extend(lines.map_err(|_| BlockError::Damaged { file: file.to_owned(), offset: 0, what: "a part" })?);
        }
        Ok(all)
    };
    let want = read_all(good_file).unwrap();
    let mut harmless = 0;
    for at in 0..good.len() {
        let mut bytes = good.clone();
        bytes[at] ^= 0x04;
        let name = format!("/{at}.block");
        disk.open(Path::new(&name)).unwrap().append(&bytes).unwrap();
        match read_all(Path::new(&name)) {
            Ok(lines) => {
                assert_eq!(lines, want, "byte {at}");
                harmless += 1;
            }
            Err(error) => drop(error.to_string()),
        }
        disk.remove(Path::new(&name)).unwrap();
    }
    // Two bytes kept for later, and the filters, which lines do not need.
    assert!(harmless < good.len() / 4, "{harmless} of {} bytes may be anything", good.len());
}

#[test]
fn streams_must_ascend() {
    let disk: Arc<dyn Disk> = Arc::new(MemoryDisk::new());
    let mut writer = LogBlockWriter::create(disk, Path::new("/1.block"), BlockOrigin::default()).unwrap();
    let group = writer.push_group(&group(0, 10)).unwrap();
    let run = Run { group, rows: 0..10, first: Nanos(0), last: Nanos(9) };
    writer.push_run(&labels(1), run.clone()).unwrap();
    assert!(matches!(writer.push_run(&labels(0), run), Err(WriteBlockError::Order { .. })));
}
