//! What programs may call: what containers commonly allow, without the table of refusals. Measured with Node, Python, git, Chromium
//! and the reference servers; each line says what it is for, and who needs it where that is not everybody.

/// Every allowed call of this architecture.
pub(super) fn calls() -> impl Iterator<Item = i64> {
    [FILES, PATHS, MEMORY, PROCESSES, IDENTITY, SIGNALS, WAITING, SCHEDULING, SOCKETS, IPC, SYSTEM]
        .concat()
        .into_iter()
        .chain(OLD.iter().copied())
}

/// Opening, reading and writing files; what they may reach is the mounts' and Landlock's business.
const FILES: &[i64] = &[
    libc::SYS_read,            // reads what is open
    libc::SYS_write,           // writes what is open
    libc::SYS_readv,           // the same from several places at once: Node's streams
    libc::SYS_writev,          // the same: every log line of Node and libc
    libc::SYS_pread64,         // databases read at a place
    libc::SYS_pwrite64,        // databases write there
    libc::SYS_preadv,          // the two above, from several places
    libc::SYS_pwritev,         // the same for writing
    libc::SYS_preadv2,         // the newest form of both, which libc tries first
    libc::SYS_pwritev2,        // the same for writing
    libc::SYS_openat,          // opens files: libc's form
    libc::SYS_close,           // closes
    libc::SYS_close_range,     // closes many at once before a child's exec: Python, glibc
    libc::SYS_lseek,           // moves in a file
    libc::SYS_dup,             // copies a descriptor
    libc::SYS_dup3,            // copies it to a number: stdio of children
    libc::SYS_fcntl,           // flags of descriptors, and locks of SQLite
    libc::SYS_flock,           // locks of package managers and caches
    libc::SYS_ftruncate,       // SQLite's journal, V8's shared memory
    libc::SYS_truncate,        // cuts a file by name
    libc::SYS_fallocate,       // databases reserve room
    libc::SYS_fsync,           // databases and editors make sure
    libc::SYS_fdatasync,       // the same without times: SQLite
    libc::SYS_sync_file_range, // the same for a part: databases
    libc::SYS_sync,            // an old way to make sure; slow, and harmless
    libc::SYS_syncfs,          // the same for one file system
    libc::SYS_fadvise64,       // tells how a file will be read: coreutils, Python
    libc::SYS_readahead,       // the same: databases
    libc::SYS_copy_file_range, // copies: Node's and Python's file functions
    libc::SYS_sendfile,        // copies to a socket or file: servers in Node, Python, Go
    libc::SYS_splice,          // copies through a pipe: Go, Rust
    libc::SYS_tee,             // the same, without taking
    libc::SYS_pipe2,           // stdio of children
    libc::SYS_memfd_create,    // files in memory: shared memory of browsers and runtimes
    libc::SYS_ioctl,           // asks a descriptor: terminals, FIONBIO, FIONREAD of every runtime
];

/// Names, attributes and folders.
const PATHS: &[i64] = &[
    libc::SYS_fstat,             // looks at what is open
    libc::SYS_newfstatat,        // looks at a file: libc's form
    libc::SYS_statx,             // the same: Node, Rust, coreutils
    libc::SYS_statfs,            // room on a file system: package managers
    libc::SYS_fstatfs,           // the same of what is open
    libc::SYS_faccessat,         // asks for access: shells
    libc::SYS_faccessat2,        // the same: newer libc
    libc::SYS_readlinkat,        // reads a link: realpath of every runtime
    libc::SYS_getdents64,        // lists a folder
    libc::SYS_getcwd,            // where am I
    libc::SYS_chdir,             // goes there: shells, git
    libc::SYS_fchdir,            // goes to an open folder: fts of libc
    libc::SYS_mkdirat,           // makes a folder
    libc::SYS_unlinkat,          // removes a file or folder
    libc::SYS_renameat,          // replaces a file in one step
    libc::SYS_renameat2,         // the same: newer libc
    libc::SYS_linkat,            // hard links: git, package stores
    libc::SYS_symlinkat,         // symbolic links: npm, venv
    libc::SYS_fchmod,            // modes of new files: git, SQLite, archives
    libc::SYS_fchmodat,          // the same by name
    libc::SYS_fchmodat2,         // the same: newer libc
    libc::SYS_fchown,            // SQLite gives a journal its database's owner
    libc::SYS_fchownat,          // archives; only to its own ids
    libc::SYS_utimensat,         // times of copied files: cp, make, archives
    libc::SYS_umask,             // modes of files to come
    libc::SYS_getxattr,          // attributes: ls, cp, archives
    libc::SYS_lgetxattr,         // the same of a link
    libc::SYS_fgetxattr,         // the same of what is open
    libc::SYS_setxattr,          // cp keeps attributes
    libc::SYS_lsetxattr,         // the same of a link
    libc::SYS_fsetxattr,         // the same of what is open
    libc::SYS_listxattr,         // cp and archives look for them
    libc::SYS_llistxattr,        // the same of a link
    libc::SYS_flistxattr,        // the same of what is open
    libc::SYS_removexattr,       // archives
    libc::SYS_lremovexattr,      // the same of a link
    libc::SYS_fremovexattr,      // the same of what is open
    libc::SYS_inotify_init1,     // watches files: chokidar, watchdog
    libc::SYS_inotify_add_watch, // the same
    libc::SYS_inotify_rm_watch,  // the same
];

/// A program's own memory.
const MEMORY: &[i64] = &[
    libc::SYS_brk,           // memory of libc
    libc::SYS_mmap,          // memory, libraries
    libc::SYS_munmap,        // gives it back
    libc::SYS_mremap,        // grows it: realloc
    libc::SYS_mprotect,      // libraries, and code that is made while running: V8
    libc::SYS_madvise,       // gives pages back: every allocator
    libc::SYS_msync,         // mapped databases: LMDB
    libc::SYS_mincore,       // what of a mapping is in memory: databases
    libc::SYS_mlock,         // keys stay out of swap, within the limit
    libc::SYS_mlock2,        // the same
    libc::SYS_munlock,       // the way back
    libc::SYS_mlockall,      // the same for all, within the limit
    libc::SYS_munlockall,    // the way back
    libc::SYS_pkey_alloc,    // V8 protects its code
    libc::SYS_pkey_free,     // the way back
    libc::SYS_pkey_mprotect, // the same
    libc::SYS_membarrier,    // threads of .NET, Go and liburcu
    libc::SYS_get_mempolicy, // numerical libraries ask
    libc::SYS_mseal,         // newer libc seals its mappings
];

/// Starting, waiting for and ending processes of its own pid namespace. `clone3` is missing on purpose: its flags lie in memory that a filter cannot read, and libraries fall back to `clone`.
const PROCESSES: &[i64] = &[
    libc::SYS_clone,             // threads and children; namespaces are refused by its flags
    libc::SYS_execve,            // starts programs
    libc::SYS_execveat,          // the same of what is open
    libc::SYS_exit,              // a thread ends
    libc::SYS_exit_group,        // a program ends
    libc::SYS_wait4,             // waits for children
    libc::SYS_waitid,            // the same: Python, Go
    libc::SYS_kill,              // ends children
    libc::SYS_tkill,             // raises a signal: older libc
    libc::SYS_tgkill,            // the same: abort() of libc, Go's preemption
    libc::SYS_getpid,            // who am I
    libc::SYS_getppid,           // whose child
    libc::SYS_gettid,            // which thread
    libc::SYS_getpgid,           // groups of a shell's jobs
    libc::SYS_setpgid,           // the same
    libc::SYS_getsid,            // the same
    libc::SYS_setsid,            // children of their own: Node's `detached`
    libc::SYS_pidfd_open,        // waits for a child without races: Python, Go
    libc::SYS_pidfd_send_signal, // ends it without races
    libc::SYS_set_tid_address,   // every libc at its start
    libc::SYS_set_robust_list,   // every thread at its start
    libc::SYS_get_robust_list,   // libc looks at its own
    libc::SYS_rseq,              // every thread of newer glibc
    libc::SYS_process_mrelease,  // frees a killed child's memory sooner
];

/// Asking who one is, and giving up privileges that are gone already.
const IDENTITY: &[i64] = &[
    libc::SYS_getuid,                  // who am I: libc, git, npm
    libc::SYS_geteuid,                 // the same
    libc::SYS_getgid,                  // the same
    libc::SYS_getegid,                 // the same
    libc::SYS_getgroups,               // the same: Python, ssh
    libc::SYS_getresuid,               // the same
    libc::SYS_getresgid,               // the same
    libc::SYS_setuid,                  // programs that give up what they do not have: npm, postgres; to other ids the kernel refuses
    libc::SYS_setgid,                  // the same
    libc::SYS_setreuid,                // the same
    libc::SYS_setregid,                // the same
    libc::SYS_setresuid,               // the same
    libc::SYS_setresgid,               // the same
    libc::SYS_setfsuid,                // the same
    libc::SYS_setfsgid,                // the same
    libc::SYS_setgroups,               // the same; refused by the user namespace
    libc::SYS_capget,                  // libcap asks: Node
    libc::SYS_capset,                  // gives up what is gone already
    libc::SYS_prctl,                   // names of threads, PDEATHSIG: every runtime
    libc::SYS_personality,             // only to ask: gdb, Wine's kin
    libc::SYS_seccomp,                 // programs that confine themselves further: Chromium
    libc::SYS_landlock_create_ruleset, // the same
    libc::SYS_landlock_add_rule,       // the same
    libc::SYS_landlock_restrict_self,  // the same
];

/// Signals within the sandbox.
const SIGNALS: &[i64] = &[
    libc::SYS_rt_sigaction,      // handlers: every runtime
    libc::SYS_rt_sigprocmask,    // masks: every thread
    libc::SYS_rt_sigreturn,      // the end of each handler
    libc::SYS_rt_sigpending,     // which wait: Python
    libc::SYS_rt_sigtimedwait,   // waits for one: Go's tests, sigwait
    libc::SYS_rt_sigqueueinfo,   // sigqueue of libc
    libc::SYS_rt_tgsigqueueinfo, // the same to a thread
    libc::SYS_rt_sigsuspend,     // shells wait for children
    libc::SYS_sigaltstack,       // stacks of handlers: Rust, Go, V8
    libc::SYS_signalfd4,         // signals as descriptors: libuv's kin
    libc::SYS_restart_syscall,   // the kernel itself, after a stop
];

/// Waiting, timers and clocks.
const WAITING: &[i64] = &[
    libc::SYS_futex,            // locks of every runtime
    libc::SYS_futex_waitv,      // the same for several
    libc::SYS_ppoll,            // waits: glibc, Rust
    libc::SYS_pselect6,         // the same: Python, Tcl
    libc::SYS_epoll_create1,    // waits for many: libuv, asyncio, tokio
    libc::SYS_epoll_ctl,        // the same
    libc::SYS_epoll_pwait,      // the same
    libc::SYS_epoll_pwait2,     // the same, finer
    libc::SYS_eventfd2,         // wakes a loop: libuv, tokio
    libc::SYS_timerfd_create,   // timers as descriptors: asyncio's kin, systemd's
    libc::SYS_timerfd_settime,  // the same
    libc::SYS_timerfd_gettime,  // the same
    libc::SYS_timer_create,     // timers of POSIX: profilers, Go
    libc::SYS_timer_settime,    // the same
    libc::SYS_timer_gettime,    // the same
    libc::SYS_timer_getoverrun, // the same
    libc::SYS_timer_delete,     // the same
    libc::SYS_nanosleep,        // sleeps
    libc::SYS_clock_gettime,    // time, where the vDSO cannot tell
    libc::SYS_clock_getres,     // how fine
    libc::SYS_clock_nanosleep,  // sleeps: glibc
    libc::SYS_gettimeofday,     // time: older libc
    libc::SYS_times,            // CPU time: shells, make
    libc::SYS_getitimer,        // older timers: Python's signal module
    libc::SYS_setitimer,        // the same
];

/// Its own share of the processors.
const SCHEDULING: &[i64] = &[
    libc::SYS_sched_yield,            // spinning locks give way
    libc::SYS_sched_getaffinity,      // how many processors: every runtime
    libc::SYS_sched_setaffinity,      // threads of numerical libraries stay on one
    libc::SYS_sched_getparam,         // libc asks for a thread's attributes
    libc::SYS_sched_setparam,         // only downwards, without a privilege
    libc::SYS_sched_getscheduler,     // the same as asked above
    libc::SYS_sched_setscheduler,     // batch and idle work: only downwards
    libc::SYS_sched_getattr,          // the newer form of asking
    libc::SYS_sched_setattr,          // the newer form of setting
    libc::SYS_sched_get_priority_max, // how far: libc's threads
    libc::SYS_sched_get_priority_min, // the same
    libc::SYS_sched_rr_get_interval,  // Go and Java ask
    libc::SYS_getpriority,            // nice asks
    libc::SYS_setpriority,            // nice: only downwards
    libc::SYS_ioprio_get,             // ionice asks
    libc::SYS_ioprio_set,             // ionice: within what everybody may
    libc::SYS_getcpu,                 // where it runs: allocators
];

/// Sockets; the families are restricted by the table of refusals, what they reach by the network namespace.
pub(super) const SOCKETS: &[i64] = &[
    libc::SYS_socket,      // sockets of the families that are left
    libc::SYS_socketpair,  // pairs: stdio of Node's children, asyncio
    libc::SYS_bind,        // servers on its own loopback
    libc::SYS_listen,      // the same
    libc::SYS_accept,      // the same
    libc::SYS_accept4,     // the same, with flags
    libc::SYS_connect,     // clients
    libc::SYS_getsockname, // what a socket is: every runtime
    libc::SYS_getpeername, // the same of the other end
    libc::SYS_sendto,      // sends
    libc::SYS_recvfrom,    // receives
    libc::SYS_sendmsg,     // sends with descriptors: Chromium, multiprocessing
    libc::SYS_recvmsg,     // receives them
    libc::SYS_sendmmsg,    // many at once: resolvers of glibc
    libc::SYS_recvmmsg,    // the same
    libc::SYS_setsockopt,  // options: every runtime
    libc::SYS_getsockopt,  // the same
    libc::SYS_shutdown,    // closes one way
];

/// Shared memory, semaphores and queues of its own ipc namespace (databases, Python's multiprocessing).
pub(super) const IPC: &[i64] = &[
    libc::SYS_shmget,          // shared memory of System V: PostgreSQL
    libc::SYS_shmat,           // the same
    libc::SYS_shmctl,          // the same
    libc::SYS_shmdt,           // the same
    libc::SYS_semget,          // semaphores of System V: PostgreSQL
    libc::SYS_semctl,          // the same
    libc::SYS_semop,           // the same
    libc::SYS_semtimedop,      // the same
    libc::SYS_msgget,          // queues of System V: older brokers
    libc::SYS_msgsnd,          // the same
    libc::SYS_msgrcv,          // the same
    libc::SYS_msgctl,          // the same
    libc::SYS_mq_open,         // queues of POSIX; none can be made, the limit is 0, but asking is no reason to die
    libc::SYS_mq_unlink,       // the same
    libc::SYS_mq_timedsend,    // the same
    libc::SYS_mq_timedreceive, // the same
    libc::SYS_mq_notify,       // the same
    libc::SYS_mq_getsetattr,   // the same
];

/// What is asked of the system and tells nothing of others.
const SYSTEM: &[i64] = &[
    libc::SYS_uname,     // which system: every runtime
    libc::SYS_sysinfo,   // how much memory: Node, glibc
    libc::SYS_getrandom, // random numbers
    libc::SYS_getrlimit, // limits: older libc
    libc::SYS_setrlimit, // the same, only downwards
    libc::SYS_prlimit64, // the same: newer libc
    libc::SYS_getrusage, // what it has used: Node, Python
];

/// Older forms that only this architecture has and that libraries still use.
#[cfg(target_arch = "x86_64")]
const OLD: &[i64] = &[
    libc::SYS_open,            // opens files: older libc, Go
    libc::SYS_creat,           // the same
    libc::SYS_stat,            // looks at a file
    libc::SYS_lstat,           // the same of a link
    libc::SYS_access,          // asks for access: the loader at each start
    libc::SYS_readlink,        // reads a link: Node, Python
    libc::SYS_getdents,        // lists a folder: older programs
    libc::SYS_mkdir,           // makes a folder: Node
    libc::SYS_rmdir,           // removes it
    libc::SYS_unlink,          // removes a file: Node
    libc::SYS_rename,          // replaces a file: Node
    libc::SYS_link,            // hard links
    libc::SYS_symlink,         // symbolic links
    libc::SYS_chmod,           // modes of files
    libc::SYS_chown,           // owners, only its own ids
    libc::SYS_lchown,          // the same of a link
    libc::SYS_utime,           // times
    libc::SYS_utimes,          // the same
    libc::SYS_futimesat,       // the same
    libc::SYS_pipe,            // stdio of children: older programs
    libc::SYS_dup2,            // the same: shells, libuv
    libc::SYS_poll,            // waits: Python, curl
    libc::SYS_select,          // the same: older programs
    libc::SYS_epoll_create,    // waits for many: older programs
    libc::SYS_epoll_wait,      // the same: Node, nginx
    libc::SYS_inotify_init,    // watches files: older programs
    libc::SYS_eventfd,         // wakes a loop: older programs
    libc::SYS_signalfd,        // signals as descriptors
    libc::SYS_fork,            // children: dash, older libc
    libc::SYS_vfork,           // the same, cheaper: posix_spawn, Node
    libc::SYS_getpgrp,         // groups of a shell's jobs: dash, bash
    libc::SYS_pause,           // waits for a signal
    libc::SYS_alarm,           // the oldest timer: curl, perl
    libc::SYS_time,            // the oldest clock
    libc::SYS_arch_prctl,      // thread-local storage, at each start
    libc::SYS_set_thread_area, // the same of old
    libc::SYS_get_thread_area, // the same of old
];
#[cfg(not(target_arch = "x86_64"))]
const OLD: &[i64] = &[];
