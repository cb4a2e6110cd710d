//! Reading the answer to a SOAP request under load.
//!
//! **Invariant:** an answer is read within [`ANSWER_TIME`] and decompresses to at most [`MAX_ANSWER`] bytes; its bytes are
//! counted as they came. It never looks into an envelope.

use bytes::Bytes;
use http::header::CONTENT_ENCODING;
use http::{Response, StatusCode};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;

use super::connection::ANSWER_TIME;
use super::error::AgentError;
use super::figures::Figures;
use tailwater_wire::xpress;

/// Bytes of an answer, decoded.
const MAX_ANSWER: usize = 256 << 20;

/// The envelope of an answer, decompressed; faults, which come with status 500, are answers too.
pub(crate) async fn envelope_of(
    answer: Response<Incoming>,
    operation: &'static str,
    figures: &Figures,
) -> Result<Bytes, AgentError> {
    let status = answer.status();
    let compressed = answer.headers().get(CONTENT_ENCODING).is_some_and(|value| value == "xpress");
    let late = |_late| AgentError::Timeout { operation, limit: ANSWER_TIME };
    let body = tokio::time::timeout(ANSWER_TIME, answer.into_body().collect()).await.map_err(late)?;
    let bytes = body.map_err(|source| AgentError::Broken { operation, source })?.to_bytes();
    figures.add(|report| report.soap_bytes += bytes.len() as u64);
    if status != StatusCode::OK && status != StatusCode::INTERNAL_SERVER_ERROR {
        return Err(AgentError::Status { operation, status: status.as_u16() });
    }
    if !compressed {
        return Ok(bytes);
    }
    let decoded = xpress::decode(&bytes, MAX_ANSWER);
    decoded.map(Bytes::from).map_err(|source| AgentError::Compression { operation, source })
}
