//! What must not compile.

#[test]
fn a_secret_cannot_be_printed_serialised_or_copied() {
    trybuild::TestCases::new().compile_fail("tests/compile_fail/*.rs");
}
