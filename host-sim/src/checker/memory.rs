//! Constant memory (P13): a node that has started never allocates, whatever happens to it.

use allocation_counter::AllocationInfo;

use super::Verdict;

/// What all nodes have allocated after their start.
#[derive(Clone, Copy, Default)]
pub(crate) struct Memory {
    pub(crate) allocations: u64,
    pub(crate) bytes: u64,
}

impl Memory {
    /// One poll of a task made these allocations.
    pub(crate) fn allocates(&mut self, task: &str, info: AllocationInfo) -> Verdict {
        self.allocations += info.count_total;
        self.bytes += info.bytes_total;
        match info.count_total {
            0 => Ok(()),
            count => Err(format!("the {task} allocated {count} times, {} bytes", info.bytes_total)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use allocation_counter::{measure, opt_out};

    #[test]
    fn an_allocation_of_a_task_is_refused_and_one_of_its_devices_is_not() {
        let mut memory = Memory::default();
        let devices = measure(|| opt_out(|| drop(std::hint::black_box(vec![1u8; 100]))));
        assert_eq!((memory.allocates("ticker", devices), memory.bytes), (Ok(()), 0));
        let task = measure(|| drop(std::hint::black_box(vec![1u8; 100])));
        assert!(memory.allocates("ticker", task).is_err());
        assert_eq!((memory.allocations, memory.bytes), (1, 100));
    }
}
