//! What must not compile: a way around policy.

#[test]
fn a_permit_is_made_by_a_decision_alone() {
    trybuild::TestCases::new().compile_fail("tests/compile_fail/*.rs");
}
