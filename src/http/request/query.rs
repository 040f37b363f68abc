//! The query of an API request, read strictly: a mistyped filter must not list everything.

use std::str::FromStr;

use actix_web::HttpRequest;
use url::form_urlencoded;

use crate::http::problem::{Problem, ProblemCode};

/// A query in which every parameter is known and appears once.
#[derive(Debug)]
pub struct ApiQuery(Vec<(String, String)>);

impl ApiQuery {
    /// Reads the query of a request that takes these parameters.
    ///
    /// # Errors
    /// `bad_request` with their names, if a parameter is unknown or appears twice.
    pub fn read(request: &HttpRequest, known: &[&str]) -> Result<Self, Problem> {
        let mut pairs: Vec<(String, String)> = Vec::new();
        for (name, value) in form_urlencoded::parse(request.query_string().as_bytes()) {
            if !known.contains(&name.as_ref()) || pairs.iter().any(|(given, _)| *given == name) {
                return Err(refused(known));
            }
            pairs.push((name.into_owned(), value.into_owned()));
        }
        Ok(Self(pairs))
    }

    /// Refuses any query, for a request that takes no parameters.
    pub fn none(request: &HttpRequest) -> Result<(), Problem> {
        match request.query_string() {
            "" => Ok(()),
            _ => Err(refused(&[])),
        }
    }

    /// Returns the value of a parameter, if it is given.
    ///
    /// # Errors
    /// `bad_request` that names the expected value, such as "a number".
    pub fn get<T: FromStr>(&self, name: &str, what: &str) -> Result<Option<T>, Problem> {
        let value = self.0.iter().find(|(given, _)| given == name).map(|(_, value)| value.parse());
        value.transpose().map_err(|_| bad_parameter(name, what))
    }
}

/// Returns the problem of a parameter with an invalid value.
pub fn bad_parameter(name: &str, what: &str) -> Problem {
    Problem::new(ProblemCode::BadRequest).hint(format!("The parameter `{name}` must be {what}."))
}

fn refused(known: &[&str]) -> Problem {
    let hint = match known {
        [] => "This request takes no query parameters.".to_owned(),
        _ => format!("The query parameters are `{}`, each at most once.", known.join("`, `")),
    };
    Problem::new(ProblemCode::BadRequest).hint(hint)
}
