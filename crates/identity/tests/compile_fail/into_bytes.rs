use sallyport_protocol::CallerToken;

fn header(token: &CallerToken) -> Result<http::HeaderValue, http::header::InvalidHeaderValue> {
    http::HeaderValue::from_bytes(token.as_ref())
}

fn main() {}
