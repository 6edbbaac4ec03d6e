use sallyport_protocol::CallerToken;

fn text(token: &CallerToken) -> String {
    format!("Bearer {token} {token:?}")
}

fn main() {}
