//! What a client asks for.

use crate::registers::COUNT;

/// A request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Request {
    Status,
    Put { key: u8, value: u32 },
    Get { key: u8 },
    Load { count: u32, size: u32 },
    Refusals,
    Halted,
}

impl Request {
    /// The tag of a line, 0 if it has none, and its request, or what is wrong with it.
    pub(crate) fn parse(line: &[u8]) -> (u32, Result<Self, &'static str>) {
        let mut words = str::from_utf8(line).unwrap_or_default().split_ascii_whitespace();
        let Some(tag) = words.next().and_then(|word| word.parse().ok()) else {
            return (0, Err("a line begins with a number, which the answer repeats"));
        };
        let verb = words.next().unwrap_or_default();
        let numbers = [words.next(), words.next()].map(|word| word.map(str::parse::<u32>));
        if words.next().is_some() {
            return (tag, Err("words too many"));
        }
        let key = |key: u32| u8::try_from(key).ok().filter(|key| usize::from(*key) < COUNT).ok_or("no such register");
        let request = match (verb, numbers) {
            ("status", [None, None]) => Ok(Self::Status),
            ("refusals", [None, None]) => Ok(Self::Refusals),
            ("halted", [None, None]) => Ok(Self::Halted),
            ("put", [Some(Ok(register)), Some(Ok(value))]) => key(register).map(|key| Self::Put { key, value }),
            ("get", [Some(Ok(register)), None]) => key(register).map(|key| Self::Get { key }),
            ("load", [Some(Ok(count)), Some(Ok(size))]) => Ok(Self::Load { count, size }),
            _ => Err("status | put KEY VALUE | get KEY | load COUNT SIZE | refusals | halted"),
        };
        (tag, request)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_a_tag_a_verb_and_its_numbers() {
        assert_eq!(Request::parse(b"7 put 63 4294967295\r"), (7, Ok(Request::Put { key: 63, value: u32::MAX })));
        assert_eq!(Request::parse(b" 8  get 0 "), (8, Ok(Request::Get { key: 0 })));
        assert_eq!(Request::parse(b"9 load 1000 64"), (9, Ok(Request::Load { count: 1000, size: 64 })));
    }

    #[test]
    fn a_bad_line_is_told_what_is_wrong_under_its_tag() {
        for (line, tag) in [
            (&b""[..], 0),
            (b"put 1 2", 0),
            (b"\xff\xfe", 0),
            (b"4294967296 status", 0),
            (b"5", 5),
            (b"5 put 64 1", 5),
            (b"5 put 1 4294967296", 5),
            (b"5 put 1", 5),
            (b"5 get 1 2", 5),
            (b"5 status 1", 5),
            (b"5 load 1 2 3", 5),
            (b"5 status 1 2 3", 5),
        ] {
            let (told, request) = Request::parse(line);
            assert_eq!(told, tag, "{line:?}");
            assert!(request.is_err(), "{line:?}");
        }
    }
}
