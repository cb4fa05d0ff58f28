//! What clients can do to the map.

/// A command. In the log it is the text that the client typed: words with blanks between them. What is answered to it is in
/// [`Map::apply`](crate::map::Map::apply).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Command<'t> {
    /// `put KEY VALUE`
    Put { key: &'t str, value: &'t str },
    /// `delete KEY`
    Delete { key: &'t str },
    /// `cas KEY OLD NEW`: compare and swap. `-` as OLD stands for a key that is not there.
    Cas { key: &'t str, old: Option<&'t str>, new: &'t str },
    /// `add KEY NUMBER`: a key that is not there counts as 0.
    Add { key: &'t str, number: i64 },
}

/// Bytes of the longest key.
pub(crate) const KEY: usize = 64;

/// Bytes of the longest value: two of them fit into one frame.
pub(crate) const VALUE: usize = 512;

impl<'t> Command<'t> {
    /// The command in this text, or what is wrong with it.
    pub(crate) fn parse(text: &'t str) -> Result<Self, String> {
        let words: Vec<_> = text.split_whitespace().collect();
        match words[..] {
            ["put", key, value] => Ok(Self::Put { key: check_key(key)?, value: check_value(value)? }),
            ["delete", key] => Ok(Self::Delete { key: check_key(key)? }),
            ["cas", key, "-", new] => Ok(Self::Cas { key: check_key(key)?, old: None, new: check_value(new)? }),
            ["cas", key, old, new] => {
                Ok(Self::Cas { key: check_key(key)?, old: Some(check_value(old)?), new: check_value(new)? })
            }
            ["add", key, number] => {
                let number = number.parse().map_err(|_| format!("{number} is no whole number"))?;
                Ok(Self::Add { key: check_key(key)?, number })
            }
            ["put", ..] => Err("usage: put KEY VALUE, each one word".into()),
            ["delete", ..] => Err("usage: delete KEY".into()),
            ["cas", ..] => Err("usage: cas KEY OLD NEW, each one word; - as OLD if there should be none".into()),
            ["add", ..] => Err("usage: add KEY NUMBER".into()),
            [word, ..] => Err(format!("unknown command {word}: put, delete, cas, add, get and status are known")),
            [] => Err("a command is missing".into()),
        }
    }
}

pub(crate) fn check_key(key: &str) -> Result<&str, String> {
    if key.len() <= KEY { Ok(key) } else { Err(format!("a key has at most {KEY} bytes")) }
}

fn check_value(value: &str) -> Result<&str, String> {
    if value.len() <= VALUE { Ok(value) } else { Err(format!("a value has at most {VALUE} bytes")) }
}
