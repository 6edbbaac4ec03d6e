use sallyport_policy::Permitted;

fn twice(permit: &Permitted<String>) -> Permitted<String> {
    permit.clone()
}

fn main() {}
