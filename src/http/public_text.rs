//! Texts that are the same for all callers, with their compressed form.
//!
//! Nothing else is compressed: the length of a compressed page reveals secrets in it (BREACH).

use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::Write;

use actix_web::http::header::{
    AcceptEncoding, CACHE_CONTROL, CONTENT_ENCODING, ETAG, Encoding, Header, IF_NONE_MATCH, VARY,
};
use actix_web::web::Bytes;
use actix_web::{HttpRequest, HttpResponse};
use flate2::Compression;
use flate2::write::GzEncoder;

/// A text without secrets.
#[derive(Debug)]
pub(super) struct PublicText {
    kind: &'static str,
    plain: Form,
    gzip: Form,
}

/// The text in one coding, and its ETag.
#[derive(Debug)]
struct Form {
    bytes: Bytes,
    tag: String,
}

impl PublicText {
    /// Compresses a text of this media type.
    pub fn new(kind: &'static str, text: impl Into<Bytes>) -> Self {
        let plain = Form::new(text.into());
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        // Writing to memory does not fail.
        let _ = encoder.write_all(&plain.bytes);
        let gzip = Form::new(encoder.finish().unwrap_or_default().into());
        Self { kind, plain, gzip }
    }

    /// Responds to a request, in the coding that the client prefers.
    pub fn answer(&self, request: &HttpRequest) -> HttpResponse {
        let codings = [Encoding::gzip(), Encoding::identity()];
        let accepted =
            AcceptEncoding::parse(request).ok().and_then(|accepted| accepted.negotiate(codings.iter()));
        let is_compressed = accepted == Some(Encoding::gzip()) && !self.gzip.bytes.is_empty();
        let form = if is_compressed { &self.gzip } else { &self.plain };
        let mut answer = match form.is_known(request) {
            true => HttpResponse::NotModified(),
            false => HttpResponse::Ok(),
        };
        if is_compressed {
            answer.insert_header((CONTENT_ENCODING, "gzip"));
        }
        answer
            .content_type(self.kind)
            .insert_header((ETAG, form.tag.as_str()))
            .insert_header((CACHE_CONTROL, "public, no-cache"))
            .append_header((VARY, "accept-encoding"))
            .body(form.bytes.clone())
    }
}

impl Form {
    fn new(bytes: Bytes) -> Self {
        let mut hasher = DefaultHasher::new();
        bytes.hash(&mut hasher);
        Self { tag: format!("\"{:016x}\"", hasher.finish()), bytes }
    }

    fn is_known(&self, request: &HttpRequest) -> bool {
        let known = request.headers().get(IF_NONE_MATCH).and_then(|known| known.to_str().ok());
        // A proxy that compresses or decompresses turns an ETag into a weak one (RFC 9110 section 13.1.2).
        known.is_some_and(|known| known.split(',').any(|tag| tag.trim().trim_start_matches("W/") == self.tag))
    }
}
