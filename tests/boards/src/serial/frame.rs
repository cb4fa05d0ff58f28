//! Frames as they are on a serial line.

/// A zero, the frame and its CRC-32C without zeros, a zero.
pub(super) fn encode(frame: &[u8]) -> Vec<u8> {
    let whole = [frame, &crc32c::crc32c(frame).to_le_bytes()].concat();
    let mut line = vec![0];
    let mut runs = whole.split(|&byte| byte == 0).peekable();
    while let Some(mut run) = runs.next() {
        // The last run ends without a zero: one of 254 bytes needs nothing behind it.
        while run.len() >= 254 {
            let (full, rest) = run.split_at(254);
            line.push(255);
            line.extend_from_slice(full);
            run = rest;
            if run.is_empty() && runs.peek().is_none() {
                line.push(0);
                return line;
            }
        }
        line.push(run.len() as u8 + 1);
        line.extend_from_slice(run);
    }
    line.push(0);
    line
}

/// The frame between two zeros, if it is one.
pub(super) fn decode(mut line: &[u8]) -> Option<Vec<u8>> {
    let mut whole = Vec::new();
    while let Some((&code, rest)) = line.split_first() {
        let (run, rest) = rest.split_at_checked(usize::from(code).checked_sub(1)?)?;
        whole.extend_from_slice(run);
        if code < 255 && !rest.is_empty() {
            whole.push(0);
        }
        line = rest;
    }
    let sum = u32::from_le_bytes(*whole.last_chunk()?);
    whole.truncate(whole.len() - 4);
    (crc32c::crc32c(&whole) == sum).then_some(whole)
}

#[cfg(test)]
mod tests {
    use super::{decode, encode};

    /// As `drivers/LINKS.md` has it.
    #[test]
    fn a_frame_is_on_the_line_as_the_page_of_links_says() {
        let line = [0x00, 0x03, 0x11, 0x22, 0x06, 0x33, 0x1e, 0x43, 0xde, 0xf1, 0x00];
        assert_eq!(encode(&[0x11, 0x22, 0x00, 0x33]), line);
    }

    #[test]
    fn frames_of_all_lengths_come_out_as_they_went_in_and_damaged_ones_do_not() {
        for length in 0..600 {
            for zeros in [1, 2, 7, 255, 1000] {
                let frame: Vec<u8> = (1..=length).map(|at| if at % zeros == 0 { 0 } else { at as u8 | 1 }).collect();
                let line = encode(&frame);
                let inner = line.strip_prefix(&[0]).and_then(|line| line.strip_suffix(&[0])).unwrap();
                assert!(!inner.contains(&0));
                assert!(inner.len() <= frame.len() + 5 + frame.len() / 254 + 1);
                assert_eq!(decode(inner).as_ref(), Some(&frame), "{length} {zeros}");
                let mut damaged = inner.to_vec();
                damaged[length % inner.len()] ^= 0x40;
                assert_ne!(decode(&damaged).as_ref(), Some(&frame));
            }
        }
        assert_eq!(decode(&[]), None);
    }
}
