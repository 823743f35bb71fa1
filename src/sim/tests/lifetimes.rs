//! The ends that nobody asked for: time-outs of the service and the death of the agent.

use super::*;
use crate::sim::faults::AgentLoss;

const BRIEF: Duration = Duration::from_millis(100);

#[tokio::test]
async fn a_session_without_input_ends_in_the_services_words() {
    let simulator = simulator(|config| config.faults.idle_timeout = Some(BRIEF)).await;
    let session = start(&simulator).await;
    let mut client = Client::open(&simulator, &session).await;
    client.handshake().await;
    assert_eq!(client.closed().await, "Your session timed out due to inactivity and has been terminated.");
    assert!(simulator.open_sessions().is_empty());
}

#[tokio::test]
async fn input_of_any_kind_defers_the_end_but_not_beyond_the_longest_duration() {
    let simulator = simulator(|_| ()).await;
    let session = start(&simulator).await;
    let mut client = Client::open(&simulator, &session).await;
    client.handshake().await;
    simulator.change_faults(|faults| {
        faults.idle_timeout = Some(3 * BRIEF);
        faults.max_duration = Some(6 * BRIEF);
    });
    let mut sequence = 0;
    let output = loop {
        sequence += 1;
        client.send(sequence, payload_type::SIZE, b"{}").await;
        if let Ok(output) = tokio::time::timeout(BRIEF / 2, client.closed()).await {
            break output;
        }
    };
    assert!(output.contains("maximum duration"), "{output}");
}

#[tokio::test]
async fn a_dead_agent_ends_the_session_or_leaves_it_silent() {
    let simulator = simulator(|_| ()).await;
    for loss in [AgentLoss::Closed, AgentLoss::Silent] {
        let session = start(&simulator).await;
        let mut client = Client::open(&simulator, &session).await;
        client.handshake().await;
        client.send_surely(1, b"hello").await;
        simulator.lose_agent(&session.id, loss);
        match loss {
            AgentLoss::Closed => assert_eq!(client.closed().await, ""),
            AgentLoss::Silent => {
                client.send(2, payload_type::OUTPUT, b"anybody there?").await;
                let waited = tokio::time::timeout(BRIEF, client.acknowledgement(2));
                assert!(waited.await.is_err(), "nobody is there");
                assert_eq!(simulator.open_sessions().len(), 1);
            }
        }
    }
}
