//! What must not compile.

#[test]
fn a_callers_token_has_no_way_out() {
    trybuild::TestCases::new().compile_fail("tests/compile_fail/*.rs");
}
