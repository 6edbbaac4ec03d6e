//! The fixture server: `sallyport-fixture [stdio | http | sse] [--listen ADDRESS] [--era legacy|modern|both] [--revision DATE]`.
#![forbid(unsafe_code)]

use std::process::ExitCode;

use sallyport_testkit::fixture::{Options, serve};

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            #[expect(clippy::print_stderr, reason = "a program without a log tells its user here")]
            {
                eprintln!("sallyport-fixture: {error}");
            }
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), Box<dyn std::error::Error>> {
    let options = Options::parse(std::env::args().skip(1))?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let outcome = runtime.block_on(serve(options));
    runtime.shutdown_background();
    Ok(outcome?)
}
