//! The application: a map from keys to values. It knows nothing of consensus.

use std::collections::BTreeMap;

use crate::command::Command;

/// The map. The same commands in the same order make the same map on every node.
///
/// Its snapshot, numbers little-endian, pairs in the order of their keys:
///
/// ```text
///  0         1             5
///  +---------+-------------+------------+--------------+-----+-------+-----
///  | version | pairs: u32  | key's: u8  | value's: u16 | key | value | next pair ...
///  |    1    |             | length     | length       |     |       |
///  +---------+-------------+------------+--------------+-----+-------+-----
/// ```
#[derive(Debug)]
pub(crate) struct Map {
    pairs: BTreeMap<String, String>,
    /// Bytes of its snapshot.
    size: usize,
}

const VERSION: u8 = 1;

/// Bytes of a snapshot before the pairs, and of a pair before its key.
const HEAD: usize = 5;
const LENGTHS: usize = 3;

impl Map {
    /// The most bytes of a snapshot. What would make it larger changes nothing, and is answered `full`.
    pub(crate) const LIMIT: usize = 1 << 20;

    pub(crate) const fn new() -> Self {
        Self { pairs: BTreeMap::new(), size: HEAD }
    }

    pub(crate) fn len(&self) -> usize {
        self.pairs.len()
    }

    pub(crate) fn get(&self, key: &str) -> Option<&str> {
        self.pairs.get(key).map(String::as_str)
    }

    /// Does what the command says. The answer has at most [`quoring::ANSWER`] bytes:
    ///
    /// | command | answer |
    /// |---|---|
    /// | `put` | `created`, `replaced` or `full` |
    /// | `delete` | `deleted` or `none` |
    /// | `cas` | `swapped`, `differs` or `full` |
    /// | `add` | the sum, `full`, or `no number` if the value is none or the sum too large |
    pub(crate) fn apply(&mut self, command: Command<'_>) -> String {
        match command {
            Command::Put { key, value } => match self.put(key, value) {
                Ok(None) => "created".into(),
                Ok(Some(_)) => "replaced".into(),
                Err(Full) => "full".into(),
            },
            Command::Delete { key } => self.delete(key).into(),
            Command::Cas { key, old, .. } if self.get(key) != old => "differs".into(),
            Command::Cas { key, new, .. } => self.put(key, new).map_or("full", |_| "swapped").into(),
            Command::Add { key, number } => self.add(key, number),
        }
    }

    fn put(&mut self, key: &str, value: &str) -> Result<Option<String>, Full> {
        let present = self.get(key).map_or(0, |old| size(key, old));
        let needed = self.size - present + size(key, value);
        if needed > Self::LIMIT {
            return Err(Full);
        }
        self.size = needed;
        Ok(self.pairs.insert(key.into(), value.into()))
    }

    fn delete(&mut self, key: &str) -> &'static str {
        match self.pairs.remove(key) {
            Some(value) => {
                self.size -= size(key, &value);
                "deleted"
            }
            None => "none",
        }
    }

    fn add(&mut self, key: &str, number: i64) -> String {
        let count = self.get(key).map_or(Some(0), |value| value.parse::<i64>().ok());
        match count.and_then(|count| count.checked_add(number)) {
            Some(sum) => self.put(key, &sum.to_string()).map_or("full".into(), |_| sum.to_string()),
            None => "no number".into(),
        }
    }

    /// The map as bytes.
    pub(crate) fn snapshot(&self) -> Vec<u8> {
        let mut bytes = vec![VERSION];
        bytes.extend((self.pairs.len() as u32).to_le_bytes());
        for (key, value) in &self.pairs {
            bytes.push(key.len() as u8);
            bytes.extend((value.len() as u16).to_le_bytes());
            bytes.extend(key.bytes().chain(value.bytes()));
        }
        bytes
    }

    /// The map of a snapshot; `None` if the bytes are those of no map.
    pub(crate) fn restore(bytes: &[u8]) -> Option<Self> {
        let (&[version, ref count @ ..], mut rest): (&[u8; HEAD], _) = bytes.split_first_chunk()?;
        if version != VERSION {
            return None;
        }
        let mut pairs = BTreeMap::new();
        for _ in 0..u32::from_le_bytes(*count) {
            let (&[key, low, high], texts): (&[u8; LENGTHS], _) = rest.split_first_chunk()?;
            let (key, texts) = texts.split_at_checked(key.into())?;
            let (value, next) = texts.split_at_checked(u16::from_le_bytes([low, high]).into())?;
            pairs.insert(str::from_utf8(key).ok()?.into(), str::from_utf8(value).ok()?.into());
            rest = next;
        }
        rest.is_empty().then_some(Self { pairs, size: bytes.len() })
    }
}

/// There is no room.
struct Full;

/// Bytes of a pair in a snapshot.
fn size(key: &str, value: &str) -> usize {
    LENGTHS + key.len() + value.len()
}
