/* PID 2 of an environment whose function has external extensions ("Lambda Extensions API", AWS Lambda Developer Guide).
 * It starts the extensions, then, once all of them have registered, the runtime, and ends as the runtime ends. SIGTERM
 * goes to the runtime alone, which has some time to end by itself; the extensions hear of the end by their API.
 *
 *   thaw-extensions EXTENSION... -- COMMAND [ARGUMENT...]
 *
 * It speaks to the Runtime API (AWS_LAMBDA_RUNTIME_API, 127.0.0.1:PORT), whose paths for it are below
 * /thaw/extensions/:
 *
 *   GET  registered     answered 200 once all have registered
 *   POST lost           one has ended: Lambda-Extension-Name, and how in the body
 *   POST runtime-ended  the runtime has, after SIGTERM
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum {
  kExtensionsMax = 10,
  kExecFailed = 127,
  kRuntimeEndMs = 300, /* "Shutdown phase": what the runtime has of the two seconds */
  kAnswerSeconds = 2,
  kHowBytesMax = 64,
};

static pid_t extensions[kExtensionsMax];
static const char* names[kExtensionsMax];
static int extension_count;
static pid_t runtime;
static char** runtime_command;
static int ending;

static long long now_ms(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return now.tv_sec * 1000LL + now.tv_nsec / 1000000;
}

static pid_t start(char* const* command) {
  const pid_t child = fork();
  if (child != 0) return child;
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, NULL);
  execvp(command[0], command);
  fprintf(stderr, "fork/exec %s: %s\n", command[0], strerror(errno));
  _exit(kExecFailed);
}

/* A connection with the request sent; -1 where there is no Runtime API. */
static int ask(const char* method, const char* what, const char* name, const char* body) {
  const char* address = getenv("AWS_LAMBDA_RUNTIME_API");
  const char* port = address != NULL ? strrchr(address, ':') : NULL;
  if (port == NULL) return -1;
  struct sockaddr_in to;
  memset(&to, 0, sizeof(to));
  to.sin_family = AF_INET;
  to.sin_port = htons((unsigned short)atoi(port + 1));
  to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  const int connection = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (connection < 0) return -1;
  char request[1024];
  const int size = snprintf(request, sizeof(request),
                            "%s /thaw/extensions/%s HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n"
                            "Lambda-Extension-Name: %.256s\r\nContent-Length: %zu\r\n\r\n%s",
                            method, what, address, name, strlen(body), body);
  if (connect(connection, (struct sockaddr*)&to, sizeof(to)) != 0 || size >= (int)sizeof(request) ||
      send(connection, request, (size_t)size, MSG_NOSIGNAL) != size) {
    close(connection);
    return -1;
  }
  return connection;
}

static int is_answered_well(int connection) {
  char answer[16] = {0};
  return recv(connection, answer, 12, MSG_WAITALL) == 12 && strncmp(answer + 9, "200", 3) == 0;
}

static void tell(const char* what, const char* name, const char* body) {
  const int connection = ask("POST", what, name, body);
  if (connection < 0) return;
  const struct timeval bound = {kAnswerSeconds, 0};
  setsockopt(connection, SOL_SOCKET, SO_RCVTIMEO, &bound, sizeof(bound));
  is_answered_well(connection);
  close(connection);
}

/* As the runtime has ended, so that it looks from outside as if it had been started alone. */
static void __attribute__((noreturn)) end_as(int status) {
  if (WIFSIGNALED(status)) {
    signal(WTERMSIG(status), SIG_DFL);
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    raise(WTERMSIG(status));
  }
  _exit(WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status));
}

static void on_extension_ended(int index, int status) {
  extensions[index] = 0;
  if (ending) return;
  char how[kHowBytesMax];
  if (WIFSIGNALED(status)) {
    snprintf(how, sizeof(how), "signal: %s", strsignal(WTERMSIG(status)));
  } else {
    snprintf(how, sizeof(how), "exit status %d", WEXITSTATUS(status));
  }
  tell("lost", names[index], how);
}

static int reap(void) {
  int status = 0;
  for (;;) {
    const pid_t pid = waitpid(-1, &status, WNOHANG);
    if (pid <= 0) break;
    if (pid == runtime) {
      runtime = 0;
      if (!ending) end_as(status);
      tell("runtime-ended", "", "");
    }
    for (int i = 0; i < extension_count; ++i) {
      if (pid == extensions[i]) on_extension_ended(i, status);
    }
  }
  int living = runtime != 0;
  for (int i = 0; i < extension_count; ++i) living += extensions[i] != 0;
  return living;
}

static void begin_end(void) {
  ending = 1;
  if (runtime != 0) {
    kill(runtime, SIGTERM);
  } else {
    tell("runtime-ended", "", "");
  }
}

int main(int count, char** arguments) {
  sigset_t watched;
  sigemptyset(&watched);
  sigaddset(&watched, SIGCHLD);
  sigaddset(&watched, SIGTERM);
  sigprocmask(SIG_BLOCK, &watched, NULL);
  const int signals = signalfd(-1, &watched, SFD_CLOEXEC);
  for (int i = 1; i < count && runtime_command == NULL; ++i) {
    if (strcmp(arguments[i], "--") == 0) {
      runtime_command = arguments + i + 1;
    } else if (extension_count < kExtensionsMax) {
      char* command[] = {arguments[i], NULL};
      const char* slash = strrchr(arguments[i], '/');
      names[extension_count] = slash != NULL ? slash + 1 : arguments[i];
      extensions[extension_count++] = start(command);
    }
  }
  if (signals < 0 || runtime_command == NULL || runtime_command[0] == NULL) return 125;
  struct pollfd waited[2] = {{signals, POLLIN, 0}, {ask("GET", "registered", "", ""), POLLIN, 0}};
  long long kill_at = 0;
  for (;;) {
    const long long left = kill_at - now_ms();
    const int ready = poll(waited, 2, kill_at == 0 ? -1 : left > 0 ? (int)left : 0);
    if (ready == 0) {
      kill_at = 0;
      if (runtime != 0) kill(runtime, SIGKILL);
    }
    if (ready <= 0) continue;
    if (waited[1].revents != 0) {
      const int registered = is_answered_well(waited[1].fd);
      close(waited[1].fd);
      waited[1].fd = -1;
      if (!registered) return 1;
      if (!ending) runtime = start(runtime_command);
    }
    if ((waited[0].revents & POLLIN) == 0) continue;
    struct signalfd_siginfo info;
    if (read(signals, &info, sizeof(info)) != sizeof(info)) continue;
    if (info.ssi_signo == SIGTERM && !ending) {
      begin_end();
      kill_at = now_ms() + kRuntimeEndMs;
    }
    if (info.ssi_signo == SIGCHLD && reap() == 0 && waited[1].fd < 0) return 0;
  }
}
