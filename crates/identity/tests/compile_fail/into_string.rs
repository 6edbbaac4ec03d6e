use sallyport_protocol::CallerToken;

fn text(token: CallerToken) -> String {
    String::from(token)
}

fn main() {}
