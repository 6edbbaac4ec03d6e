use sallyport_policy::{Permitted, Policy};

fn pass(policy: &Policy, call: String) -> Permitted<String> {
    policy.give_up(call).unwrap()
}

fn main() {
    let _ = pass;
}
