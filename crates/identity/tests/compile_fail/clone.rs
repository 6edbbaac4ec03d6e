use sallyport_protocol::CallerToken;

fn copy(token: &CallerToken) -> CallerToken {
    token.clone()
}

fn main() {}
