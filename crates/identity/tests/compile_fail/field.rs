use sallyport_protocol::CallerToken;

fn bytes(token: &CallerToken) -> &[u8] {
    &token.0
}

fn main() {}
