use sallyport_policy::{Decision, Effect, Permitted, Place, Reason};

fn main() {
    let decision = Decision::new(Effect::Allow, Reason::Default, Place::new("forged"));
    let _permit = Permitted::new("call", decision);
}
