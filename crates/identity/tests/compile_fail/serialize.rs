use sallyport_protocol::CallerToken;

fn json(token: &CallerToken) -> String {
    serde_json::to_string(token).unwrap()
}

fn main() {}
