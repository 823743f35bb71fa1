//! Time passes here only when the tests let it; the agent acknowledges everything at once, unless it is silent.

use std::future::Future;
use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};

use super::stream::Opening;
use super::*;
use crate::channel::tests::{Bench as Session, start};

/// Agents before and after the one that no longer wants a sign of life.
const OLD: &str = "3.1.1511.0";
const NEW: &str = "3.1.1575.0";
const PLAIN: &str = "3.0.196.0";
const UP: LinkState = LinkState { connected: true, is_up: true, resumed_at: None };
const DOWN: LinkState = LinkState { is_up: false, ..UP };
const LINGER: Duration = Duration::from_secs(30);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(45);
const UNREAD_LIMIT: usize = 4 << 20;
const OPTIONS: StreamOptions = StreamOptions {
    linger: LINGER,
    open_timeout: Some(CONNECT_TIMEOUT),
    ack_timeout: Some(Duration::from_secs(60)),
    unread_limit: UNREAD_LIMIT,
    hold: false,
    idle_limit: None,
    is_single: false,
};
const QUARTER: Duration = Duration::from_secs(15 * 60);
const SECOND: Duration = Duration::from_secs(1);

/// A session that works, and its streams.
struct Bench {
    streams: Streams,
    handle: Handle,
    session: Session,
    link: LinkState,
    status: watch::Receiver<SessionStatus>,
    /// The agent does not exist any more, and nothing shows it.
    is_deaf: bool,
}

impl Bench {
    fn new(options: StreamOptions, agent: &str, mode: Mode) -> Self {
        let (status, seen) = (watch::Sender::new(SessionStatus::default()), Session::open());
        let (watched, now) = (status.subscribe(), start().instant);
        let (handle, mut streams) = Streams::new(now, options, status, CancellationToken::new());
        streams.connected(seen.now, mode, &AgentVersion::parse(agent)).unwrap();
        let mut bench = Self { streams, handle, session: seen, link: UP, status: watched, is_deaf: false };
        bench.feed();
        bench
    }

    fn multiplexed() -> Self {
        Self::new(OPTIONS, NEW, Mode::Multiplexed)
    }

    fn plain() -> Self {
        Self::new(OPTIONS, PLAIN, Mode::Single)
    }

    fn request(&self, confirm: bool) -> Request {
        Request { name: "client".to_owned(), asked: self.session.now.instant, confirm }
    }

    /// Asks for a stream; what opens it is sent and forgotten.
    fn ask(&mut self) -> Opening {
        let opening = self.handle.open(self.request(false));
        self.feed();
        opening
    }

    fn open(&mut self) -> Stream {
        let mut opening = self.ask();
        now(&mut opening).expect("it is open").unwrap()
    }

    /// What is sent now.
    fn feed(&mut self) -> Vec<(String, Bytes)> {
        let mut sent = Vec::new();
        while self.streams.feed(self.session.now, &mut self.session.channel, self.link) {
            sent.extend(self.arrivals());
        }
        sent.extend(self.arrivals());
        sent
    }

    /// The bytes that are sent now.
    fn sends(&mut self) -> Vec<u8> {
        self.feed().into_iter().flat_map(|(_, bytes)| bytes).collect()
    }

    fn arrivals(&mut self) -> Vec<(String, Bytes)> {
        if self.is_deaf { Vec::new() } else { self.session.arrivals() }
    }

    fn receive(&mut self, bytes: impl Into<Bytes>) {
        self.streams.receive(self.session.now, bytes.into()).unwrap();
        self.feed();
    }

    /// Lets time pass from deadline to deadline; what is sent meanwhile.
    fn pass(&mut self, time: Duration) -> Vec<(String, Bytes)> {
        let mut sent = self.feed();
        let end = self.session.now.instant + time;
        while self.session.now.instant < end {
            let next = self.streams.poll_timeout().map_or(end, |at| at.min(end));
            let step = next.saturating_duration_since(self.session.now.instant);
            assert!(!step.is_zero(), "a deadline that has passed was acted on");
            self.session.pass(step);
            sent.extend(self.feed());
        }
        sent
    }

    fn is_finished(&mut self) -> bool {
        self.streams.finished(self.session.now, &self.session.channel, self.link).unwrap().is_some()
    }

    /// Bytes that are received and not read.
    fn unread(&self) -> usize {
        self.streams.shared.lock().slots.values().map(|slot| slot.unread).sum()
    }

    fn live(&self) -> usize {
        self.streams.shared.lock().live()
    }
}

/// What a future gives at once.
fn now<F: Future + Unpin>(future: &mut F) -> Option<F::Output> {
    match Pin::new(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => Some(output),
        Poll::Pending => None,
    }
}

/// Reads what there is: `None` if there is nothing yet. Until the next read the reader counts as waiting.
fn read(stream: &mut Stream, room: usize) -> Option<io::Result<Vec<u8>>> {
    let mut bytes = vec![0; room];
    let mut buf = ReadBuf::new(&mut bytes);
    match Pin::new(stream).poll_read(&mut Context::from_waker(Waker::noop()), &mut buf) {
        Poll::Ready(result) => Some(result.map(|()| buf.filled().to_vec())),
        Poll::Pending => None,
    }
}

/// Writes as much as is taken.
fn write(stream: &mut Stream, bytes: &[u8]) -> Option<io::Result<usize>> {
    match Pin::new(stream).poll_write(&mut Context::from_waker(Waker::noop()), bytes) {
        Poll::Ready(result) => Some(result),
        Poll::Pending => None,
    }
}

fn shut_down(stream: &mut Stream) {
    assert!(now(&mut pin!(stream.shutdown())).expect("it never waits").is_ok());
}

fn has_ended(stream: &mut Stream) -> bool {
    read(stream, 1).is_some_and(|read| read.unwrap().is_empty())
}

fn error(stream: &mut Stream) -> StreamError {
    let error = read(stream, 1).expect("an end").unwrap_err();
    StreamError::of(&error).expect("a failure of the stream")
}

fn sizes(sent: &[(String, Bytes)]) -> usize {
    sent.iter().filter(|(payload_type, _)| payload_type == "Size").count()
}

/// A frame with data for a stream, or with its end; the first stream is 3.
fn frame_of(stream: u8, data: &[u8]) -> Bytes {
    let (command, length) = if data.is_empty() { (1, 0) } else { (2, u16::try_from(data.len()).unwrap()) };
    let [low, high] = length.to_le_bytes();
    [&[1, command, low, high, stream, 0, 0, 0], data].concat().into()
}

fn frame(data: &[u8]) -> Bytes {
    frame_of(3, data)
}

#[test]
fn a_held_session_gets_a_size_every_four_minutes_while_it_has_a_stream() {
    let mut bench = Bench::new(StreamOptions { hold: true, ..OPTIONS }, NEW, Mode::Multiplexed);
    assert_eq!(bench.pass(QUARTER), [], "there is nothing to hold");
    let stream = bench.open();
    let sent = bench.pass(QUARTER);
    assert_eq!((sizes(&sent), sent.len()), (3, 3), "{sent:?}");
    drop(stream);
    bench.pass(LINGER);
    assert_eq!(bench.pass(QUARTER), []);
}

#[test]
fn one_that_is_not_held_is_left_to_the_administrators_limit() {
    let mut bench = Bench::multiplexed();
    let _stream = bench.open();
    assert_eq!(bench.pass(QUARTER), []);
}

#[test]
fn only_old_agents_get_a_sign_of_life() {
    let mut bench = Bench::new(OPTIONS, OLD, Mode::Multiplexed);
    let sent = bench.pass(Duration::from_secs(60));
    assert_eq!(sent.len(), 6, "{sent:?}");
    assert!(sent.iter().all(|(_, bytes)| bytes.as_ref() == [1, 3, 0, 0, 0, 0, 0, 0]), "{sent:?}");
    assert_eq!(Bench::multiplexed().pass(QUARTER), []);
    assert_eq!(Bench::plain().pass(QUARTER), []);
}

#[test]
fn a_session_without_streams_ends_after_its_limit() {
    let limit = Duration::from_secs(60);
    let mut bench = Bench::new(StreamOptions { idle_limit: Some(limit), ..OPTIONS }, NEW, Mode::Multiplexed);
    bench.pass(limit / 2);
    let stream = bench.open();
    bench.pass(limit * 2);
    assert!(!bench.is_finished(), "it has a stream");
    drop(stream);
    bench.pass(limit / 2);
    assert!(!bench.is_finished());
    bench.pass(limit / 2);
    assert!(bench.is_finished());
    let mut bench = Bench::multiplexed();
    bench.pass(QUARTER);
    assert!(!bench.is_finished(), "without a limit it stays");
}

#[test]
fn a_session_for_one_stream_ends_with_it() {
    let single = StreamOptions { is_single: true, ..OPTIONS };
    for mode in [Mode::Multiplexed, Mode::Single] {
        let mut bench = Bench::new(single, NEW, mode);
        let mut stream = bench.open();
        assert!(!bench.is_finished());
        assert_eq!(write(&mut stream, b"the last").unwrap().unwrap(), 8);
        shut_down(&mut stream);
        drop(stream);
        assert!(!bench.is_finished(), "its last bytes are still to be sent");
        assert!(String::from_utf8_lossy(&bench.sends()).contains("the last"));
        bench.feed();
        assert!(bench.is_finished());
    }
    let mut bench = Bench::new(single, NEW, Mode::Multiplexed);
    let mut stream = bench.open();
    bench.receive(frame(b""));
    assert!(has_ended(&mut stream) && bench.is_finished(), "the peer has closed it");
}

#[test]
fn silence_counts_only_while_something_could_be_received() {
    let mut bench = Bench::multiplexed();
    let mut stream = bench.open();
    shut_down(&mut stream);
    assert!(!has_ended(&mut stream));
    bench.pass(Duration::from_secs(20));
    bench.link = DOWN;
    bench.pass(Duration::from_secs(300));
    assert!(!has_ended(&mut stream), "the answer may be on its way");
    bench.link = UP;
    bench.pass(LINGER - SECOND);
    assert!(!has_ended(&mut stream));
    bench.pass(SECOND);
    assert!(has_ended(&mut stream));
}

#[test]
fn silence_after_a_resume_means_nothing_for_three_seconds() {
    let brief = StreamOptions { linger: SECOND, ..OPTIONS };
    let mut bench = Bench::new(brief, NEW, Mode::Multiplexed);
    let mut stream = bench.open();
    shut_down(&mut stream);
    assert!(!has_ended(&mut stream));
    bench.link = LinkState { resumed_at: Some(bench.session.now.instant), ..UP };
    bench.pass(SECOND * 2);
    assert!(!has_ended(&mut stream));
    bench.pass(SECOND);
    assert!(has_ended(&mut stream));
}

#[test]
fn a_stream_may_have_its_own_time_of_silence() {
    let mut bench = Bench::multiplexed();
    let (mut brief, mut other) = (bench.open(), bench.open());
    brief.set_linger(SECOND);
    for stream in [&mut brief, &mut other] {
        shut_down(stream);
        assert!(!has_ended(stream));
    }
    bench.pass(SECOND);
    assert!(has_ended(&mut brief) && !has_ended(&mut other));
    bench.pass(LINGER - SECOND);
    assert!(has_ended(&mut other));
}

#[test]
fn silence_begins_when_the_last_byte_has_arrived() {
    let mut bench = Bench::multiplexed();
    let mut stream = bench.open();
    bench.is_deaf = true;
    write(&mut stream, b"a question").unwrap().unwrap();
    shut_down(&mut stream);
    assert!(!has_ended(&mut stream));
    bench.pass(LINGER * 2);
    assert!(!has_ended(&mut stream), "the peer may not have it");
}

#[test]
fn an_answer_begins_the_silence_anew() {
    let mut bench = Bench::multiplexed();
    let mut stream = bench.open();
    shut_down(&mut stream);
    assert!(!has_ended(&mut stream));
    bench.pass(LINGER - SECOND);
    bench.receive(frame(b"late"));
    assert_eq!(read(&mut stream, 9).unwrap().unwrap(), b"late");
    assert!(!has_ended(&mut stream));
    bench.pass(LINGER - SECOND);
    assert!(!has_ended(&mut stream));
    bench.pass(SECOND);
    assert!(has_ended(&mut stream));
}

#[test]
fn a_reader_that_does_not_read_makes_the_silence_itself() {
    let mut bench = Bench::multiplexed();
    let mut stream = bench.open();
    shut_down(&mut stream);
    let mut received = 0;
    while bench.streams.takes_more() {
        bench.receive(frame(&[7; 60_000]));
        received += 60_000;
    }
    let sent = bench.pass(LINGER * 10);
    assert_eq!(sent, [], "there may be more to come");
    while received > 0 {
        received -= read(&mut stream, 100_000).unwrap().unwrap().len();
    }
    bench.pass(LINGER * 2);
    assert_eq!(bench.live(), 1, "it has not asked for more, so it may still be writing what it has");
    assert!(!has_ended(&mut stream));
    bench.pass(LINGER);
    assert!(has_ended(&mut stream));
}

#[test]
fn an_opener_moves_on_if_the_agent_may_not_exist_any_more() {
    let mut bench = Bench::multiplexed();
    bench.pass(QUARTER);
    bench.is_deaf = true;
    let mut opening = bench.ask();
    bench.pass(SECOND);
    assert!(now(&mut opening).is_none(), "the agent has some time to answer");
    bench.pass(SECOND * 2);
    assert_eq!(now(&mut opening).expect("it moves on").unwrap_err(), StreamError::Elsewhere);
}

#[test]
fn a_session_that_was_idle_carries_on_once_the_agent_is_known_to_be_there() {
    let mut bench = Bench::multiplexed();
    bench.pass(QUARTER);
    let opening = bench.open();
    assert_eq!(bench.live(), 1);
    drop(opening);
    bench.feed();
    assert_eq!(bench.live(), 0);
}

#[test]
fn an_opener_that_wants_to_be_sure_waits_for_the_agent() {
    let mut bench = Bench::multiplexed();
    bench.is_deaf = true;
    let mut opening = bench.handle.open(bench.request(true));
    bench.feed();
    assert!(now(&mut opening).is_none());
    let mut trusting = bench.ask();
    assert!(now(&mut trusting).is_some(), "another one trusts an agent that has just shown itself");
    // Whatever it sends proves that it has the stream.
    bench.receive(frame(b"hello"));
    assert!(now(&mut opening).expect("it is open").is_ok());
}

#[test]
fn the_earliest_request_is_opened_first() {
    let mut bench = Bench::multiplexed();
    bench.link = DOWN;
    let late = bench.handle.open(bench.request(false)).into_stream();
    let asked = bench.session.now.instant - SECOND;
    let early = bench.handle.open(Request { asked, ..bench.request(false) }).into_stream();
    bench.link = UP;
    bench.feed();
    bench.receive(frame(b"for the first"));
    let (mut late, mut early) = (late, early);
    assert!(read(&mut late, 100).is_none());
    assert_eq!(read(&mut early, 100).unwrap().unwrap(), b"for the first");
}

#[test]
fn an_opening_that_the_session_cannot_send_times_out() {
    let mut bench = Bench::multiplexed();
    bench.link = DOWN;
    let mut opening = bench.ask();
    bench.pass(CONNECT_TIMEOUT - SECOND);
    assert!(now(&mut opening).is_none());
    bench.pass(SECOND);
    assert_eq!(now(&mut opening).unwrap().unwrap_err(), StreamError::TimedOut(CONNECT_TIMEOUT));
}

#[test]
fn a_trusted_opening_that_is_not_acknowledged_fails_the_reader() {
    let mut bench = Bench::multiplexed();
    bench.is_deaf = true;
    let mut stream = bench.open();
    bench.pass(CONNECT_TIMEOUT);
    assert_eq!(error(&mut stream), StreamError::TimedOut(CONNECT_TIMEOUT));
    let mut bench = Bench::multiplexed();
    bench.is_deaf = true;
    let mut stream = bench.open();
    bench.link = DOWN;
    bench.pass(CONNECT_TIMEOUT * 2);
    assert!(read(&mut stream, 1).is_none(), "nothing could be received meanwhile");
}

#[test]
fn a_refusal_is_an_error_of_its_own() {
    let mut bench = Bench::multiplexed();
    let mut stream = bench.open();
    bench.streams.refused();
    bench.receive(frame(b""));
    assert_eq!(error(&mut stream), StreamError::Refused);
    assert_eq!(write(&mut stream, b"x").unwrap().unwrap_err().kind(), io::ErrorKind::BrokenPipe);
    assert!(bench.status.borrow().was_refused);
}

#[test]
fn an_opening_on_trial_is_handed_on_or_turned_away_when_the_session_ends() {
    for is_wanted in [true, false] {
        let mut bench = Bench::multiplexed();
        bench.pass(QUARTER);
        bench.is_deaf = true;
        let mut opening = bench.ask();
        let turned_away = usize::from(!is_wanted);
        let released = bench.streams.release(false, |_| is_wanted);
        assert_eq!(released, Released { broken: 0, turned_away });
        let error = if is_wanted { StreamError::Elsewhere } else { StreamError::Lost };
        assert_eq!(now(&mut opening).unwrap().unwrap_err(), error);
        let mut late =
            bench.handle.open(Request { name: String::new(), asked: start().instant, confirm: false });
        assert_eq!(now(&mut late).unwrap().unwrap_err(), StreamError::Lost, "the session is over");
    }
}

#[test]
fn a_stream_of_a_lost_session_fails_behind_what_was_received() {
    let mut bench = Bench::multiplexed();
    let mut stream = bench.open();
    bench.receive(frame(b"the last"));
    assert_eq!(bench.streams.release(true, |_| false), Released { broken: 1, turned_away: 0 });
    assert_eq!(read(&mut stream, 100).unwrap().unwrap(), b"the last");
    assert_eq!(error(&mut stream), StreamError::Lost);
}

#[test]
fn the_stream_of_a_plain_session_ends_as_its_session_does() {
    for (in_order, broken) in [(true, 0), (false, 1)] {
        let mut bench = Bench::plain();
        let mut stream = bench.open();
        bench.receive(&b"the last"[..]);
        assert_eq!(bench.streams.release(in_order, |_| false), Released { broken, turned_away: 0 });
        assert_eq!(read(&mut stream, 100).unwrap().unwrap(), b"the last");
        assert_eq!(read(&mut stream, 100).unwrap().is_ok(), in_order);
    }
}

#[test]
fn streams_fail_when_the_driver_is_dropped() {
    let mut bench = Bench::multiplexed();
    let mut stream = bench.open();
    drop(bench.streams);
    assert_eq!(error(&mut stream), StreamError::Lost);
}

#[test]
fn what_the_destination_sends_first_waits_for_a_stream() {
    let mut bench = Bench::plain();
    bench.receive(&b"wel"[..]);
    bench.receive(&b"come"[..]);
    let mut stream = bench.open();
    assert_eq!(read(&mut stream, 100).unwrap().unwrap(), b"welcome");
}

#[test]
fn a_stream_that_waits_has_what_arrives_with_the_handshake() {
    let (status, session) = (watch::Sender::new(SessionStatus::default()), Session::open());
    let single = StreamOptions { is_single: true, ..OPTIONS };
    let (handle, mut streams) = Streams::new(session.now.instant, single, status, CancellationToken::new());
    let request = Request { name: String::new(), asked: session.now.instant, confirm: false };
    let mut stream = handle.open(request).into_stream();
    assert!(write(&mut stream, b"too early").is_none());
    streams.connected(session.now, Mode::Single, &AgentVersion::parse(PLAIN)).unwrap();
    streams.receive(session.now, Bytes::from_static(b"all there is")).unwrap();
    streams.release(true, |_| false);
    assert_eq!(read(&mut stream, 100).unwrap().unwrap(), b"all there is");
    assert!(has_ended(&mut stream));
}

#[test]
fn a_plain_session_keeps_one_stream_and_sends_the_others_to_other_sessions() {
    let mut bench = Bench::plain();
    let mut openings: Vec<Opening> = (0..3).map(|_| bench.handle.open(bench.request(false))).collect();
    bench.feed();
    let opened: Vec<_> = openings.iter_mut().map(|opening| now(opening).unwrap().err()).collect();
    assert_eq!(opened, [None, Some(StreamError::Elsewhere), Some(StreamError::Elsewhere)]);
    assert!(bench.status.borrow().is_full);
    let mut stubborn = bench.ask();
    assert!(now(&mut stubborn).is_none(), "a request that comes in spite of it waits for the end");
}

#[test]
fn what_was_sent_before_the_end_of_input_is_delivered_though_the_stream_is_dropped() {
    let mut bench = Bench::multiplexed();
    let mut stream = bench.open();
    bench.link = DOWN;
    write(&mut stream, b"last words").unwrap().unwrap();
    shut_down(&mut stream);
    assert_eq!(write(&mut stream, b"more").unwrap().unwrap_err().kind(), io::ErrorKind::BrokenPipe);
    drop(stream);
    bench.receive(frame(b"no reader"));
    assert_eq!(bench.unread(), 0);
    bench.link = UP;
    assert_eq!(bench.sends(), [frame(b"last words"), frame(b"")].concat());
}

#[test]
fn what_was_sent_is_dropped_with_a_stream_whose_input_has_not_ended() {
    let mut bench = Bench::multiplexed();
    let mut stream = bench.open();
    bench.link = DOWN;
    write(&mut stream, b"a part").unwrap().unwrap();
    drop(stream);
    bench.link = UP;
    assert_eq!(bench.sends(), frame(b""));
}

#[test]
fn an_opening_that_is_withdrawn_is_not_sent() {
    let mut bench = Bench::multiplexed();
    bench.link = DOWN;
    drop(bench.ask());
    bench.link = UP;
    assert_eq!(bench.sends(), b"");
    assert_eq!(bench.status.borrow().live, 0);
}

#[test]
fn a_stream_that_is_not_open_yet_keeps_its_end_of_input() {
    let mut bench = Bench::multiplexed();
    bench.link = DOWN;
    let mut stream = bench.ask().into_stream();
    shut_down(&mut stream);
    assert!(!has_ended(&mut stream));
    bench.link = UP;
    bench.pass(LINGER);
    assert!(has_ended(&mut stream));
}

#[test]
fn a_writer_has_credit_for_what_is_not_sent() {
    let mut bench = Bench::multiplexed();
    let mut stream = bench.open();
    bench.link = DOWN;
    let bulk = vec![1; state::CREDIT * 2];
    assert_eq!(write(&mut stream, &bulk).unwrap().unwrap(), state::CREDIT);
    assert!(write(&mut stream, &bulk).is_none());
    let mut other = bench.ask().into_stream();
    assert!(write(&mut other, b"x").is_none(), "it is not open yet");
    bench.link = UP;
    while bench.sends().len() > 100 {}
    assert_eq!(write(&mut stream, &bulk).unwrap().unwrap(), state::CREDIT);
    assert_eq!(write(&mut other, b"x").unwrap().unwrap(), 1);
}

#[test]
fn unread_data_stops_the_websocket_and_nothing_is_lost() {
    let mut bench = Bench::multiplexed();
    let mut streams: Vec<Stream> = (0..3).map(|_| bench.open()).collect();
    for number in [3, 5] {
        bench.receive(frame_of(number, &[number; 60_000]));
    }
    assert!(bench.streams.takes_more());
    while bench.streams.takes_more() {
        bench.receive(frame_of(7, &[7; 60_000]));
    }
    assert!(bench.unread() >= UNREAD_LIMIT && bench.unread() < UNREAD_LIMIT + 180_000);
    drop(streams.pop());
    assert!(
        bench.streams.takes_more() && bench.unread() == 120_000,
        "what has no reader any more is dropped"
    );
    assert_eq!(read(&mut streams[1], 100_000).unwrap().unwrap(), [5; 60_000]);
    assert_eq!(read(&mut streams[0], 100_000).unwrap().unwrap(), [3; 60_000]);
}
