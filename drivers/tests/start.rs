//! What becomes of a node's devices when it does not start.

use std::rc::Rc;

use embassy_sync::blocking_mutex::raw::NoopRawMutex;
use futures_lite::future::block_on;
use quoring::store::memory::MemoryLog;
use quoring::transport::memory::{MemoryNetwork, MemoryTransport};
use quoring::{Clock, ClusterId, Config, Instant, NodeId, NodeSet, Platform, Resources};

struct Board;

impl Platform for Board {
    type Mutex = NoopRawMutex;
    type Store = MemoryLog<{ 64 * 1024 }>;
    type Transport = MemoryTransport<'static, NoopRawMutex, 256, 16>;
    type Clock = Device;
}

/// A device that tells whether anybody still has it.
#[derive(Clone, Default)]
struct Device(Rc<()>);

impl Clock for Device {
    fn now(&self) -> Instant {
        Instant(0)
    }

    async fn sleep_until(&self, _: Instant) {}
}

fn start(config: Config, device: Device) -> impl Future<Output = bool> {
    let network: &'static MemoryNetwork<NoopRawMutex, 1, 256, 16> = Box::leak(Box::new(MemoryNetwork::new()));
    let memory: &'static mut Resources<'static, Board, 256, 64, 2, 256, 16> = Box::leak(Box::new(Resources::new()));
    let transport = network.endpoint(config.id).expect("it is the only one");
    let started = quoring::new(config, MemoryLog::new(), transport, device, memory);
    async move { started.await.is_ok() }
}

fn config() -> Config {
    Config::new(NodeId::new(0).expect("it is below 32"), ClusterId(7), NodeSet::first(1))
}

/// A file stays locked, a socket bound, as long as anybody has it: who tries again must be able to.
#[test]
fn a_node_that_does_not_start_gives_its_devices_back() {
    let device = Device::default();
    let wrong = Config { snapshot_after: 0, ..config() };
    assert!(!block_on(start(wrong, device.clone())));
    assert_eq!(Rc::strong_count(&device.0), 1, "nobody has it any more");
}

#[test]
fn a_start_that_is_given_up_gives_its_devices_back() {
    let device = Device::default();
    drop(start(config(), device.clone()));
    assert_eq!(Rc::strong_count(&device.0), 1, "nobody has it any more");
}
