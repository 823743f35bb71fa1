//! Timeouts of the service and the loss of the agent.

use super::*;
use crate::sim::faults::AgentLoss;

const BRIEF: Duration = Duration::from_millis(100);

#[tokio::test]
async fn a_session_without_input_ends_with_the_text_of_the_service() {
    let simulator = simulator(|config| config.faults.idle_timeout = Some(BRIEF)).await;
    let session = start(&simulator).await;
    let mut client = Client::open(&simulator, &session).await;
    client.handshake().await;
    assert_eq!(client.closed().await, "Your session timed out due to inactivity and has been terminated.");
    assert!(simulator.open_sessions().is_empty());
}

#[tokio::test]
async fn any_input_defers_the_timeout_but_not_the_maximum_duration() {
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
async fn a_lost_agent_ends_the_session_or_leaves_it_without_answers() {
    let simulator = simulator(|_| ()).await;
    for loss in [AgentLoss::Closed, AgentLoss::Silent] {
        let session = start(&simulator).await;
        let mut client = Client::open(&simulator, &session).await;
        client.handshake().await;
        client.send_until_acknowledged(1, b"hello").await;
        simulator.lose_agent(&session.id, loss);
        match loss {
            AgentLoss::Closed => assert_eq!(client.closed().await, ""),
            AgentLoss::Silent => {
                client.send(2, payload_type::OUTPUT, b"no answer").await;
                let waited = tokio::time::timeout(BRIEF, client.acknowledgement(2));
                assert!(waited.await.is_err(), "the agent is lost");
                assert_eq!(simulator.open_sessions().len(), 1);
            }
        }
    }
}
