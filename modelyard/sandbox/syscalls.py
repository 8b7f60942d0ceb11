"""The system calls that computing takes, by class: name, number on x86-64, number on aarch64 ("-": none).

Numbers are from the kernel's ``asm/unistd_64.h`` and ``asm-generic/unistd.h``; a test compares them with
the headers of the machine where those are installed. What is not named here is refused, on purpose:
sockets of every kind, execve, new processes, ptrace and process_vm_*, signals to others, mount, namespaces,
bpf, perf, keys, userfaultfd, pidfds, memory files, SysV and POSIX queues; and all that Landlock does not
see: chmod, chown, utime, xattr, truncate by name, symlinks, nodes, handles.
"""

from __future__ import annotations

_CLASSES = {
    "memory": """
        brk 12 214, mmap 9 222, munmap 11 215, mremap 25 216, mprotect 10 226, madvise 28 233, msync
        26 227, mincore 27 232, mlock 149 228, mlock2 325 284, munlock 150 229, mlockall 151 230,
        munlockall 152 231, mbind 237 235, get_mempolicy 239 236, set_mempolicy 238 237, membarrier
        324 283, pkey_alloc 330 289, pkey_free 331 290, pkey_mprotect 329 288, mseal 462 462,
        map_shadow_stack 453 -
    """,
    "threads": """
        futex 202 98, futex_waitv 449 449, futex_wake 454 454, futex_wait 455 455, futex_requeue 456
        456, set_robust_list 273 99, set_tid_address 218 96, rseq 334 293, arch_prctl 158 -, gettid
        186 178, getpid 39 172, getppid 110 173, getpgid 121 155, getpgrp 111 -, getsid 124 156,
        sched_yield 24 124, sched_getaffinity 204 123, sched_getparam 143 121, sched_getscheduler
        145 120, sched_get_priority_max 146 125, sched_get_priority_min 147 126, getpriority 140
        141, getcpu 309 168, exit 60 93, exit_group 231 94, restart_syscall 219 128
    """,
    "signals": """
        rt_sigaction 13 134, rt_sigprocmask 14 135, rt_sigreturn 15 139, rt_sigpending 127 136,
        rt_sigsuspend 130 133, rt_sigtimedwait 128 137, sigaltstack 131 132, pause 34 -, wait4 61
        260, waitid 247 95, signalfd 282 -, signalfd4 289 74
    """,
    "time": """
        clock_gettime 228 113, clock_getres 229 114, clock_nanosleep 230 115, nanosleep 35 101,
        gettimeofday 96 169, time 201 -, times 100 153, alarm 37 -, getitimer 36 102, setitimer 38
        103, timer_create 222 107, timer_settime 223 110, timer_gettime 224 108, timer_getoverrun
        225 109, timer_delete 226 111, timerfd_create 283 85, timerfd_settime 286 86,
        timerfd_gettime 287 87
    """,
    "identity": """
        getuid 102 174, geteuid 107 175, getgid 104 176, getegid 108 177, getresuid 118 148,
        getresgid 120 150, getgroups 115 158, capget 125 90, getrlimit 97 163, getrusage 98 165,
        sysinfo 99 179, uname 63 160, getrandom 318 278, umask 95 166
    """,
    "descriptors": """
        read 0 63, write 1 64, readv 19 65, writev 20 66, pread64 17 67, pwrite64 18 68, preadv 295
        69, pwritev 296 70, preadv2 327 286, pwritev2 328 287, lseek 8 62, close 3 57, close_range
        436 436, dup 32 23, dup2 33 -, dup3 292 24, pipe 22 -, pipe2 293 59, eventfd 284 -, eventfd2
        290 19, poll 7 -, ppoll 271 73, select 23 -, pselect6 270 72, epoll_create 213 -,
        epoll_create1 291 20, epoll_ctl 233 21, epoll_wait 232 -, epoll_pwait 281 22, epoll_pwait2
        441 441, flock 73 32, fsync 74 82, fdatasync 75 83, ftruncate 77 46, fallocate 285 47,
        fadvise64 221 223, readahead 187 213, sync_file_range 277 84, copy_file_range 326 285,
        sendfile 40 71
    """,
    "files": """
        creat 85 -, stat 4 -, fstat 5 80, lstat 6 -, newfstatat 262 79, statx 332 291, statfs 137
        43, fstatfs 138 44, access 21 -, faccessat 269 48, faccessat2 439 439, readlink 89 -,
        readlinkat 267 78, getdents 78 -, getdents64 217 61, getcwd 79 17, chdir 80 49, fchdir 81
        50, mkdir 83 -, mkdirat 258 34, rmdir 84 -, unlink 87 -, unlinkat 263 35, rename 82 -,
        renameat 264 38, renameat2 316 276, link 86 -, linkat 265 37
    """,
    "checked": """
        open 2 -, openat 257 56, clone 56 220, prctl 157 167, ioctl 16 29, fcntl 72 25, kill 62 129,
        tgkill 234 131, prlimit64 302 261, sched_setaffinity 203 122
    """,
    "absent": """
        clone3 435 435, openat2 437 437, io_uring_setup 425 425, io_uring_enter 426 426,
        io_uring_register 427 427
    """,
}


def numbers(name: str, machine: str) -> dict[str, int]:
    """The calls of one class on one machine.

    >>> numbers("checked", "x86_64")["clone"]
    56

    Raises:
        KeyError: another machine than x86_64 and aarch64.
    """
    at = {"x86_64": 1, "aarch64": 2}[machine]
    rows = (row.split() for row in _CLASSES[name].split(","))
    return {row[0]: int(row[at]) for row in rows if row[at] != "-"}


FREE = ("memory", "threads", "signals", "time", "identity", "descriptors", "files")
"""Allowed whatever the arguments."""
