//! One attempt as a WebAssembly program in text form, whose exit code is what came of it: 0 where it got something, else WASI's error.

use std::fmt::Write as _;

/// Where the program's two texts lie in its memory.
const FIRST: usize = 1024;
const SECOND: usize = 32 * 1024;

/// What every attempt may call, and how it looks into a file: through each folder that there may be, the outcome is the last error.
const HEAD: &str = r#"
  (import "wasi_snapshot_preview1" "path_open" (func $open (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "path_symlink" (func $symlink (param i32 i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "path_link" (func $link (param i32 i32 i32 i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "path_create_directory" (func $mkdir (param i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_read" (func $read (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_filestat_set_size" (func $resize (param i32 i64) (result i32)))
  (import "wasi_snapshot_preview1" "fd_fdstat_get" (func $stat (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "sock_accept" (func $accept (param i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "environ_sizes_get" (func $environ (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "proc_raise" (func $raise (param i32) (result i32)))
  (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
  (memory (export "memory") 2)
  (func $at (param $folder i32) (param $flags i32) (param $rights i64) (result i32)
    (call $open (local.get $folder) (i32.const 1) (global.get $first) (global.get $first_length) (local.get $flags) (local.get $rights)
      (i64.const 0) (i32.const 0) (i32.const 32)))
  (func $say (param $to i32) (param $length i32) (result i32)
    (i32.store (i32.const 8) (i32.const 256))
    (i32.store (i32.const 12) (local.get $length))
    (call $write (local.get $to) (i32.const 8) (i32.const 1) (i32.const 16)))
  (func $look (result i32)
    (local $folder i32) (local $error i32)
    (local.set $folder (i32.const 3))
    (loop $next
      (local.set $error (call $at (local.get $folder) (i32.const 0) (i64.const 2)))
      (if (i32.eqz (local.get $error)) (then
        (i32.store (i32.const 8) (i32.const 256))
        (i32.store (i32.const 12) (i32.const 200))
        (local.set $error (call $read (i32.load (i32.const 32)) (i32.const 8) (i32.const 1) (i32.const 16)))
        (drop (call $say (i32.const 1) (i32.load (i32.const 16))))
        (return (local.get $error))))
      (local.set $folder (i32.add (local.get $folder) (i32.const 1)))
      (br_if $next (i32.lt_u (local.get $folder) (i32.const 6))))
    (local.get $error))
  (func $look_through (result i32)
    (call $open (i32.const 4) (i32.const 1) (global.get $second) (global.get $second_length) (i32.const 0) (i64.const 2) (i64.const 0)
      (i32.const 0) (i32.const 32)))
"#;

/// A program that ends with what the expression `body` gives; `$first` and `$second` are where the texts lie.
pub(super) fn program(body: &str, first: &str, second: &str) -> String {
    let mut text = format!("(module {HEAD}");
    for (name, place, content) in [("first", FIRST, first), ("second", SECOND, second)] {
        let _ = writeln!(text, "(global ${name} i32 (i32.const {place})) (global ${name}_length i32 (i32.const {}))", content.len());
        let bytes: String = content.bytes().map(|byte| format!("\\{byte:02x}")).collect();
        let _ = writeln!(text, "(data (i32.const {place}) \"{bytes}\")");
    }
    let _ = writeln!(text, "(func (export \"_start\") (call $exit {body})))");
    text
}

/// A program that wants a function that no back-end of ours gives.
pub(super) fn wanting(module: &str, function: &str) -> String {
    format!(
        r#"(module (import "{module}" "{function}" (func $wanted (param i64 i64 i64 i64 i64 i64) (result i64))) (memory (export "memory") 1)
           (func (export "_start") (drop (call $wanted (i64.const 0) (i64.const 0) (i64.const 0) (i64.const 0) (i64.const 0) (i64.const 0)))))"#
    )
}

/// The folder to read and the one to write, in the order in which a program finds them.
const TO_READ: &str = "(i32.const 3)";
const TO_WRITE: &str = "(i32.const 4)";

/// The rights to read and write, and the wish to make the file.
const WRITE: &str = "(i32.const 1) (i64.const 66)";

pub(super) const LOOK: &str = "(call $look)";

pub(super) fn new_file_to_read() -> String {
    format!("(call $at {TO_READ} {WRITE})")
}

pub(super) fn write_what_is_to_be_read() -> String {
    format!("(call $at {TO_READ} (i32.const 0) (i64.const 66))")
}

pub(super) fn new_file() -> String {
    format!("(call $at {TO_WRITE} {WRITE})")
}

pub(super) fn new_folder() -> String {
    format!("(call $mkdir {TO_WRITE} (global.get $first) (global.get $first_length))")
}

/// Plants a link at the second text which leads to the first.
pub(super) fn symlink() -> String {
    format!("(call $symlink (global.get $first) (global.get $first_length) {TO_WRITE} (global.get $second) (global.get $second_length))")
}

/// The same, and looks through it.
pub(super) fn symlink_and_look() -> String {
    format!("(block (result i32) (drop {}) (call $look_through))", symlink())
}

/// The same as another name of a file in the folder to read.
pub(super) fn hard_link() -> String {
    format!(
        "(call $link {TO_READ} (i32.const 0) (global.get $first) (global.get $first_length) {TO_WRITE} (global.get $second) \
         (global.get $second_length))"
    )
}

/// A file of so many bytes.
pub(super) fn file_of(bytes: u64) -> String {
    format!(
        "(if (result i32) (call $at {TO_WRITE} {WRITE}) (then (i32.const 29)) (else (call $resize (i32.load (i32.const 32)) \
         (i64.const {bytes}))))"
    )
}

/// Descriptors beside stdio and the two folders: 0 if there is one, else the error of the last that was asked for.
pub(super) const DESCRIPTORS: &str = "(block $found (result i32) (i32.store (i32.const 40) (i32.const 5)) (loop $next
    (drop (br_if $found (i32.const 0) (i32.eqz (call $stat (i32.load (i32.const 40)) (i32.const 64)))))
    (i32.store (i32.const 40) (i32.add (i32.load (i32.const 40)) (i32.const 1)))
    (br_if $next (i32.lt_u (i32.load (i32.const 40)) (i32.const 1024)))) (i32.const 8))";

/// Takes a connection from any descriptor.
pub(super) const ACCEPT: &str = "(block $found (result i32) (i32.store (i32.const 40) (i32.const 0)) (loop $next
    (drop (br_if $found (i32.const 0) (i32.eqz (call $accept (i32.load (i32.const 40)) (i32.const 0) (i32.const 64)))))
    (i32.store (i32.const 40) (i32.add (i32.load (i32.const 40)) (i32.const 1)))
    (br_if $next (i32.lt_u (i32.load (i32.const 40)) (i32.const 64)))) (i32.const 8))";

/// More variables than there should be: 8 where it is as many.
pub(super) fn more_variables_than(number: usize) -> String {
    format!(
        "(block (result i32) (drop (call $environ (i32.const 40) (i32.const 44))) \
         (i32.mul (i32.const 8) (i32.le_u (i32.load (i32.const 40)) (i32.const {number}))))"
    )
}

pub(super) const RAISE: &str = "(call $raise (i32.const 9))";

/// Takes so many pages of memory: 48, for no memory, where they are not given.
pub(super) fn grow(pages: u32) -> String {
    format!("(i32.mul (i32.const 48) (i32.eq (memory.grow (i32.const {pages})) (i32.const -1)))")
}

/// Memory at an address that is not the program's.
pub(super) const BEYOND: &str = "(i32.and (i32.const 0) (i32.load (i32.const 0x7fff0000)))";

pub(super) const SPIN: &str = "(block (result i32) (loop $ever (br $ever)) (i32.const 0))";

pub(super) const NOTHING: &str = "(i32.const 0)";

/// Writes so many times 4 KiB to stdout (1) or stderr (2).
pub(super) fn flood(descriptor: u32, times: usize) -> String {
    format!(
        "(block (result i32) (loop $next (drop (call $say (i32.const {descriptor}) (i32.const 4096)))
         (i32.store (i32.const 40) (i32.add (i32.load (i32.const 40)) (i32.const 1)))
         (br_if $next (i32.lt_u (i32.load (i32.const 40)) (i32.const {times})))) (i32.const 0))"
    )
}

/// Lets a file grow for ever.
pub(super) fn beat() -> String {
    format!(
        "(block (result i32) (drop (call $at {TO_WRITE} {WRITE}))
         (loop $ever (drop (call $say (i32.load (i32.const 32)) (i32.const 1))) (br $ever)) (i32.const 0))"
    )
}
