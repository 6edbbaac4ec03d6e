use sallyport_policy::Permitted;

fn exchange(permit: Permitted<String>) {
    *permit.value() = "another call".to_owned();
}

fn main() {}
