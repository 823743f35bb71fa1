//! The limit on the length of an answer, so that no endpoint and no proxy fills the memory.

use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpClient,
    SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::HttpRequest;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::body::SdkBody;
use http_body_util::Limited;

/// The longest answer in bytes. A page of a thousand instances takes five mebibytes.
pub(super) const LONGEST_ANSWER: usize = 16 << 20;

/// Limits the answers of a client.
pub(super) fn capped(client: SharedHttpClient) -> SharedHttpClient {
    SharedHttpClient::new(Client(client))
}

#[derive(Debug)]
struct Client(SharedHttpClient);

#[derive(Debug)]
struct Connector(SharedHttpConnector);

impl HttpClient for Client {
    fn http_connector(
        &self,
        settings: &HttpConnectorSettings,
        components: &RuntimeComponents,
    ) -> SharedHttpConnector {
        SharedHttpConnector::new(Connector(self.0.http_connector(settings, components)))
    }
}

impl HttpConnector for Connector {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let answer = self.0.call(request);
        let limit = |body| SdkBody::from_body_1_x(Limited::new(body, LONGEST_ANSWER));
        HttpConnectorFuture::new(async move { Ok(answer.await?.map(limit)) })
    }
}

#[cfg(test)]
mod tests {
    use aws_smithy_runtime_api::http::{Response, StatusCode};
    use http_body_util::BodyExt;

    use super::*;

    /// Answers with so many bytes.
    #[derive(Debug)]
    struct Answers(usize);

    impl HttpConnector for Answers {
        fn call(&self, _request: HttpRequest) -> HttpConnectorFuture {
            let status = StatusCode::try_from(200).expect("a status");
            HttpConnectorFuture::ready(Ok(Response::new(status, SdkBody::from(vec![7; self.0]))))
        }
    }

    #[tokio::test]
    async fn an_answer_beyond_the_limit_is_an_error() {
        for (length, is_read) in [(0, true), (LONGEST_ANSWER, true), (LONGEST_ANSWER + 1, false)] {
            let connector = Connector(SharedHttpConnector::new(Answers(length)));
            let answer = connector.call(HttpRequest::empty()).await.expect("it answers");
            assert_eq!(answer.into_body().collect().await.is_ok(), is_read, "{length}");
        }
    }
}
