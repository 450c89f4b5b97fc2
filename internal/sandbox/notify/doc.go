// Package notify lets a step believe that it is root of a machine with all ids,
// in a user namespace that has only one.
//
// The step runs under a second system call filter, [Filter], which hands the
// calls about owners and identities to a supervisor (Linux seccomp_unotify(2)).
// That is this same program, started once for each step under the name [Name]:
// an init function notices the name and never returns. A process of its own,
// because it has to answer at once while the worker compresses on all
// processors, and because it lives in the root directory of the step, so that a
// name means to it what it means to the step.
//
// What the step sees:
//
//   - chown, mknod of devices and what they change are kept in attributes of the
//     files (package owner), and the calls of the stat family show them. Names of
//     such attributes are left out of lists, so that programs that copy all
//     attributes copy none of ours.
//   - setuid and its relatives succeed and fail as they do for root and for
//     users; getuid and its relatives tell what was set. Children inherit it, and
//     a set-user-ID program has the effect it should. Files made by a process
//     belong to whom it is; so do those in directories that pass their group on.
//   - The peer of a socket (SO_PEERCRED) is who it is in the step.
//
// An identity is a number in the step's unused resource limit RLIMIT_LOCKS: the
// kernel copies that to children and keeps it over execve, so that there is no
// moment at which a process has none, and nothing to forget when it ends. Setting
// that limit does nothing in a step.
//
// What stays different from real ids:
//
//   - Rights are root's whoever a process is: another user can read, write and
//     remove root's files, and signal its processes. Only changing owners and
//     identities, and making devices, is refused as it should be.
//   - A device is an empty regular file to those who open it, and to those who
//     look at types in directories (getdents) and not at the file.
//   - What tells of identities beside these calls shows root: /proc (so ps),
//     credentials sent over sockets (SCM_CREDENTIALS), System V IPC, the owners
//     of sockets, capget. Access control lists cannot name users.
//   - Identities belong to processes, not to threads: a server that lets its
//     threads act for different users has one user.
//   - Owners on file systems without attributes (/proc, /dev/pts) are not kept.
//   - io_uring is denied, programs for 32-bit ARM are killed, and calls of 32-bit
//     x86 for ids of 16 bits fail.
//   - Calls are answered one after the other, at some ten microseconds each: a
//     step that looks at very many files with many processors waits for itself.
//
// None of this is a boundary: that is the namespaces' and the first filter's
// duty, and what a step can trick the supervisor into is something that it, root
// of its own tree, may do anyway. The supervisor acts only inside the step's root
// directory, which it takes for its own.
//
// A second, smaller supervisor shows /proc and /sys to a step that has only a
// changed root ([ProcFilter], [ServeProc]). It runs in the step's reaper, opens
// what the step names in the container's own /proc and passes the open file on.
// Files that name mounts are made up, because a changed root has none. Programs
// executed and directories entered by a name in /proc are the two things that the
// kernel does only for the caller itself: for them a link or a directory is made in
// the step's own /proc, which is empty otherwise.
//
// Linux 5.19 or newer ([Supported]), since before that a signal could make the
// step repeat a call that was already answered.
package notify
