//! Conduct: what a node must do with its store, and the simulated store with its medium.

use super::Verdict;

/// Recovery found all that was durable, and only that.
pub(crate) fn recovers(complete: bool) -> Verdict {
    if complete { Ok(()) } else { Err("recovery did not find exactly what was durable".into()) }
}

/// A write began when no other was going on and nothing torn was left: contract 5 of the store.
pub(crate) fn writes(clean: bool) -> Verdict {
    if clean { Ok(()) } else { Err("used the store after a write was cancelled, without recovering it".into()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_complete_recovery_and_a_clean_write_are_right_and_nothing_else_is() {
        assert_eq!((recovers(true), writes(true)), (Ok(()), Ok(())));
        assert!(recovers(false).is_err() && writes(false).is_err());
    }
}
