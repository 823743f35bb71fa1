//! An error of the API.

/// An error as an AWS service returns it: a name and a message.
#[derive(Clone, Debug)]
pub(super) struct ApiException {
    pub code: String,
    pub message: String,
}

impl ApiException {
    pub fn new(code: &str, message: impl Into<String>) -> Self {
        Self { code: code.to_owned(), message: message.into() }
    }

    /// Returns the HTTP status of the JSON protocol.
    pub fn status(&self) -> u16 {
        if self.code.contains("Internal") || self.code.contains("Unavailable") { 500 } else { 400 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_faults_of_the_service_have_status_500() {
        assert_eq!(ApiException::new("InternalServerError", "").status(), 500);
        assert_eq!(ApiException::new("ThrottlingException", "").status(), 400);
    }
}
