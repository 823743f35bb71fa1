//! CloudFormation: creates and deletes the stack with the guardian.

use serde::Deserialize;

use super::query::QueryClient;
use super::{Access, ApiError};

impl Access {
    /// Creates a stack with IAM resources from a template.
    ///
    /// # Errors
    /// [`ApiError`], after retries of throttling and server faults.
    pub async fn create_stack(&self, name: &str, template: &str) -> Result<(), ApiError> {
        let parameters = [
            ("StackName", name),
            ("TemplateBody", template),
            ("Capabilities.member.1", "CAPABILITY_IAM"),
            ("OnFailure", "DELETE"),
        ];
        self.change_stack("CreateStack", &parameters).await
    }

    /// Deletes a stack; succeeds if there is none.
    ///
    /// # Errors
    /// [`ApiError`], after retries of throttling and server faults.
    pub async fn delete_stack(&self, name: &str) -> Result<(), ApiError> {
        self.change_stack("DeleteStack", &[("StackName", name)]).await
    }

    /// Returns the status of a stack, such as `CREATE_COMPLETE`.
    ///
    /// # Errors
    /// [`ApiError`], after retries of throttling and server faults.
    pub async fn stack_status(&self, name: &str) -> Result<String, ApiError> {
        let parameters = vec![("StackName".to_owned(), name.to_owned())];
        let answer: Described = self.cloudformation()?.call("DescribeStacks", parameters).await?;
        let stack = answer.result.stacks.member.into_iter().next();
        Ok(stack.map(|stack| stack.status).unwrap_or_default())
    }

    async fn change_stack(&self, action: &'static str, parameters: &[(&str, &str)]) -> Result<(), ApiError> {
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        let parameters = parameters.iter().map(owned).collect();
        let Changed {} = self.cloudformation()?.call(action, parameters).await?;
        Ok(())
    }

    fn cloudformation(&self) -> Result<QueryClient, ApiError> {
        let service =
            self.service("cloudformation", "cloudformation", self.endpoints.cloudformation.as_ref())?;
        Ok(QueryClient { version: "2010-05-15", service })
    }
}

#[derive(Debug, Deserialize)]
struct Changed {}

#[derive(Debug, Deserialize)]
struct Described {
    #[serde(rename = "DescribeStacksResult")]
    result: Stacks,
}

#[derive(Debug, Deserialize)]
struct Stacks {
    #[serde(rename = "Stacks")]
    stacks: Members,
}

#[derive(Debug, Deserialize)]
struct Members {
    #[serde(default)]
    member: Vec<Stack>,
}

#[derive(Debug, Deserialize)]
struct Stack {
    #[serde(rename = "StackStatus")]
    status: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stacks_status_is_read() {
        let text = "<DescribeStacksResponse><DescribeStacksResult><Stacks><member><StackName>fumidai</StackName>\
            <StackStatus>CREATE_COMPLETE</StackStatus></member></Stacks></DescribeStacksResult></DescribeStacksResponse>";
        let described: Described = quick_xml::de::from_str(text).expect("valid");
        assert_eq!(described.result.stacks.member[0].status, "CREATE_COMPLETE");
        let Changed {} = quick_xml::de::from_str("<R><X><StackId>a</StackId></X></R>").expect("valid");
    }
}
