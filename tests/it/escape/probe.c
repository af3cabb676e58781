/* What a hostile program does in a container, and what a caller needs to look for it.
 *
 * Built twice: as a static program, `probe`, and with -DPRELOAD as a library that an image has preloaded.
 * Every attempt prints a line: what was tried, and `ok` or the number of the error. */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#ifndef SYS_io_uring_setup
#define SYS_io_uring_setup 425
#endif
#define JOIN_SESSION 1
#define SEARCH 10
#define SESSION_KEYRING (-3)

static void result(const char *what, int failed)
{
    if (failed)
        printf("%s %d\n", what, errno);
    else
        printf("%s ok\n", what);
    fflush(stdout);
}

/* Tries to change the file that a link of /proc leads to: by writing, and by its mode. */
static void change(const char *path)
{
    char link[4096], again[64], line[8192];
    ssize_t length = readlink(path, link, sizeof link - 1);
    if (length < 0)
        return;
    link[length] = 0;
    if (strncmp(link, "/bin/", 5) == 0)
        return;
    /* The way of CVE-2019-5736: held open for reading, opened again for writing. */
    int held = open(path, O_RDONLY | O_CLOEXEC);
    snprintf(line, sizeof line, "opened %s", link);
    result(line, held < 0);
    if (held < 0)
        return;
    snprintf(again, sizeof again, "/proc/self/fd/%d", held);
    int writable = open(again, O_WRONLY | O_CLOEXEC);
    snprintf(line, sizeof line, "wrote %s", link);
    result(line, writable < 0 || pwrite(writable, "\177", 1, 0) != 1);
    snprintf(line, sizeof line, "made set-uid %s", link);
    result(line, fchmod(held, 04755) != 0);
    close(held);
    if (writable >= 0)
        close(writable);
}

#ifdef PRELOAD
__attribute__((constructor)) static void preloaded(void)
{
    change("/proc/self/exe");
}
#else

static void descriptors(void)
{
    DIR *dir = opendir("/proc/self/fd");
    struct dirent *entry;
    while ((entry = readdir(dir))) {
        char link[4096];
        int fd = atoi(entry->d_name);
        ssize_t length = readlinkat(dirfd(dir), entry->d_name, link, sizeof link - 1);
        if (length < 0 || fd == dirfd(dir) || entry->d_name[0] == '.')
            continue;
        link[length] = 0;
        printf("%d %s\n", fd, link);
    }
}

/* Goes over all processes for `seconds`, and prints what can be seen of those that are not of the image. */
static void spy(int seconds)
{
    time_t end = time(NULL) + seconds;
    printf("spying\n");
    fflush(stdout);
    do {
        DIR *dir = opendir("/proc");
        struct dirent *entry;
        while ((entry = readdir(dir))) {
            char path[300], link[4096];
            int pid = atoi(entry->d_name);
            if (pid <= 1 || pid == getpid())
                continue;
            for (const char **name = (const char *[]){"exe", "cwd", "root", NULL}; *name; name++) {
                snprintf(path, sizeof path, "/proc/%d/%s", pid, *name);
                ssize_t length = readlink(path, link, sizeof link - 1);
                if (length < 0)
                    continue;
                link[length] = 0;
                int is_exe = strcmp(*name, "exe") == 0;
                if (is_exe ? strncmp(link, "/bin/", 5) != 0 : strcmp(link, "/") != 0)
                    printf("SEEN %s %s\n", path, link);
            }
            snprintf(path, sizeof path, "/proc/%d/fd", pid);
            DIR *fds = opendir(path);
            if (fds) {
                struct dirent *fd;
                while ((fd = readdir(fds))) {
                    ssize_t length = readlinkat(dirfd(fds), fd->d_name, link, sizeof link - 1);
                    if (length < 0)
                        continue;
                    link[length] = 0;
                    /* Standard input, output and error are the container's own. */
                    if (atoi(fd->d_name) > 2)
                        printf("SEEN %s/%s %s\n", path, fd->d_name, link);
                }
                closedir(fds);
            }
            if (ptrace(PTRACE_SEIZE, pid, 0, 0) == 0) {
                kill(pid, SIGSTOP);
                snprintf(path, sizeof path, "/proc/%d/exe", pid);
                ssize_t length = readlink(path, link, sizeof link - 1);
                link[length < 0 ? 0 : length] = 0;
                if (length > 0 && strncmp(link, "/bin/", 5) != 0)
                    printf("SEEN traced %s\n", link);
                ptrace(PTRACE_INTERRUPT, pid, 0, 0);
                waitpid(pid, NULL, __WALL);
                ptrace(PTRACE_DETACH, pid, 0, 0);
                kill(pid, SIGCONT);
            }
        }
        closedir(dir);
        fflush(stdout);
    } while (time(NULL) < end);
    printf("spied\n");
}

static void calls(void)
{
    char attributes[128] = {0};
    struct { unsigned size; int type; char handle[16]; } handle = {8, 1, {0}};
    result("userfaultfd", syscall(SYS_userfaultfd, 0) < 0);
    result("io_uring_setup", syscall(SYS_io_uring_setup, 1, attributes) < 0);
    result("keyctl", syscall(SYS_keyctl, 0, SESSION_KEYRING, 0) < 0);
    result("add_key", syscall(SYS_add_key, "user", "probe", "x", 1, SESSION_KEYRING) < 0);
    result("request_key", syscall(SYS_request_key, "user", "probe", NULL, 0) < 0);
    result("bpf", syscall(SYS_bpf, 0, attributes, sizeof attributes) < 0);
    result("perf_event_open", syscall(SYS_perf_event_open, attributes, 0, -1, -1, 0) < 0);
    result("open_by_handle_at", syscall(SYS_open_by_handle_at, AT_FDCWD, &handle, 0) < 0);
    result("AF_ALG", socket(38, SOCK_SEQPACKET, 0) < 0);
    result("AF_VSOCK", socket(40, SOCK_STREAM, 0) < 0);
    result("init_module", syscall(SYS_init_module, attributes, 1, "") < 0);
    result("kexec_load", syscall(SYS_kexec_load, 0, 0, NULL, 0) < 0);
    result("swapon", syscall(SYS_swapon, "/dev/null", 0) < 0);
}

/* The kernel takes 32 bits of the arguments of socket(2) and personality(2), whatever the other 32 are. */
static void wide(void)
{
    const long high = 1L << 32;
    result("audit", syscall(SYS_socket, 16, SOCK_RAW, 9L) < 0);
    result("audit with a wide protocol", syscall(SYS_socket, 16, SOCK_RAW, high | 9) < 0);
    result("audit with a wide family", syscall(SYS_socket, high | 16, SOCK_RAW, 9L) < 0);
    result("audit with both", syscall(SYS_socket, high | 16, SOCK_RAW, high | 9) < 0);
    result("AF_ALG with a wide family", syscall(SYS_socket, high | 38, SOCK_SEQPACKET, 0L) < 0);
    result("AF_VSOCK with a wide family", syscall(SYS_socket, high | 40, SOCK_STREAM, 0L) < 0);
    result("personality with a wide argument", syscall(SYS_personality, high | 0x0400000) < 0);
}

/* What a container may have, with the sign extended as some C libraries do. */
static void usual(void)
{
    result("route", syscall(SYS_socket, 16, SOCK_RAW, 0L) < 0);
    result("uevent", syscall(SYS_socket, 16, SOCK_RAW, 15L) < 0);
    result("unix", syscall(SYS_socket, 1, SOCK_STREAM, 0L) < 0);
    result("internet", syscall(SYS_socket, 2, SOCK_STREAM, 0L) < 0);
    result("personality", syscall(SYS_personality, -1L) < 0);
}

static void type_in(void)
{
    const char *text = "echo TYPED\n";
    int terminal = open("/dev/tty", O_RDWR | O_NOCTTY);
    result("open /dev/tty", terminal < 0);
    for (int fd = 0; fd < 3; fd++) {
        result("TIOCSTI", ioctl(fd, TIOCSTI, text) != 0);
        result("TIOCSCTTY", ioctl(fd, TIOCSCTTY, 1) != 0);
        /* TIOCLINUX, paste the selection of a virtual console. */
        char paste[] = {3};
        result("TIOCLINUX", ioctl(fd, 0x541c, paste) != 0);
    }
}

static void put(const char *path, const char *text)
{
    int fd = open(path, O_WRONLY);
    if (fd < 0 || write(fd, text, strlen(text)) < 0)
        printf("cannot write %s\n", path);
    close(fd);
}

/* Leaves for a user and mount namespace of its own, in which it can mount, and puts pipes where the
 * descriptors of other processes seem to be. */
static void leave(void)
{
    if (unshare(CLONE_NEWUSER | CLONE_NEWNS) != 0) {
        result("unshare", 1);
        return;
    }
    put("/proc/self/setgroups", "deny");
    put("/proc/self/uid_map", "0 0 1");
    put("/proc/self/gid_map", "0 0 1");
    if (mount("tmpfs", "/proc", "tmpfs", 0, NULL) != 0 || mkdir("/proc/self", 0755) != 0 ||
        mkdir("/proc/self/fd", 0755) != 0)
        result("mount", 1);
    for (int fd = 0; fd < 32; fd++) {
        char path[64];
        snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
        mkfifo(path, 0666);
    }
    symlink("/bin/probe", "/proc/self/exe");
}

/* Traces every other process, and never asks for what becomes of it. */
static void trace_others(void)
{
    printf("ready\n");
    fflush(stdout);
    for (;;) {
        DIR *dir = opendir("/proc");
        struct dirent *entry;
        while ((entry = readdir(dir))) {
            int pid = atoi(entry->d_name);
            if (pid > 0 && pid != getpid())
                ptrace(PTRACE_SEIZE, pid, 0, 0);
        }
        closedir(dir);
    }
}

/* Opens every terminal of the container again and again. */
static void hold_terminals(void)
{
    signal(SIGHUP, SIG_IGN);
    printf("ready\n");
    fflush(stdout);
    for (;;) {
        for (int i = 0; i < 8; i++) {
            char path[32];
            snprintf(path, sizeof path, "/dev/pts/%d", i);
            open(path, O_RDWR | O_NOCTTY | O_CLOEXEC);
        }
        usleep(100);
    }
}

/* Stops every other process, also one that is about to come, until its standard input ends. */
static void stop_others(void)
{
    struct pollfd input = {0, POLLIN, 0};
    while (poll(&input, 1, 0) == 0) {
        kill(-1, SIGSTOP);
        usleep(200);
    }
    kill(-1, SIGCONT);
}

/* Every process whose environment can be read and has the word. */
static void environments(const char *word)
{
    DIR *dir = opendir("/proc");
    struct dirent *entry;
    static char text[1 << 20];
    while ((entry = readdir(dir))) {
        char path[300];
        if (atoi(entry->d_name) == 0)
            continue;
        snprintf(path, sizeof path, "/proc/%s/environ", entry->d_name);
        int fd = open(path, O_RDONLY);
        ssize_t length = fd < 0 ? -1 : read(fd, text, sizeof text);
        if (length > 0 && memmem(text, length, word, strlen(word)))
            printf("%s\n", path);
    }
}

static int flags_of(const char *words)
{
    int flags = strchr(words, 'w') ? (strchr(words, 'r') ? O_RDWR : O_WRONLY) : O_RDONLY;
    return flags | O_NONBLOCK | O_NOCTTY | (strchr(words, 'c') ? O_CREAT : 0);
}

int main(int count, char **words)
{
    const char *task = count > 1 ? words[1] : "";
    if (strcmp(task, "open") == 0) {
        int fd = open(words[2], flags_of(words[3]), 0644);
        result(words[2], fd < 0);
    } else if (strcmp(task, "write") == 0) {
        int fd = open(words[2], O_WRONLY | O_CREAT | O_APPEND | O_NOCTTY, 0644);
        result(words[2], fd < 0 || write(fd, "written inside\n", 15) < 0);
    } else if (strcmp(task, "chmod") == 0) {
        result(words[2], chmod(words[2], strtol(words[3], NULL, 8)) != 0);
    } else if (strcmp(task, "chown") == 0) {
        result(words[2], chown(words[2], atoi(words[3]), -1) != 0);
    } else if (strcmp(task, "mkdir") == 0) {
        result(words[2], mkdir(words[2], 0755) != 0);
    } else if (strcmp(task, "unlink") == 0) {
        result(words[2], unlink(words[2]) != 0 && rmdir(words[2]) != 0);
    } else if (strcmp(task, "symlink") == 0) {
        result(words[3], symlink(words[2], words[3]) != 0);
    } else if (strcmp(task, "readlink") == 0) {
        char link[4096];
        ssize_t length = readlink(words[2], link, sizeof link - 1);
        printf("%.*s\n", length < 0 ? 0 : (int)length, link);
    } else if (strcmp(task, "mknod") == 0) {
        result(words[2], mknod(words[2], S_IFCHR | 0666, makedev(atoi(words[3]), atoi(words[4]))) != 0);
    } else if (strcmp(task, "truncate") == 0) {
        result(words[2], truncate(words[2], atoll(words[3])) != 0);
    } else if (strcmp(task, "rename") == 0) {
        result(words[2], rename(words[2], words[3]) != 0);
    } else if (strcmp(task, "list") == 0) {
        DIR *dir = opendir(words[2]);
        struct dirent *entry;
        while (dir && (entry = readdir(dir)))
            if (entry->d_name[0] != '.')
                printf("%s\n", entry->d_name);
    } else if (strcmp(task, "descriptors") == 0) {
        descriptors();
    } else if (strcmp(task, "calls") == 0) {
        calls();
    } else if (strcmp(task, "wide") == 0) {
        wide();
    } else if (strcmp(task, "usual") == 0) {
        usual();
    } else if (strcmp(task, "change") == 0) {
        for (int i = 2; i < count; i++)
            change(words[i]);
    } else if (strcmp(task, "spy") == 0) {
        spy(atoi(words[2]));
    } else if (strcmp(task, "type") == 0) {
        type_in();
    } else if (strcmp(task, "tty") == 0) {
        puts(ttyname(0) ? ttyname(0) : "not a tty");
    } else if (strcmp(task, "environments") == 0) {
        environments(words[2]);
    } else if (strcmp(task, "hold-terminals") == 0) {
        hold_terminals();
    } else if (strcmp(task, "trace-others") == 0) {
        trace_others();
    } else if (strcmp(task, "stop-others") == 0) {
        stop_others();
    } else if (strcmp(task, "linger") == 0) {
        result("clear", prctl(PR_SET_PDEATHSIG, 0) != 0);
        for (;;)
            pause();
    } else if (strcmp(task, "pause") == 0 || strcmp(task, "leave") == 0) {
        if (strcmp(task, "leave") == 0)
            leave();
        printf("ready\n");
        fflush(stdout);
        for (;;)
            pause();
    } else if (strcmp(task, "swap") == 0) {
        /* Until its standard input ends. */
        struct pollfd input = {0, POLLIN, 0};
        printf("ready\n");
        fflush(stdout);
        while (poll(&input, 1, 0) == 0)
            for (int i = 0; i < 1000; i++)
                renameat2(AT_FDCWD, words[2], AT_FDCWD, words[3], RENAME_EXCHANGE);
    } else if (strcmp(task, "key") == 0) {
        result("key", syscall(SYS_keyctl, SEARCH, SESSION_KEYRING, "user", words[2], 0) < 0);
    } else if (strcmp(task, "with-key") == 0) {
        if (syscall(SYS_keyctl, JOIN_SESSION, NULL) < 0 ||
            syscall(SYS_add_key, "user", words[2], "secret", 6, SESSION_KEYRING) < 0)
            return 99;
        execvp(words[3], words + 3);
    } else if (strcmp(task, "with-terminal") == 0) {
        /* As a shell: leader of a session whose terminal is standard input. */
        if (setsid() < 0 || ioctl(0, TIOCSCTTY, 0) != 0)
            return 99;
        pid_t child = fork();
        if (child == 0)
            execvp(words[2], words + 2);
        /* As shells do, which what is typed is not for while a command runs. */
        signal(SIGINT, SIG_IGN);
        int status;
        waitpid(child, &status, 0);
        return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    } else {
        return 98;
    }
    return 0;
}
#endif
