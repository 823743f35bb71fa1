//! Which service and operation an API call is for, and how that service encodes its answer.
//!
//! SSM uses the AWS JSON 1.1 protocol, STS the query protocol (form in, XML out). A service that is not simulated gets its
//! refusal in its own protocol.

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
    /// It is not simulated.
    Other(&'static OtherService),
}

/// A service that is not simulated.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct OtherService {
    /// The name in signatures.
    scope: &'static str,
    /// The name for people.
    name: &'static str,
    /// The variable that names another endpoint.
    variable: &'static str,
    form: Form,
}

/// How a service encodes its errors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Json,
    Query,
    /// The query protocol with the errors of EC2.
    Ec2,
}

macro_rules! other {
    ($scope:literal, $name:literal, $variable:literal, $form:ident) => {
        OtherService { scope: $scope, name: $name, variable: $variable, form: Form::$form }
    };
}

/// The services whose calls the printed environment leads here, so that none reaches AWS.
static OTHERS: [OtherService; 9] = [
    other!("ec2", "EC2", "AWS_ENDPOINT_URL_EC2", Ec2),
    other!("ecs", "ECS", "AWS_ENDPOINT_URL_ECS", Json),
    other!("ec2-instance-connect", "EC2 Instance Connect", "AWS_ENDPOINT_URL_EC2_INSTANCE_CONNECT", Json),
    other!("states", "Step Functions", "AWS_ENDPOINT_URL_SFN", Json),
    other!("cloudformation", "CloudFormation", "AWS_ENDPOINT_URL_CLOUDFORMATION", Query),
    other!("cloudtrail", "CloudTrail", "AWS_ENDPOINT_URL_CLOUDTRAIL", Json),
    other!("redshift", "Redshift", "AWS_ENDPOINT_URL_REDSHIFT", Query),
    other!("redshift-serverless", "Redshift Serverless", "AWS_ENDPOINT_URL_REDSHIFT_SERVERLESS", Json),
    other!("iam", "IAM", "AWS_ENDPOINT_URL_IAM", Query),
];

impl OtherService {
    /// Refuses a call as if the caller had no permission, which no client retries.
    pub fn refusal(&self) -> ApiException {
        let code = match self.form {
            Form::Json => "AccessDeniedException",
            Form::Query => "AccessDenied",
            Form::Ec2 => "UnauthorizedOperation",
        };
        let Self { name, variable, .. } = self;
        ApiException::new(
            code,
            format!("fumidai-sim does not simulate {name}; set {variable} to a moto server"),
        )
    }
}

/// One API call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ApiCall {
    pub service: ApiService,
    pub operation: String,
}

impl ApiCall {
    /// Reads the service and the operation from a request. The signature names the service.
    pub fn read(head: &Parts, body: &[u8]) -> Self {
        let target = header(&head.headers, "x-amz-target").unwrap_or_default();
        let (prefix, of_target) = target.rsplit_once('.').unwrap_or(("", &target));
        let form = if body.starts_with(b"Action=") { String::from_utf8_lossy(body) } else { "".into() };
        let value = |name: &str| form.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='));
        let operation = value("Action").unwrap_or(of_target).to_owned();
        let scope = header(&head.headers, "authorization").and_then(|text| scope(&text)).unwrap_or_default();
        let other = OTHERS.iter().find(|other| other.scope == scope);
        let service = match other {
            Some(other) => ApiService::Other(other),
            None if value("Version") == Some(STS_VERSION) => ApiService::Sts,
            None if prefix.starts_with("AmazonEC2ContainerService") => ApiService::Other(&OTHERS[1]),
            None if !form.is_empty() => ApiService::Other(&OTHERS[0]),
            None => ApiService::Ssm,
        };
        Self { service, operation }
    }

    /// Encodes the answer in the service's protocol.
    pub fn response(&self, answer: Result<String, ApiException>) -> Response<Full<Bytes>> {
        let form = match self.service {
            ApiService::Ssm => Form::Json,
            ApiService::Sts => Form::Query,
            ApiService::Other(other) => other.form,
        };
        match (form, answer) {
            (Form::Json, Ok(json)) => response::api(200, JSON, json),
            (Form::Query | Form::Ec2, Ok(xml)) => response::api(200, XML, xml),
            (Form::Json, Err(error)) => {
                let ApiException { code, message } = &error;
                let body = json!({ "__type": code, "Message": message, "message": message });
                response::api(error.status(), JSON, body.to_string())
            }
            (Form::Query, Err(error)) => {
                let body = format!("<ErrorResponse>{}</ErrorResponse>", error_element(&error));
                response::api(403, XML, body)
            }
            (Form::Ec2, Err(error)) => {
                let body = format!("<Response><Errors>{}</Errors></Response>", error_element(&error));
                response::api(403, XML, body)
            }
        }
    }
}

/// Returns the service of a credential scope: `Credential=KEY/DATE/REGION/SERVICE/aws4_request`.
fn scope(authorization: &str) -> Option<String> {
    let (_, credential) = authorization.split_once("Credential=")?;
    let scope = credential.split([',', ' ']).next()?;
    Some(scope.split('/').nth(3)?.to_owned())
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
        assert_eq!(read(ecs, "{}"), (ApiService::Other(&OTHERS[1]), operation("ListTasks")));
        let sts = "Action=GetCallerIdentity&Version=2011-06-15";
        assert_eq!(read("", sts), (ApiService::Sts, operation("GetCallerIdentity")));
        let ec2 = "Action=DescribeInstances&Version=2016-11-15";
        assert_eq!(read("", ec2), (ApiService::Other(&OTHERS[0]), operation("DescribeInstances")));
    }

    #[tokio::test]
    async fn a_service_that_is_not_simulated_is_named_in_its_own_form() {
        for other in &OTHERS {
            let scope = format!(
                "AWS4-HMAC-SHA256 Credential=AK/20261128/eu-central-1/{}/aws4_request, x",
                other.scope
            );
            let (head, ()) = Request::builder().header("Authorization", scope).body(()).unwrap().into_parts();
            let call = ApiCall::read(&head, b"{}");
            assert_eq!(call.service, ApiService::Other(other));
            let body = call.response(Err(other.refusal())).into_body().collect().await.unwrap().to_bytes();
            let text = String::from_utf8(body.to_vec()).unwrap();
            let message = format!("fumidai-sim does not simulate {}; set {}", other.name, other.variable);
            assert!(text.contains(&message), "{text}");
        }
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
