use std::task::Waker;

use super::*;
use crate::tally::Tally;

/// A network of two nodes with 100 frames from 0 to 1 sent at microsecond 0, 1, 2 ...: what arrives, in order of arrival.
fn carry(weather: Weather, cut: Option<Vec<u32>>) -> (Vec<(Micros, Vec<u8>)>, Tally) {
    let mut network = Network::new(2, 1, weather);
    let mut tally = Tally::default();
    if let Some(cut) = cut {
        network.set_cut(cut);
    }
    network.set_open(1, true);
    let mut underway: Vec<(Micros, Delivery)> = Vec::new();
    for number in 0..100u8 {
        let frame = [number; 40];
        underway
            .extend(network.send(number.into(), (0, 1), &frame, &mut |fault| tally.count(fault)).into_iter().flatten());
    }
    underway.sort_by_key(|(at, _)| *at);
    let mut arrived = Vec::new();
    for (at, delivery) in underway {
        assert!(network.arrive(delivery, &mut |fault| tally.count(fault)));
        let mut buffer = [0; 64];
        let Poll::Ready(len) = network.receive(1, &mut buffer, Waker::noop()) else { panic!("a frame has arrived") };
        arrived.push((at, buffer[..len].to_vec()));
    }
    (arrived, tally)
}

fn half(set: impl FnOnce(&mut Weather)) -> Weather {
    let mut weather = Weather::fair(100);
    set(&mut weather);
    weather
}

#[test]
fn in_fair_weather_every_frame_arrives_whole_and_in_order() {
    let (arrived, tally) = carry(Weather::fair(100), None);
    assert_eq!(arrived.len(), 100);
    assert!(arrived.iter().enumerate().all(|(n, (at, frame))| *at >= 100 + n as u64 && *frame == [n as u8; 40]));
    assert_eq!(tally, Tally::default());
}

#[test]
fn each_lost_doubled_or_overtaken_frame_is_counted() {
    let (arrived, tally) = carry(half(|weather| weather.loss = 500_000), None);
    assert_eq!(arrived.len() as u64, 100 - tally.of(Fault::Dropped));
    assert!((20..80).contains(&arrived.len()));

    let (arrived, tally) = carry(half(|weather| weather.duplication = 500_000), None);
    assert_eq!(arrived.len() as u64, 100 + tally.of(Fault::Duplicated));
    assert!((120..180).contains(&arrived.len()));

    let (arrived, tally) = carry(half(|weather| weather.reorder = 500_000), None);
    let numbers: Vec<u8> = arrived.iter().map(|(_, frame)| frame[0]).collect();
    let overtaken = (1..numbers.len()).filter(|&n| numbers[..n].iter().any(|&earlier| earlier > numbers[n])).count();
    assert_eq!(tally.of(Fault::Reordered), overtaken as u64);
    assert!(overtaken > 10);
}

#[test]
fn a_damaged_frame_is_never_what_was_sent() {
    let (arrived, tally) = carry(half(|weather| weather.corruption = 1_000_000), None);
    assert_eq!(tally.of(Fault::Corrupted) + tally.of(Fault::Foreign), 100);
    assert!(arrived.iter().enumerate().all(|(n, (_, frame))| *frame != [n as u8; 40]));
    assert!(tally.of(Fault::Foreign) > 0);
}

#[test]
fn a_cut_works_in_one_direction_and_counts_once_however_many_frames_it_stops() {
    let (arrived, tally) = carry(Weather::fair(100), Some(vec![1 << 1, 0]));
    assert!(arrived.is_empty());
    assert_eq!((tally.of(Fault::Partitions), tally.of(Fault::Cut)), (1, 100));
    let (arrived, tally) = carry(Weather::fair(100), Some(vec![0, 1 << 0]));
    assert_eq!((arrived.len(), tally.total()), (100, 0));
}

#[test]
fn a_closed_port_loses_frames_and_a_full_one_too() {
    let mut network = Network::new(2, 1, Weather::fair(0));
    let send = |network: &mut Network| {
        let [delivery, _] = network.send(0, (0, 1), b"frame", &mut |_| ());
        network.arrive(delivery.unwrap().1, &mut |_| ())
    };
    assert!(!send(&mut network));
    network.set_open(1, true);
    assert!((0..BACKLOG).all(|_| send(&mut network)));
    assert!(!send(&mut network));
    network.set_open(1, false);
    network.set_open(1, true);
    assert_eq!(network.receive(1, &mut [0; 64], Waker::noop()), Poll::Pending);
}

#[test]
fn a_frame_longer_than_the_buffer_is_dropped() {
    let mut network = Network::new(2, 1, Weather::fair(0));
    network.set_open(1, true);
    for frame in [&b"too long"[..], b"fits"] {
        let [delivery, _] = network.send(0, (0, 1), frame, &mut |_| ());
        network.arrive(delivery.unwrap().1, &mut |_| ());
    }
    assert_eq!(network.receive(1, &mut [0; 4], Waker::noop()), Poll::Ready(4));
}
