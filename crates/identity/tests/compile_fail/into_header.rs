use sallyport_protocol::CallerToken;

fn forward(token: &CallerToken) -> http::Request<()> {
    http::Request::get("http://upstream.example/mcp").header("authorization", token).body(()).unwrap()
}

fn main() {}
