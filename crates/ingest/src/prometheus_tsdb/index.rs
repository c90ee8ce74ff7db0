//! The index of a block: which series there are, their labels, and where their chunks lie.

use signal::Labels;

use super::bytes::{Bytes, Window};
use super::{BlockError, Source};

const MAGIC: u32 = 0xBAAA_D700;
const NEWEST: u8 = 2;
/// Six places and a checksum at the end of the file.
const CONTENTS_BYTES: u64 = 6 * 8 + 4;
/// Series entries begin at multiples of this in format 2, and are named by the multiple.
const ALIGNMENT: u64 = 16;

/// Where a chunk lies.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct ChunkPlace {
    /// Position of the file, from 0.
    pub(super) file: usize,
    pub(super) offset: u64,
}

#[derive(Debug)]
pub(super) struct Index<S> {
    window: Window<S>,
    version: u8,
    symbols: Symbols,
    /// All series in order of labels, by the names the index has for them.
    pub(super) series: Vec<u32>,
}

impl<S: Source> Index<S> {
    pub(super) fn open(source: S) -> Result<Self, BlockError> {
        let mut window = Window::new("index".to_owned(), source);
        let mut header = Bytes::new(window.get(0, 5)?);
        let (magic, version) = (header.u32(), header.u8().unwrap_or_default());
        if magic != Some(MAGIC) {
            return Err(window.damaged(0, "this is no index"));
        }
        if !(1..=NEWEST).contains(&version) {
            return Err(BlockError::Version { file: window.file, found: version.into(), known: NEWEST.into() });
        }
        let contents = window.size().saturating_sub(CONTENTS_BYTES);
        let mut toc = Bytes::new(window.checked(contents, CONTENTS_BYTES - 4)?);
        let mut places = [0_u64; 6];
        for place in &mut places {
            *place = toc.u64().unwrap_or_default();
        }
        let [symbols, _, _, _, _, postings] = places;
        let symbols = Symbols::parse(&mut window, symbols, version)?;
        let series = all_series(&mut window, postings)?;
        Ok(Self { window, version, symbols, series })
    }

    /// The labels of a series and the places of its chunks, oldest first.
    pub(super) fn entry(&mut self, id: u32) -> Result<(Labels, Vec<ChunkPlace>), BlockError> {
        let offset = self.offset(id);
        let before = self.window.get_up_to(offset, 10)?;
        let mut start = Bytes::new(before);
        let len = start.uvarint();
        let head = (before.len() - start.rest.len()) as u64;
        let Some(len) = len else {
            return Err(self.window.damaged(offset, "a series has no length"));
        };
        self.window.checked(offset + head, len)?;
        let mut body = Bytes::new(self.window.view(offset + head, len));
        let labels = self.symbols.labels(&mut body).map_err(|reason| self.window.damaged(offset, reason))?;
        let places =
            places(&mut body).ok_or_else(|| self.window.damaged(offset, "the chunks of a series end early"))?;
        Ok((labels, places))
    }

    /// Damage in the entry of a series.
    pub(super) fn damaged(&self, id: u32, reason: String) -> BlockError {
        self.window.damaged(self.offset(id), reason)
    }

    fn offset(&self, id: u32) -> u64 {
        u64::from(id) * if self.version == 1 { 1 } else { ALIGNMENT }
    }
}

/// The postings of the empty label, which lists every series and always comes first.
fn all_series<S: Source>(window: &mut Window<S>, table: u64) -> Result<Vec<u32>, BlockError> {
    let mut start = Bytes::new(window.get_up_to(table, 4 + 4 + 3 + 10)?);
    let first = (|| {
        start.u32()?;
        let entries = start.u32()?;
        if entries == 0 {
            return Some(None);
        }
        let (keys, name, value) = (start.u8()?, start.u8()?, start.u8()?);
        (keys == 2 && name == 0 && value == 0).then(|| start.uvarint()).flatten().map(Some)
    })();
    let Some(first) = first else {
        return Err(window.damaged(table, "the table of postings does not begin with the list of all series"));
    };
    let Some(offset) = first else { return Ok(Vec::new()) };
    let mut list = Bytes::new(window.section(offset)?);
    let count = list.u32().unwrap_or_default() as usize;
    let (ids, rest) = list.rest.as_chunks::<4>();
    if ids.len() != count || !rest.is_empty() {
        return Err(window.damaged(offset, "the list of all series does not have the length it states"));
    }
    Ok(ids.iter().map(|id| u32::from_be_bytes(*id)).collect())
}

fn places(body: &mut Bytes<'_>) -> Option<Vec<ChunkPlace>> {
    let count = body.uvarint()?;
    let mut places = Vec::new();
    let mut reference = 0_u64;
    for number in 0..count {
        // Times of the chunk: its first, and its length. Its samples say the same.
        if number == 0 {
            body.varint()?;
            body.uvarint()?;
            reference = body.uvarint()?;
        } else {
            body.uvarint()?;
            body.uvarint()?;
            reference = reference.checked_add_signed(body.varint()?)?;
        }
        places.push(ChunkPlace { file: usize::try_from(reference >> 32).ok()?, offset: reference & 0xffff_ffff });
    }
    Some(places)
}

/// Every text of the index, once.
#[derive(Debug)]
struct Symbols {
    text: String,
    /// Where each ends.
    ends: Vec<u32>,
    /// Format 1 names a symbol by its place in the file: these, ascending. Format 2 counts them.
    places: Option<Vec<u64>>,
}

impl Symbols {
    fn parse<S: Source>(window: &mut Window<S>, offset: u64, version: u8) -> Result<Self, BlockError> {
        let section = window.section(offset)?;
        let whole = section.len();
        let mut body = Bytes::new(section);
        let count = body.u32().unwrap_or_default();
        let mut symbols = Self { text: String::new(), ends: Vec::new(), places: (version == 1).then(Vec::new) };
        for _ in 0..count {
            let place = offset + 4 + (whole - body.rest.len()) as u64;
            let Some(symbol) = body.text() else {
                return Err(window.damaged(place, "a symbol ends early or is not UTF-8"));
            };
            symbols.text.push_str(symbol);
            // The section's own length has 32 bits.
            symbols.ends.push(u32::try_from(symbols.text.len()).unwrap_or(u32::MAX));
            if let Some(places) = &mut symbols.places {
                places.push(place);
            }
        }
        Ok(symbols)
    }

    fn get(&self, name: u64) -> Option<&str> {
        let at = match &self.places {
            Some(places) => places.binary_search(&name).ok()?,
            None => usize::try_from(name).ok()?,
        };
        let start = at.checked_sub(1).map_or(Some(0), |before| self.ends.get(before).copied())?;
        self.text.get(start as usize..*self.ends.get(at)? as usize)
    }

    fn labels(&self, body: &mut Bytes<'_>) -> Result<Labels, &'static str> {
        let count = body.uvarint().ok_or("a series ends before its labels")?;
        let mut pairs = Vec::new();
        for _ in 0..count {
            let (name, value) = body.uvarint().zip(body.uvarint()).ok_or("the labels of a series end early")?;
            let pair = self.get(name).zip(self.get(value));
            pairs.push(pair.ok_or("a series has a label whose symbol is not there")?);
        }
        Ok(Labels::from_pairs(pairs))
    }
}
