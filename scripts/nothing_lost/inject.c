/* inject RATE SEED LOG PREFIX[:PREFIX…] -- COMMAND…: runs a command and makes one in RATE of its file system calls below the given
 * directories fail, with an error that a disk or the kernel can return.
 *
 * The kernel passes each such call to this program before its execution (seccomp, user notification). This includes calls that
 * do not use the C library: rustix makes its own system calls, and LD_PRELOAD would miss them. A failing call is not executed.
 * LOG gets a line for each failure: call, error, path.
 *
 * With `links-replace` or `links-copy` for RATE, nothing fails. link(2) reports success as on a file system that lies about it: an
 * existing file is replaced, or the second name gets a copy of its own.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

struct call {
	int number;
	const char *name;
	int dirfd, path; /* Arguments that name the file: a directory and a path, or a descriptor alone (path is -1). */
	int errors[4];
	int often; /* Files are opened often; renames and syncs are rare. */
};
enum { RARELY = 8, OFTEN = -4 }; /* Times RATE, and parts of it. */

static const struct call calls[] = {
	{ SYS_write, "write", 0, -1, { EIO, ENOSPC, EINTR }, 0 },
	{ SYS_pwrite64, "pwrite", 0, -1, { EIO, ENOSPC }, 0 },
	{ SYS_writev, "writev", 0, -1, { EIO, ENOSPC }, 0 },
	{ SYS_fsync, "fsync", 0, -1, { EIO, ENOSPC }, OFTEN },
	{ SYS_fdatasync, "fdatasync", 0, -1, { EIO }, OFTEN },
	{ SYS_ftruncate, "ftruncate", 0, -1, { EIO }, OFTEN },
	{ SYS_fallocate, "fallocate", 0, -1, { EIO, ENOSPC, EOPNOTSUPP }, OFTEN },
	{ SYS_copy_file_range, "copy_file_range", 2, -1, { EIO, ENOSPC }, OFTEN },
	{ SYS_openat, "openat", 0, 1, { EIO, EACCES, EMFILE }, RARELY },
	{ SYS_openat2, "openat2", 0, 1, { EIO, EACCES, EMFILE, EAGAIN }, RARELY },
	{ SYS_renameat2, "renameat2", 2, 3, { EIO, EACCES, ENOSPC }, OFTEN },
	{ SYS_renameat, "renameat", 2, 3, { EIO, EACCES }, OFTEN },
	{ SYS_linkat, "linkat", 2, 3, { EIO, EACCES, ENOSPC }, OFTEN },
	{ SYS_unlinkat, "unlinkat", 0, 1, { EIO, EACCES, EBUSY }, OFTEN },
	{ SYS_utimensat, "utimensat", 0, 1, { EIO, EPERM }, OFTEN },
#ifdef SYS_rename
	{ SYS_rename, "rename", AT_FDCWD, 1, { EIO, EACCES }, OFTEN },
	{ SYS_unlink, "unlink", AT_FDCWD, 0, { EIO, EACCES }, OFTEN },
#endif
};
enum { CALLS = sizeof calls / sizeof calls[0] };

enum { REPLACES = 1, COPIES };
struct options {
	uint64_t rate;
	int lie;
	FILE *log;
	const char *prefixes;
};

static uint64_t state;

static uint64_t next_random(void) {
	state += 0x9E3779B97F4A7C15u;
	uint64_t z = state;
	z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
	z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
	return z ^ (z >> 31);
}

static void fail(const char *what) {
	perror(what);
	_exit(125);
}

static int install(void) {
	struct sock_filter filter[CALLS + 3];
	int at = 0;
	filter[at++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr));
	for (int i = 0; i < CALLS; i++)
		filter[at++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, calls[i].number, CALLS - i, 0);
	filter[at++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
	filter[at++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_USER_NOTIF);
	struct sock_fprog program = { .len = at, .filter = filter };
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)) fail("inject: no_new_privs");
	int listener = syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_NEW_LISTENER, &program);
	if (listener < 0) fail("inject: seccomp");
	return listener;
}

static void send_descriptor(int socket, int descriptor) {
	char byte = 0, control[CMSG_SPACE(sizeof(int))] = { 0 };
	struct iovec iov = { &byte, 1 };
	struct msghdr message = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control };
	struct cmsghdr *head = CMSG_FIRSTHDR(&message);
	head->cmsg_level = SOL_SOCKET, head->cmsg_type = SCM_RIGHTS, head->cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(head), &descriptor, sizeof descriptor);
	if (sendmsg(socket, &message, 0) < 0) fail("inject: sendmsg");
}

static int receive_descriptor(int socket) {
	char byte, control[CMSG_SPACE(sizeof(int))];
	struct iovec iov = { &byte, 1 };
	struct msghdr message = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control };
	int descriptor;
	if (recvmsg(socket, &message, 0) <= 0) _exit(125);
	memcpy(&descriptor, CMSG_DATA(CMSG_FIRSTHDR(&message)), sizeof descriptor);
	return descriptor;
}

/* The path of a descriptor; empty if it is unknown. */
static int path_of(pid_t thread, int descriptor, char *path) {
	char link[64];
	if (descriptor == AT_FDCWD) snprintf(link, sizeof link, "/proc/%d/cwd", thread);
	else snprintf(link, sizeof link, "/proc/%d/fd/%d", thread, descriptor);
	ssize_t length = readlink(link, path, PATH_MAX - 1);
	if (length <= 0) return 0;
	path[length] = 0;
	return 1;
}

static int named(const struct seccomp_notif *asked, const struct call *call, char *path) {
	int dirfd = call->dirfd == AT_FDCWD ? AT_FDCWD : (int)asked->data.args[call->dirfd];
	if (call->path < 0) return path_of(asked->pid, dirfd, path);
	char name[PATH_MAX] = { 0 };
	uint64_t from = asked->data.args[call->path];
	if (!from) return path_of(asked->pid, dirfd, path);
	/* Up to the end of its page: the next page may not be mapped. */
	struct iovec ours = { name, 4096 - from % 4096 }, theirs = { (void *)from, 4096 - from % 4096 };
	if (process_vm_readv(asked->pid, &ours, 1, &theirs, 1, 0) <= 0) return 0;
	name[PATH_MAX - 1] = 0;
	if (name[0] == '/') return strcpy(path, name), 1;
	if (!path_of(asked->pid, dirfd, path)) return 0;
	size_t length = strlen(path);
	snprintf(path + length, PATH_MAX - length, "/%s", name);
	return 1;
}

/* Paths of a link through the descriptors of the process are its own, not ours. */
static void seen_from_here(pid_t thread, char *path) {
	char tail[PATH_MAX];
	if (strncmp(path, "/proc/self/", 11)) return;
	snprintf(tail, sizeof tail, "%s", path + 11);
	snprintf(path, PATH_MAX, "/proc/%d/%.4000s", thread, tail);
}

static int copy(const char *from, const char *to) {
	char buffer[1 << 16];
	int source = open(from, O_RDONLY | O_CLOEXEC), made = open(to, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
	ssize_t length = -1;
	while (source >= 0 && made >= 0 && (length = read(source, buffer, sizeof buffer)) > 0)
		if (write(made, buffer, length) != length) fail("inject: copy");
	int error = made < 0 ? errno : length ? EIO : 0;
	close(source), close(made);
	return error;
}

/* What the process is told of its link(2): an error, or 0 for success. */
static int linked_falsely(const struct seccomp_notif *asked, const char *to, int replaces) {
	static const struct call first = { SYS_linkat, "linkat", 0, 1, { 0 }, 0 };
	char from[PATH_MAX];
	if (!named(asked, &first, from)) return EIO;
	seen_from_here(asked->pid, from);
	if (!replaces) return copy(from, to);
	if (unlink(to) && errno != ENOENT) return errno;
	return linkat(AT_FDCWD, from, AT_FDCWD, to, AT_SYMLINK_FOLLOW) ? errno : 0;
}

static int is_below(const char *path, const char *prefixes) {
	for (const char *at = prefixes; *at; at += strcspn(at, ":"), at += *at == ':') {
		size_t length = strcspn(at, ":");
		if (!strncmp(path, at, length) && (path[length] == '/' || !path[length])) return 1;
	}
	return 0;
}

/* Answers for one call below a directory. */
static void decide(const struct seccomp_notif *asked, struct seccomp_notif_resp *answer, const struct call *call, const char *path,
                   const struct options *options) {
	if (options->lie) {
		if (call->number != SYS_linkat) return;
		int error = linked_falsely(asked, path, options->lie == REPLACES);
		answer->flags = 0, answer->error = -error;
		fprintf(options->log, "%s %s %s\n", call->name, error ? strerrorname_np(error) : "lied", path);
		return;
	}
	uint64_t one_in = call->often == RARELY ? options->rate * RARELY : call->often == OFTEN ? options->rate / -OFTEN + 1 : options->rate;
	if (next_random() % one_in) return;
	int known = 0;
	while (known < 4 && call->errors[known]) known++;
	int error = call->errors[next_random() % known];
	answer->flags = 0, answer->error = -error;
	fprintf(options->log, "%s %s %s\n", call->name, strerrorname_np(error), path);
}

static void serve(int listener, const struct options *options) {
	for (;;) {
		struct pollfd ready = { .fd = listener, .events = POLLIN };
		if (poll(&ready, 1, -1) < 0 && errno != EINTR) return;
		if (ready.revents & POLLHUP) return;
		struct seccomp_notif asked;
		memset(&asked, 0, sizeof asked);
		if (ioctl(listener, SECCOMP_IOCTL_NOTIF_RECV, &asked)) continue;
		struct seccomp_notif_resp answer = { .id = asked.id, .flags = SECCOMP_USER_NOTIF_FLAG_CONTINUE };
		const struct call *call = calls;
		while (call->number != asked.data.nr) call++;
		char path[PATH_MAX] = "";
		if (named(&asked, call, path) && is_below(path, options->prefixes)) decide(&asked, &answer, call, path, options);
		fflush(options->log);
		ioctl(listener, SECCOMP_IOCTL_NOTIF_SEND, &answer);
	}
}

int main(int argc, char **argv) {
	if (argc < 7 || strcmp(argv[5], "--")) return fputs("inject RATE SEED LOG PREFIX[:PREFIX…] -- COMMAND…\n", stderr), 2;
	struct options options = { .rate = strtoull(argv[1], NULL, 10), .prefixes = argv[4] };
	options.lie = !strcmp(argv[1], "links-replace") ? REPLACES : !strcmp(argv[1], "links-copy") ? COPIES : 0;
	state = strtoull(argv[2], NULL, 10);
	int pair[2];
	if ((!options.rate && !options.lie) || socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair)) fail("inject: socketpair");
	/* The command keeps the process id that was started; the watcher is its child. */
	pid_t watcher = fork();
	if (watcher < 0) fail("inject: fork");
	if (!watcher) {
		setsid();
		close(pair[0]);
		options.log = fopen(argv[3], "a");
		if (!options.log) fail(argv[3]);
		int listener = receive_descriptor(pair[1]);
		serve(listener, &options);
		_exit(0);
	}
	close(pair[1]);
	int listener = install();
	send_descriptor(pair[0], listener);
	close(pair[0]);
	/* With another copy open, the kernel would wait for an answer after the watcher has ended. */
	if (fcntl(listener, F_SETFD, FD_CLOEXEC)) fail("inject: fcntl");
	execvp(argv[6], argv + 6);
	fail(argv[6]);
}
