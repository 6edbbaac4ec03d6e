use sallyport_secrets::Secret;

#[derive(serde::Serialize)]
struct Server {
    token: Secret,
}

fn main() {}
