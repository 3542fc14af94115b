//! What is said to a caller, in the shape of its API generation.

use axum::{
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use landbridge_wire::nacos::http::answer;
use serde_json::{Value, json};

use super::{ask::Page, json as encoded, routes::Shape};
use crate::ingress::status::Refused;

/// What came of a call.
pub(super) type Answer = Result<Said, Refused>;

/// Something said.
pub(super) enum Said {
    /// Done: the word `ok`.
    Ok,
    /// JSON that is encoded already.
    Encoded(Bytes),
    /// JSON.
    Value(Value),
    /// A text.
    Text(String),
    /// As it is, whatever the shape.
    Whole(Box<Response>),
}

impl Said {
    /// A page as 3.x and the config module write it.
    pub(super) fn page(page: Page, rows: Vec<Value>) -> Self {
        let count = rows.len();
        Self::Value(json!({
            "totalCount": count,
            "pageNumber": page.number,
            "pagesAvailable": page.pages(count),
            "pageItems": page.cut(rows),
        }))
    }
}

/// Writes an answer.
pub(super) fn write(shape: Shape, path: &str, answer: Answer) -> Response {
    match answer {
        Ok(said) => good(shape, said),
        Err(refused) => bad(shape, path, &refused),
    }
}

fn good(shape: Shape, said: Said) -> Response {
    match (shape, said) {
        (_, Said::Whole(response)) => *response,
        (Shape::Plain, Said::Ok) => (StatusCode::OK, answer::OK).into_response(),
        (Shape::Plain, Said::Encoded(body)) => encoded(body),
        (Shape::Plain, Said::Value(value)) => encoded(value.to_string()),
        (Shape::Plain, Said::Text(text)) => (StatusCode::OK, text).into_response(),
        (Shape::Rest, said) => {
            encoded(json!({ "code": 200, "message": null, "data": value(said) }).to_string())
        }
        (Shape::Result, Said::Ok) => encoded(answer::result_ok()),
        (Shape::Result, Said::Encoded(body)) => encoded(answer::result(&body)),
        (Shape::Result, said) => encoded(answer::result(value(said).to_string().as_bytes())),
    }
}

fn value(said: Said) -> Value {
    match said {
        Said::Ok => Value::from(answer::OK),
        Said::Encoded(body) => serde_json::from_slice(&body).unwrap_or_default(),
        Said::Value(value) => value,
        Said::Text(text) => Value::from(text),
        Said::Whole(_) => Value::Null,
    }
}

fn bad(shape: Shape, path: &str, refused: &Refused) -> Response {
    let Refused { status, code, text } = refused;
    if *status == StatusCode::FORBIDDEN {
        let body = answer::denied(path, text);
        return (*status, [(header::CONTENT_TYPE, "application/json")], body).into_response();
    }
    match shape {
        Shape::Plain => (*status, text.clone()).into_response(),
        Shape::Rest => {
            let body = json!({ "code": status.as_u16(), "message": text, "data": null }).to_string();
            (*status, encoded(body)).into_response()
        }
        Shape::Result => {
            let body = answer::result_failure(*code, refused.headline(), Some(text));
            (*status, encoded(body)).into_response()
        }
    }
}

/// What the framework that Nacos is built on says by itself.
pub(super) fn framework(status: StatusCode, error: &str, path: &str) -> Response {
    let body = json!({ "status": status.as_u16(), "error": error, "path": path }).to_string();
    (status, encoded(body)).into_response()
}
