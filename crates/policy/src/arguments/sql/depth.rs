//! Statements that are deeper than they look.
//!
//! The parser bounds how deep parentheses go, but `1 + 1 + …` is as deep a tree as it is long, and every step down takes some kilobytes of
//! the stack, to print it and to free it as well. A stack that is too small ends the whole process: one call would end the gateway. So
//! statements are looked at where there is [room](crate::rooms).

/// Most keywords and operators of one statement: each can be one step down. A person writes some dozens.
pub(super) const MOST_STEPS: usize = 2000;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

    use crate::arguments::sql::{Dialect, Kind, SqlGuard, SqlRule};

    #[test]
    fn no_depth_ends_the_process() {
        let rule = SqlRule { dialect: Dialect::PostgreSql, tables: vec!["orders".into()], functions: None, columns: None };
        let guard = SqlGuard::build(&rule).unwrap();
        type Shape = fn(usize) -> String;
        let shapes: [Shape; 14] = [
            |n| format!("SELECT {}1", "1+".repeat(n)),
            |n| format!("SELECT 1 WHERE {}true", "true OR ".repeat(n)),
            |n| format!("SELECT 1{}", "::int".repeat(n)),
            |n| format!("SELECT 1{}", " IS NULL".repeat(n)),
            |n| format!("SELECT 1{}", " UNION SELECT 1".repeat(n)),
            |n| format!("SELECT 1{}", " AT TIME ZONE 'x'".repeat(n)),
            |n| format!("SELECT 1 FROM {}orders{}", "(SELECT 1 FROM ".repeat(n), ") x".repeat(n)),
            |n| format!("SELECT {}1{}", "(".repeat(n), ")".repeat(n)),
            |n| format!("SELECT {}1{}", "(SELECT ".repeat(n), ")".repeat(n)),
            |n| format!("SELECT {}1{}", "abs(".repeat(n), ")".repeat(n)),
            |n| format!("SELECT {}1{}", "CASE WHEN true THEN ".repeat(n), " END".repeat(n)),
            |n| format!("SELECT {}true", "NOT ".repeat(n)),
            |n| format!("{}SELECT 1{}", "WITH x AS (".repeat(n), ") SELECT 1".repeat(n)),
            |n| format!("SELECT 1 FROM {}orders{}", "(".repeat(n), " JOIN orders ON true)".repeat(n)),
        ];
        for shape in shapes {
            for depth in [5, 40, 48, 900, 1900, 20_000] {
                let query = shape(depth);
                let admitted = guard.admit(&query, Kind::Query, None).is_ok();
                assert!(admitted || depth > 5, "{query}");
                assert_eq!(guard.refuses(&query).is_none(), admitted, "{depth}: {}", query.get(..50).unwrap_or_default());
            }
        }
    }
}
