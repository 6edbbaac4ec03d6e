use sallyport_policy::Permitted;

struct Call;

fn send(_call: Permitted<Call>) {}

fn main() {
    send(Call);
}
