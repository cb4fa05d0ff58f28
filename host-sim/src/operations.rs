//! What the clients did and saw, as JSON lines that an independent checker of linearizability can read.
//!
//! ```text
//!   {"client":3,"key":1,"op":"put","time":1200,"type":"invoke","value":2}
//!   {"client":3,"key":1,"op":"put","time":5310,"type":"ok","value":2}
//! ```
//! A `client` does one thing at a time; after an `info` it does nothing more. What the values are is told in the command line's help.

use std::collections::BTreeMap;
use std::io::Write;

use serde_json::{Value, json};

use crate::application::Op;
use crate::timeline::Micros;

/// One that does one thing at a time.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct Process(u64);

/// How an operation ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum End {
    /// It took effect, with this answer, if it is known.
    Effect(Option<u64>),
    /// Nothing was read.
    Nothing,
}

/// The writer of a history, if one is wanted.
#[derive(Default)]
pub(crate) struct Operations {
    sink: Option<Box<dyn Write>>,
    /// Who has nothing to do.
    idle: Vec<Process>,
    processes: u64,
    open: BTreeMap<Process, Operation>,
}

struct Operation {
    op: &'static str,
    key: Value,
    value: Value,
}

impl Operations {
    /// Lines into `sink`.
    pub(crate) fn new(sink: Box<dyn Write>) -> Self {
        Self { sink: Some(sink), ..Self::default() }
    }

    /// A command begins.
    pub(crate) fn invokes(&mut self, now: Micros, op: Option<Op<'_>>) -> Process {
        let (op, key, value) = match op {
            Some(Op::Put { register, value }) => ("put", register.into(), value.into()),
            Some(Op::Get { register }) => ("get", register.into(), Value::Null),
            Some(Op::CompareAndSet { register, expected, value }) => ("cas", register.into(), json!([expected, value])),
            Some(Op::Line(_) | Op::Forbidden) | None => ("line", Value::Null, Value::Null),
        };
        self.begins(now, Operation { op, key, value })
    }

    /// A read begins.
    pub(crate) fn invokes_read(&mut self, now: Micros, register: u8) -> Process {
        self.begins(now, Operation { op: "read", key: register.into(), value: Value::Null })
    }

    /// An operation ends. The value that is not known of one that took effect may be any.
    pub(crate) fn ends(&mut self, now: Micros, process: Process, end: End) {
        let Some(operation) = self.open.remove(&process) else { return };
        let Operation { op, value, .. } = &operation;
        let (kind, value) = match (*op, end) {
            (_, End::Nothing) => ("fail", value.clone()),
            ("put", End::Effect(_)) => ("ok", value.clone()),
            (_, End::Effect(None)) => ("info", value.clone()),
            ("cas", End::Effect(Some(after))) => ("ok", json!([value[0], value[1], after])),
            (_, End::Effect(Some(answer))) => ("ok", answer.into()),
        };
        self.write(now, process, kind, &operation, &value);
        if kind != "info" {
            self.idle.push(process);
        }
    }

    /// Nothing more will come: what is still going on may have taken effect, or may not.
    pub(crate) fn finish(&mut self, now: Micros) {
        for (process, operation) in std::mem::take(&mut self.open) {
            self.write(now, process, "info", &operation, &operation.value);
        }
        if let Some(sink) = &mut self.sink {
            let _ = sink.flush();
        }
    }

    fn begins(&mut self, now: Micros, operation: Operation) -> Process {
        let process = self.idle.pop().unwrap_or(Process(self.processes));
        self.processes = self.processes.max(process.0 + 1);
        if self.sink.is_some() {
            self.write(now, process, "invoke", &operation, &operation.value);
            self.open.insert(process, operation);
        } else {
            self.idle.push(process);
        }
        process
    }

    /// A reader that has gone away is no reason to stop the simulation.
    fn write(&mut self, now: Micros, process: Process, kind: &str, operation: &Operation, value: &Value) {
        let Operation { op, key, .. } = operation;
        if let Some(sink) = &mut self.sink {
            let line = json!({ "client": process.0, "type": kind, "op": op, "key": key, "value": value, "time": now });
            let _ = writeln!(sink, "{line}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;
    use std::io;
    use std::rc::Rc;

    #[derive(Clone, Default)]
    struct Sink(Rc<RefCell<Vec<u8>>>);

    impl Write for Sink {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.borrow_mut().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn each_process_does_one_thing_at_a_time_and_nothing_after_an_unknown_outcome() {
        let sink = Sink::default();
        let mut operations = Operations::new(Box::new(sink.clone()));
        let put = operations.invokes(1, Some(Op::Put { register: 2, value: 7 }));
        let swap = operations.invokes(2, Some(Op::CompareAndSet { register: 2, expected: 7, value: 8 }));
        operations.ends(3, put, End::Effect(None));
        let read = operations.invokes_read(4, 2);
        operations.ends(5, swap, End::Effect(None));
        operations.ends(6, read, End::Effect(Some(8)));
        let again = operations.invokes(7, Some(Op::CompareAndSet { register: 2, expected: 7, value: 8 }));
        operations.ends(8, again, End::Effect(Some(8)));
        let last = operations.invokes_read(9, 0);
        operations.ends(10, last, End::Nothing);
        operations.invokes(11, Some(Op::Get { register: 0 }));
        operations.finish(12);
        let text = String::from_utf8(sink.0.borrow().clone()).unwrap();
        let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let seen: Vec<_> = lines
            .iter()
            .map(|line| (line["client"].as_u64().unwrap(), line["type"].as_str().unwrap(), line["value"].clone()))
            .collect();
        let expected = [
            (0, "invoke", json!(7)),
            (1, "invoke", json!([7, 8])),
            (0, "ok", json!(7)),
            (0, "invoke", Value::Null),
            (1, "info", json!([7, 8])),
            (0, "ok", json!(8)),
            (0, "invoke", json!([7, 8])),
            (0, "ok", json!([7, 8, 8])),
            (0, "invoke", Value::Null),
            (0, "fail", Value::Null),
            (0, "invoke", Value::Null),
            (0, "info", Value::Null),
        ];
        assert_eq!(seen, expected);
        assert_eq!(lines[3], json!({"client": 0, "type": "invoke", "op": "read", "key": 2, "value": null, "time": 4}));
    }
}
