//! Conduct: what a node must do with its store, and a store with its chip.

use quoring::store::mock;

use super::Verdict;

/// Recovery looked, and wrote nothing: then power may be lost in it as often as it likes.
pub(crate) fn recovers(touched: bool) -> Verdict {
    if touched { Err("wrote to its medium during recovery".into()) } else { Ok(()) }
}

/// A write began when no other was going on: contract 5 of the store.
pub(crate) fn writes(clean: bool) -> Verdict {
    if clean { Ok(()) } else { Err("used the store after a write was cancelled, without recovering it".into()) }
}

/// The store asked of its chip what chips cannot do.
pub(crate) fn abuses(error: mock::Error) -> String {
    format!("broke a rule of its chip: {error}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_recovery_that_only_looks_and_a_clean_write_are_right_and_nothing_else_is() {
        assert_eq!((recovers(false), writes(true)), (Ok(()), Ok(())));
        assert!(recovers(true).is_err() && writes(false).is_err());
        assert!(abuses(mock::Error::NotErased(16)).contains("0x10"));
    }
}
