//! Which addresses the instructions of a Cortex-M name: branches, and pairs or loads that make up an address.

/// An instruction that names another address.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Names {
    /// A branch to it, with or without a link.
    Branch(u32),
    /// A load of the word there.
    Word(u32),
    /// This value, put together from two halves.
    Value(u32),
}

/// Decodes what lies from `address` on, which is code and no data.
pub(super) fn decode(address: u32, code: &[u8]) -> Vec<(u32, Names)> {
    let mut found = Vec::new();
    let mut low_halves = [0; 16];
    let halves: Vec<u32> = code.as_chunks().0.iter().map(|half| u32::from(u16::from_le_bytes(*half))).collect();
    let mut rest = halves.as_slice();
    let mut at = address;
    while let [first, after @ ..] = rest {
        let (names, len) = match after {
            [second, ..] if first >> 11 >= 0b11101 => (wide(at, *first, *second, &mut low_halves), 2),
            _ => (narrow(at, *first), 1),
        };
        found.extend(names.map(|names| (at, names)));
        rest = rest.get(len..).unwrap_or_default();
        at = at.wrapping_add(2 * len as u32);
    }
    found
}

/// An instruction of 16 bits.
fn narrow(at: u32, code: u32) -> Option<Names> {
    let from = at.wrapping_add(4);
    match code >> 11 {
        0b11100 => Some(Names::Branch(from.wrapping_add(signed(code << 1, 12)))),
        0b01001 => Some(Names::Word((from & !3).wrapping_add((code & 0xFF) * 4))),
        _ if code >> 12 == 0b1101 && code >> 9 & 7 != 7 => Some(Names::Branch(from.wrapping_add(signed(code << 1, 9)))),
        _ => None,
    }
}

/// An instruction of 32 bits. `low_halves` holds what was last moved into each register, for the high half that follows.
fn wide(at: u32, first: u32, second: u32, low_halves: &mut [u32; 16]) -> Option<Names> {
    let from = at.wrapping_add(4);
    if first & 0xFF7F == 0xF85F {
        let offset = second & 0xFFF;
        let up = first & 0x80 != 0;
        return Some(Names::Word(if up { (from & !3).wrapping_add(offset) } else { (from & !3).wrapping_sub(offset) }));
    }
    if first >> 11 != 0b11110 {
        return None;
    }
    if second >> 15 == 0 {
        let half = (first & 0xF) << 12 | (first >> 10 & 1) << 11 | (second >> 12 & 7) << 8 | second & 0xFF;
        let register = &mut low_halves[(second >> 8 & 0xF) as usize];
        return match first & 0xFBF0 {
            0xF240 => {
                *register = half;
                None
            }
            0xF2C0 => Some(Names::Value(half << 16 | *register)),
            _ => None,
        };
    }
    let (sign, j1, j2) = (first >> 10 & 1, second >> 13 & 1, second >> 11 & 1);
    let low = (second & 0x7FF) << 1;
    match (second >> 14 & 1, second >> 12 & 1) {
        (_, 1) => {
            let (i1, i2) = (1 ^ j1 ^ sign, 1 ^ j2 ^ sign);
            let offset = sign << 24 | i1 << 23 | i2 << 22 | (first & 0x3FF) << 12 | low;
            Some(Names::Branch(from.wrapping_add(signed(offset, 25))))
        }
        (0, 0) if first >> 7 & 7 != 7 => {
            let offset = sign << 20 | j2 << 19 | j1 << 18 | (first & 0x3F) << 12 | low;
            Some(Names::Branch(from.wrapping_add(signed(offset, 21))))
        }
        _ => None,
    }
}

/// The lowest `bits` of `value`, with their sign.
fn signed(value: u32, bits: u32) -> u32 {
    let unused = 32 - bits;
    ((value << unused) as i32 >> unused) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(halves: &[u16]) -> Vec<u8> {
        halves.iter().flat_map(|half| half.to_le_bytes()).collect()
    }

    /// The words are what an assembler makes of the comments.
    #[test]
    fn branches_of_every_encoding_are_followed() {
        let cases: [(&[u16], u32, Names); 8] = [
            (&[0xF016, 0xF8CF], 0x400, Names::Branch(0x165A2)),   // bl
            (&[0xF7FF, 0xFFF7], 0x1656E, Names::Branch(0x16560)), // bl, backwards
            (&[0xF7FF, 0xBFFE], 0x1000, Names::Branch(0x1000)),   // b.w
            (&[0xF43F, 0xAFFE], 0x1000, Names::Branch(0x1000)),   // beq.w
            (&[0xE7FB], 0x410, Names::Branch(0x40A)),             // b
            (&[0xD001], 0x40C, Names::Branch(0x412)),             // beq
            (&[0x4808], 0x404, Names::Word(0x428)),               // ldr r0, [pc, #32]
            (&[0xF8DF, 0x1010], 0x402, Names::Word(0x414)),       // ldr.w r1, [pc, #16]
        ];
        for (code, address, names) in cases {
            assert_eq!(decode(address, &bytes(code)), [(address, names)], "{code:04x?}");
        }
    }

    #[test]
    fn an_address_is_put_together_from_its_halves_and_what_is_no_branch_names_nothing() {
        // movw r3, #0x1235; movs r0, #1; movt r3, #0x2100; udf #254; nop.w; add.w r0, r1, r2
        let code = bytes(&[0xF241, 0x2335, 0x2001, 0xF2C2, 0x1300, 0xDEFE, 0xF3AF, 0x8000, 0xEB01, 0x0002]);
        assert_eq!(decode(0x100, &code), [(0x106, Names::Value(0x2100_1235))]);
    }
}
