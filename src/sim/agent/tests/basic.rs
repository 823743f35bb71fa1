//! Basic sessions: one connection after another; their ends are not reported.

use super::*;

fn basic(agent_version: &str, client_version: &str) -> Bench {
    let properties = json!({ "portNumber": "22", "localPortNumber": "0", "type": "LocalPortForwarding" });
    let agent_version = agent_version.to_owned();
    let mut bench = Bench::new(AgentConfig { properties, agent_version, ..AgentConfig::default() });
    bench.handshake_with(client_version);
    assert_eq!(bench.agent.poll_action(), Some(dial()));
    bench.agent.destination_connected(bench.now);
    bench
}

fn dial() -> Action {
    Action::Dial { host: None, port: 22 }
}

#[test]
fn the_end_of_a_connection_is_not_reported_and_the_next_data_dials_again() {
    for (agent_version, client_version) in [("3.0.196.0", "1.2.764.0"), ("3.3.987.0", "0.0.1")] {
        let mut bench = basic(agent_version, client_version);
        bench.agent.destination_data(bench.now, b"bye");
        assert_eq!(bench.next().unwrap().payload, "bye");
        bench.agent.destination_eof(bench.now);
        assert_eq!(bench.agent.poll_action(), Some(Action::CloseDestination));
        assert_eq!((bench.next(), bench.agent.poll_action()), (None, None), "nothing is reported");
        bench.data(1, b"again");
        assert_eq!(bench.agent.poll_action(), Some(dial()));
        assert_eq!(bench.next(), None, "the reader is blocked by the dial");
        bench.agent.destination_connected(bench.now);
        assert_eq!(bench.agent.poll_action(), Some(Action::Write(Bytes::from_static(b"again"))));
        bench.agent.destination_wrote(bench.now, 5);
        assert_eq!(bench.next_ack(), 1);
        assert!(bench.agent.ready_for_data());
    }
}

#[test]
fn a_second_dial_that_fails_ends_the_session() {
    let mut bench = basic("3.0.196.0", "1.2.764.0");
    bench.agent.destination_reset(bench.now);
    bench.data(1, b"again");
    bench.agent.destination_failed(bench.now, "dial tcp 127.0.0.1:22: connect: connection refused");
    assert_eq!(bench.ended(), Some((Status::Failed, String::new())));
    assert_eq!(bench.next(), None, "the data was not written and is not acknowledged");
}

#[test]
fn disconnect_to_port_closes_the_connection_and_waits() {
    let mut bench = basic("3.0.196.0", "1.2.764.0");
    bench.flag(1, flag::DISCONNECT_TO_PORT);
    assert_eq!(bench.next_ack(), 1);
    assert_eq!(bench.agent.poll_action(), Some(Action::CloseDestination));
    assert_eq!(bench.agent.poll_action(), None);
    bench.flag(2, flag::DISCONNECT_TO_PORT);
    assert_eq!(bench.next_ack(), 2);
    bench.data(3, b"again");
    assert_eq!(bench.agent.poll_action(), Some(dial()));
    bench.agent.destination_connected(bench.now);
    bench.agent.destination_wrote(bench.now, 5);
    assert_eq!(bench.next_ack(), 3);
    bench.flag(4, flag::TERMINATE_SESSION);
    assert_eq!(bench.next_ack(), 4);
    assert_eq!(bench.ended(), Some((Status::Success, String::new())));
}

#[test]
fn data_whose_write_breaks_is_written_to_the_next_connection() {
    let mut bench = basic("3.0.196.0", "1.2.764.0");
    bench.data(1, b"again");
    bench.agent.destination_reset(bench.now);
    assert_eq!(bench.next(), None);
    assert_eq!(bench.agent.poll_action(), Some(Action::CloseDestination));
    bench.data(1, b"again");
    assert_eq!(bench.agent.poll_action(), Some(dial()));
}

#[test]
fn a_failed_first_dial_has_the_output_of_a_plain_session() {
    let properties = json!({ "portNumber": "22", "type": "LocalPortForwarding" });
    let mut bench = Bench::new(AgentConfig { properties, ..AgentConfig::default() });
    bench.handshake_with("0.0.1");
    bench.agent.destination_failed(bench.now, "dial tcp 127.0.0.1:22: connect: connection refused");
    let (status, output) = bench.ended().unwrap();
    assert_eq!(status, Status::Failed);
    assert!(output.starts_with("Unable to connect to specified port: dial tcp"), "{output}");
}
