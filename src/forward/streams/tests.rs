//! Time passes here as fast as the tests can say so; sockets are pipes, and the agent acknowledges everything at once.

use std::cell::RefCell;

use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

use super::*;
use crate::channel::tests::{Bench as Session, start};

/// Agents before and after the one that no longer wants a sign of life.
const OLD: &str = "3.1.1511.0";
const NEW: &str = "3.1.1575.0";
const UP: LinkState = LinkState { connected: true, is_up: true, resumed_at: None };
const DOWN: LinkState = LinkState { is_up: false, ..UP };
const MANNERS: Manners = Manners {
    linger: Duration::from_secs(30),
    connect_timeout: Duration::from_secs(45),
    hold: false,
    idle_limit: None,
};

/// A session that works, and its connections.
struct Bench {
    streams: Streams,
    session: Session,
    link: LinkState,
    /// The agent is gone, and nobody knows.
    is_deaf: bool,
    handed_back: Rc<RefCell<Vec<Incoming>>>,
    _inbox: UnboundedSender<Incoming>,
}

impl Bench {
    fn new(manners: Manners, agent: &str, mode: Mode) -> Self {
        let (inbox, taken) = unbounded_channel();
        let handed_back = Rc::<RefCell<Vec<Incoming>>>::default();
        let found = handed_back.clone();
        let ties = Ties {
            inbox: taken,
            leave: CancellationToken::new(),
            status: watch::Sender::new(Status::default()),
            tell: Box::new(|_| {}),
            hand_back: Box::new(move |incoming| found.borrow_mut().push(incoming)),
            traffic: Rc::default(),
        };
        let (mut streams, session) = (Streams::new(start().instant, manners, ties), Session::open());
        streams.connected(session.now, mode, &AgentVersion::parse(agent)).unwrap();
        let mut bench = Self { streams, session, link: UP, is_deaf: false, handed_back, _inbox: inbox };
        bench.feed();
        bench
    }

    /// Makes a connection; what it opens the stream with is forgotten.
    fn connect(&mut self) -> DuplexStream {
        let (application, socket) = duplex(1 << 16);
        let incoming = Incoming::new(socket, "application".to_owned(), self.session.now.instant);
        self.handle(Event::Incoming(incoming));
        self.feed();
        application
    }

    fn handle(&mut self, event: Event) {
        self.streams.handle(self.session.now, event, &mut self.session.channel).unwrap();
    }

    /// Takes what the next thing is that happens to a connection.
    async fn happen(&mut self) {
        let event = self.streams.next(0).await;
        self.handle(event);
        self.feed();
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

    fn arrivals(&mut self) -> Vec<(String, Bytes)> {
        if self.is_deaf { Vec::new() } else { self.session.arrivals() }
    }

    /// Lets time pass from deadline to deadline; what is sent meanwhile.
    fn pass(&mut self, time: Duration) -> Vec<(String, Bytes)> {
        let (end, mut sent) = (self.session.now.instant + time, Vec::new());
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
}

fn sizes(sent: &[(String, Bytes)]) -> usize {
    sent.iter().filter(|(payload_type, _)| payload_type == "Size").count()
}

const QUARTER: Duration = Duration::from_secs(15 * 60);

#[tokio::test]
async fn a_held_session_gets_a_size_every_four_minutes_while_it_has_a_connection() {
    let mut bench = Bench::new(Manners { hold: true, ..MANNERS }, NEW, Mode::Multiplexed);
    assert_eq!(bench.pass(QUARTER), [], "there is nothing to hold");
    let application = bench.connect();
    let sent = bench.pass(QUARTER);
    assert_eq!((sizes(&sent), sent.len()), (3, 3), "{sent:?}");
    drop(application);
    bench.happen().await;
    bench.pass(MANNERS.linger);
    assert_eq!(bench.pass(QUARTER), []);
}

#[tokio::test]
async fn one_that_is_not_held_is_left_to_the_administrators_limit() {
    let mut bench = Bench::new(MANNERS, NEW, Mode::Multiplexed);
    let _application = bench.connect();
    assert_eq!(bench.pass(QUARTER), []);
}

#[tokio::test]
async fn only_old_agents_get_a_sign_of_life() {
    let mut bench = Bench::new(MANNERS, OLD, Mode::Multiplexed);
    let sent = bench.pass(Duration::from_secs(60));
    assert_eq!(sent.len(), 6, "{sent:?}");
    assert!(sent.iter().all(|(_, bytes)| bytes.as_ref() == [1, 3, 0, 0, 0, 0, 0, 0]), "{sent:?}");
    let mut bench = Bench::new(MANNERS, NEW, Mode::Multiplexed);
    assert_eq!(bench.pass(QUARTER), []);
    let mut bench = Bench::new(MANNERS, "3.0.196.0", Mode::Single);
    assert_eq!(bench.pass(QUARTER), []);
}

#[tokio::test]
async fn a_session_without_connections_ends_after_its_limit() {
    let limit = Duration::from_secs(60);
    let mut bench = Bench::new(Manners { idle_limit: Some(limit), ..MANNERS }, NEW, Mode::Multiplexed);
    bench.pass(limit / 2);
    let application = bench.connect();
    bench.pass(limit * 2);
    assert!(!bench.is_finished(), "it has a connection");
    drop(application);
    bench.happen().await;
    bench.pass(MANNERS.linger);
    bench.pass(limit / 2);
    assert!(!bench.is_finished());
    bench.pass(limit / 2);
    assert!(bench.is_finished());
    let mut bench = Bench::new(MANNERS, NEW, Mode::Multiplexed);
    bench.pass(QUARTER);
    assert!(!bench.is_finished(), "without a limit it stays");
}

/// Tells whether the application hears the end.
async fn has_ended(application: &mut DuplexStream) -> bool {
    let ended = tokio::time::timeout(Duration::from_millis(20), application.read(&mut [0])).await;
    ended.is_ok_and(|read| read.unwrap() == 0)
}

#[tokio::test]
async fn silence_counts_only_while_something_could_be_heard() {
    let mut bench = Bench::new(MANNERS, NEW, Mode::Multiplexed);
    let mut application = bench.connect();
    application.shutdown().await.unwrap();
    bench.happen().await;
    bench.pass(Duration::from_secs(20));
    bench.link = DOWN;
    bench.pass(Duration::from_secs(300));
    assert!(!has_ended(&mut application).await, "the answer may be on its way");
    bench.link = UP;
    bench.pass(MANNERS.linger - Duration::from_secs(1));
    assert!(!has_ended(&mut application).await);
    bench.pass(Duration::from_secs(1));
    assert!(has_ended(&mut application).await);
}

#[tokio::test]
async fn a_connection_to_an_agent_that_may_be_gone_is_not_read_and_moves_on() {
    let mut bench = Bench::new(MANNERS, NEW, Mode::Multiplexed);
    bench.pass(QUARTER);
    bench.is_deaf = true;
    let mut application = bench.connect();
    application.write_all(b"request").await.unwrap();
    bench.pass(Duration::from_secs(1));
    assert!(bench.handed_back.borrow().is_empty(), "the agent has some time to answer");
    bench.pass(Duration::from_secs(2));
    let moved = bench.handed_back.borrow_mut().pop().expect("it finds another session");
    let (news, mut told) = unbounded_channel();
    let orders = (moved.start)(1, news);
    orders.send(Order::Credit(100)).unwrap();
    let Some((_, News::Read(bytes))) = told.recv().await else { panic!("it is read for the first time") };
    assert_eq!(bytes, "request");
}

#[tokio::test]
async fn a_session_that_was_idle_carries_on_once_the_agent_is_known_to_be_there() {
    let mut bench = Bench::new(MANNERS, NEW, Mode::Multiplexed);
    bench.pass(QUARTER);
    let mut application = bench.connect();
    application.write_all(b"request").await.unwrap();
    bench.happen().await;
    assert!(bench.handed_back.borrow().is_empty());
    assert_eq!(bench.streams.live(), 1);
}

#[tokio::test]
async fn what_was_opened_on_trial_is_left_when_the_session_ends() {
    let mut bench = Bench::new(MANNERS, NEW, Mode::Multiplexed);
    bench.pass(QUARTER);
    bench.is_deaf = true;
    let _application = bench.connect();
    let released = bench.streams.release(false);
    assert_eq!((released.waiting.len(), released.broken), (1, 0));
}

/// A frame with data for the first stream, or with its end.
fn frame(data: &[u8]) -> Bytes {
    let (command, length) = if data.is_empty() { (1, 0) } else { (2, u16::try_from(data.len()).unwrap()) };
    let [low, high] = length.to_le_bytes();
    [&[1, command, low, high, 3, 0, 0, 0], data].concat().into()
}

#[tokio::test]
async fn an_application_that_does_not_read_makes_the_silence_itself() {
    let mut bench = Bench::new(MANNERS, NEW, Mode::Multiplexed);
    let mut application = bench.connect();
    application.shutdown().await.unwrap();
    bench.happen().await;
    let mut received = 0;
    while bench.streams.takes_more() {
        bench.streams.receive(bench.session.now, frame(&[7; 60_000])).unwrap();
        received += 60_000;
    }
    let sent = bench.pass(MANNERS.linger * 10);
    assert_eq!(sent, [], "there may be more to come");
    let mut heard = vec![0; received];
    let (read, ()) = tokio::join!(application.read_exact(&mut heard), async {
        while bench.streams.unwritten > 0 {
            bench.happen().await;
        }
    });
    read.unwrap();
    bench.pass(MANNERS.linger);
    assert!(has_ended(&mut application).await);
}

#[tokio::test]
async fn what_the_destination_says_first_waits_for_a_connection() {
    let mut bench = Bench::new(MANNERS, "3.0.196.0", Mode::Single);
    bench.streams.receive(bench.session.now, Bytes::from_static(b"wel")).unwrap();
    bench.streams.receive(bench.session.now, Bytes::from_static(b"come")).unwrap();
    let mut application = bench.connect();
    let mut heard = [0; 7];
    application.read_exact(&mut heard).await.unwrap();
    assert_eq!(&heard, b"welcome");
}

#[tokio::test]
async fn a_session_of_one_connection_keeps_one_and_hands_the_others_back() {
    let mut bench = Bench::new(MANNERS, "3.0.196.0", Mode::Single);
    let sockets: Vec<(DuplexStream, DuplexStream)> = (0..3).map(|_| duplex(100)).collect();
    for (_, socket) in sockets {
        let incoming = Incoming::new(socket, "application".to_owned(), bench.session.now.instant);
        bench.handle(Event::Incoming(incoming));
    }
    bench.feed();
    assert_eq!((bench.streams.live(), bench.handed_back.borrow().len()), (1, 2));
}

#[tokio::test]
async fn what_an_application_said_before_it_ended_is_delivered() {
    let mut bench = Bench::new(MANNERS, NEW, Mode::Multiplexed);
    let mut application = bench.connect();
    bench.link = DOWN;
    application.write_all(b"last words").await.unwrap();
    bench.happen().await;
    drop(application);
    bench.happen().await;
    // To be told something is an error for whoever has closed.
    bench.streams.receive(bench.session.now, frame(b"really?")).unwrap();
    while !bench.streams.connections.is_empty() {
        bench.happen().await;
    }
    bench.link = UP;
    let sent = bench.feed().into_iter().map(|(_, bytes)| bytes).collect::<Vec<_>>().concat();
    assert_eq!(sent, [frame(b"last words"), frame(b"")].concat());
}
