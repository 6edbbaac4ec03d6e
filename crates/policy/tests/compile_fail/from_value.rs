use sallyport_policy::Permitted;

struct Call;

fn main() {
    let _permit: Permitted<Call> = Call.into();
}
