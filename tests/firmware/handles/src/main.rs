//! Everything that a client and an application can ask of a node, so that it is linked and can be looked at. Never run: the devices are none.
#![no_std]
#![no_main]

use core::hint::black_box;

use cortex_m as _; // for its critical section
use embassy_futures::block_on;
use embassy_futures::select::select3;
use embassy_futures::yield_now;
use embassy_sync::blocking_mutex::raw::CriticalSectionRawMutex;
use panic_halt as _;
use quoring::store::memory::MemoryLog;
use quoring::{
    Clock, ClusterId, Committed, Config, Instant, Node, NodeId, NodeSet, Platform, Resources, Session, Step, Stream,
    Transport,
};
use static_cell::ConstStaticCell;

/// Devices of which the compiler knows nothing.
struct Unknown;

impl Platform for Unknown {
    type Mutex = CriticalSectionRawMutex;
    type Store = MemoryLog<8192>;
    type Transport = Self;
    type Clock = Self;
}

impl Transport for Unknown {
    type Error = ();

    async fn send(&self, peer: NodeId, frame: &[u8]) -> Result<(), ()> {
        show((peer, frame));
        black_box(Ok(()))
    }

    async fn receive(&self, buffer: &mut [u8]) -> Result<usize, ()> {
        yield_now().await;
        show(buffer);
        black_box(Ok(0))
    }
}

impl Clock for Unknown {
    fn now(&self) -> Instant {
        black_box(Instant(0))
    }

    async fn sleep_until(&self, deadline: Instant) {
        while self.now() < deadline {
            yield_now().await;
        }
    }
}

static MEMORY: ConstStaticCell<Resources<'static, Unknown, 256, 64, 2, 256>> = ConstStaticCell::new(Resources::new());

#[cortex_m_rt::entry]
fn main() -> ! {
    block_on(start())
}

async fn start() -> ! {
    let id = NodeId::new(black_box(0)).expect("a node of a cluster");
    let config = black_box(Config::new(id, ClusterId(0), NodeSet::first(3)));
    if let Ok((node, committed, runner)) = quoring::new(config, MemoryLog::new(), Unknown, Unknown, MEMORY.take()).await
    {
        select3(runner.run(), apply(committed), ask(node)).await;
    }
    loop {
        yield_now().await;
    }
}

/// Uses a value in a way of which the compiler knows nothing.
fn show<T>(value: T) {
    drop(black_box(value));
}

/// Does each step, and tells nobody whether it went well.
async fn apply(mut committed: Committed<'static, Unknown>) {
    let mut state = [0; 64];
    loop {
        match committed.next().await {
            Ok(Step::Apply(entry)) => {
                show((entry.command(), entry.request(), entry.index(), entry.term()));
                entry.answer(black_box(&state));
            }
            Ok(Step::Save(mut save)) => {
                show((save.index(), save.term(), save.limit()));
                show(save.write(black_box(&state)).await);
                show(save.finish().await);
            }
            Ok(Step::Restore(mut restore)) => {
                show((restore.index(), restore.term(), restore.length()));
                while black_box(restore.read(&mut state).await).is_ok_and(|count| count > 0) {}
                show(restore.finish());
            }
            Err(halt) => show(halt),
        }
    }
}

/// Asks for all there is, in any order.
async fn ask(node: Node<'static, Unknown>) {
    let (mut stream, mut session) = (None, None);
    loop {
        yield_now().await;
        let command: &[u8] = black_box(&[]);
        match black_box(0) {
            0 => show(node.propose(command).await),
            1 => show(node.read().await),
            2 => show(node.transfer(black_box(None)).await),
            3 => show((node.status(), node.refusals(), node.command_limit())),
            4 => show((node.poll_event(), node.halted())),
            5 => stream = node.stream().await.ok(),
            6 => session = node.session().await.ok(),
            7 => session = Some(node.resume_session(black_box(session_id()), black_box(0))),
            _ => {
                if let Some(stream) = &mut stream {
                    send(stream, command).await;
                }
                if let Some(session) = &mut session {
                    repeat(session, command).await;
                }
            }
        }
    }
}

fn session_id() -> quoring::SessionId {
    black_box("1-1").parse().expect("the id of a session")
}

async fn send(stream: &mut Stream<'static, Unknown>, command: &[u8]) {
    show((stream.command_limit(), stream.pipelines(), stream.broken()));
    if let Ok(sent) = stream.send(command).await {
        show(sent.await);
    }
    if let Ok([first, second]) = stream.send_batch([command, command]).await {
        show((first.await, second.await));
    }
    if black_box(false) {
        stream.break_off();
    }
    show(stream.watch().until_broken().await);
}

async fn repeat(session: &mut Session<'static, Unknown>, command: &[u8]) {
    show((session.id(), session.next_sequence()));
    show(session.propose(command).await);
}
