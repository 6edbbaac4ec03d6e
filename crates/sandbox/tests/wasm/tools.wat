;; A component whose functions are tools, good ones and bad ones. What the canonical ABI wants is done by hand.
(component
  (core module $code
    (memory (export "memory") 1)
    (global $free (mut i32) (i32.const 4096))
    (global $calls (mut i32) (i32.const 0))
    (data (i32.const 64) "it is broken")

    ;; Never frees: an instance lives for one call.
    (func $realloc (export "realloc") (param $old i32) (param $old-size i32) (param $align i32) (param $size i32) (result i32)
      (local $at i32)
      (local.set $at (i32.and (i32.add (global.get $free) (i32.const 7)) (i32.const -8)))
      (global.set $free (i32.add (local.get $at) (local.get $size)))
      (block $room
        (loop $more
          (br_if $room (i32.le_u (global.get $free) (i32.mul (memory.size) (i32.const 65536))))
          (if (i32.eq (memory.grow (i32.const 16)) (i32.const -1)) (then unreachable))
          (br $more)))
      (local.get $at))

    (func (export "add") (param i32 i32) (result i32) (i32.add (local.get 0) (local.get 1)))

    ;; How often this instance was called.
    (func (export "calls") (result i32)
      (global.set $calls (i32.add (global.get $calls) (i32.const 1)))
      (global.get $calls))

    ;; A string or a list, as it came.
    (func (export "same") (param $at i32) (param $length i32) (result i32)
      (i32.store (i32.const 16) (local.get $at))
      (i32.store (i32.const 20) (local.get $length))
      (i32.const 16))

    ;; A point in a good result, unless the third kind is asked for.
    (func (export "move") (param $x f64) (param $named i32) (param $at i32) (param $length i32)
        (param $by i32) (param $by-length i32) (param $kind i32) (result i32)
      (local $sum f64)
      (if (i32.eq (local.get $kind) (i32.const 2))
        (then
          (i32.store8 (i32.const 128) (i32.const 1))
          (i32.store (i32.const 136) (i32.const 64))
          (i32.store (i32.const 140) (i32.const 12))
          (return (i32.const 128))))
      (local.set $sum (local.get $x))
      (block $done
        (loop $next
          (br_if $done (i32.eqz (local.get $by-length)))
          (local.set $sum (f64.add (local.get $sum) (f64.load (local.get $by))))
          (local.set $by (i32.add (local.get $by) (i32.const 8)))
          (local.set $by-length (i32.sub (local.get $by-length) (i32.const 1)))
          (br $next)))
      (i32.store8 (i32.const 128) (i32.const 0))
      (f64.store (i32.const 136) (local.get $sum))
      (i32.store8 (i32.const 144) (local.get $named))
      (i32.store (i32.const 148) (local.get $at))
      (i32.store (i32.const 152) (local.get $length))
      (i32.const 128))

    ;; A variant, as it came.
    (func (export "mirror") (param $case i32) (param $first i64) (param $second i32) (result i32)
      (i32.store8 (i32.const 256) (local.get $case))
      (i64.store (i32.const 264) (local.get $first))
      (if (i32.eq (local.get $case) (i32.const 2)) (then (i32.store (i32.const 268) (local.get $second))))
      (i32.const 256))

    (func (export "bits") (param i32) (result i32) (local.get 0))

    (func (export "spin") (loop $for-ever (br $for-ever)))

    (func $overflow (export "overflow") (result i32) (i32.add (call $overflow) (i32.const 1)))

    ;; Takes memory until there is no more, and gives the MiB that it got.
    (func (export "hog") (result i32)
      (block $full (loop $more (br_if $full (i32.eq (memory.grow (i32.const 16)) (i32.const -1))) (br $more)))
      (i32.div_u (memory.size) (i32.const 16)))

    ;; Takes memory, and traps when there is no more.
    (func (export "starve") (loop $more (if (i32.eq (memory.grow (i32.const 16)) (i32.const -1)) (then unreachable)) (br $more)))

    ;; A string of that many MiB.
    (func (export "flood") (param $mib i32) (result i32)
      (local $bytes i32)
      (local.set $bytes (i32.mul (local.get $mib) (i32.const 1048576)))
      (i32.store (i32.const 16) (call $realloc (i32.const 0) (i32.const 0) (i32.const 1) (local.get $bytes)))
      (memory.fill (i32.load (i32.const 16)) (i32.const 120) (local.get $bytes))
      (i32.store (i32.const 20) (local.get $bytes))
      (i32.const 16))

    ;; A list of 100 000 lists, each of which is the same million bytes.
    (func (export "bomb") (result i32)
      (local $list i32) (local $at i32) (local $end i32) (local $bytes i32)
      (local.set $bytes (call $realloc (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 1000000)))
      (local.set $list (call $realloc (i32.const 0) (i32.const 0) (i32.const 4) (i32.const 800000)))
      (local.set $at (local.get $list))
      (local.set $end (i32.add (local.get $list) (i32.const 800000)))
      (loop $next
        (i32.store (local.get $at) (local.get $bytes))
        (i32.store offset=4 (local.get $at) (i32.const 1000000))
        (local.set $at (i32.add (local.get $at) (i32.const 8)))
        (br_if $next (i32.lt_u (local.get $at) (local.get $end))))
      (i32.store (i32.const 16) (local.get $list))
      (i32.store (i32.const 20) (i32.const 100000))
      (i32.const 16))

    (func (export "nothing-to-say") (result f64) (f64.div (f64.const 0) (f64.const 0))))

  (core instance $code (instantiate $code))
  (alias core export $code "memory" (core memory $memory))
  (alias core export $code "realloc" (core func $realloc))

  (type $point-shape (record (field "x" float64) (field "label" (option string))))
  (export $point "point" (type $point-shape))
  (type $kind-shape (enum "near" "far" "broken"))
  (export $kind "kind" (type $kind-shape))
  (type $shape-shape (variant (case "dot") (case "circle" float64) (case "text" string)))
  (export $shape "shape" (type $shape-shape))
  (type $rights-shape (flags "read" "write" "run"))
  (export $rights "rights" (type $rights-shape))

  (func (export "add") (param "a" s32) (param "b" s32) (result s32) (canon lift (core func $code "add")))
  (func (export "calls") (result u32) (canon lift (core func $code "calls")))
  (func (export "echo") (param "text" string) (result string)
    (canon lift (core func $code "same") (memory $memory) (realloc $realloc)))
  (func (export "bytes") (param "bytes" (list u8)) (result (list u8))
    (canon lift (core func $code "same") (memory $memory) (realloc $realloc)))
  (func (export "move") (param "point" $point) (param "by" (list float64)) (param "kind" $kind)
    (result (result $point (error string)))
    (canon lift (core func $code "move") (memory $memory) (realloc $realloc)))
  (func (export "mirror") (param "shape" $shape) (result $shape)
    (canon lift (core func $code "mirror") (memory $memory) (realloc $realloc)))
  (func (export "bits") (param "rights" $rights) (result $rights) (canon lift (core func $code "bits")))
  (func (export "spin") (canon lift (core func $code "spin")))
  (func (export "overflow") (result u32) (canon lift (core func $code "overflow")))
  (func (export "hog") (result u32) (canon lift (core func $code "hog")))
  (func (export "starve") (canon lift (core func $code "starve")))
  (func (export "flood") (param "mib" u32) (result string)
    (canon lift (core func $code "flood") (memory $memory) (realloc $realloc)))
  (func (export "bomb") (result (list (list u8)))
    (canon lift (core func $code "bomb") (memory $memory) (realloc $realloc)))
  (func (export "nothing-to-say") (result float64) (canon lift (core func $code "nothing-to-say")))

  (component $interface
    (import "add" (func $add (param "a" s32) (param "b" s32) (result s32)))
    (export "plus" (func $add)))
  (func $add (param "a" s32) (param "b" s32) (result s32) (canon lift (core func $code "add")))
  (instance $math (instantiate $interface (with "add" (func $add))))
  (export "example:tools/math@1.2.3" (instance $math)))
