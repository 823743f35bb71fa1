//! The mux with golden bytes, with a model, and with another implementation of the protocol.

use async_smux::MuxBuilder;
use proptest::prelude::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;

fn frames(mux: &mut Mux) -> Vec<Bytes> {
    std::iter::from_fn(|| mux.poll_frame()).collect()
}

fn events(mux: &mut Mux) -> Vec<MuxEvent> {
    std::iter::from_fn(|| mux.poll_event()).collect()
}

fn fin(id: u8) -> Bytes {
    Bytes::copy_from_slice(&[1, 1, 0, 0, id, 0, 0, 0])
}

fn data(id: u8, data: &[u8]) -> Bytes {
    let length = u16::try_from(data.len()).unwrap().to_le_bytes();
    [&[1, 2, length[0], length[1], id, 0, 0, 0], data].concat().into()
}

#[test]
fn streams_open_send_and_close_with_the_golden_bytes() {
    let mut mux = Mux::default();
    let (first, second) = (mux.open(), mux.open());
    mux.write(first, Bytes::from_static(b"GET"));
    mux.finish(first);
    mux.keep_alive();
    mux.write(second, Bytes::from_static(b"x"));
    let syn = |id| Bytes::copy_from_slice(&[1, 0, 0, 0, id, 0, 0, 0]);
    let nop = Bytes::from_static(&[1, 3, 0, 0, 0, 0, 0, 0]);
    let expected = [syn(3), syn(5), nop, data(3, b"GET"), fin(3), data(5, b"x")];
    let frames = frames(&mut mux);
    assert_eq!(frames, expected);
    assert_eq!((mux.opened_at(first), mux.opened_at(second)), (None, Some(16)));
    assert_eq!(mux.sent(), frames.iter().map(|frame| frame.len() as u64).sum::<u64>());
}

#[test]
fn a_fin_of_the_peer_closes_both_directions() {
    let mut mux = Mux::default();
    let stream = mux.open();
    frames(&mut mux);
    mux.write(stream, Bytes::from_static(b"too late"));
    mux.handle_data([data(3, b"answer"), fin(3), data(3, b"ghost")].concat().into());
    assert_eq!(
        events(&mut mux),
        [MuxEvent::Data(stream, Bytes::from_static(b"answer")), MuxEvent::Closed(stream)]
    );
    assert_eq!(frames(&mut mux), [fin(3)], "the agent would discard the queued data");
    assert_eq!(mux.backlog(), 0);
}

#[test]
fn frames_after_our_fin_are_ignored() {
    let mut mux = Mux::default();
    let stream = mux.open();
    mux.finish(stream);
    frames(&mut mux);
    mux.handle_data([data(3, b"late"), fin(3), fin(3), data(9, b"unknown")].concat().into());
    assert_eq!(events(&mut mux), []);
    assert_eq!(frames(&mut mux), Vec::<Bytes>::new());
}

#[test]
fn a_refusal_belongs_to_the_next_stream_that_ends_without_data() {
    let mut mux = Mux::default();
    let [served, abandoned, refused, closed] = [(); 4].map(|()| mux.open());
    mux.handle_data(data(3, b"hello"));
    mux.abandon(abandoned);
    mux.handle_refusal();
    mux.handle_data(fin(3));
    mux.handle_data(fin(5));
    mux.handle_refusal();
    mux.handle_data(fin(7));
    mux.handle_data(fin(9));
    let expected = [
        MuxEvent::Data(served, Bytes::from_static(b"hello")),
        MuxEvent::Closed(served),
        MuxEvent::Refused(refused),
        MuxEvent::Closed(closed),
    ];
    assert_eq!(events(&mut mux), expected);
}

#[test]
fn an_abandoned_stream_sends_only_its_fin() {
    let mut mux = Mux::default();
    let stream = mux.open();
    mux.write(stream, Bytes::from(vec![0; 100_000]));
    mux.poll_frame();
    mux.abandon(stream);
    assert_eq!(frames(&mut mux), [fin(3)]);
    assert_eq!((mux.backlog(), mux.queued(stream)), (0, 0));
}

#[test]
fn a_small_request_waits_for_one_frame_of_bulk_data() {
    let mut mux = Mux::default();
    let bulk = [(); 20].map(|()| mux.open());
    bulk.iter().for_each(|stream| mux.write(*stream, Bytes::from(vec![0; 64 << 10])));
    let small = mux.open();
    (0..100).for_each(|_| drop(mux.poll_frame()));
    mux.write(small, Bytes::from_static(b"small"));
    let next = [mux.poll_frame(), mux.poll_frame()].map(Option::unwrap);
    assert!(next.contains(&data(43, b"small")) && next.iter().all(|frame| frame.len() <= 8 + 4096));
}

#[test]
fn bulk_data_continues_beside_many_small_requests() {
    let mut mux = Mux::default();
    let (bulk, busy) = (mux.open(), mux.open());
    mux.write(bulk, Bytes::from(vec![0; 64 << 10]));
    frames(&mut mux).truncate(0);
    mux.write(bulk, Bytes::from(vec![0; 64 << 10]));
    let mut of_bulk = 0;
    for _ in 0..20 {
        mux.write(busy, Bytes::from_static(b"again"));
        of_bulk += usize::from(mux.poll_frame().unwrap().len() > 1000);
    }
    assert!(of_bulk >= 9, "{of_bulk}");
}

#[test]
fn another_protocol_breaks_the_session_with_one_event() {
    let mut mux = Mux::default();
    mux.open();
    mux.handle_data(Bytes::from_static(b"SSH-2.0-OpenSSH"));
    mux.handle_data(Bytes::from_static(b"more"));
    assert_eq!(events(&mut mux), [MuxEvent::Broken(HeaderError::Version(b'S'))]);
}

#[derive(Clone, Debug)]
enum Step {
    Open,
    Write(usize, usize),
    Finish(usize),
    Send(usize),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        Just(Step::Open),
        (0..8usize, 1..20_000usize).prop_map(|(stream, length)| Step::Write(stream, length)),
        (0..8usize).prop_map(Step::Finish),
        (1..6usize).prop_map(Step::Send),
    ]
}

proptest! {
    /// The bytes of each stream arrive in order, complete, and before its FIN.
    #[test]
    fn every_stream_is_a_byte_queue(steps in proptest::collection::vec(step(), 1..60)) {
        let mut mux = Mux::default();
        let mut ids = Vec::new();
        let mut model: Vec<(Vec<u8>, bool)> = Vec::new();
        let mut wire = Vec::new();
        for (number, step) in steps.into_iter().enumerate() {
            match step {
                Step::Open => {
                    ids.push(mux.open());
                    model.push((Vec::new(), false));
                }
                Step::Write(stream, length) => {
                    let Some((written, finished)) = model.get_mut(stream) else { continue };
                    let bytes = vec![u8::try_from(number).unwrap(); length];
                    mux.write(ids[stream], bytes.clone().into());
                    if !*finished {
                        written.extend(bytes);
                    }
                }
                Step::Finish(stream) => {
                    let Some((_, finished)) = model.get_mut(stream) else { continue };
                    *finished = true;
                    mux.finish(ids[stream]);
                }
                Step::Send(count) => {
                    (0..count).filter_map(|_| mux.poll_frame()).for_each(|frame| wire.extend(frame));
                }
            }
        }
        frames(&mut mux).into_iter().for_each(|frame| wire.extend(frame));
        prop_assert_eq!(mux.backlog(), 0);
        let mut decoder = Decoder::default();
        decoder.feed(wire.into());
        let mut arrived = vec![(Vec::new(), false); model.len()];
        while let Some(item) = decoder.next() {
            let stream = |id: u32| usize::try_from((id - FIRST_STREAM) / 2).unwrap();
            match item.unwrap() {
                Item::Data(id, bytes) => {
                    prop_assert!(!arrived[stream(id)].1, "data after the FIN");
                    arrived[stream(id)].0.extend(bytes);
                }
                Item::Fin(id) => arrived[stream(id)].1 = true,
                Item::Ignored => {}
            }
        }
        prop_assert_eq!(arrived, model);
    }
}

#[tokio::test]
async fn data_passes_both_ways_with_another_implementation() {
    let (mut ours, theirs) = tokio::io::duplex(1 << 20);
    let (_, mut acceptor, worker) = MuxBuilder::server().with_connection(theirs).build();
    tokio::spawn(worker);
    let echo = tokio::spawn(async move {
        for _ in 0..2 {
            let mut stream = acceptor.accept().await.unwrap();
            let mut received = vec![0; 200_000];
            stream.read_exact(&mut received).await.unwrap();
            stream.write_all(&received).await.unwrap();
            stream.shutdown().await.unwrap();
        }
    });
    let mut mux = Mux::default();
    let ids = [mux.open(), mux.open()];
    let sent = [1u8, 2].map(|byte| vec![byte; 200_000]);
    ids.iter().zip(&sent).for_each(|(id, bytes)| mux.write(*id, bytes.clone().into()));
    for frame in frames(&mut mux) {
        ours.write_all(&frame).await.unwrap();
    }
    let mut received = [Vec::new(), Vec::new()];
    let mut closed = 0;
    let mut buffer = vec![0; 10_000];
    while closed < 2 {
        let length = ours.read(&mut buffer).await.unwrap();
        mux.handle_data(Bytes::copy_from_slice(&buffer[..length]));
        for event in events(&mut mux) {
            match event {
                MuxEvent::Data(id, bytes) => received[usize::from(id == ids[1])].extend(bytes),
                MuxEvent::Closed(_) => closed += 1,
                other @ (MuxEvent::Refused(_) | MuxEvent::Broken(_)) => panic!("{other:?}"),
            }
        }
    }
    assert!(received == sent);
    echo.await.unwrap();
}
