"""Runs code that is not ours in a child process that can do nothing but compute.

The threat: a model file is a program. Whoever made it may run any machine code inside the child, from the
first call on: it can find the channel's descriptor, write to it, and use every gadget of the libraries that
are loaded. What such code must not reach: files that were not granted, the network and local sockets, other
processes (the parent first), new processes and programs, the machine's time and memory without bound, and
the parent's memory through the channel.

The rules, each with its source:

- A fresh interpreter, never a fork of ours: no secret of the parent's is in its memory; its environment is
  made from nothing; it inherits the channel and one memory file. (execve(2))
- It dies with the parent (PR_SET_PDEATHSIG, prctl(2); started from a thread that lives as long as the
  process, because the kernel looks at the thread) and with its wall clock, which the parent keeps.
- No new privileges, no capabilities, not dumpable. (prctl(2), capabilities(7))
- Landlock before the first library is imported, while there is one thread: read the interpreter, the
  packages and what was granted; write one folder; execute nothing; no TCP; no signal and no abstract socket
  out of the domain where the kernel knows how. (landlock(7))
- After the trusted target is imported: rlimits on address space, processor time, file size, descriptors;
  then a list of allowed system calls on every thread: no sockets, no programs, no processes, no ptrace, no
  signals to others, none of what Landlock does not see, such as chmod. (seccomp(2), getrlimit(2))
- Where the kernel lacks one of the two, the child refuses to start unless the operator trusts the file.
- What comes up the channel is hostile: lengths are bounded before memory is taken, arrays are checked and
  copied, error classes are looked up by code, text loses its control characters, no wait outlives its
  deadline. Nothing is ever unpickled, on either side.

What is left, and known: the child can see names, sizes and times of files (``stat`` is not restricted), it
can read the packages that are installed; it can answer wrong numbers; it can put up to
``Policy.channel_bytes`` twice into the memory file beyond its own memory; it can burn its processor time.
"""
