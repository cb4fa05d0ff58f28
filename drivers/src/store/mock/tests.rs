//! The rules, and what a cut leaves.

use super::*;

const NOR: Geometry = Geometry { word: 4, page: 32, pages: 4, erased: Some(0xFF), ordered: true };

/// covers: D1
#[test]
fn a_word_is_programmed_once_between_two_erases() {
    let mut flash = MockFlash::new(NOR);
    assert_eq!(flash.write_now(8, &[1, 2, 3, 4, 5, 6, 7, 8]), Ok(()));
    assert_eq!(flash.write_now(4, &[0; 8]), Err(Error::NotErased(8)));
    assert_eq!(flash.image()[4..8], [0xFF; 4], "all or nothing");
    assert_eq!((flash.erase_now(0), flash.write_now(8, &[0xFF; 4])), (Ok(()), Ok(())));
    assert_eq!(flash.write_now(8, &[0; 4]), Err(Error::NotErased(8)), "written as erased is written");
    assert_eq!((flash.counters().violations, flash.wear()), (2, &[1, 0, 0, 0][..]));
    let mut again = MockFlash::from_image(NOR, flash.image());
    assert_eq!(again.write_now(8, &[0; 4]), Ok(()), "an image does not tell");
}

#[test]
fn what_is_misaligned_or_outside_does_nothing() {
    let mut flash = MockFlash::new(NOR);
    assert_eq!(flash.write_now(2, &[0; 4]), Err(Error::Misaligned(2)));
    assert_eq!(flash.write_now(4, &[0; 3]), Err(Error::Misaligned(4)));
    assert_eq!(flash.write_now(124, &[0; 8]), Err(Error::OutOfBounds(124)));
    assert_eq!(flash.erase_now(16), Err(Error::Misaligned(16)));
    assert_eq!(flash.read_now(127, &mut [0; 2]), Err(Error::OutOfBounds(127)));
    assert_eq!((flash.counters().violations, flash.operations()), (5, 0));
    assert!(flash.image().iter().all(|&byte| byte == 0xFF));
}

/// covers: D2
#[test]
fn a_cut_tears_one_word_leaves_those_before_whole_and_those_behind_alone() {
    for tear in Tear::ALL {
        for cut in 0..4 {
            let mut flash = MockFlash::new(NOR).with_seed(cut);
            flash.cut_after(cut, tear);
            assert_eq!(flash.write_now(0, &[0x55; 16]), Err(Error::PowerLoss));
            assert_eq!(flash.read_now(0, &mut [0; 4]), Err(Error::PowerLoss));
            flash.restore_power();
            let at = cut as usize * 4;
            assert!(flash.image()[..at].iter().all(|&byte| byte == 0x55));
            assert!(flash.image()[at + 4..].iter().all(|&byte| byte == 0xFF));
            match tear {
                Tear::Partial => assert!(flash.image()[at..at + 4].iter().all(|&byte| byte & 0x55 == 0x55)),
                Tear::Slow => {
                    let slow: u32 = flash.image()[at..at + 4].iter().map(|byte| (byte ^ 0x55).count_ones()).sum();
                    assert_eq!(slow, 1);
                }
                Tear::Unreadable => {
                    assert_eq!(flash.read_now(0, &mut [0; 32]), Err(Error::Unreadable(at as u32)));
                }
                _ => {}
            }
            let untouched = flash.image()[at..at + 4] == [0xFF; 4] && tear != Tear::Unreadable;
            let expected = if untouched { Ok(()) } else { Err(Error::NotErased(at as u32)) };
            assert_eq!(flash.write_now(at as u32, &[0; 4]), expected);
            assert_eq!((flash.erase_now(0), flash.read_now(0, &mut [0; 32])), (Ok(()), Ok(())));
        }
    }
}

/// covers: D2
#[test]
fn without_order_any_part_of_what_was_not_synced_may_be_missing() {
    let geometry = Geometry { erased: None, ordered: false, ..NOR };
    let mut seen = std::collections::BTreeSet::new();
    for seed in 0..64 {
        let mut flash = MockFlash::new(geometry).with_seed(seed);
        assert_eq!((flash.write_now(0, &[1; 4]), flash.sync_now()), (Ok(()), Ok(())));
        assert_eq!(flash.write_now(4, &[2; 8]), Ok(()));
        flash.cut_after(0, Tear::Whole);
        assert_eq!(flash.sync_now(), Err(Error::PowerLoss));
        assert_eq!(flash.image()[..4], [1; 4], "synced");
        seen.insert(flash.image()[4..12].to_vec());
    }
    assert_eq!(seen.len(), 4, "each of the two words, or not");
}
