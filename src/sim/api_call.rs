//! Which service and operation an API call is for, and how that service encodes its answer.
//!
//! SSM and ECS use the AWS JSON 1.1 protocol, STS and EC2 the query protocol (form in, XML out).

use bytes::Bytes;
use http_body_util::Full;
use hyper::Response;
use hyper::http::request::Parts;
use quick_xml::escape::escape;
use serde_json::json;

use crate::sim::exception::ApiException;
use crate::sim::response;
use crate::sim::sigv4::header;

const JSON: &str = "application/x-amz-json-1.1";
const XML: &str = "text/xml";
const STS_VERSION: &str = "2011-06-15";

/// The service that a call is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ApiService {
    Ssm,
    Sts,
    Ec2,
    Ecs,
}

/// One API call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ApiCall {
    pub service: ApiService,
    pub operation: String,
}

impl ApiCall {
    /// Reads the service and the operation from a request.
    pub fn read(head: &Parts, body: &[u8]) -> Self {
        if body.starts_with(b"Action=") {
            return Self::read_query(&String::from_utf8_lossy(body));
        }
        let target = header(&head.headers, "x-amz-target").unwrap_or_default();
        match target.split_once('.') {
            Some(("AmazonSSM", operation)) => {
                Self { service: ApiService::Ssm, operation: operation.to_owned() }
            }
            Some((service, operation)) if service.starts_with("AmazonEC2ContainerService") => {
                Self { service: ApiService::Ecs, operation: operation.to_owned() }
            }
            Some(_) | None => Self { service: ApiService::Ssm, operation: target },
        }
    }

    fn read_query(form: &str) -> Self {
        let value = |name: &str| form.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='));
        let is_sts = value("Version") == Some(STS_VERSION);
        let service = if is_sts { ApiService::Sts } else { ApiService::Ec2 };
        Self { service, operation: value("Action").unwrap_or_default().to_owned() }
    }

    /// Encodes the answer in the service's protocol.
    pub fn response(&self, answer: Result<String, ApiException>) -> Response<Full<Bytes>> {
        match (self.service, answer) {
            (ApiService::Ssm | ApiService::Ecs, Ok(json)) => response::api(200, JSON, json),
            (ApiService::Sts | ApiService::Ec2, Ok(xml)) => response::api(200, XML, xml),
            (ApiService::Ssm | ApiService::Ecs, Err(error)) => {
                let ApiException { code, message } = &error;
                let body = json!({ "__type": code, "Message": message, "message": message });
                response::api(error.status(), JSON, body.to_string())
            }
            (ApiService::Sts, Err(error)) => {
                let body = format!("<ErrorResponse>{}</ErrorResponse>", error_element(&error));
                response::api(403, XML, body)
            }
            (ApiService::Ec2, Err(error)) => {
                let body = format!("<Response><Errors>{}</Errors></Response>", error_element(&error));
                response::api(403, XML, body)
            }
        }
    }
}

fn error_element(error: &ApiException) -> String {
    let (code, message) = (escape(&error.code), escape(&error.message));
    format!("<Error><Code>{code}</Code><Message>{message}</Message></Error>")
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;
    use hyper::Request;
    use serde_json::Value;

    use super::*;

    fn read(target: &str, body: &str) -> (ApiService, String) {
        let (head, ()) = Request::builder().header("X-Amz-Target", target).body(()).unwrap().into_parts();
        let call = ApiCall::read(&head, body.as_bytes());
        (call.service, call.operation)
    }

    #[test]
    fn the_service_is_known_by_the_target_or_the_version() {
        let operation = |name: &str| name.to_owned();
        assert_eq!(read("AmazonSSM.StartSession", "{}"), (ApiService::Ssm, operation("StartSession")));
        let ecs = "AmazonEC2ContainerServiceV20141113.ListTasks";
        assert_eq!(read(ecs, "{}"), (ApiService::Ecs, operation("ListTasks")));
        let sts = "Action=GetCallerIdentity&Version=2011-06-15";
        assert_eq!(read("", sts), (ApiService::Sts, operation("GetCallerIdentity")));
        let ec2 = "Action=DescribeInstances&Version=2016-11-15";
        assert_eq!(read("", ec2), (ApiService::Ec2, operation("DescribeInstances")));
    }

    #[tokio::test]
    async fn errors_have_the_form_and_status_of_the_service() {
        let response = |service| {
            let call = ApiCall { service, operation: String::new() };
            call.response(Err(ApiException::new("ThrottlingException", "slow & late")))
        };
        let ssm = response(ApiService::Ssm);
        assert_eq!(ssm.status(), 400);
        let body = ssm.into_body().collect().await.unwrap().to_bytes();
        assert_eq!(serde_json::from_slice::<Value>(&body).unwrap()["__type"], "ThrottlingException");
        let sts = response(ApiService::Sts).into_body().collect().await.unwrap().to_bytes();
        let error = "<Code>ThrottlingException</Code><Message>slow &amp; late</Message>";
        assert_eq!(sts, format!("<ErrorResponse><Error>{error}</Error></ErrorResponse>"));
    }
}
