use sallyport_policy::{Decision, Effect, Permitted, Place, Reason};

fn main() {
    let decision = Decision { effect: Effect::Allow, reason: Reason::Default, place: Place::new("forged") };
    let _permit = Permitted { value: "call", decision };
}
