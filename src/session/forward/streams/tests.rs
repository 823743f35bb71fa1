//! Time passes here as fast as the tests can say so; sockets are pipes, and the agent acknowledges everything at once.

use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

use super::*;
use crate::channel::tests::Bench as Session;

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
    _inbox: UnboundedSender<Incoming>,
}

impl Bench {
    fn new(manners: Manners, agent: &str, mode: Mode) -> Self {
        let (inbox, taken) = unbounded_channel();
        let ties = Ties {
            inbox: taken,
            leave: CancellationToken::new(),
            status: watch::Sender::new(Status::default()),
            tell: Box::new(|_| {}),
            hand_back: Box::new(Incoming::reject),
            traffic: Rc::default(),
        };
        let (mut streams, session) = (Streams::new(manners, ties), Session::open());
        streams.connected(session.now, mode, &AgentVersion::parse(agent)).unwrap();
        let mut bench = Self { streams, session, link: UP, _inbox: inbox };
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
            sent.extend(self.session.arrivals());
        }
        sent.extend(self.session.arrivals());
        sent
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
