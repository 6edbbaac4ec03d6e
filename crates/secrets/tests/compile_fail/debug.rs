use sallyport_secrets::Secret;

fn main() {
    let secret = Secret::new("hunter2".to_owned());
    println!("{secret:?}");
}
