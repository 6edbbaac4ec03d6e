"""Refuses system calls for what follows: filter.py NUMBER:ERRNO... -- COMMAND..., as the filters of containers do."""

import ctypes
import os
import struct
import sys

SET_NO_NEW_PRIVS, SET_SECCOMP, FILTER = 38, 22, 2
LOAD, EQUAL, RETURN = 0x20, 0x15, 0x06
ERRNO, ALLOW = 0x00050000, 0x7FFF0000

rules = sys.argv[1:sys.argv.index("--")]
command = sys.argv[sys.argv.index("--") + 1:]
program = [(LOAD, 0, 0, 0)]
for number, errno in (map(int, rule.split(":")) for rule in rules):
    program += [(EQUAL, 0, 1, number), (RETURN, 0, 0, ERRNO | errno)]
program.append((RETURN, 0, 0, ALLOW))
instructions = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *instruction) for instruction in program))
header = ctypes.create_string_buffer(struct.pack("@HP", len(program), ctypes.addressof(instructions)))
libc = ctypes.CDLL(None, use_errno=True)
assert libc.prctl(SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0
assert libc.prctl(SET_SECCOMP, FILTER, header, 0, 0) == 0
os.execvp(command[0], command)
