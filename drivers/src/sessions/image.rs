//! The table as bytes at the beginning of a snapshot; drawn in `SNAPSHOT.md` (S6).

use quoring_core::{ClientId, LogIndex};

use super::{Session, SessionTable};
use crate::answer::{ANSWER, Answer};

/// Bytes before the sessions: the version, and how many there are.
pub(crate) const HEAD: usize = 3;
/// Bytes of a session without its answer.
pub(crate) const ITEM: usize = 25;
/// Bytes of the largest piece.
pub(crate) const PIECE: usize = ITEM + ANSWER;

const VERSION: u8 = 1;

impl SessionTable<'_> {
    /// Bytes of all pieces.
    pub(crate) fn image_len(&self) -> u64 {
        let sessions = self.sessions().iter().map(|session| (ITEM + session.answer.len()) as u64);
        HEAD as u64 + sessions.sum::<u64>()
    }

    /// The bytes of the `number`th piece in `buffer`: the head is number 0, then each session is one. `None` behind the last.
    pub(crate) fn piece<'b>(&self, number: usize, buffer: &'b mut [u8; PIECE]) -> Option<&'b [u8]> {
        let Some(place) = number.checked_sub(1) else {
            let [low, high] = (self.len as u16).to_le_bytes();
            return Some(put(buffer, [VERSION, low, high].into_iter()));
        };
        let Session { client, used, opened, sequence, answer } = self.sessions().get(place)?;
        let name = client.0.to_le_bytes().into_iter().chain(opened.to_le_bytes());
        let numbers = name.chain(sequence.to_le_bytes()).chain(used.0.to_le_bytes());
        Some(put(buffer, numbers.chain([answer.len() as u8]).chain(answer.iter().copied())))
    }

    /// Forgets all sessions, to read others. `false` if there are not places for so many; nothing is forgotten then.
    pub(crate) fn begin_image(&mut self, count: u16) -> bool {
        let fits = usize::from(count) <= self.places.len();
        if fits {
            self.len = 0;
        }
        fits
    }

    /// The next session of a snapshot that covers the log up to `last`. `false` if it is none that can be there.
    #[must_use]
    pub(crate) fn read_item(&mut self, last: LogIndex, item: &[u8; ITEM], answer: &[u8]) -> bool {
        let Some(session) = Session::decode(item, answer) else { return false };
        // Opened by an entry that is not behind the one with which it was used last.
        let since_opened = (session.used.0 as u32).wrapping_sub(session.opened);
        let is_possible = session.used <= last
            && u64::from(since_opened) < session.used.0
            && self.sessions().iter().all(|other| other.client != session.client && other.used != session.used);
        is_possible && self.push(session)
    }
}

impl Session {
    fn decode(item: &[u8; ITEM], answer: &[u8]) -> Option<Self> {
        let (client, rest) = item.split_first_chunk()?;
        let (opened, rest) = rest.split_first_chunk()?;
        let (sequence, rest) = rest.split_first_chunk()?;
        let (used, _) = rest.split_first_chunk()?;
        Some(Self {
            client: ClientId(u64::from_le_bytes(*client)),
            used: LogIndex(u64::from_le_bytes(*used)),
            opened: u32::from_le_bytes(*opened),
            sequence: u32::from_le_bytes(*sequence),
            answer: Answer::new(answer)?,
        })
    }
}

/// How many sessions follow in an image of this length at most; `None` if this is no head of one.
pub(crate) fn count(head: [u8; HEAD], length: u64) -> Option<u16> {
    let [version, low, high] = head;
    let count = u16::from_le_bytes([low, high]);
    let fits = HEAD as u64 + u64::from(count) * ITEM as u64 <= length;
    (version == VERSION && fits).then_some(count)
}

/// Bytes of the answer that follows this.
pub(crate) const fn answer_len(item: &[u8; ITEM]) -> usize {
    let [.., len] = *item;
    len as usize
}

fn put(buffer: &mut [u8; PIECE], bytes: impl Iterator<Item = u8>) -> &[u8] {
    let mut len = 0;
    for (place, byte) in buffer.iter_mut().zip(bytes) {
        *place = byte;
        len += 1;
    }
    buffer.get(..len).unwrap_or_default()
}
